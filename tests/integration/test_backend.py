"""A backend that is away, comes back, or is not who it should be."""

import socket

import pytest

from backend import Backend, echo
from environment import wait_until


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_dead_backend_that_comes_back(start_proxy, make_backend, make_device, closing, version):
    backend = make_backend()
    proxy = start_proxy(backend)
    device = make_device(proxy, version=version).connect()
    device.exchange(b"before")
    source = backend.sources()[0]
    backend.close()
    for number in range(3):
        device.send(b"into the void %d" % number)
    proxy.wait_counter("dtlsgate_backend_icmp_errors_total")
    assert device.recv(0.1) == "timeout", "the session lives on"
    second = Backend(echo, address=backend.address)
    closing.add(second, second.close)
    device.exchange(b"after")
    assert second.sources() == [source], "the backend knows the device by the same address"
    assert proxy.sessions() == 1


def test_devices_get_in_while_the_backend_is_dead(start_proxy, make_backend, make_device, closing):
    backend = make_backend()
    proxy = start_proxy(backend)
    backend.close()
    devices = [make_device(proxy).connect() for _ in range(3)]
    for device in devices:
        device.send(b"nobody there")
    proxy.wait_counter("dtlsgate_backend_icmp_errors_total", 3)
    second = Backend(echo, address=backend.address)
    closing.add(second, second.close)
    for device in devices:
        device.exchange(b"somebody there")


def test_only_the_backend_itself_may_speak_to_a_session(start_proxy, silent_backend, make_backend,
                                                        make_device):
    proxy = start_proxy(silent_backend)
    device = make_device(proxy).connect()
    device.send(b"here")
    source = silent_backend.wait_for(b"here").source
    stranger = make_backend(answer=None)
    stranger.send(source, b"from elsewhere")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as neighbour:
        neighbour.bind((silent_backend.address[0], 0))
        neighbour.sendto(b"from the same host, another port", source)
    proxy.expect_backend("wrong_sender", 2)
    silent_backend.send(source, b"the real one")
    assert device.recv() == b"the real one"


def test_a_backend_that_speaks_first(start_proxy, silent_backend, make_device):
    """LwM2M servers send on their own, long after the device's last datagram."""
    proxy = start_proxy(silent_backend)
    device = make_device(proxy).connect()
    device.send(b"register")
    source = silent_backend.wait_for(b"register").source
    for number in range(10):
        silent_backend.send(source, b"read %d" % number)
        assert device.recv() == b"read %d" % number
    proxy.expect_backend("forwarded", 10)


def test_backend_data_for_a_device_that_is_gone(start_proxy, silent_backend, make_device):
    """The device's host answers with ICMP; that is no reason to end a session or the gate."""
    proxy = start_proxy(silent_backend)
    device = make_device(proxy).connect()
    device.send(b"register")
    source = silent_backend.wait_for(b"register").source
    device.quit()
    for number in range(5):
        silent_backend.send(source, b"are you there %d" % number)
    wait_until(lambda: proxy.counter("dtlsgate_backend_datagrams_received_total") == 5, "five")
    make_device(proxy).connect().send(b"another")
    silent_backend.wait_for(b"another")
