"""The middlebox, between plain sockets."""

import random
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from netshim import TO_DEVICE, TO_GATE, Impairments, Netshim
from netshim.impairments import Copy
from netshim.nat import Nat

NUMBERED = [b"datagram %d" % number for number in range(100)]


# --- one datagram ---

def outcomes(network, seed=1, count=2000):
    chance = random.Random(seed)
    return [network.apply(b"\0" * 100, chance) for _ in range(count)]


def test_a_good_network_passes_everything_on():
    assert outcomes(Impairments()) == [([], [Copy(b"\0" * 100)])] * 2000


@pytest.mark.parametrize("what, happened", [
    ("loss", "lost"), ("duplicate", "duplicated"), ("reorder", "reordered"),
    ("corrupt", "corrupted")])
def test_chances_are_kept(what, happened):
    some = [names for names, _ in outcomes(Impairments(**{what: 30}))]
    assert 0.27 < some.count([happened]) / 2000 < 0.33
    assert all(names in ([], [happened]) for names in some)
    assert all(names == [happened] for names, _ in outcomes(Impairments(**{what: 100})))


def test_the_seed_decides():
    network = Impairments(loss=30, duplicate=10, reorder=10, corrupt=10, jitter_ms=5)
    assert outcomes(network, seed=3) == outcomes(network, seed=3)
    assert outcomes(network, seed=3) != outcomes(network, seed=4)


def test_other_settings_do_not_move_the_losses():
    def lost(network):
        return [names == ["lost"] for names, _ in outcomes(network)]
    assert lost(Impairments(loss=30)) == lost(
        Impairments(loss=30, duplicate=20, reorder=20, corrupt=5, delay_ms=9, jitter_ms=5))


def test_corruption_turns_one_bit():
    for _, (copy,) in outcomes(Impairments(corrupt=100)):
        assert len(copy.data) == 100 and int.from_bytes(copy.data, "big").bit_count() == 1
    assert Impairments(corrupt=100).apply(b"", random.Random(1))[1][0].data == b""


def test_delay_and_jitter():
    delays = [copies[0].delay_s for _, copies in outcomes(Impairments(delay_ms=40, jitter_ms=20))]
    assert 0.040 <= min(delays) < 0.041 and 0.059 < max(delays) <= 0.060


def test_the_mtu_lets_its_own_length_through():
    network, chance = Impairments(mtu_bytes=100), random.Random(1)
    assert network.apply(bytes(100), chance)[0] == []
    assert network.apply(bytes(101), chance) == (["too_large"], [])


@pytest.mark.parametrize("wrong", [{"loss": 101}, {"corrupt": -1}, {"delay_ms": -1}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError):
        Impairments(**wrong)


# --- mappings, with a clock of their own ---

@pytest.fixture
def nat():
    now = [100.0]
    made = Nat(("127.0.0.1", 9), "127.0.0.1", 30, lambda: now[0], lambda _: None, lambda _: None)
    made.now = now
    yield made
    made.close()


DEVICE = ("127.0.0.1", 1111)


def test_a_mapping_lasts_as_long_as_either_side_speaks(nat):
    mapping = nat.outward(DEVICE)
    for speak in (nat.outward, lambda _: nat.inward(mapping), nat.outward):
        nat.now[0] += 29.9
        speak(DEVICE)
    assert nat.outward(DEVICE) is mapping and nat.moves == []


def test_silence_forgets_a_mapping(nat):
    old = nat.outward(DEVICE)
    nat.now[0] += 30
    assert not nat.inward(old)
    new = nat.outward(DEVICE)
    assert new.address != old.address and not nat.inward(old) and nat.inward(new)
    assert [(move.device, move.old, move.why) for move in nat.moves] == [
        (DEVICE, old.address, "expired")]


def test_rebinding_keeps_the_new_host(nat):
    old = nat.outward(DEVICE)
    new = nat.rebind(DEVICE, "127.0.0.9")
    assert new.address[0] == "127.0.0.9" and not nat.inward(old)
    assert nat.rebind(DEVICE).address[0] == "127.0.0.9"
    assert nat.outward(("127.0.0.1", 2222)).address[0] == "127.0.0.1"
    assert [move.why for move in nat.moves] == ["rebound", "rebound"]


def test_forgotten_mappings_are_bounded(nat):
    first = nat.rebind(DEVICE)
    for _ in range(300):
        nat.rebind(DEVICE)
    assert first.socket.fileno() == -1


# --- the whole ---

class Peer:
    """A socket with a patience."""

    def __init__(self, to=None, host="127.0.0.1"):
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET,
                                    socket.SOCK_DGRAM)
        self.socket.settimeout(5)
        self.socket.bind((host, 0))
        self.address = self.socket.getsockname()[:2]
        self.to = to

    def send(self, data):
        self.socket.sendto(data, self.to)

    def recv(self):
        data, source = self.socket.recvfrom(65535)
        self.to = source[:2]
        return data

    def recv_waiting(self):
        """Everything that has come already."""
        self.socket.setblocking(False)
        found = []
        try:
            while True:
                found.append(self.socket.recvfrom(65535)[0])
        except BlockingIOError:
            self.socket.settimeout(5)
            return found


