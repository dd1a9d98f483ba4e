"""Connection IDs with a DTLS stack that shares no code with the gate: Mbed TLS, RFC 9146.

Its records are padded to multiples of 16 bytes inside, so both have to agree on the inner plaintext
and on what the MAC covers."""

import pytest

import records
from clients.mbedtls import MbedtlsClient
from conftest import IDENTITY, KEY
from environment import own_address
from netshim import TO_GATE

CID_AT = 11  # in a record of DTLS 1.2 (RFC 9146 section 4)
LENGTH = 2  # behind it; then 8 bytes of nonce, what is padded, 8 bytes of tag
OWN = bytes(range(0xA0, 0xC0))  # of the device


@pytest.fixture
def gate_of_both(start_proxy, keys):
    """A gate that takes PSK and certificates."""
    def start(backend, **listener):
        return start_proxy(backend, listener={
            "certificate": keys.server.certificate, "private_key": keys.server.key,
            "client_ca": keys.ca.certificate, **listener})
    return start


@pytest.fixture
def mbedtls(client, keys):
    def start(address, credential="psk", **settings):
        return client(
            MbedtlsClient.psk(address, IDENTITY, KEY, **settings) if credential == "psk" else
            MbedtlsClient.certificate(address, keys, keys.client, **settings))
    return start


def cids_of(datagrams):
    """The bytes at the place of a connection ID, of each record of type 25 that begins a datagram."""
    return [s.data[CID_AT:] for s in datagrams if s.data[0] == records.CID_RECORD]


def answer(backend, number):
    """The backend answers the arrival with that number; returns where it came from."""
    arrival = backend.wait_arrival(number)
    backend.send(arrival.source, b"answer %d\n" % number)
    return arrival.source


@pytest.mark.parametrize("own_bytes", [0, 1, 8, 32])
@pytest.mark.parametrize("length", [2, 8, 32])
@pytest.mark.parametrize("credential", ["psk", "certificate"])
def test_mbedtls_with_connection_ids(gate_of_both, silent_backend, make_shim, mbedtls, credential,
                                     length, own_bytes):
    proxy = gate_of_both(silent_backend, cid_length=length)
    shim = make_shim(proxy)
    program = mbedtls(shim.address, credential, cid=OWN[:own_bytes], exchanges=3)
    for number in (1, 2, 3):
        answer(silent_backend, number)
    assert "answer 3\n" in program.wait_closed()
    proxy.wait_closed("closed_by_client")
    shim.settle()
    given = bytes.fromhex(proxy.wait_log("session_established")["cid"])
    assert len(given) == length
    assert len(cids_of(shim.to_gate())) >= 4, "three requests and a close_notify"
    assert all(cid.startswith(given) for cid in cids_of(shim.to_gate()))
    assert all((len(cid) - length - LENGTH) % 16 == 0 for cid in cids_of(shim.to_gate())), "padded"
    to_device = cids_of(shim.to_device())
    assert len(to_device) >= 3 if own_bytes else not to_device
    assert all(cid.startswith(OWN[:own_bytes]) for cid in to_device)
    assert len(silent_backend.sources()) == 1


def test_mbedtls_asks_in_vain(gate_of_both, silent_backend, make_shim, mbedtls):
    proxy = gate_of_both(silent_backend, cid_length=0)
    shim = make_shim(proxy)
    program = mbedtls(shim.address, cid=OWN[:4])
    answer(silent_backend, 1)
    program.wait_closed()
    assert "cid" not in proxy.wait_log("session_established")
    shim.settle()
    assert not cids_of(shim.to_gate()) and not cids_of(shim.to_device())


@pytest.mark.parametrize("credential", ["psk", "certificate"])
def test_mbedtls_behind_a_nat_that_forgets(gate_of_both, silent_backend, make_shim, mbedtls,
                                           credential):
    """From other ports and from another address: one session, one address at the backend."""
    proxy = gate_of_both(silent_backend)
    moves = []

    def move(way, _, data):
        """Each move takes the datagram that is on its way; Mbed TLS repeats it."""
        if way != TO_GATE or not moves:
            return [data]
        shim.rebind(host=moves.pop())
        return []
    shim = make_shim(proxy, move)
    program = mbedtls(shim.address, credential, cid=b"", exchanges=4, read_timeout=200,
                      max_resend=20)
    for number, host in enumerate([None, own_address(), None], 1):
        silent_backend.wait_arrival(number)
        moves.append(host)
        answer(silent_backend, number)
        proxy.wait_counter("dtlsgate_address_changes_total", number)
    answer(silent_backend, 4)
    assert "answer 4\n" in program.wait_closed()
    proxy.wait_closed("closed_by_client")
    assert proxy.handshakes("established") == 1
    assert len(silent_backend.sources()) == 1 and len(silent_backend.received()) == 4


def test_mbedtls_that_reboots_on_its_port(gate_of_both, silent_backend, mbedtls):
    """With connection IDs, too, the new session takes the place of the old one."""
    proxy = gate_of_both(silent_backend)
    program = mbedtls(proxy.address, cid=b"", reconnect_hard=True)
    answer(silent_backend, 1)
    answer(silent_backend, 2)
    program.wait_closed()
    assert proxy.handshakes("established") == 2 and proxy.closed("replaced") == 1
    assert len(silent_backend.sources()) == 2
