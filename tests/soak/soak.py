#!/usr/bin/python3
"""Hours in the life of one gate: make soak SOAK_MINUTES=180

Devices keep their sessions, some behind a bad network. Around them, in an order drawn at random, the gate
is reloaded, upgraded and killed (under --keeper), the backend dies and comes back, strangers flood,
devices move, change keys, close and begin anew, and clients of other libraries come and go. After each event every
device is asked whether it still has its session, and what the backend says late to those that closed must not
reach them. Ends with a line of sums, and with status 1 if a session was lost that should live, a datagram
went to a closed device, the accounts do not add up, or memory grew."""

import argparse
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[1:1] = [str(TESTS / "integration"), str(TESTS)]

import records  # noqa: E402
from backend import Backend, echo  # noqa: E402
from clients.device import Device, flood  # noqa: E402
from clients.gnutls import GnutlsClient  # noqa: E402
from clients.openssl import OpensslClient  # noqa: E402
from environment import GATE, own_address, wait_until  # noqa: E402
from netshim import Netshim  # noqa: E402
from netshim.impairments import Impairments  # noqa: E402
from proxy import Proxy  # noqa: E402

KEY = "00112233445566778899aabbccddeeff"
RELOADED_KEYS = 200  # of devices that never come; other ones at each reload
BAD = Impairments(loss=10, duplicate=5, reorder=10, jitter_ms=5)
KILL_EVERY_S = 31  # at the third kill within a minute the next gate begins without sessions, on purpose
TRIES = 12  # of one exchange, over a bad network; a session that has ended misses each
FLOOD = 20000
MEMORY_GROWS, MEMORY_BYTES = 1.10, 4 << 20  # of noise, both together


class SoakError(Exception):
    pass


@dataclass
class Member:
    """A device that keeps its session. 1.3 or with a connection ID: it may change keys, or move."""
    name: str
    device: Device
    version: str
    has_cid: bool
    is_direct: bool
    turn: int = 0


@dataclass
class Found:
    lost: int = 0
    torn: int = 0
    said_to_closed: int = 0
    memory: list = field(default_factory=list)  # (seconds, bytes)
    problems: list = field(default_factory=list)


