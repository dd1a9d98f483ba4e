"""Handshakes over a network that loses, doubles and delays datagrams.

The device's own timer starts at 1 s; the gate's is set shorter where a test is about the gate's.
"""

import random
import time

import pytest

import records
from clients.openssl import OpensslClient
from conftest import KEY
from environment import TIME_FACTOR, wait_until
from netshim import TO_DEVICE, TO_GATE

# Of a handshake: hello, hello with cookie, then the device's flight; cookie, then the gate's two.
LOSSES = [("1.2", TO_GATE, 0), ("1.2", TO_GATE, 1), ("1.2", TO_GATE, 2),
          ("1.2", TO_DEVICE, 0), ("1.2", TO_DEVICE, 1), ("1.2", TO_DEVICE, 2),
          ("1.3", TO_GATE, 0), ("1.3", TO_GATE, 1), ("1.3", TO_GATE, 2),
          ("1.3", TO_DEVICE, 0), ("1.3", TO_DEVICE, 1), ("1.3", TO_DEVICE, 2)]


@pytest.fixture
def certificate_gate(start_proxy, backend, keys):
    def start(**listener):
        return start_proxy(backend, listener={
            "certificate": keys.server.certificate, "private_key": keys.server.key,
            "client_ca": keys.ca.certificate, "retransmit": "500ms", **listener})
    return start


@pytest.fixture
def device_behind(make_shim, make_device, keys):
    """A device behind a shim with the given pick; with a certificate, so that flights are long."""
    def make(proxy, pick, version, psk=False):
        shim = make_shim(proxy, pick)
        who = {} if psk else {"pair": keys.client, "ca": keys.ca}
        return shim, make_device(shim, version=version, **who)
    return make


@pytest.mark.parametrize("version, direction, lost", LOSSES)
def test_a_lost_datagram(certificate_gate, device_behind, version, direction, lost):
    proxy = certificate_gate()

    def lose(way, number, data):
        return [] if (way, number) == (direction, lost) else [data]
    shim, device = device_behind(proxy, lose, version)
    device.connect()
    device.exchange(b"in spite of it")
    assert any(not s.passed for s in shim.seen), "something was lost"
    assert proxy.handshakes("established") == 1 and proxy.sessions() == 1


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("psk", [True, False], ids=["psk", "certificate"])
def test_the_gate_repeats_its_flight_by_itself(certificate_gate, device_behind, version, psk):
    """The gate's first flight is lost whole, and the device says nothing meanwhile."""
    proxy = certificate_gate()

    def lose(way, _, data):
        if way == TO_GATE or records.is_stateless_reply(data):
            return [data]
        return [data] if time.monotonic() - shim.to_gate()[1].at > 0.4 else []
    shim, device = device_behind(proxy, lose, version, psk)
    # The device's own timer runs only while it works on a command.
    assert not device.handshake(0.1 / TIME_FACTOR).established
    wait_until(lambda: any(s.passed and not records.is_stateless_reply(s.data)
                           for s in shim.to_device()), "the flight again", timeout_s=3)
    assert any(not s.passed for s in shim.to_device()), "the first one was lost"
    assert len(shim.to_gate()) == 2
    assert device.carry_on().established
    device.exchange(b"done")


def test_a_lost_alert_is_sent_again(start_proxy, backend, make_shim, client):
    """OpenSSL repeats its flight after 1 s, and would do so for minutes."""
    proxy = start_proxy(backend)
    lost = []

    def lose(way, _, data):
        if way == TO_DEVICE and data[0] == records.ALERT and not lost:
            lost.append(data)
            return []
        return [data]
    shim = make_shim(proxy, lose)
    program = client(OpensslClient.psk(shim.address, "stranger", KEY))
    program.expect("unknown psk identity", timeout_s=5)
    assert lost
    proxy.wait_outcome("alert_repeated")
    assert proxy.handshakes("unknown_identity") == 1


