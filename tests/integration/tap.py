"""A UDP relay between a device and the gate that records every datagram, and can lose some."""

import select
import socket
import threading
import time
from dataclasses import dataclass

import records
from environment import own_address, wait_until

TO_GATE, TO_DEVICE = "to gate", "to device"


@dataclass(frozen=True)
class Seen:
    at: float
    direction: str
    data: bytes
    passed: bool


class Tap:
    """Devices connect to tap.address; the gate sees one port of the tap for each device.

    pick, if set, is asked for each datagram: pick(direction, number, data), where number counts
    from 0 in each direction, and returns the list of datagrams to pass on: [] loses it,
    [data, data] doubles it.
    """

    def __init__(self, gate_address, pick=None):
        self.pick = pick
        self.seen = []
        self._gate_address = gate_address
        self._front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._front.bind((own_address(), 5684))
        self.address = self._front.getsockname()
        self.text = "%s:%d" % self.address
        self._back_of = {}  # device address -> socket toward the gate
        self._device_of = {}  # that socket -> device address
        self._numbers = {TO_GATE: 0, TO_DEVICE: 0}
        self._turns = 0  # grows with each look at the sockets that found none readable
        self._stopping = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._stopping:
            readable, _, _ = select.select([self._front, *self._device_of], [], [], 0.005)
            for sock in readable:
                try:
                    self._relay(sock)
                except ConnectionRefusedError:
                    pass  # the gate or the device is not there; a network would say nothing
            if not readable:
                self._turns += 1

    def _relay(self, sock):
        data, source = sock.recvfrom(65535)
        if sock is self._front:
            back = self._back_of.get(source) or self._open_back(source)
            self._pass_on(TO_GATE, data, back.send)
        else:
            device = self._device_of[sock]
            self._pass_on(TO_DEVICE, data, lambda d: self._front.sendto(d, device))

    def _open_back(self, source):
        back = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        back.bind((self.address[0], 0))
        back.connect(self._gate_address)
        self._back_of[source] = back
        self._device_of[back] = source
        return back

    def _pass_on(self, direction, data, send):
        number = self._numbers[direction]
        self._numbers[direction] += 1
        outgoing = [data] if self.pick is None else self.pick(direction, number, data)
        self.seen.append(Seen(time.monotonic(), direction, data, bool(outgoing)))
        for datagram in outgoing:
            send(datagram)

    def to_device(self):
        return [s for s in self.seen if s.direction == TO_DEVICE]

    def to_gate(self):
        return [s for s in self.seen if s.direction == TO_GATE]

    def send_to_gate(self, data):
        """Sends bytes from the address that the gate knows the (only) device by."""
        (back,) = self._device_of
        back.send(data)

    def gate_side_text(self):
        """The address that the gate knows the (only) device by, as text."""
        (back,) = self._device_of
        return "%s:%d" % back.getsockname()

    def settle(self):
        """Returns when everything that was on its way before the call is recorded."""
        turns = self._turns
        wait_until(lambda: self._turns > turns + 1, "a quiet tap")

    def close(self):
        self._stopping = True
        self._thread.join()
        for sock in (self._front, *self._device_of):
            sock.close()
        bad = [s for s in self.to_device() if records.is_forbidden_toward_device(s.data)]
        assert not bad, f"the gate sent a ClientHello or HelloRequest to a device: {bad}"
