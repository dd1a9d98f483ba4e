"""The metrics port: what it shows, and that nobody who misuses it gets in the way."""

import contextlib
import re
import resource
import socket
import threading
import time

import pytest

from clients.device import flood
from conftest import IDENTITY, KEY
from environment import TIME_FACTOR, wait_until
from proxy import METRICS_PORT

NAMES = {
    "dtlsgate_build_info": "gauge",
    "dtlsgate_client_datagrams_received_total": "counter",
    "dtlsgate_client_datagrams_total": "counter",
    "dtlsgate_backend_datagrams_received_total": "counter",
    "dtlsgate_backend_datagrams_total": "counter",
    "dtlsgate_late_backend_datagrams_discarded_total": "counter",
    "dtlsgate_handshakes_total": "counter",
    "dtlsgate_handshake_seconds": "histogram",
    "dtlsgate_sessions": "gauge",
    "dtlsgate_handshakes_in_progress": "gauge",
    "dtlsgate_sessions_closed_total": "counter",
    "dtlsgate_client_bytes_total": "counter",
    "dtlsgate_backend_bytes_total": "counter",
    "dtlsgate_limit": "gauge",
    "dtlsgate_psk_identities": "gauge",
    "dtlsgate_started_after_crash": "gauge",
    "dtlsgate_client_kernel_drops_total": "counter",
    "process_start_time_seconds": "gauge",
    "process_resident_memory_bytes": "gauge",
    "process_open_fds": "gauge",
}
REASONS = ["closed_by_client", "fatal_alert", "idle", "evicted", "replaced", "shutdown"]


def test_names_types_and_help(start_proxy, backend):
    counters = start_proxy(backend).counters()
    for name, kind in NAMES.items():
        assert counters.types.get(name) == kind, name
        assert name in counters.helped, name
    for reason in [*REASONS, "unknown"]:
        assert counters.has("dtlsgate_late_backend_datagrams_discarded_total", listener="coaps",
                            reason=reason) or reason == "unknown", "shown before it happens"
    for reason in REASONS:
        assert counters.has("dtlsgate_sessions_closed_total", listener="coaps", reason=reason)


def test_values(start_proxy, backend, make_device):
    before = time.time()
    proxy = start_proxy(backend)
    device = make_device(proxy).connect()
    for _ in range(7):
        device.exchange(b"seven times")
    proxy.expect_backend("forwarded", 7)
    counters = proxy.counters()
    assert counters.get("dtlsgate_sessions", listener="coaps") == 1
    assert counters.get("dtlsgate_client_datagrams_total", outcome="forwarded") == 7
    assert counters.get("dtlsgate_backend_datagrams_total", outcome="forwarded") == 7
    plaintext = 7 * len(b"seven times")
    assert counters.get("dtlsgate_backend_bytes_total", direction="sent") == plaintext
    assert counters.get("dtlsgate_backend_bytes_total", direction="received") == plaintext
    assert counters.get("dtlsgate_client_bytes_total", direction="received") > 2 * plaintext
    assert counters.get("dtlsgate_client_bytes_total", direction="sent") > 2 * plaintext
    assert counters.get("dtlsgate_psk_identities", listener="coaps") == 2
    assert counters.get("dtlsgate_limit", listener="-", name="max_sessions") == 100000
    assert counters.get("dtlsgate_handshakes_total", version="1.2", credential="psk",
                        result="established") == 1
    assert counters.get("dtlsgate_handshake_seconds_count") == 1
    assert counters.get("dtlsgate_handshake_seconds_bucket", le="+Inf") == 1
    assert abs(counters.get("process_start_time_seconds") - before) < 10 * TIME_FACTOR
    resident = counters.get("process_resident_memory_bytes")
    assert 0.5 < resident / proxy.resident_bytes() < 2
    assert abs(counters.get("process_open_fds") - proxy.descriptors()) <= 3
    assert dict(next(iter(counters.select("dtlsgate_build_info"))))["wolfssl"].startswith("5.")


@pytest.mark.parametrize("result, psk", [("unknown_identity", ("nobody", KEY)), ("wrong_key", (IDENTITY, "00" * 16))])
def test_the_first_failure_has_a_series_already(start_proxy, backend, make_device, result, psk):
    """Else increase() would not see it."""
    proxy = start_proxy(backend, listener={"handshake_timeout": "2s"})
    before = proxy.counters().select("dtlsgate_handshakes_total")
    device = make_device(proxy, psk=psk, version="1.3")
    device.handshake()
    proxy.wait_counter("dtlsgate_handshakes_total", result=result)
    after = proxy.counters().select("dtlsgate_handshakes_total")
    assert after.keys() == before.keys()
    assert sum(before.values()) == 0 and sum(after.values()) == 1


def test_histogram_buckets_grow(start_proxy, backend, make_device):
    proxy = start_proxy(backend)
    for _ in range(5):
        make_device(proxy).connect()
    buckets = proxy.counters().select("dtlsgate_handshake_seconds_bucket", listener="coaps")
    bounds = sorted((float(dict(labels)["le"]), count) for labels, count in buckets.items())
    assert [count for _, count in bounds] == sorted(count for _, count in bounds)
    assert bounds[-1] == (float("inf"), 5)