def test_the_lost_last_flight_is_repeated_for_the_device(certificate_gate, device_behind):
    """DTLS 1.2: the device repeats its last flight until it has the gate's ChangeCipherSpec and
    Finished; the gate has a session by then and must answer all the same."""
    proxy = certificate_gate(retransmit="60s")
    lost = []

    def lose(way, _, data):
        kinds = [record.kind for record in records.split(data)]
        if way == TO_DEVICE and records.CHANGE_CIPHER_SPEC in kinds and len(lost) < 2:
            lost.append(data)
            return []
        return [data]
    shim, device = device_behind(proxy, lose, "1.2", psk=True)
    assert device.handshake().established
    assert len(lost) == 2
    device.exchange(b"done")
    assert proxy.handshakes("established") == 1 and proxy.sessions() == 1
    assert proxy.closed("replaced") == 0


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_every_datagram_twice(certificate_gate, device_behind, backend, version):
    proxy = certificate_gate()
    _, device = device_behind(proxy, lambda way, number, data: [data, data], version)
    device.connect()
    for number in range(5):
        device.exchange(b"number %d" % number)
    assert backend.received() == [b"number %d" % number for number in range(5)]
    assert proxy.handshakes("established") == 1 and proxy.sessions() == 1


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_fifth_of_all_datagrams_lost(certificate_gate, device_behind, version):
    proxy = certificate_gate()
    chance = random.Random(5)  # a rhythm would take the same part of each repeated flight

    def lose(way, number, data):
        return [] if chance.random() < 0.2 else [data]
    _, device = device_behind(proxy, lose, version)
    assert device.handshake(20).established
    wait_until(lambda: proxy.handshakes("established") == 1, "the session at the gate", 10)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_hello_repeated_while_the_handshake_runs(certificate_gate, device_behind, version):
    """Both hellos come again after the gate has answered them."""
    proxy = certificate_gate()

    def repeat(way, number, data):
        if way == TO_GATE:
            sent.append(data)
            return [*sent[:2], data] if number == 2 else [data]
        return [data]
    sent = []
    _, device = device_behind(proxy, repeat, version)
    device.connect()
    device.exchange(b"done")
    assert proxy.sessions() == 1 and proxy.closed("replaced") == 0


def test_a_device_that_begins_again_and_again(certificate_gate, device_behind):
    """A device that reboots in the middle of its handshakes gets in at last."""
    # A repeated flight of an earlier handshake would be taken for one of the new handshake.
    proxy = certificate_gate(retransmit="60s")
    dead = [True]

    def lose(way, number, data):
        return [] if dead[0] and way == TO_GATE and len(records.plain_messages(data)) != 1 else [
            data]
    _, device = device_behind(proxy, lose, "1.2")
    for _ in range(5):
        assert not device.handshake(0.1).established
    dead[0] = False
    device.connect()
    device.exchange(b"at last")
    assert proxy.sessions() == 1
    wait_until(lambda: proxy.counter("dtlsgate_handshakes_in_progress") == 0, "no leftovers")


def narrow(way, _, data):
    return [] if way == TO_DEVICE and len(data) > 450 else [data]


def gone(way, number, data):
    return [] if way == TO_GATE and number > 1 else [data]


@pytest.mark.parametrize("pick, came_back", [(narrow, "hello"), (gone, "none")],
                         ids=["narrow path", "gone"])
def test_a_timeout_tells_a_narrow_path_from_a_device_that_is_gone(certificate_gate, make_shim, client,
                                                                  keys, pick, came_back):
    proxy = certificate_gate(handshake_timeout="4s")
    shim = make_shim(proxy, pick)
    client(OpensslClient.certificate(shim.address, keys, keys.client))
    line = proxy.wait_log("handshake_failed", timeout_s=10)
    assert (line["reason"], line["flight"], line["came_back"]) == ("timeout", "4", came_back), line
    assert int(line["sent"]) >= 3 and 548 < int(line["largest"]) <= 1280, line
    assert ("smaller mtu" in line["detail"]) == (came_back == "hello"), line
    assert max(len(s.data) for s in shim.to_device()) == int(line["largest"])
