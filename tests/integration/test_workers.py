"""Several workers: each device is served by one of them, and the counters are the sum of all."""

import ctypes
import ipaddress
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from backend import Backend, echo
from conftest import IDENTITY_2, KEY_2
from environment import COUNT_DIVISOR, own_address, wait_until
from test_addresses import free_port

DEVICES = 16


def bucket_of(source):
    """Of a session, by its address toward the backend (net/steering.h): its worker is that, modulo their number."""
    return int.from_bytes(ipaddress.ip_address(source[0]).packed, "big") & 0xfff


def workers_of(backend, count):
    return {bucket_of(source) % count for source in backend.sources()}


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
    assert workers_of(backend, 2) == {0, 1}, "both workers have sessions"
    assert len({port for _, port in sources}) == 1, "they share a port"
    assert len({host for host, _ in sources}) == DEVICES, "no address is used by two"


def test_a_device_stays_with_its_worker(start_proxy, backend, make_device):
    """Handshake, data and a new handshake from one port all come to the same worker."""
    proxy = start_proxy(backend, gate={"workers": 4})
    for _ in range(8):
        device = make_device(proxy)
        for turn in range(3):
            device.connect().exchange(b"turn %d" % turn)
    assert proxy.sessions() == 8 and proxy.closed("replaced") == 16
    buckets = [bucket_of(source) for source in backend.sources()]
    assert all(len(set(buckets[i:i + 3])) == 1 for i in range(0, 24, 3))
    assert len(set(backend.sources())) == 24, "each session has an address of its own"


def test_one_session_per_identity_over_all_workers(start_proxy, backend, make_device):
    proxy = start_proxy(backend, gate={"workers": 4}, listener={"sessions_per_identity": 1})
    for number in range(DEVICES):
        device = make_device(proxy).connect()
        device.exchange(b"session %d" % number)
        proxy.wait_closed("replaced", number)
        wait_until(lambda: proxy.sessions() == 1, "one session")
    assert len(workers_of(backend, 4)) > 1, "more than one worker had them"
    device.exchange(b"the last one stays")


def test_one_session_per_identity_of_many_at_once(start_proxy, backend, make_device):
    """Workers end each other's sessions while they begin some: the newest of all stays."""
    proxy = start_proxy(backend, gate={"workers": 4}, listener={"sessions_per_identity": 1})
    turns = max(5 // COUNT_DIVISOR, 2)

    def come_again(number):
        for _ in range(turns):
            make_device(proxy, version=("1.2", "1.3")[number % 2]).connect()
    with ThreadPoolExecutor(8) as devices:
        list(devices.map(come_again, range(8)))
    proxy.wait_closed("replaced", 8 * turns - 1)
    assert proxy.sessions() == 1 and proxy.closed("replaced") == 8 * turns - 1
    make_device(proxy).connect().exchange(b"one more")
    wait_until(lambda: proxy.sessions() == 1, "one session")


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


def test_restart_with_another_number_of_workers(make_proxy, backend, make_device):
    """The server sees the same port."""
    port = free_port()
    for workers in (3, 1, 2):
        proxy = make_proxy(backend, gate={"workers": workers, "backend_port": port}).start()
        for number in range(DEVICES):
            make_device(proxy).connect().exchange(b"device %d" % number)
        proxy.stop()
    assert {source_port for _, source_port in backend.sources()} == {port}


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


def test_connection_ids_find_their_worker(start_proxy, backend, make_shim, make_device):
    """From whatever address, at listeners with connection IDs of other lengths, IPv4 and IPv6."""
    port_of = {8: free_port(), 3: free_port()}
    listeners = {f"cid{length}": {"listen": f"127.0.0.1:{port}, [::1]:{port}",
                                  "cid_length": length, "backend": backend.text,
                                  "psk_file": "devices.psk"}
                 for length, port in port_of.items()}
    proxy = start_proxy(backend, gate={"workers": 2}, listeners=listeners)
    devices, shim_of = [], {}
    for length, port in port_of.items():
        for host in ("127.0.0.1", "::1"):
            shim = make_shim(SimpleNamespace(address=(host, port)), outer_host=host)
            for version in ("1.2", "1.3") * 2:
                device = make_device(shim, version=version, cid=b"").connect()
                assert len(device.cid) == length
                devices.append(device)
                shim_of[device] = shim
    for turn in range(4):
        for number, device in enumerate(devices):
            device.exchange(b"turn %d of device %d" % (turn, number))
            host, port = device.local_text.rsplit(":", 1)
            shim_of[device].rebind((host, int(port)))
    assert proxy.counter("dtlsgate_address_changes_total") == 3 * len(devices)
    proxy.expect_client("forwarded", 4 * len(devices))
    for outcome in ("wrong_worker", "cid_unknown", "no_session"):
        assert proxy.client_outcome(outcome) == 0
    sources = backend.sources()
    assert len(sources) == len(devices)
    assert workers_of(backend, 2) == {0, 1}, "both workers have sessions"


@pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root")
def test_kernel_that_does_not_steer(make_proxy, make_device):
    """In a namespace whose sockets have no memory for programs."""
    def body():
        CLONE_NEWNET = 0x40000000
        assert ctypes.CDLL(None).unshare(CLONE_NEWNET) == 0  # this thread, and what it starts
        os.system("ip link set lo up")
        Path("/proc/sys/net/core/optmem_max").write_text("200")
        backend = Backend(echo, (own_address(), 5683))
        proxy = make_proxy(backend, gate={"workers": 2}).start()
        try:
            line = proxy.wait_log("single_worker")
            assert line["level"] == "warning" and "ClientHello" in line["text"]
            assert proxy.wait_log("ready")["workers"] == "1"
            device = make_device(proxy).connect()
            device.exchange(b"all the same")
            assert proxy.client_outcome("wrong_worker") == 0
        finally:
            proxy.stop()
            backend.close()
    with ThreadPoolExecutor(1) as elsewhere:
        elsewhere.submit(body).result()
