"""SIGHUP and dtlsgate ctl reload: other settings and credentials while sessions go on."""

import signal
import socket
import threading
import time

import pytest

from conftest import IDENTITY, IDENTITY_2, KEY, KEY_2
from environment import COUNT_DIVISOR
from proxy import write_private
from test_addresses import free_port

CONTROL = {"control": "control.sock"}
RELOADS = 1000 // COUNT_DIVISOR


def echo(device, data=b"hello"):
    device.send(data)
    assert device.recv() == data


def write_psks(proxy, psks):
    write_private(proxy.folder / "devices.psk", "".join(f"{name}:{key}\n" for name, key in psks.items()))


def reload_well(proxy):
    """With ctl, which answers when all workers have gone over."""
    proxy.write_config()
    proxy.ctl("reload")


def reload_badly(proxy):
    """What it says. The client reads `control` only of settings that are broken."""
    return str(proxy.ctl("reload", status=1))


@pytest.fixture(params=[1, 2], ids=["one worker", "two workers"])
def proxy(request, start_proxy, backend):
    return start_proxy(backend, psk={IDENTITY: KEY, IDENTITY_2: KEY_2}, gate={**CONTROL, "workers": request.param})


def test_a_signal_does_it_too(proxy, make_device):
    device = make_device(proxy).connect()
    proxy.send_signal(signal.SIGHUP)
    proxy.wait_log("reloaded")
    echo(device)
    assert proxy.counter("dtlsgate_config_reloads_total", result="success") == 1
    assert proxy.counter("dtlsgate_config_last_reload_successful") == 1
    assert abs(proxy.counter("dtlsgate_config_last_reload_timestamp_seconds") - time.time()) < 60


def test_a_key_that_is_gone(proxy, make_device):
    """Its session ends, with a word; the other one goes on. A device that comes back is refused."""
    gone = make_device(proxy).connect()
    stays = make_device(proxy, psk=(IDENTITY_2, KEY_2)).connect()
    echo(gone)
    write_psks(proxy, {IDENTITY_2: KEY_2})
    reload_well(proxy)
    assert gone.recv() == "closed"
    proxy.wait_closed("revoked")
    echo(stays)
    assert not make_device(proxy).handshake(3).established


def test_another_key(proxy, make_device):
    """LwM2M changes keys over the running session."""
    device = make_device(proxy).connect()
    write_psks(proxy, {IDENTITY: KEY_2, IDENTITY_2: KEY_2})
    reload_well(proxy)
    echo(device)
    make_device(proxy, psk=(IDENTITY, KEY_2)).connect()
    proxy.sections["listener coaps"]["on_key_change"] = "end"
    write_psks(proxy, {IDENTITY: KEY, IDENTITY_2: KEY_2})
    reload_well(proxy)
    proxy.wait_closed("revoked", 1)


def test_a_listener_comes_and_goes(proxy, make_device):
    stays = make_device(proxy).connect()
    other = (proxy.host, 5690)
    proxy.sections["listener other"] = {"listen": "%s:%d" % other, "psk_file": "devices.psk",
                                        "backend": proxy.sections["listener coaps"]["backend"]}
    reload_well(proxy)
    device = make_device(other).connect()
    echo(device)
    del proxy.sections["listener other"]
    reload_well(proxy)
    assert device.recv() == "closed"
    proxy.wait_log("session_closed", reason="listener_removed")
    echo(stays)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(other)  # it is free


def test_a_listener_that_is_renamed(proxy, make_device):
    device = make_device(proxy).connect()
    proxy.sections["listener renamed"] = proxy.sections.pop("listener coaps")
    reload_well(proxy)
    echo(device)
    assert proxy.sessions() == 1


def test_another_backend(proxy, make_device):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        device = make_device(proxy).connect()
        proxy.sections["listener coaps"]["backend"] = "127.0.0.1:%d" % server.getsockname()[1]
        reload_well(proxy)
        device.send(b"to the new one")
        data, source = server.recvfrom(100)
        assert data == b"to the new one"
        server.sendto(b"answer", source)
        assert device.recv() == b"answer"


def test_broken_files_change_nothing(proxy, make_device):
    device = make_device(proxy).connect()
    proxy.sections["gate"]["nonsense"] = "1"
    (proxy.folder / "devices.psk").write_text("device1:zz\n")
    proxy.write_config()
    texts = reload_badly(proxy)
    assert "gate.ini:" in texts and "devices.psk:1" in texts
    assert "nonsense" in texts
    proxy.wait_log("reload_failed")
    echo(device)
    make_device(proxy).connect()
    assert proxy.counter("dtlsgate_config_reloads_total", result="failure") == 1
    assert proxy.counter("dtlsgate_config_last_reload_successful") == 0


def test_what_needs_a_restart(proxy):
    proxy.sections["gate"]["workers"] = 3
    proxy.sections["gate"]["metrics"] = "127.0.0.1:1"
    proxy.write_config()
    lines = proxy.ctl("reload")
    assert "workers, metrics: changed, and in force after a restart only" in str(lines)
    assert proxy.counter("dtlsgate_workers") != 3


def test_connection_ids_keep_their_length(proxy, make_device):
    device = make_device(proxy, cid=b"").connect()
    proxy.sections["listener coaps"]["cid_length"] = 4
    proxy.write_config()
    assert "cid_length = 4: cannot change from 8" in str(proxy.ctl("reload", status=1))
    echo(device)


def test_an_address_that_is_taken(proxy, make_device):
    """Nothing of the new settings is in force then."""
    device = make_device(proxy).connect()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((proxy.host, 5691))
        proxy.sections["listener coaps"]["listen"] = f"{proxy.text}, {proxy.host}:5691"
        proxy.write_config()
        assert "another program has this address" in str(proxy.ctl("reload", status=1))
    echo(device)
    reload_well(proxy)
    echo(device)
    proxy.sections["listener coaps"]["listen"] = proxy.text  # as many descriptors as at the start
    reload_well(proxy)


def test_an_address_that_takes_in_the_other(proxy, make_device):
    """Both have the port until all workers have gone over."""
    port = free_port()
    devices = []
    for address in (f"{proxy.host}:{port}", f"0.0.0.0:{port}", f"{proxy.host}:{port}"):
        proxy.sections["listener coaps"]["listen"] = address
        reload_well(proxy)
        devices.append(make_device((proxy.host, port)).connect())
        for device in devices:
            echo(device)


def test_reloads_under_load(proxy, make_device):
    """Nothing is lost, and nobody has to shake hands again."""
    devices = [make_device(proxy, cid=b"" if i % 2 else None).connect() for i in range(4)]
    proxy.wait_counter("dtlsgate_sessions", 4)
    done = threading.Event()
    failed = []

    def reload_often():
        try:
            for _ in range(max(RELOADS // 10, 20)):
                proxy.ctl("reload")
        except BaseException as error:  # told in the test's own thread
            failed.append(error)
        done.set()
    thread = threading.Thread(target=reload_often)
    thread.start()
    count = 0
    while not done.is_set():
        for device in devices:
            echo(device, b"%d" % count)
        count += 1
    thread.join()
    assert not failed
    assert count > 0
    assert proxy.sessions() == 4
    assert proxy.handshakes("established") == 4
