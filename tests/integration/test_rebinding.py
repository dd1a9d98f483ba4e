"""Devices whose address changes while their session goes on: NATs that forget, roaming, sleep."""

import socket

import pytest

from environment import COUNT_DIVISOR, TIME_FACTOR, own_address, wait_until
from netshim import TO_GATE, Impairments
from test_addresses import free_port

VERSIONS = pytest.mark.parametrize("version", ["1.2", "1.3"])
MOVES = "dtlsgate_address_changes_total"


@VERSIONS
def test_a_device_that_moves_by_itself(start_proxy, backend, make_device, version):
    """To another port, then to another address; the backend does not notice."""
    proxy = start_proxy(backend)
    device = make_device(proxy, version=version, cid=b"").connect()
    device.exchange(b"from home")
    for host in (None, own_address()):
        device.rebind(host)
        device.exchange(b"from elsewhere")
        backend.send(backend.sources()[0], b"unasked for")
        assert device.recv() == b"unasked for"
    assert len(backend.sources()) == 1
    assert proxy.counter(MOVES) == 2
    device.close()
    assert device.recv() == "closed"


@VERSIONS
def test_a_device_without_a_connection_id_has_no_session_elsewhere(
        start_proxy, silent_backend, make_device, version):
    proxy = start_proxy(silent_backend)
    device = make_device(proxy, version=version).connect()
    assert device.cid is None
    device.rebind()
    device.send(b"who is this")
    proxy.expect_client("no_session", 1)
    assert silent_backend.received() == []
    device.connect().send(b"begun anew")
    silent_backend.wait_for(b"begun anew")


@VERSIONS
@pytest.mark.parametrize("own", [b"", b"\xa1", bytes(range(8)), bytes(range(32))], ids=len)
@pytest.mark.parametrize("length", [2, 8, 32])
def test_moves_with_connection_ids_of_all_lengths(start_proxy, backend, make_shim, make_device,
                                                  version, own, length):
    proxy = start_proxy(backend, listener={"cid_length": length})
    shim = make_shim(proxy)
    device = make_device(shim, version=version, cid=own).connect()
    assert len(device.cid) == length
    for host in (None, own_address()):
        shim.rebind(host=host)
        device.exchange(b"from elsewhere")
        device.exchange(b"and again")
    proxy.count_of(MOVES, 2)
    assert len(backend.sources()) == 1 and proxy.sessions() == 1
    assert proxy.client_outcome("cid_unknown") == 0


@VERSIONS
def test_a_nat_that_forgets_a_silent_device(start_proxy, silent_backend, make_shim, make_device,
                                            version):
    """The server cannot reach the device until the device has spoken."""
    proxy = start_proxy(silent_backend)
    shim = make_shim(proxy)
    device = make_device(shim, version=version, cid=b"").connect()
    device.send(b"register")
    source = silent_backend.wait_for(b"register").source
    shim.settle()
    shim.set_nat_timeout(0)
    silent_backend.send(source, b"to nobody")
    proxy.expect_backend("forwarded", 1)
    shim.settle()
    assert shim.count("no_mapping") == 1
    shim.set_nat_timeout(None)
    device.send(b"update")
    assert silent_backend.wait_for(b"update").source == source
    silent_backend.send(source, b"changed")
    assert device.recv() == b"changed"
    assert [move.why for move in shim.moves] == ["expired"] and proxy.counter(MOVES) == 1


