"""Several workers: each device is served by one of them, and the counters are the sum of all."""

import pytest

from conftest import IDENTITY_2, KEY_2
from environment import wait_until

DEVICES = 16


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_sessions_on_all_workers(start_proxy, backend, make_device, version):
    proxy = start_proxy(backend, gate={"workers": 2})
    devices = [make_device(proxy, version=version).connect() for _ in range(DEVICES)]
    for turn in range(3):
        for number, device in enumerate(devices):
            device.exchange(b"turn %d of device %d" % (turn, number))
    assert proxy.sessions() == DEVICES
    proxy.expect_client("forwarded", 3 * DEVICES)
    sources = backend.sources()
    assert len(sources) == DEVICES
    assert len({port for _, port in sources}) == 2, "both workers have sessions"
    assert len({host for host, _ in sources}) == DEVICES, "no address is used by two"


def test_a_device_stays_with_its_worker(start_proxy, backend, make_device):
    """Handshake, data and a new handshake from one port all come to the same worker."""
    proxy = start_proxy(backend, gate={"workers": 4})
    for _ in range(8):
        device = make_device(proxy)
        for turn in range(3):
            device.connect().exchange(b"turn %d" % turn)
    assert proxy.sessions() == 8 and proxy.closed("replaced") == 16
    ports = [port for _, port in backend.sources()]
    assert all(len(set(ports[i:i + 3])) == 1 for i in range(0, 24, 3))


def test_late_datagrams_on_all_workers(start_proxy, silent_backend, make_device):
    proxy = start_proxy(silent_backend, gate={"workers": 2})
    devices = [make_device(proxy).connect() for _ in range(DEVICES)]
    for number, device in enumerate(devices):
        device.send(b"%d" % number)
        silent_backend.wait_for(b"%d" % number)
        device.close()
    proxy.wait_closed("closed_by_client", DEVICES)
    for source in silent_backend.sources():
        silent_backend.send(source, b"too late")
    proxy.wait_late("closed_by_client", DEVICES)
    for device in devices:
        assert device.recv() == "closed"
        assert device.raw_recv(0.01) is None


def test_one_limit_for_all_workers(start_proxy, backend, make_device):
    proxy = start_proxy(backend, gate={"workers": 2, "max_sessions": 8})
    devices = [make_device(proxy).connect() for _ in range(DEVICES)]
    assert proxy.sessions() <= 8
    assert proxy.closed("evicted") >= 8
    devices[-1].exchange(b"the newest is never evicted")


def test_all_workers_say_goodbye(start_proxy, backend, make_device):
    proxy = start_proxy(backend, gate={"workers": 2})
    devices = [make_device(proxy, psk=(IDENTITY_2, KEY_2)).connect() for _ in range(DEVICES)]
    wait_until(lambda: proxy.sessions() == DEVICES, "all sessions")
    proxy.stop()
    assert [device.recv() for device in devices] == ["closed"] * DEVICES
    assert len(proxy.log_lines("session_closed", reason="shutdown")) >= 1
