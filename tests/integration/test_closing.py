"""Why this project exists: a closed session's device hears nothing more, whatever a backend says.

In each test the backend speaks to the session's address after its end. A shim in front of the
device must see nothing, and each datagram is counted under the reason of the session's end.
"""

import time

import pytest

from clients.gnutls import GnutlsClient
from clients.openssl import OpensslClient
from conftest import IDENTITY, IDENTITY_2, KEY, KEY_2
from environment import wait_until
from records import ALERT, APPLICATION_DATA
from netshim import TO_GATE

INTERNAL_ERROR = 80  # alert description, RFC 5246 section 7.2
VERSIONS = pytest.mark.parametrize("version", ["1.2", "1.3"])


def wait_moment(at):
    """Returns when the monotonic clock has reached a moment: a delay that is part of the trace."""
    wait_until(lambda: time.monotonic() >= at, "the clock", timeout_s=10)


class Silence:
    """Everything that reaches the device after this object was made is a failure."""

    def __init__(self, proxy, shim, backend):
        self.proxy, self.shim, self.backend = proxy, shim, backend
        shim.settle()
        self.heard = len(shim.to_device())

    def holds_for(self, source, reason, count=3):
        """The backend speaks count times to the address of a session that ended."""
        before = self.proxy.late(reason)
        all_before = self.proxy.late_total()
        for number in range(count):
            self.backend.send(source, b"too late %d" % number)
        self.proxy.wait_late(reason, before + count)
        assert self.proxy.late_total() == all_before + count, "counted once, under one reason"
        self.holds()

    def holds(self):
        self.shim.settle()
        heard = self.shim.to_device()[self.heard:]
        assert not heard, f"reached the device after its session's end: {heard}"


def begin(proxy, make_shim, make_device, backend, **settings):
    """A device behind a shim with a session; returns (device, shim, its address at the backend)."""
    shim = make_shim(proxy)
    device = make_device(shim, **settings).connect()
    hello = b"register %d" % len(backend.arrivals)
    device.send(hello)
    return device, shim, backend.wait_for(hello).source


@VERSIONS
def test_deregister_close_and_a_late_answer(start_proxy, silent_backend, make_shim, make_device,
                                            version):
    """The trace that started this project."""
    proxy = start_proxy(silent_backend)
    device, shim, source = begin(proxy, make_shim, make_device, silent_backend, version=version)
    silent_backend.send(source, b"registered")
    assert device.recv() == b"registered"
    device.send(b"deregister")
    device.close()
    deregistered = silent_backend.wait_for(b"deregister")
    assert deregistered.source == source
    assert device.recv() == "closed", "close_notify is answered with close_notify"
    silence = Silence(proxy, shim, silent_backend)
    wait_moment(deregistered.at + 0.050)
    silence.holds_for(source, "closed_by_client")
    assert proxy.closed("closed_by_client") == 1 and proxy.sessions() == 0
    assert proxy.log_lines("session_closed", reason="closed_by_client", client=shim.outer_text())


@VERSIONS
def test_deregister_and_close_change_places(start_proxy, silent_backend, make_shim, make_device,
                                            version):
    """The network turns them round: the deregistration reaches the server, its answer nobody."""
    proxy = start_proxy(silent_backend)
    closing, held = [], []

    def turn_round(direction, _, data):
        if direction != TO_GATE or not closing:
            return [data]
        held.append(data)
        return held[::-1] if len(held) == 2 else []
    shim = make_shim(proxy, turn_round)
    device = make_device(shim, version=version).connect()
    device.send(b"register")
    source = silent_backend.wait_for(b"register").source
    closing.append(True)
    device.send(b"deregister")
    device.close()
    assert silent_backend.wait_for(b"deregister").source == source
    proxy.wait_closed("closed_by_client")
    assert device.recv() == "closed"
    Silence(proxy, shim, silent_backend).holds_for(source, "closed_by_client")
    assert proxy.client_outcome("forwarded") == 2 and proxy.client_outcome("session_closed") == 1


