"""The middlebox itself: one thread that moves datagrams, and what a test may ask of it."""

import heapq
import itertools
import queue
import random
import selectors
import socket
import threading
import time
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial

from .impairments import Impairments
from .nat import Nat

TO_GATE, TO_DEVICE = "to gate", "to device"

# A datagram that is to be overtaken waits at most so long for one that does it.
OVERTAKEN_WITHIN_S = 0.05


@dataclass
class Seen:
    """A datagram that came in. device and outer: both addresses of its device. happened: "lost",
    "duplicated", "reordered", "corrupted", "too_large", "no_mapping" (for a mapping that the NAT has
    forgotten), "picked" (changed by pick). passed: it, or what became of it, goes on; this and
    "no_mapping" of a datagram that is delayed are known when its time has come."""
    at: float
    direction: str
    data: bytes
    device: tuple
    outer: tuple
    happened: list
    passed: bool


class Netshim:
    """Devices send to .address; to the gate each device has an outer address of its own.

    listen: where devices send to. gate: where their datagrams go. pick, if set, is asked about each
    datagram before anything else happens to it: pick(direction, number, data), where number counts
    from 0 in each direction; it returns the datagrams to go on with: [] loses it, [data, data]
    doubles it. nat_timeout_s: silence of a device and its gate after which its mapping is forgotten.
    outer_host: the source address toward the gate, unless a device is rebound to another.
    """

    def __init__(self, gate, listen, *, pick=None, to_gate=Impairments(), to_device=Impairments(),
                 nat_timeout_s=None, outer_host=None, seed=None):
        self.pick = pick
        self.seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
        self._seen = []
        self._impairments = {TO_GATE: to_gate, TO_DEVICE: to_device}
        self._chance = {way: random.Random(f"{self.seed} {way}") for way in (TO_GATE, TO_DEVICE)}
        self._numbers = {way: itertools.count() for way in (TO_GATE, TO_DEVICE)}
        self._later = []  # heap of (when, order, release)
        self._order = itertools.count()
        self._overtaken = {}  # (direction, device) -> releases that wait for the next datagram
        self._front = socket.socket(
            socket.AF_INET6 if ":" in listen[0] else socket.AF_INET, socket.SOCK_DGRAM)
        self._front.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._front.bind(listen)
        self.address = self._front.getsockname()[:2]
        self.text = _text(self.address)
        self._nat = Nat(gate, outer_host or self.address[0], nat_timeout_s, time.monotonic,
                        self._watch, self._unwatch)
        self._commands = queue.SimpleQueue()
        self._wake_from, self._wake_to = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        for sock in (self._front, self._wake_from):
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ)
        self._settling = []
        self._failure = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    # --- what a test asks for; everything is done by the one thread ---

    def rebind(self, device=None, host=None):
        """The NAT gives a device another port, and another source address if host says so. What comes
        to the old one is dropped. device: its own address; not needed if there is only one. Returns
        the new outer address."""
        return self._do(lambda: self._nat.rebind(self._only(device), host).address)

    def impair(self, to_gate=None, to_device=None):
        """From now on the network is like this; None: as it was."""
        def change():
            self._impairments.update({way: new for way, new in (
                (TO_GATE, to_gate), (TO_DEVICE, to_device)) if new is not None})
        self._do(change)

    def set_nat_timeout(self, seconds):
        self._do(lambda: setattr(self._nat, "timeout_s", seconds))

    def outer_address(self, device=None):
        """The address that the gate knows a device by."""
        return self._do(lambda: self._nat.mapping(self._only(device)).address)

    def outer_text(self, device=None):
        """The same as text."""
        return _text(self.outer_address(device))

    def send_to_gate(self, data, device=None):
        """Sends bytes from a device's outer address, untouched by network and NAT."""
        self._do(lambda: self._nat.mapping(self._only(device)).socket.send(data))

    @property
    def seen(self):
        """Every datagram that came in, in order."""
        return list(self._seen)

    def forget_seen(self):
        """For a run of hours, which would need more and more memory."""
        self._do(self._seen.clear)

    @property
    def moves(self):
        """Every mapping that was forgotten, in order."""
        return list(self._nat.moves)

    def to_gate(self):
        return [seen for seen in self._seen[:] if seen.direction == TO_GATE]

    def to_device(self):
        return [seen for seen in self._seen[:] if seen.direction == TO_DEVICE]

    def count(self, happened, direction=None):
        """How many datagrams something happened to."""
        return sum(happened in seen.happened and direction in (None, seen.direction)
                   for seen in self._seen[:])

    def settle(self):
        """Returns when everything that was on its way before the call is recorded and has left."""
        settled = Future()
        self._do(lambda: self._settling.append([settled, 0]))
        self._result_of(settled)

    def close(self):
        """Ends it; datagrams on their way are lost. Raises what a pick raised."""
        try:
            self._do(lambda: setattr(self, "_stopping", True))
        except RuntimeError:
            pass  # it has ended already
        self._thread.join()
        if self._failure:
            raise self._failure

    # --- the thread ---

    def _do(self, command):
        if threading.current_thread() is self._thread:
            return command()
        result = Future()
        self._commands.put((command, result))
        try:
            self._wake_to.send(b"x")
        except OSError:
            pass  # the thread has ended, which is seen below
        return self._result_of(result)

    def _result_of(self, future):
        while not wait([future], timeout=0.5).done:
            if not self._thread.is_alive():
                raise RuntimeError("the middlebox has ended") from self._failure
        return future.result()

    def _run(self):
        try:
            while not self._stopping:
                self._turn()
        except Exception as error:  # a pick's; shown by close()
            self._failure = error
        finally:
            self._nat.close()
            for sock in (self._front, self._wake_from, self._wake_to, self._selector):
                sock.close()
            self._answer_commands()

    def _turn(self):
        ready = self._selector.select(self._patience())
        for key, _ in ready:
            if key.fileobj is self._wake_from:
                self._wake_from.recv(4096)
            else:
                self._receive(key.fileobj, key.data)
        self._answer_commands()
        self._release_due()
        self._settle_step(quiet=not ready)

    def _patience(self):
        """How long a look at the sockets may take, None without limit."""
        due = max(0.0, self._later[0][0] - time.monotonic()) if self._later else None
        if self._settling:
            return 0.005 if due is None else min(due, 0.005)
        return due

    def _answer_commands(self):
        while not self._commands.empty():
            command, result = self._commands.get()
            try:
                result.set_result(command())
            except Exception as error:
                result.set_exception(error)

    def _settle_step(self, quiet):
        for entry in self._settling:
            entry[1] = entry[1] + 1 if quiet and not self._later else 0
            if entry[1] >= 2:
                entry[0].set_result(None)
        self._settling = [entry for entry in self._settling if not entry[0].done()]

    def _watch(self, mapping):
        mapping.socket.setblocking(False)
        self._selector.register(mapping.socket, selectors.EVENT_READ, mapping)

    def _unwatch(self, mapping):
        self._selector.unregister(mapping.socket)

    def _only(self, device):
        if device is not None:
            return device
        (device,) = self._nat.devices()
        return device

    def _receive(self, sock, mapping):
        """Takes at most one datagram, so that both directions keep their order."""
        try:
            data, source = sock.recvfrom(65535)
        except (BlockingIOError, ConnectionRefusedError):
            return  # the gate or the device is not there; a network would say nothing
        if mapping is None:
            self._forward(TO_GATE, data, self._nat.outward(source[:2]))
        else:
            self._forward(TO_DEVICE, data, mapping)

    def _forward(self, direction, data, mapping):
        """The NAT is on the devices' side of the bad network: a datagram of a device has its outer
        address before the network delays it, one to a device comes to the NAT after that."""
        number, happened, copies, picked = next(self._numbers[direction]), [], [], [data]
        if self.pick is not None:
            picked = self.pick(direction, number, data)
            if picked != [data]:
                happened.append("picked" if picked else "lost")
        for datagram in picked:
            more, leaving = self._impairments[direction].apply(datagram, self._chance[direction])
            happened += more
            copies += leaving
        seen = Seen(time.monotonic(), direction, data, mapping.device, mapping.address, happened,
                    bool(copies))
        self._seen.append(seen)
        for copy in copies:
            go = partial(self._hold if copy.overtaken else self._leave, seen, copy.data, mapping)
            if copy.delay_s > 0:
                self._release_at(seen.at + copy.delay_s, go)
            else:
                go()

    def _hold(self, seen, data, mapping):
        """Sends it right behind the next datagram of the same way."""
        held = self._overtaken.setdefault((seen.direction, seen.device), [])

        def let_go():
            if let_go in held:
                held.remove(let_go)
                self._send(seen, data, mapping)
        held.append(let_go)
        self._release_at(time.monotonic() + OVERTAKEN_WITHIN_S, let_go)

    def _release_at(self, when, release):
        heapq.heappush(self._later, (when, next(self._order), release))

    def _release_due(self):
        while self._later and self._later[0][0] <= time.monotonic():
            heapq.heappop(self._later)[2]()

    def _leave(self, seen, data, mapping):
        self._send(seen, data, mapping)
        for let_go in self._overtaken.get((seen.direction, seen.device), [])[:]:
            let_go()

    def _send(self, seen, data, mapping):
        try:
            if seen.direction == TO_GATE:
                mapping.socket.send(data)
            elif self._nat.inward(mapping):
                self._front.sendto(data, mapping.device)
            else:
                seen.happened.append("no_mapping")
                seen.passed = False
        except (BlockingIOError, ConnectionRefusedError):
            pass  # nobody is there, or a queue is full: lost, as in any network


def _text(address):
    return ("[%s]:%d" if ":" in address[0] else "%s:%d") % tuple(address[:2])
