"""Sessions go on in the next process: over a restart by the service manager, an upgrade in place, and kill -9."""

import os
import signal
import threading
import time

import pytest

from clients.gnutls import GnutlsClient
from clients.libcoap import CoapClient, url
from clients.mbedtls import MbedtlsClient
from clients.openssl import OpensslClient
from conftest import IDENTITY, IDENTITY_2, KEY, KEY_2
from environment import wait_until
from netshim.impairments import Impairments
from proxy import write_private
from test_addresses import free_port
from unit_player import Player

WAYS = ("restart", "upgrade", "kill")


class Succession:
    """A gate of which another process goes on. way: restart, by a player of the systemd unit; upgrade, of a gate
    without any manager; kill, under a keeper."""

    def __init__(self, proxy, way, folder, closing):
        self.proxy, self.way, self._count = proxy, way, 1
        if way == "restart":
            self._player = Player(proxy.config_path, folder)
            closing.add(self._player, self._player.close)
            proxy.log_path = folder / "unit.log"
            self._player.start()
            self._wait()
        else:
            proxy.start()

    def _wait(self):
        wait_until(lambda: len(self.proxy.log_lines("ready")) == self._count, f"process {self._count}", 30)
        if self.way != "restart":
            self.proxy.wait_ready()

    def go(self):
        """Waits until the next process serves."""
        self._count += 1
        if self.way == "restart":
            self._player.restart()
        elif self.way == "upgrade":
            self.proxy.send_signal(signal.SIGUSR2)
        else:
            os.kill(self.proxy.gate_pid(), signal.SIGKILL)
        self._wait()

    def check(self, handshakes):
        """No device has shaken hands anew, and no session was lost. Counters go on, so they say it of all processes."""
        assert self.proxy.handshakes("established") == handshakes
        assert self.proxy.counter("dtlsgate_sessions_closed_total") == 0
        assert self.proxy.sessions() == handshakes


@pytest.fixture(params=WAYS)
def make_succession(request, make_proxy, tmp_path, closing):
    def make(backend, **settings):
        proxy = make_proxy(backend, keeper=request.param == "kill", **settings)
        return Succession(proxy, request.param, tmp_path, closing)
    return make


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("cid", [None, b"\x01\x02\x03"], ids=["address", "cid"])
def test_a_session_goes_on(make_succession, backend, make_device, version, cid):
    gate = make_succession(backend, gate={"workers": 2, "control": "control.sock"})
    device = make_device(gate.proxy, version=version, cid=cid).connect()
    device.exchange(b"before")
    logged = gate.proxy.wait_log("session_established")
    for i in range(2):
        gate.go()
        device.exchange(b"after %d" % i)
    gate.check(handshakes=1)
    told, _ = gate.proxy.ctl("sessions")
    assert {name: told[name] for name in ("suite", "version", "identity")} \
        == {name: logged[name] for name in ("suite", "version", "identity")}
    *_, status, _ = gate.proxy.ctl("status")
    assert status == {**status, "state": "taken_over", "starts": 3, "sessions_taken_over": 1, "sessions_torn": 0,
                      "reloads": 0, "last_reload_successful": True}


def test_a_key_that_was_withdrawn_meanwhile(make_succession, backend, make_device):
    """The next process judges what it takes over by its own settings."""
    gate = make_succession(backend, psk={IDENTITY: KEY, IDENTITY_2: KEY_2})
    gone = make_device(gate.proxy).connect()
    stays = make_device(gate.proxy, psk=(IDENTITY_2, KEY_2)).connect()
    gone.exchange(b"before")
    write_private(gate.proxy.folder / "devices.psk", f"{IDENTITY_2}:{KEY_2}\n")
    gate.go()
    assert gone.recv() == "closed"
    gate.proxy.wait_closed("revoked")
    stays.exchange(b"its key is there")
    assert gate.proxy.sessions() == 1