@pytest.mark.parametrize("kind", [OpensslClient, GnutlsClient])
def test_a_client_that_closes_and_ends_at_once(start_proxy, silent_backend, make_shim, client, kind):
    proxy = start_proxy(silent_backend)
    shim = make_shim(proxy)
    program = client(kind.psk(shim.address, IDENTITY, KEY)).wait_ready()
    program.say("deregister")
    source = silent_backend.wait_for(b"deregister\n").source
    program.close()
    proxy.wait_closed("closed_by_client")
    Silence(proxy, shim, silent_backend).holds_for(source, "closed_by_client")


@VERSIONS
def test_after_a_fatal_alert(start_proxy, silent_backend, make_shim, make_device, version):
    proxy = start_proxy(silent_backend)
    device, shim, source = begin(proxy, make_shim, make_device, silent_backend, version=version)
    device.alert(INTERNAL_ERROR)
    proxy.wait_closed("fatal_alert")
    Silence(proxy, shim, silent_backend).holds_for(source, "fatal_alert")
    assert proxy.log_lines("session_closed", reason="fatal_alert")


@VERSIONS
def test_after_the_idle_timeout(start_proxy, silent_backend, make_shim, make_device, version):
    proxy = start_proxy(silent_backend, listener={"idle_timeout": "1s"})
    device, shim, source = begin(proxy, make_shim, make_device, silent_backend, version=version)
    proxy.wait_closed("idle")
    silence = Silence(proxy, shim, silent_backend)
    silence.holds_for(source, "idle")
    # The device does not know yet, and goes on: it gets no answer either.
    heard_of = proxy.client_outcome("no_session")
    device.send(b"are you there")
    proxy.wait_outcome("no_session", heard_of + 1)
    silence.holds()
    assert len(silent_backend.arrivals) == 1


def test_the_idle_clock_starts_again_with_each_datagram(start_proxy, silent_backend, make_shim,
                                                        make_device):
    proxy = start_proxy(silent_backend, listener={"idle_timeout": "1s"})
    device, _, source = begin(proxy, make_shim, make_device, silent_backend)
    began = time.monotonic()
    for turn in range(1, 7):  # 1.8 s of traffic, the two directions in turn
        wait_moment(began + 0.3 * turn)
        if turn % 2:
            device.send(b"turn %d" % turn)
            silent_backend.wait_for(b"turn %d" % turn)
        else:
            silent_backend.send(source, b"turn %d" % turn)
            assert device.recv() == b"turn %d" % turn
    assert proxy.closed("idle") == 0
    proxy.wait_closed("idle")


@VERSIONS
def test_after_eviction(start_proxy, silent_backend, make_shim, make_device, version):
    """The least recently used session goes, here the second of three."""
    proxy = start_proxy(silent_backend, gate={"max_sessions": 2})
    first, _, _ = begin(proxy, make_shim, make_device, silent_backend, version=version)
    second, shim, source = begin(proxy, make_shim, make_device, silent_backend, version=version)
    time.sleep(0.005)  # the gate tells uses apart by the millisecond
    first.send(b"first again")
    silent_backend.wait_for(b"first again")
    third = make_device(proxy, version=version).connect()
    proxy.wait_closed("evicted")
    Silence(proxy, shim, silent_backend).holds_for(source, "evicted")
    assert proxy.sessions() == 2 and proxy.closed("evicted") == 1
    for device, data in ((first, b"first lives"), (third, b"third lives")):
        device.send(data)
        arrival = silent_backend.wait_for(data)
        silent_backend.send(arrival.source, data)
        assert device.recv() == data
    assert second.recv(0.2) in ("closed", "timeout")


@VERSIONS
def test_after_replacement(start_proxy, silent_backend, make_shim, make_device, version):
    """A device that rebooted begins anew from the same address; the old session's backend side
    does not reach the new session."""
    proxy = start_proxy(silent_backend)
    device, shim, source = begin(proxy, make_shim, make_device, silent_backend, version=version)
    device.forget()
    device.connect()
    proxy.wait_closed("replaced")
    assert proxy.sessions() == 1
    assert device.recv(0.1) == "timeout", "nothing more to come from the handshake"
    Silence(proxy, shim, silent_backend).holds_for(source, "replaced")
    device.send(b"register anew")
    new_source = silent_backend.wait_for(b"register anew").source
    assert new_source[0] != source[0]
    silent_backend.send(new_source, b"welcome")
    assert device.recv() == b"welcome"