@VERSIONS
def test_moves_in_a_network_that_loses_a_third(start_proxy, backend, make_shim, make_device,
                                               version):
    proxy = start_proxy(backend, listener={"retransmit": "500ms"})
    bad = Impairments(loss=30, duplicate=5, reorder=10)
    shim = make_shim(proxy, to_gate=bad, to_device=bad, seed=11)
    device = make_device(shim, version=version, cid=b"\x01\x02").connect(timeout_s=60)

    def answered(data):
        device.send(data)
        return device.recv(0.1) == data  # late answers to earlier ones are passed over
    for turn in range(max(20 // COUNT_DIVISOR, 3)):
        shim.rebind(host=own_address() if turn % 2 else None)
        wait_until(lambda: answered(b"turn %d" % turn), f"an answer in turn {turn}", 30)
    assert len(backend.sources()) == 1 and proxy.sessions() == 1
    assert proxy.counter(MOVES) >= turn


@VERSIONS
def test_an_older_record_moves_nothing(start_proxy, silent_backend, make_shim, make_device,
                                       version):
    """What was late when the device moved is delivered, from an address that is no more."""
    proxy = start_proxy(silent_backend)
    shim = make_shim(proxy)
    device = make_device(shim, version=version, cid=b"").connect()
    shim.settle()
    shim.impair(to_gate=Impairments(delay_ms=300))
    sent = len(shim.to_gate())
    device.send(b"late")
    wait_until(lambda: len(shim.to_gate()) > sent, "the datagram at the NAT")
    shim.impair(to_gate=Impairments())
    shim.rebind()
    device.send(b"overtakes")
    source = silent_backend.wait_for(b"late").source
    assert silent_backend.received() == [b"overtakes", b"late"]
    silent_backend.send(source, b"there you are")
    assert device.recv() == b"there you are"
    proxy.count_of(MOVES, 1)


class Stranger:
    """A socket at an address that no device has."""

    def __init__(self, proxy):
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((own_address(), 0))
        self._socket.connect(proxy.address)
        self._socket.setblocking(False)

    def send(self, data):
        self._socket.send(data)

    def heard(self):
        found = []
        try:
            while True:
                found.append(self._socket.recv(65535))
        except BlockingIOError:
            return found

    def close(self):
        self._socket.close()


@pytest.fixture
def stranger(closing):
    def make(proxy):
        made = Stranger(proxy)
        return closing.add(made, made.close)
    return make


@VERSIONS
def test_replayed_and_forged_records_from_elsewhere(start_proxy, silent_backend, make_shim,
                                                    make_device, stranger, version):
    proxy = start_proxy(silent_backend)
    shim = make_shim(proxy)
    device = make_device(shim, version=version, cid=b"").connect()
    device.send(b"hello")
    source = silent_backend.wait_for(b"hello").source
    shim.settle()
    record = shim.to_gate()[-1].data
    thief = stranger(proxy)
    discarded = proxy.client_outcome("record_discarded")
    unknown = proxy.client_outcome("cid_unknown")
    thief.send(record)
    for position in (len(record) - 1, len(record) - 9):  # tag, ciphertext
        thief.send(record[:position] + bytes([record[position] ^ 1]) + record[position + 1:])
    proxy.expect_client("record_discarded", discarded + 3)
    at = record.index(device.cid)
    thief.send(record[:at] + bytes(byte ^ 1 for byte in device.cid) + record[at + 8:])
    proxy.expect_client("cid_unknown", unknown + 1)
    silent_backend.send(source, b"still yours")
    assert device.recv() == b"still yours"
    assert thief.heard() == [] and proxy.counter(MOVES) == 0
    assert silent_backend.received() == [b"hello"]


@VERSIONS
def test_an_unproved_address_gets_little(start_proxy, silent_backend, make_shim, make_device,
                                         stranger, version):
    """Somebody takes a record off the wire and sends it first: to him goes three times of it."""
    taken, wanted = [], []

    def take(direction, _, data):
        if direction == TO_GATE and wanted:
            taken.append(data)
            return []
        return [data]
    proxy = start_proxy(silent_backend)
    shim = make_shim(proxy, take)
    device = make_device(shim, version=version, cid=b"").connect()
    device.send(b"hello")
    source = silent_backend.wait_for(b"hello").source
    wanted.append(True)
    device.send(bytes(100))
    wait_until(lambda: taken, "the record")
    thief = stranger(proxy)
    thief.send(taken[0])
    silent_backend.wait_for(bytes(100))
    for _ in range(20):
        silent_backend.send(source, bytes(100))
    proxy.wait_counter("dtlsgate_backend_datagrams_total", 17, outcome="address_unproved")
    heard = thief.heard()
    assert 0 < sum(map(len, heard)) <= 3 * len(taken[0])
    proxy.expect_backend("address_unproved", 20 - len(heard))
    # The device's next record brings the session back, its second one proves the address.
    wanted.clear()
    device.send(b"mine")
    device.send(b"all mine")
    silent_backend.wait_for(b"all mine")
    for number in range(10):
        silent_backend.send(source, b"%d" % number)
    assert [device.recv() for _ in range(10)] == [b"%d" % number for number in range(10)]
    assert thief.heard() == []


@VERSIONS
def test_a_reboot_while_the_old_session_is_in_use(start_proxy, silent_backend, make_shim,
                                                  make_device, version):
    """At the same port, behind a NAT that moved: the old session is replaced when the new one is
    complete, and not before."""
    old = []

    def speak_meanwhile(direction, _, data):
        if direction == TO_GATE and old:
            silent_backend.send(old[0], b"to the old one")
        return [data]
    proxy = start_proxy(silent_backend)
    shim = make_shim(proxy, speak_meanwhile)
    device = make_device(shim, version=version, cid=b"").connect()
    shim.rebind()
    device.send(b"before")
    device.send(b"from a proved address")
    source = silent_backend.wait_for(b"from a proved address").source
    shim.settle()
    old.append(source)
    device.forget()
    device.connect()
    old.clear()
    proxy.wait_closed("replaced")
    assert proxy.backend_outcome("forwarded") >= 2, "before the new one was complete"
    device.send(b"after")
    assert silent_backend.wait_for(b"after").source != source
    assert proxy.closed("replaced") == 1 and proxy.sessions() == 1
    assert proxy.handshakes("established") == 2


def test_sessions_with_a_connection_id_outlive_the_others(start_proxy, backend, make_device):
    proxy = start_proxy(backend, listener={"idle_timeout": "1s", "idle_timeout_cid": "1h"})
    sleeper = make_device(proxy, cid=b"").connect()
    other = make_device(proxy).connect()
    proxy.wait_closed("idle")
    assert other.recv() == "closed" and proxy.sessions() == 1
    sleeper.rebind()
    sleeper.exchange(b"good morning")


def test_a_session_with_a_connection_id_ends_by_its_own_timeout(start_proxy, backend, make_device):
    proxy = start_proxy(backend, listener={"idle_timeout": "1h", "idle_timeout_cid": "1s"})
    sleeper = make_device(proxy, cid=b"").connect()
    other = make_device(proxy).connect()
    proxy.wait_closed("idle")
    assert sleeper.recv() == "closed" and proxy.sessions() == 1
    other.exchange(b"still there")


@VERSIONS
def test_moves_among_workers_and_listeners(make_proxy, make_backend, make_device, version):
    """IPv4 and IPv6, connection IDs of different length: each device stays with its worker."""
    ports = [free_port() for _ in range(3)]
    backends = [make_backend() for _ in ports]
    proxy = make_proxy(
        backends[0], gate={"workers": 4},
        listener={"listen": f"0.0.0.0:{ports[0]}, [::]:{ports[0]}", "cid_length": 8},
        listeners={f"other{number}": {
            "listen": f"0.0.0.0:{ports[number]}, [::]:{ports[number]}", "cid_length": length,
            "backend": backends[number].text, "psk_file": "devices.psk"}
            for number, length in ((1, 2), (2, 32))}).start()
    devices = [(make_device(f"{host}:{port}", version=version, cid=b"").connect(), number)
               for number, port in enumerate(ports) for host in ("127.0.0.1", "[::1]")
               for _ in range(2)]
    moves = max(10 // COUNT_DIVISOR, 2)
    for turn in range(moves):
        for device, number in devices:
            is_six = device.local_text.startswith("[")
            device.rebind(None if is_six or turn % 2 else own_address())
            device.exchange(b"turn %d" % turn, timeout_s=5 * TIME_FACTOR)
    proxy.count_of(MOVES, moves * len(devices))
    assert proxy.client_outcome("wrong_worker") == 0 and proxy.client_outcome("cid_unknown") == 0
    assert [len(backend.sources()) for backend in backends] == [4, 4, 4]
    assert proxy.sessions() == len(devices)