def test_paths_and_methods(start_proxy, backend):
    proxy = start_proxy(backend)
    assert proxy.http("/metrics")[0] == 200
    assert proxy.http("/healthz")[0] == 200
    assert proxy.http("/readyz")[0] == 200
    assert proxy.http("/metrics?x=y")[0] == 200
    for path in ("/nothing", "/metrics/", "/healthz/../metrics", "/" + "x" * 8000):
        assert proxy.http(path)[0] in (404, 414, 431), path
    for method in ("POST", "PUT", "DELETE"):
        assert proxy.http("/metrics", method)[0] == 405, method
    assert proxy.http("/metrics", "HEAD") == (200, "")


def test_the_content_type_is_that_of_prometheus(start_proxy, backend):
    with raw_connection(start_proxy(backend)) as sock:
        sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n")
        answer = read_all(sock)
    assert re.search(rb"(?i)^content-type: text/plain; version=0\.0\.4", answer, re.M), answer[:500]


def raw_connection(proxy):
    return socket.create_connection(proxy.metrics_address, timeout=5 * TIME_FACTOR)


def read_all(sock):
    data = b""
    while chunk := sock.recv(65536):
        data += chunk
    return data


def test_clients_that_never_finish_do_not_hold_up_others(start_proxy, backend, make_device):
    proxy = start_proxy(backend)
    slow = [raw_connection(proxy) for _ in range(8)]
    for sock in slow:
        sock.sendall(b"GET /metrics HTTP/1.1\r\nHo")
    device = make_device(proxy).connect()
    for turn in range(5):
        device.exchange(b"turn %d" % turn)
        proxy.counters()
    for sock in slow:
        sock.close()


def test_many_connections_leak_nothing(start_proxy, backend, make_device):
    """More than the gate will serve at once; the path of datagrams does not notice."""
    proxy = start_proxy(backend)
    device = make_device(proxy).connect()
    idle = []
    for _ in range(200):
        sock = socket.socket()
        sock.settimeout(0.3)
        try:
            sock.connect(proxy.metrics_address)
        except OSError:
            sock.close()
            break
        idle.append(sock)
    device.exchange(b"undisturbed")
    for sock in idle:
        sock.close()
    wait_until(lambda: proxy.http("/healthz")[0] == 200, "an answer")


@pytest.mark.parametrize("request_bytes", [
    b"\r\n\r\n", b"garbage\r\n\r\n", b"\x16\xfe\xfd" + bytes(50), b"GET\r\n\r\n",
    b"GET /metrics HTTP/9.9\r\n\r\n", b"GET /metrics\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
    b"GET /metrics HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
    b"POST /metrics HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
    b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n",
], ids=lambda data: data[:12].hex() + str(len(data)))
def test_odd_requests(start_proxy, backend, request_bytes):
    proxy = start_proxy(backend)
    with raw_connection(proxy) as sock:
        sock.settimeout(0.5)  # some are answered and kept open
        try:
            sock.sendall(request_bytes)
            read_all(sock)
        except OSError:
            pass  # the gate may end the connection at any byte
    assert proxy.http("/metrics")[0] == 200


def test_scrapes_add_up_under_load(start_proxy, backend, make_device):
    """Scrapes fall into the middle of batches; each of them must add up (checked by counters())."""
    proxy = start_proxy(backend, gate={"workers": 2})
    make_device(proxy).connect()
    sender = threading.Thread(target=flood, args=(proxy.address, [b"x", b"\x16" * 40], 100_000))
    sender.start()
    scrapes = 0
    while sender.is_alive():
        proxy.counters()
        scrapes += 1
    sender.join()
    assert scrapes >= 3


def test_metrics_can_be_off(make_proxy, backend, make_device):
    proxy = make_proxy(backend, gate={"metrics": ""})
    proxy.start()
    device = make_device(proxy).connect()
    device.exchange(b"without metrics")
    with pytest.raises(OSError):
        socket.create_connection((proxy.host, METRICS_PORT), timeout=1)


@pytest.mark.parametrize("count", [16, 64])
def test_slow_clients_do_not_starve_the_probes(start_proxy, backend, count):
    """They trickle a byte now and then; a probe of Kubernetes or Docker has one second."""
    proxy = start_proxy(backend)
    slow = [raw_connection(proxy) for _ in range(count)]
    for turn in range(10):
        for sock in slow:
            with contextlib.suppress(OSError):  # those that came first may have been sent away
                sock.send(b"GET /healthz HTTP/1.1"[turn:turn + 1])
        began = time.monotonic()
        assert proxy.http("/healthz")[0] == 200
        assert time.monotonic() - began < 1 * TIME_FACTOR
        time.sleep(0.05)
    for sock in slow:
        sock.close()


def test_it_serves_again_when_there_are_descriptors(start_proxy, backend, make_device):
    proxy = start_proxy(backend)
    device = make_device(proxy).connect()
    _, hard = resource.prlimit(proxy.process.pid, resource.RLIMIT_NOFILE)
    before = proxy.descriptors()
    kept = [raw_connection(proxy) for _ in range(3)]
    wait_until(lambda: proxy.descriptors() >= before + 3, "three clients")
    resource.prlimit(proxy.process.pid, resource.RLIMIT_NOFILE, (3, hard))
    waiting = [raw_connection(proxy) for _ in range(20)]
    for sock in waiting:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: gate\r\n\r\n")
    proxy.wait_log("metrics_http")
    for sock in kept:
        sock.close()
    device.exchange(b"devices do not notice")
    time.sleep(1)  # so long it tries in vain
    resource.prlimit(proxy.process.pid, resource.RLIMIT_NOFILE, (hard, hard))
    began = time.monotonic()
    assert proxy.http("/healthz")[0] == 200
    assert time.monotonic() - began < 2
    for sock in waiting:
        sock.close()