def test_another_length_of_connection_ids(make_succession, backend, make_device):
    """The next process would not find those that devices have: an upgrade is refused, other starts drop these sessions
    and say so. Those that are found by their address go on."""
    gate = make_succession(backend, gate={"control": "control.sock"})
    gone = make_device(gate.proxy, cid=b"\x01").connect()
    stays = make_device(gate.proxy).connect()
    gone.exchange(b"before")
    gate.proxy.sections["listener coaps"]["cid_length"] = 12
    gate.proxy.write_config()
    if gate.way == "upgrade":
        gate.proxy.send_signal(signal.SIGUSR2)
        told = gate.proxy.wait_log("upgrade_check", level="error")["text"]
        assert "cid_length = 12: its sessions with connection IDs of another length, 1 of them, would be lost" in told
        gate.proxy.wait_log("upgrade_failed")
        gone.exchange(b"as before")
        gone.close()
        gate.proxy.wait_closed("closed_by_client")
        gate.go()
        stays.exchange(b"nobody has one any more")
        return
    gate.go()
    taken = gate.proxy.wait_log("sessions_taken_over", level="warning")
    assert (taken["count"], taken["torn"], taken["cid_length_changed"]) == ("1", "0", "1")
    assert gate.proxy.closed("cid_length_changed") == 1
    *_, status, _ = gate.proxy.ctl("status")
    assert status["sessions_cid_length_changed"] == 1
    stays.exchange(b"found by its address")
    make_device(gate.proxy, cid=b"\x01").connect().exchange(b"of another length")


def test_datagrams_wait_for_the_next_process(make_succession, silent_backend, make_device):
    """A device that goes on sending. Killed, a gate may lose the batch that it has in hand."""
    gate = make_succession(silent_backend)
    device = make_device(gate.proxy).connect()
    is_over, sent = threading.Event(), []

    def send():
        while not is_over.is_set():
            sent.append(b"datagram %d" % len(sent))
            device.send(sent[-1])
            time.sleep(0.002)
    sender = threading.Thread(target=send)
    sender.start()
    try:
        gate.go()
        after = len(sent)
        wait_until(lambda: len(sent) > after + 50, "some more")
    finally:
        is_over.set()
        sender.join()
    silent_backend.wait_for(sent[-1])
    lost = set(sent) - set(silent_backend.received())
    assert len(lost) <= (64 if gate.way == "kill" else 0), f"{len(lost)} of {len(sent)}"
    assert len(silent_backend.received()) == len(set(silent_backend.received())), "none twice"
    gate.check(handshakes=1)


def test_many_sessions_and_another_number_of_workers(make_succession, backend, make_device):
    gate = make_succession(backend, gate={"workers": 2})
    devices = [make_device(gate.proxy).connect() for _ in range(12)]
    for workers in (3, 1):
        gate.proxy.sections["gate"]["workers"] = workers
        gate.proxy.write_config()
        gate.go()
        assert gate.proxy.counter("dtlsgate_workers") == workers
        for i, device in enumerate(devices):
            device.exchange(b"to %d of %d" % (i, workers))
    gate.check(handshakes=12)


def test_an_address_that_takes_in_the_other(make_succession, backend, make_device):
    """What was handed over has the port until the process is ready."""
    port = free_port()
    gate = make_succession(backend, gate={"workers": 2}, listener={"listen": f"127.0.0.1:{port}"})
    devices = [make_device(("127.0.0.1", port)).connect()]
    for address in (f"0.0.0.0:{port}", f"127.0.0.1:{port}"):
        gate.proxy.sections["listener coaps"]["listen"] = address
        gate.proxy.write_config()
        gate.go()
        devices.append(make_device(("127.0.0.1", port)).connect())
        for device in devices:
            device.exchange(b"here")
    gate.check(handshakes=3)


def test_a_device_that_moves_afterwards(make_succession, backend, make_device):
    gate = make_succession(backend)
    device = make_device(gate.proxy, cid=b"\x07").connect()
    gate.go()
    device.rebind()
    device.exchange(b"from another port")
    gate.check(handshakes=1)