class Soak:
    def __init__(self, folder, seed, members):
        self.random = random.Random(seed)
        self.began = time.monotonic()
        self.found, self.done = Found(), Counter()
        self.folder = folder
        self.backend = Backend(echo)
        self.names = [f"member-{n}" for n in range(members)] + ["guest"]
        self.proxy = Proxy(folder, self.backend, psk={name: KEY for name in self.names},
                           gate={"workers": 2, "control": "control.sock"},
                           keeper=True)
        self.write_keys()
        self.program = folder / "dtlsgate"
        self.install()
        self.last_kill = 0.0
        self.proxy.start(program=self.program)
        self.shim = Netshim(self.proxy.address, (own_address(), 5684), to_gate=BAD, to_device=BAD,
                            seed=seed)
        self.members = [self.begin_member(n, name) for n, name in enumerate(self.names[:-1])]
        self.torn_before = 0

    # --- what there is ---

    def install(self):
        new = self.folder / "new"
        shutil.copy(GATE, new)
        new.rename(self.program)

    def write_keys(self):
        others = [f"other-{self.random.getrandbits(64):x}:{KEY}\n" for _ in range(RELOADED_KEYS)]
        new = self.folder / "new.psk"
        new.write_text("".join(f"{name}:{KEY}\n" for name in self.names) + "".join(others), encoding="ascii")
        new.chmod(0o600)
        new.rename(self.folder / "devices.psk")

    def begin_member(self, n, name):
        version, has_cid, is_direct = ("1.2", "1.3")[n % 2], n % 4 < 2, n % 3 != 0
        where = self.proxy.address if is_direct else self.shim.address
        device = Device(where, psk=(name, KEY), version=version, cid=b"" if has_cid else None)
        self.connect(device)
        return Member(name, device, version, has_cid, is_direct)

    @staticmethod
    def connect(device):
        for _ in range(5):
            if device.handshake(30).established:
                return
        raise SoakError("no handshake in five tries")

    def guest(self, version="1.2"):
        device = Device(self.proxy.address, psk=("guest", KEY), version=version)
        self.connect(device)
        return device

    # --- does each one still have its session? ---

    def is_alive(self, member):
        for _ in range(TRIES):
            member.turn += 1
            question = b"%s %d" % (member.name.encode(), member.turn)
            member.device.send(question)
            until = time.monotonic() + 1
            while time.monotonic() < until:
                answer = member.device.recv(0.5)
                if answer == question:
                    return True
                if not isinstance(answer, bytes):
                    break
        return False

    def ask_all(self, event):
        lost = [member for member in self.members if not self.is_alive(member)]
        torn = int(self.proxy.closed("torn")) - self.torn_before
        self.torn_before += torn
        for member in lost:
            if event == "kill" and torn > 0:  # killed amid a change of that session
                torn -= 1
                self.found.torn += 1
            else:
                self.found.lost += 1
                self.found.problems.append(f"after {event} {member.name} (DTLS {member.version}, cid "
                                           f"{member.has_cid}) has lost its session")
            self.connect(member.device)
        seconds = time.monotonic() - self.began
        self.found.memory.append((seconds, self.proxy.resident_bytes()))

    # --- events ---

    def starts(self):
        return self.proxy.log_path.read_bytes().count(b" event=ready ")

    def load(self):
        """Traffic that the event meets: a burst of each device, whose answers nobody waits for."""
        if self.random.random() < 0.5:
            for member in self.members:
                member.device.burst(10, b"burst ")

    def reload(self):
        self.write_keys()
        self.load()
        self.proxy.ctl("reload")

    def next_gate(self, number, before):
        self.load()
        os.kill(self.proxy.gate_pid(), number)
        wait_until(lambda: self.starts() > before, "the next gate", 60)
        self.proxy.wait_ready()

    def upgrade(self):
        self.install()
        pid = self.proxy.gate_pid()
        self.next_gate(signal.SIGUSR2, self.starts())
        if self.proxy.gate_pid() != pid:
            raise SoakError("the upgrade was no upgrade: another process serves")

    def kill(self):
        if time.monotonic() - self.last_kill < KILL_EVERY_S:
            return False
        self.last_kill = time.monotonic()
        self.next_gate(signal.SIGKILL, self.starts())
        return True

    def backend_dies(self):
        address = self.backend.address
        self.backend.close()
        self.load()
        time.sleep(self.random.uniform(0.1, 2))
        self.backend = Backend(echo, address)

    def flood(self):
        """And meanwhile sessions go on."""
        junk = self.random.randbytes(self.random.randrange(1, 1200))
        datagrams = [records.client_hello(), records.client_hello_13(), junk]
        strangers = threading.Thread(target=flood, args=(self.proxy.address, datagrams, FLOOD, 16))
        strangers.start()
        self.ask_all("flood")
        strangers.join()

    def move(self):
        for member in self.members:
            if member.has_cid and member.is_direct:
                member.device.rebind()

    def change_keys(self):
        for member in self.members:
            if member.version == "1.3":
                member.device.update_keys()

    def begin_anew(self):
        member = self.random.choice(self.members)
        self.connect(member.device)

    def close(self):
        """After close_notify the device is told nothing, whatever the backend says."""
        device = self.guest(self.random.choice(("1.2", "1.3")))
        question = self.random.randbytes(8)
        device.exchange(question, 10)
        source = self.backend.wait_for(question).source
        late = self.proxy.late_total()
        device.close()
        device.recv(2)  # the answer to it
        while device.raw_recv(0.05) is not None:
            pass
        for number in range(5):
            self.backend.send(source, b"late %d" % number)
        wait_until(lambda: self.proxy.late_total() >= late + 5, "late answers are counted", 10)
        while device.raw_recv(0.2) is not None:
            self.found.said_to_closed += 1
        device.quit()

    def other_libraries(self):
        for make in (OpensslClient, GnutlsClient):
            client = make.psk(self.proxy.address, "guest", KEY)
            try:
                client.wait_ready()
                client.say("of another library")
                client.expect("of another library")
            finally:
                client.kill()

    EVENTS = ("reload", "reload", "upgrade", "kill", "kill", "backend_dies", "flood", "move", "change_keys",
              "begin_anew", "close", "close", "other_libraries")

    # --- the whole ---

    def turn(self):
        event = self.random.choice(self.EVENTS)
        if getattr(self, event)() is False:
            return
        self.done[event] += 1
        self.ask_all(event)
        self.proxy.counters()  # checks that received = sum of outcomes
        self.backend.arrivals.clear()
        self.shim.forget_seen()

    def run(self, seconds):
        shown = 0.0
        while time.monotonic() - self.began < seconds:
            self.turn()
            if time.monotonic() - shown > 60:
                shown = time.monotonic()
                print(f"  {shown - self.began:6.0f} s  {dict(self.done)}, {self.found.lost} lost", flush=True)
        for member in self.members:
            member.device.quit()
        self.shim.close()
        self.proxy.stop()
        self.backend.close()

    def memory(self):
        """(flat, text): the second fifth of the time beside the last one."""
        all_s = self.found.memory[-1][0]
        def median(begin, end):
            return statistics.median(size for at, size in self.found.memory if begin <= at / all_s <= end)
        early, late = median(0.2, 0.4), median(0.8, 1.0)
        is_flat = late <= early * MEMORY_GROWS + MEMORY_BYTES
        return is_flat, (f"memory {'flat' if is_flat else 'GREW'} "
                         f"({early / 1e6:.1f} MB, at the end {late / 1e6:.1f} MB)")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=180)
    parser.add_argument("--members", type=int, default=24)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"soak: {options.minutes:g} minutes, {options.members} devices, --seed {seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="dtlsgate-soak-"))
    soak = Soak(folder, seed, options.members)
    failure = None
    try:
        soak.run(options.minutes * 60)
    except (AssertionError, SoakError, OSError) as error:
        failure = f"{type(error).__name__}: {error}"
        if soak.proxy.process is not None:
            soak.proxy.process.kill()
    found = soak.found
    is_flat, memory = soak.memory() if len(found.memory) > 10 else (False, "memory unknown: too short")
    for problem in found.problems + ([failure] if failure else []):
        print(f"soak: {problem}", file=sys.stderr)
    print(f"soak: {', '.join(f'{count} {event}' for event, count in sorted(soak.done.items()))}; "
          f"torn by a kill: {found.torn}")
    print(f"soak: {found.lost} sessions lost that should live, {found.said_to_closed} datagrams to closed "
          f"devices, {memory}")
    if failure or found.lost or found.said_to_closed or not is_flat:
        print(f"soak: FAILED; the gate's log is in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