@pytest.fixture
def between():
    """between(...) gives (device, shim, gate); the arguments are those of Netshim."""
    shims = []

    def make(host="127.0.0.1", **settings):
        gate = Peer(host=host)
        shims.append(Netshim(gate.address, (host, 0), **settings))
        return Peer(shims[-1].address, host), shims[-1], gate
    yield make
    for shim in shims:
        shim.close()


def test_there_and_back(between):
    device, shim, gate = between()
    device.send(b"there")
    assert gate.recv() == b"there" and gate.to == shim.outer_address()
    gate.send(b"back")
    assert device.recv() == b"back"
    assert [(seen.direction, seen.data, seen.happened, seen.passed) for seen in shim.seen] == [
        (TO_GATE, b"there", [], True), (TO_DEVICE, b"back", [], True)]
    assert shim.seen[0].device == device.address and shim.seen[0].outer == gate.to


def test_over_ipv6(between):
    device, shim, gate = between(host="::1")
    for turn in (b"one", b"two"):
        device.send(turn)
        assert gate.recv() == turn
        gate.send(turn)
        assert device.recv() == turn
        shim.rebind()
    assert shim.outer_text().startswith("[::1]:")


def test_devices_are_told_apart(between):
    device, shim, gate = between()
    other = Peer(shim.address)
    for peer in (device, other):
        peer.send(b"hello")
        assert gate.recv() == b"hello"
        gate.send(b"hello %d" % peer.address[1])
        assert peer.recv() == b"hello %d" % peer.address[1]
    assert shim.outer_address(device.address) != shim.outer_address(other.address)


def arrived(device, shim, gate):
    """Sends the numbered datagrams; returns those that came, in their order."""
    for data in NUMBERED:
        device.send(data)
    shim.settle()
    return gate.recv_waiting()


def test_losses_of_one_direction_follow_the_seed(between):
    came = [arrived(*between(to_gate=Impairments(loss=40), seed=seed)) for seed in (5, 5, 6)]
    assert came[0] == came[1] != came[2] and 40 < len(came[0]) < 80
    device, shim, gate = between(to_gate=Impairments(loss=100))
    device.send(b"lost")
    shim.settle()
    assert shim.count("lost") == 1 and not shim.seen[0].passed
    shim.impair(to_gate=Impairments())
    device.send(b"found")
    assert gate.recv() == b"found"


def test_duplicates_and_reordering(between):
    came = arrived(*between(to_gate=Impairments(duplicate=100)))
    assert came == [data for data in NUMBERED for _ in range(2)]
    came = arrived(*between(to_gate=Impairments(reorder=30), seed=2))
    assert sorted(came) == sorted(NUMBERED) and came != NUMBERED


def test_one_to_be_overtaken_by_nobody_comes_all_the_same(between):
    device, _, gate = between(to_gate=Impairments(reorder=100))
    device.send(b"alone")
    assert gate.recv() == b"alone"


def test_a_delay_delays(between):
    device, shim, gate = between(to_device=Impairments(delay_ms=100))
    device.send(b"question")
    gate.recv()
    sent_at = time.monotonic()
    gate.send(b"answer")
    shim.settle()
    assert time.monotonic() - sent_at >= 0.1
    assert device.recv_waiting() == [b"answer"], "settled is what has left the network"


def test_too_large_for_one_direction(between):
    device, shim, gate = between(to_device=Impairments(mtu_bytes=500))
    device.send(bytes(501))
    assert gate.recv() == bytes(501)
    gate.send(bytes(501))
    gate.send(bytes(500))
    assert device.recv() == bytes(500)
    assert shim.count("too_large", TO_DEVICE) == 1


def test_a_rebound_device_is_reached_at_its_new_address_only(between):
    device, shim, gate = between()
    device.send(b"before")
    gate.recv()
    old = gate.to
    new = shim.rebind(host="127.0.0.5")
    gate.send(b"to the old address")
    device.send(b"after")
    assert gate.recv() == b"after" and gate.to == new != old and new[0] == "127.0.0.5"
    gate.send(b"to the new address")
    assert device.recv() == b"to the new address"
    shim.settle()
    assert device.recv_waiting() == []
    (dropped,) = [seen for seen in shim.to_device() if not seen.passed]
    assert dropped.happened == ["no_mapping"] and dropped.outer == old


