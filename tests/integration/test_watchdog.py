"""A worker hangs: counters, the log and /healthz say so, and the gate can still be ended."""

import json
import signal
import socket
import time

import pytest

from environment import TIME_FACTOR, own_address, wait_until
from proxy import write_private

def unresponsive(proxy):
    return proxy.counter("dtlsgate_workers_unresponsive")


@pytest.mark.parametrize("where", ["in a batch", "before its wait for events ends"])
def test_a_worker_that_hangs_is_seen(start_proxy, backend, make_device, stop_worker, where):
    proxy = start_proxy(backend, gate={"workers": 1 if where == "in a batch" else 2})
    device = make_device(proxy).connect()
    assert proxy.http("/healthz") == (200, "ok\n") and unresponsive(proxy) == 0
    began = time.monotonic()
    stopped = stop_worker(proxy, 0, device if where == "in a batch" else None)
    wait_until(lambda: unresponsive(proxy) == 1, "an unresponsive worker", timeout_s=6)
    assert time.monotonic() - began > 1.9, "a long turn is none"
    scrape_began = time.monotonic()
    proxy.counters()
    assert time.monotonic() - scrape_began < 1 * TIME_FACTOR, "a scrape does not wait for it"
    wait_until(lambda: proxy.http("/healthz")[0] == 503, "503", timeout_s=15)
    assert time.monotonic() - began > 8.9
    assert proxy.http("/healthz")[1].startswith("worker 0 does not come back")
    assert float(proxy.wait_log("worker_unresponsive", worker="0")["silent_s"]) >= 10
    assert unresponsive(proxy) == 1, "a worker with nothing to do is not taken for one that hangs"
    stopped.resume()
    wait_until(lambda: proxy.http("/healthz")[0] == 200, "recovery")
    assert unresponsive(proxy) == 0
    proxy.wait_log("worker_responsive", worker="0")
    if where == "in a batch":
        assert device.recv() == b"hold"
    device.exchange(b"served again")


def test_status_does_not_wait_for_it(start_proxy, backend, make_device, stop_worker):
    """Neither on the control socket, whose thread has more to do, nor over HTTP."""
    listeners = {f"l{port}": {"listen": "%s:%d" % (own_address(), port), "backend": backend.text,
                              "psk_file": "devices.psk"} for port in range(6000, 6040)}
    proxy = start_proxy(backend, gate={"workers": 1, "control": "control.sock"},
                        listeners=listeners)
    device = make_device(proxy).connect()
    stopped = stop_worker(proxy, 0, device)
    began = time.monotonic()
    *_, gate, _ = proxy.ctl("status")
    told = json.loads(proxy.http("/status")[1])
    assert time.monotonic() - began < 1 * TIME_FACTOR
    assert gate["sessions"] == told["gate"]["sessions"] == 1
    assert len(told["listeners"]) == 41
    wait_until(lambda: proxy.ctl("status")[-2]["workers_unresponsive"] == [0], "it is said")
    assert "workers_unresponsive:    0\n" in proxy.run_ctl("status").stdout
    assert json.loads(proxy.http("/status")[1])["gate"]["workers_unresponsive"] == [0]
    stopped.resume()
    wait_until(lambda: proxy.ctl("status")[-2]["workers_unresponsive"] == [], "recovery")


def test_the_other_workers_go_on_and_the_end_comes(start_proxy, backend, make_device, stop_worker):
    """A worker that hangs cannot say farewell; the gate ends without it, and says so."""
    proxy = start_proxy(backend, gate={"workers": 2})
    devices = [make_device(proxy).connect() for _ in range(12)]
    stopped = stop_worker(proxy, 1)
    served = []
    for device in devices:
        device.send(b"is anybody there")
        if device.recv(0.5) == b"is anybody there":
            served.append(device)
    assert 0 < len(served) < len(devices), "some are of each worker"
    began = time.monotonic()
    proxy.send_signal(signal.SIGTERM)
    stopped.wait_for_its_end()
    assert proxy.process.wait(timeout=20) == 1
    assert 7 < time.monotonic() - began < 10 + TIME_FACTOR
    proxy.process = None
    said = proxy.log_lines("stop_failed")[0]["text"]
    assert said.startswith("worker 1 does not end") and said.endswith("its devices get no farewell")
    assert [device.recv() for device in served] == ["closed"] * len(served)


@pytest.fixture
def silent_manager(tmp_path, monkeypatch, closing):
    """A service manager with a store, who does nothing."""
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    closing.add(manager, manager.close)
    manager.bind(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("FDSTORE", "128")
    return manager


def ends_without(proxy, stopped, number):
    """What the gate says when it is told to end, and a worker does not."""
    proxy.send_signal(number)
    stopped.wait_for_its_end()
    process, proxy.process = proxy.process, None
    assert process.wait(timeout=20 * TIME_FACTOR) == 1
    return proxy.log_lines("stop_failed")[0]["text"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_worker_that_hangs_writes_no_state_file(make_proxy, backend, stop_worker, number):
    """It might still use record numbers that the file does not know of."""
    proxy = make_proxy(backend, gate={"state_file": "state", "state_key_file": "state.key"})
    write_private(proxy.folder / "state.key", "5a" * 32 + "\n")
    proxy.start()
    said = ends_without(proxy, stop_worker(proxy, 0), number)
    assert "all sessions are lost" in said and "state_file is not written" in said
    assert not (proxy.folder / "state").exists() and not proxy.log_lines("state_file_written")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_worker_that_hangs_where_sessions_are_kept(start_proxy, backend, stop_worker, silent_manager, number):
    assert silent_manager
    proxy = start_proxy(backend)
    assert ends_without(proxy, stop_worker(proxy, 0), number).endswith("the next process has all sessions")


def test_the_service_manager_hears_of_it(start_proxy, backend, stop_worker, tmp_path, monkeypatch):
    """As long as it hears that the gate is well, it does not restart it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(3 * TIME_FACTOR)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "30000000")
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        proxy = start_proxy(backend)
        assert [manager.recv(100) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]
        stopped = stop_worker(proxy, 0)
        proxy.wait_log("worker_unresponsive", timeout_s=20)
        manager.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                assert manager.recv(100) == b"WATCHDOG=1"
        manager.settimeout(3)
        with pytest.raises(TimeoutError):
            manager.recv(100)
        stopped.resume()
        manager.settimeout(3 * TIME_FACTOR)
        assert manager.recv(100) == b"WATCHDOG=1"


def test_a_pause_of_the_whole_gate_is_no_failure(start_proxy, backend, make_device):
    """As of a machine that was suspended: when it goes on, all workers look late."""
    proxy = start_proxy(backend, gate={"workers": 2})
    device = make_device(proxy).connect()
    proxy.send_signal(signal.SIGSTOP)
    time.sleep(11)  # time is the subject
    proxy.send_signal(signal.SIGCONT)
    assert proxy.http("/healthz") == (200, "ok\n")
    device.exchange(b"goes on")
    assert not proxy.log_lines("worker_unresponsive")
