"""A gate that listens on all addresses answers from the one that the device sent to."""

import random
import socket

import pytest

import records
from environment import TIME_FACTOR


def free_port():
    """A port below the ephemeral ones that nobody has on any address."""
    while True:
        port = random.SystemRandom().randrange(10000, 30000)
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("::", port))
                return port
            except OSError:
                continue


@pytest.fixture
def wildcard(start_proxy, backend):
    """(gate, port): listening on every IPv4 and IPv6 address."""
    port = free_port()
    proxy = start_proxy(backend, listener={"listen": f"0.0.0.0:{port}, [::]:{port}"})
    return proxy, port


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.5", "127.9.8.7", "::1"])
def test_a_stranger_is_answered_from_the_address_it_asked(wildcard, host):
    _, port = wildcard
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:  # not connected: takes any sender
        sock.settimeout(5 * TIME_FACTOR)
        sock.sendto(records.client_hello(), (host, port))
        answer, sender = sock.recvfrom(65535)
    assert records.is_hello_verify(answer)
    assert sender[:2] == (host, port)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("host", ["127.0.0.5", "[::1]"])
def test_a_session_keeps_the_address_it_began_with(wildcard, backend, make_device, host, version):
    """The device's socket is connected: it would not even see an answer from elsewhere."""
    proxy, port = wildcard
    device = make_device(f"{host}:{port}", version=version).connect()
    device.exchange(b"there and back")
    backend.send(backend.sources()[0], b"unasked for")
    assert device.recv() == b"unasked for"
    assert proxy.wait_log("session_established")["client"] == device.local_text
    device.close()
    assert device.recv() == "closed"


def test_the_same_port_number_over_ipv4_and_ipv6(wildcard, make_device):
    proxy, port = wildcard
    four = make_device(f"127.0.0.1:{port}").connect()
    six = make_device(f"[::1]:{port}").connect()
    four.exchange(b"four")
    six.exchange(b"six")
    clients = {line["client"] for line in proxy.log_lines("session_established")}
    assert clients == {four.local_text, six.local_text}