def test_the_server_sees_the_same_address(make_succession, silent_backend, make_device):
    """What it sends without being asked reaches the device, too."""
    gate = make_succession(silent_backend)
    device = make_device(gate.proxy).connect()
    device.send(b"observe")
    source = silent_backend.wait_for(b"observe").source
    gate.go()
    silent_backend.send(source, b"notification")
    assert device.recv() == b"notification"
    device.send(b"once more")
    assert silent_backend.wait_for(b"once more").source == source
    gate.check(handshakes=1)


def test_late_answers_are_discarded_under_their_reason(make_succession, silent_backend, make_device):
    """Of a session that was closed before."""
    gate = make_succession(silent_backend)
    device = make_device(gate.proxy).connect()
    device.send(b"question")
    source = silent_backend.wait_for(b"question").source
    device.close()
    gate.proxy.wait_closed("closed_by_client")
    gate.go()
    silent_backend.send(source, b"late")
    gate.proxy.wait_late("closed_by_client")
    assert gate.proxy.late_total() == 1


@pytest.mark.parametrize("make_client", [
    lambda address: OpensslClient.psk(address, IDENTITY, KEY),
    lambda address: GnutlsClient.psk(address, IDENTITY, KEY),
], ids=["openssl", "gnutls"])
def test_other_libraries(make_succession, backend, client, make_client):
    gate = make_succession(backend)
    other = client(make_client(gate.proxy.address)).wait_ready()
    other.say("before it")
    other.expect("before it")
    gate.go()
    other.say("thereafter")
    other.expect("thereafter")
    gate.check(handshakes=1)


def test_mbedtls(make_succession, make_backend, client):
    """It sends one request after the other; each is answered with a little delay, so that some come meanwhile."""
    def slowly(data):
        time.sleep(0.05)
        return data
    gate = make_succession(make_backend(slowly))
    other = client(MbedtlsClient.psk(gate.proxy.address, IDENTITY, KEY, exchanges=60, read_timeout=1000, max_resend=10))
    other.wait_ready()
    gate.go()
    other.wait_closed()
    assert gate.proxy.handshakes("established") == 1


def test_an_observation_goes_on(make_succession, coap_server, client):
    """libcoap on both sides: the server notifies each second, on and on."""
    gate = make_succession(coap_server, psk={IDENTITY: b"secret".hex()})
    observer = client(CoapClient("coap-client-openssl", url(gate.proxy.address, "time"), "-m", "get", "-s", "30",
                                 identity=IDENTITY, key="secret"))

    def notifications():
        return observer.output.count(b":")  # of the time, hh:mm:ss

    wait_until(lambda: notifications() >= 4, "two notifications", 10)
    gate.go()
    heard = notifications()
    wait_until(lambda: notifications() >= heard + 6, "three more", 10)
    gate.check(handshakes=1)


def test_a_block_wise_transfer_goes_on(make_succession, coap_server, client, make_shim):
    """Some 90 blocks over a slow network, and another process in the middle of it."""
    gate = make_succession(coap_server, psk={IDENTITY: b"secret".hex()})
    address = gate.proxy.address

    def get(to):
        return client(CoapClient("coap-client-openssl", url(to, "example_data"), "-m", "get", "-b", "16",
                                 identity=IDENTITY, key="secret"))
    whole = get(address).answer()
    before = gate.proxy.client_outcome("forwarded")
    assert before > 50
    shim = make_shim(gate.proxy, to_gate=Impairments(delay_ms=20))
    slow = get(shim.address)
    gate.proxy.wait_counter("dtlsgate_client_datagrams_total", before + 20, outcome="forwarded")
    gate.go()
    assert gate.proxy.client_outcome("forwarded") < before + 60, "it is over already"
    assert slow.answer() == whole
    assert gate.proxy.handshakes("established") == 2
