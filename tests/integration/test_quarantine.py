"""What a real CoAP server goes on sending to a device that is gone reaches no other device."""

import os
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
import ctypes

import pytest

from backend import Backend, CoapServer
from clients.device import Device
from conftest import IDENTITY, IDENTITY_2, KEY, KEY_2
from environment import own_address, wait_until
from proxy import run_gate

CLONE_NEWNET = 0x40000000
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root")

# CoAP (RFC 7252 section 3): a GET without acknowledgement of /time, with Observe (RFC 7641).
OBSERVE_TIME = b"\x51\x01\x12\x34\x77" + b"\x60" + b"\x54time"
GET_TIME = b"\x51\x01\x12\x35\x88" + b"\xb4time"


def token_of(message):
    return message[4:4 + (message[0] & 15)]


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_an_observation_that_nobody_cancels(start_proxy, make_device, closing, tmp_path, version):
    server = CoapServer(tmp_path, "-N")  # notifies once a second; it waits for no acknowledgement
    closing.add(server, server.close)
    proxy = start_proxy(server, gate={"tombstone": "2s"})
    observer = make_device(proxy, version=version).connect()
    observer.send(OBSERVE_TIME)
    for _ in range(2):  # the answer, and the first notification
        assert token_of(observer.recv()) == b"\x77"
    observer.close()
    proxy.wait_closed("closed_by_client")
    source = proxy.wait_log("session_established")["backend_source"]
    # Longer than the tombstone, had it not been prolonged.
    proxy.wait_late("closed_by_client", 3, timeout_s=10)
    assert proxy.late("unknown") == 0, "it is in quarantine all the time"
    assert proxy.counter("dtlsgate_backend_addresses_noisy") == 1
    # Not later: each sixth notification wants an acknowledgement (RFC 7641 section 4.5), and the server pauses
    # for longer than this tombstone until it repeats it.
    assert proxy.counter("dtlsgate_backend_addresses_in_quarantine") == 1
    other = make_device(proxy, psk=(IDENTITY_2, KEY_2), version=version).connect()
    other.send(GET_TIME)
    assert token_of(other.recv()) == b"\x88"
    late = proxy.late("closed_by_client")
    assert other.recv(2.5) == "timeout", "notifications of another device"
    assert proxy.late("closed_by_client") > late
    sources = [line["backend_source"] for line in proxy.log_lines("session_established")]
    assert sources[0] == source and len(set(sources)) == 2


def test_a_server_that_answers_from_another_address(start_proxy, make_device):
    """Bound to all addresses, as most are; `backend` names one that the kernel does not answer from."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("0.0.0.0", 0))
        server.settimeout(5)
        host, port = own_address(), server.getsockname()[1]
        proxy = start_proxy(f"{host}:{port}")
        device = make_device(proxy).connect()
        for number in range(5):
            device.send(b"request %d" % number)
            _, source = server.recvfrom(100)
            server.sendto(b"answer", source)
        proxy.expect_backend("wrong_sender", 5)
        line = proxy.log_lines("wrong_sender")[0]
        assert line["level"] == "warning" and line["listener"] == "coaps"
        assert line["backend"] == f"{host}:{port}" and line["from"] == f"127.0.0.1:{port}"
        assert "bound to all addresses" in line["text"]
        assert len(proxy.log_lines("wrong_sender")) <= 2, "one a second at most"
        proxy.wait_log("log_suppressed")
        assert device.recv(0.1) == "timeout"


def in_a_namespace(body):
    def run():
        assert ctypes.CDLL(None).unshare(CLONE_NEWNET) == 0  # this thread, and what it starts
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        body()
    with ThreadPoolExecutor(1) as elsewhere:
        elsewhere.submit(run).result()


def leave_one_address():
    """As some sandboxes do."""
    subprocess.run(["sh", "-ec", "ip addr del 127.0.0.1/8 dev lo; ip addr add 127.0.0.1/32 dev lo"],
                   check=True)


@NEEDS_ROOT
def test_loopback_with_one_address_only(make_proxy):
    def body():
        leave_one_address()
        proxy = make_proxy("127.0.0.1:5683", gate={"metrics": ""},
                           listener={"listen": "127.0.0.1:5684"})
        result = run_gate("-c", proxy.config_path)
        assert result.returncode == 1, result.stderr
        assert "event=start_failed" in result.stderr
        assert "127.0.0.0/8" in result.stderr and "127.1.0.0" in result.stderr
        assert "event=ready" not in result.stderr
    in_a_namespace(body)


@NEEDS_ROOT
def test_loopback_that_loses_its_addresses(make_proxy):
    def body():
        backend = Backend(None, ("127.0.0.1", 5683))
        proxy = make_proxy(backend, gate={"metrics": ""},
                           listener={"listen": "127.0.0.1:5684"}).start()
        try:
            device = Device("127.0.0.1:5684", psk=(IDENTITY, KEY)).connect()
            device.send(b"before")
            backend.wait_for(b"before")
            leave_one_address()
            for number in range(5):
                device.send(b"lost %d" % number)
            line = proxy.wait_log("backend_send_failed")
            assert line["level"] == "warning" and line["backend"] == "127.0.0.1:5683"
            assert "lo must be up and have 127.0.0.0/8" in line["text"]
            wait_until(lambda: proxy.log_lines("log_suppressed"), "the others are held back")
            assert len(proxy.log_lines("backend_send_failed")) <= 2, "one a second at most"
            device.quit()
        finally:
            proxy.stop()
            backend.close()
    in_a_namespace(body)