@VERSIONS
def test_after_a_handshake_timeout(start_proxy, silent_backend, make_shim, make_device, version):
    def lose_the_second_flight(direction, number, data):
        return [] if direction == TO_GATE and number >= 2 else [data]
    proxy = start_proxy(silent_backend, listener={"handshake_timeout": "1s",
                                                  "retransmit": "500ms"})
    shim = make_shim(proxy, lose_the_second_flight)
    device = make_device(shim, version=version)
    assert not device.handshake(0.2).established
    proxy.wait_counter("dtlsgate_handshakes_total", result="timeout")
    silence = Silence(proxy, shim, silent_backend)
    # The next retransmission would have come 1.5 s after the first flight.
    wait_moment(shim.to_gate()[1].at + 2.0)
    silence.holds()
    assert proxy.log_lines("handshake_failed", reason="timeout")
    assert proxy.counter("dtlsgate_handshakes_in_progress") == 0 and proxy.sessions() == 0


def test_after_the_tombstone(start_proxy, silent_backend, make_shim, make_device):
    proxy = start_proxy(silent_backend, gate={"tombstone": "1s"})
    device, shim, source = begin(proxy, make_shim, make_device, silent_backend)
    device.close()
    proxy.wait_closed("closed_by_client")
    silence = Silence(proxy, shim, silent_backend)
    silence.holds_for(source, "closed_by_client")
    wait_moment(time.monotonic() + 1.2)
    silence.holds_for(source, "unknown")


def test_an_address_that_never_had_a_session(start_proxy, silent_backend, make_shim, make_device):
    proxy = start_proxy(silent_backend)
    _, shim, source = begin(proxy, make_shim, make_device, silent_backend)
    silence = Silence(proxy, shim, silent_backend)
    for host in ("127.254.254.254", "127.0.0.1", "127.255.0.1"):
        silence.holds_for((host, source[1]), "unknown")


@VERSIONS
def test_at_shutdown(start_proxy, silent_backend, make_shim, make_device, version):
    proxy = start_proxy(silent_backend)
    device, shim, source = begin(proxy, make_shim, make_device, silent_backend, version=version)
    proxy.stop()
    assert device.recv() == "closed", "a live session gets close_notify"
    silence = Silence(proxy, shim, silent_backend)
    silent_backend.send(source, b"too late")
    device.send(b"anybody there")
    silence.holds()
    assert proxy.log_lines("session_closed", reason="shutdown")


def test_sessions_beside_the_closed_one_go_on(start_proxy, silent_backend, make_shim, make_device):
    proxy = start_proxy(silent_backend)
    leaving, shim, source = begin(proxy, make_shim, make_device, silent_backend)
    staying = make_device(proxy, psk=(IDENTITY_2, KEY_2)).connect()
    staying.send(b"stay")
    staying_source = silent_backend.wait_for(b"stay").source
    leaving.close()
    proxy.wait_closed("closed_by_client")
    Silence(proxy, shim, silent_backend).holds_for(source, "closed_by_client", count=50)
    silent_backend.send(staying_source, b"for you")
    assert staying.recv() == b"for you"


def test_data_that_a_close_notify_overtook_arrives(start_proxy, silent_backend, make_shim, make_device):
    """A closure ends what has a later number, not what stands behind it (RFC 9147 section 5.10); both
    come in one datagram, so that no time passes between them."""
    held = []

    def close_before_data(direction, _, data):
        is_encrypted = direction == TO_GATE and data[3:5] == b"\x00\x01"
        if is_encrypted and data[0] == APPLICATION_DATA:
            held.append(data)
            return []
        return [data + held[0]] if is_encrypted and data[0] == ALERT else [data]
    proxy = start_proxy(silent_backend)
    device = make_device(make_shim(proxy, close_before_data)).connect()
    device.send(b"before the close")
    device.close()
    assert device.recv() == "closed"
    proxy.wait_closed("closed_by_client")
    proxy.expect_client("forwarded", 1)
    assert silent_backend.received() == [b"before the close"]