def test_what_is_late_at_a_rebinding_comes_from_the_old_address(between):
    device, shim, gate = between()
    device.send(b"first")
    gate.recv()
    old = gate.to
    shim.impair(to_gate=Impairments(delay_ms=500))
    device.send(b"late")
    while len(shim.to_gate()) < 2:
        time.sleep(0.001)
    shim.impair(to_gate=Impairments())
    shim.rebind()
    device.send(b"overtakes")
    assert [(gate.recv(), gate.to == old) for _ in range(2)] == [
        (b"overtakes", False), (b"late", True)]


def test_the_nat_forgets(between):
    device, shim, gate = between(nat_timeout_s=0)
    device.send(b"one")
    gate.recv()
    first = gate.to
    gate.send(b"too late")
    device.send(b"two")
    gate.recv()
    assert gate.to != first
    shim.settle()
    assert device.recv_waiting() == [] and shim.count("no_mapping") == 1
    assert {move.why for move in shim.moves} == {"expired"}
    shim.set_nat_timeout(None)
    device.send(b"three")
    gate.recv()
    gate.send(b"in time")
    assert device.recv() == b"in time"


def test_a_pick_decides_first(between):
    def pick(direction, number, data):
        return {0: [], 1: [data, data], 2: [b"another"]}.get(number, [data])
    device, shim, gate = between(pick=pick)
    for data in (b"0", b"1", b"2", b"3"):
        device.send(data)
    shim.settle()
    assert gate.recv_waiting() == [b"1", b"1", b"another", b"3"]
    assert [seen.happened for seen in shim.seen] == [["lost"], ["picked"], ["picked"], []]


def test_a_pick_may_rebind(between):
    def pick(direction, number, data):
        if number == 1:
            shim.rebind()
        return [data]
    device, shim, gate = between(pick=pick)
    sources = set()
    for _ in range(3):
        device.send(b"x")
        gate.recv()
        sources.add(gate.to)
    assert len(sources) == 2


def test_a_pick_that_fails_is_shown_at_the_end():
    gate = Peer()
    shim = Netshim(gate.address, ("127.0.0.1", 0), pick=lambda *_: 1 / 0)
    Peer(shim.address).send(b"x")
    with pytest.raises(RuntimeError):
        shim.settle()
    with pytest.raises(ZeroDivisionError):
        shim.close()


def test_forged_datagrams_come_from_the_device_address(between):
    device, shim, gate = between(to_gate=Impairments(loss=100))
    device.send(b"lost")
    shim.settle()
    shim.send_to_gate(b"forged")
    assert gate.recv() == b"forged" and gate.to == shim.outer_address()


def test_nobody_there_is_no_failure(between):
    device, shim, gate = between()
    gate.socket.close()
    for _ in range(3):
        device.send(b"anybody?")
        shim.settle()
    assert len(shim.to_gate()) == 3


def test_the_program_explains_itself():
    program = [sys.executable, str(Path(__file__).parent)]
    helped = subprocess.run([*program, "--help"], capture_output=True, text=True, check=True)
    assert "--loss N[/M]" in helped.stdout
    refused = subprocess.run([*program, "--loss", "many"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2 and "--loss" in refused.stderr


def test_the_program():
    gate = Peer()
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).parent), "--listen", "127.0.0.1:0",
         "--gate", "%s:%d" % gate.address, "--loss", "0/100", "--seed", "1"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    host, port = process.stdout.readline().split()[4].rstrip(",").split(":")
    device = Peer((host, int(port)))
    device.send(b"there")
    assert gate.recv() == b"there"
    gate.send(b"back")

    def command(text):
        process.stdin.write(text + "\n")
        process.stdin.flush()

    # What comes to the old mapping after the move would be lost without being counted.
    to_device = ""
    while to_device != "to device: 1 datagrams lost=1\n":
        command("stats")
        process.stdout.readline()
        to_device = process.stdout.readline()
    command("rebind 127.0.0.3")
    assert process.stdout.readline().startswith("rebound")
    device.send(b"from elsewhere")
    assert gate.recv() == b"from elsewhere" and gate.to[0] == "127.0.0.3"
    output, _ = process.communicate("quit\n", timeout=10)
    assert process.returncode == 0
    assert output.splitlines() == ["to gate: 2 datagrams", "to device: 1 datagrams lost=1"]
