"""Datagrams that no honest device sends: no answer but what the policy allows, no memory, no delay.

The policy (role.c): a device without a session gets a stateless cookie, or the flights of a
handshake that it began itself and whose cookie was good. Nothing else, and never an alert.
"""

import os
import select
import socket
import struct
import time

import pytest

import records
from backend import Backend, echo
from clients.device import flood
from clients.gnutls import GnutlsClient
from clients.openssl import OpensslClient
from conftest import IDENTITY, KEY
from environment import COUNT_DIVISOR, IS_SANITIZED, TIME_FACTOR, wait_until
from proxy import Proxy
from records import ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, CLIENT_HELLO, HANDSHAKE

HELLO = records.client_hello(random=bytes(range(32)))
HELLO_MESSAGE = records.split(HELLO)[0].body
LONG_HELLO = records.client_hello(extensions=records.extension(0xFAFA, bytes(1000)))

AMPLIFICATION_LIMIT = 3  # RFC 9147 section 5.1


def hello_message(body, **lies):
    return records.record(HANDSHAKE, records.handshake(CLIENT_HELLO, body, **lies))


def hello_fields(session_id_length=0, cookie_length=0, suites_length=2, extensions_length=None):
    """A hello whose inner lengths may point beyond its end."""
    body = struct.pack("!H", records.DTLS_12) + bytes(32) + bytes([session_id_length])
    body += bytes([cookie_length]) + struct.pack("!HH", suites_length, records.PSK_CCM8)
    body += b"\x01\x00"
    body += b"" if extensions_length is None else struct.pack("!H", extensions_length)
    return hello_message(body)


# name: (datagram, whether a stateless reply is allowed)
BAD = {
    "empty": (b"", False),
    "one byte": (b"\x16", False),
    "garbage": (bytes(range(7, 207)), False),
    "text": (b"GET / HTTP/1.1\r\nHost: gate\r\n\r\n", False),
    "coap": (b"\x40\x01\x12\x34\xbb.well-known\x04core", False),
    "dtls 1.3 ciphertext": (b"\x2f" + os.urandom(60), False),
    "largest datagram": (b"\xff" * 65507, False),
    "largest record": (records.record(HANDSHAKE, bytes(65494)), False),
    "header alone": (HELLO[:13], False),
    "header cut": (HELLO[:12], False),
    "hello cut in the record header": (HELLO[:5], False),
    "hello cut in the message header": (HELLO[:20], False),
    "hello cut in the body": (HELLO[:40], False),
    "hello cut by one byte": (HELLO[:-1], False),
    "record longer than the datagram": (records.record(HANDSHAKE, HELLO_MESSAGE, length=16000),
                                        False),
    "record of no length": (records.record(HANDSHAKE, b""), False),
    "record version 3.3": (records.record(HANDSHAKE, HELLO_MESSAGE, version=0x0303), True),
    "record version 1.0": (records.record(HANDSHAKE, HELLO_MESSAGE, version=0x0100), True),
    "record version ffff": (records.record(HANDSHAKE, HELLO_MESSAGE, version=0xFFFF), True),
    "hello of dtls 1.0": (records.client_hello(version=records.DTLS_10), True),
    "hello of version 0": (records.client_hello(version=0), True),
    "unknown epoch": (records.record(HANDSHAKE, HELLO_MESSAGE, epoch=1), False),
    "very unknown epoch": (records.record(APPLICATION_DATA, bytes(40), epoch=0xFFFF), False),
    "application data": (records.record(APPLICATION_DATA, os.urandom(40), epoch=1), False),
    "application data in clear": (records.record(APPLICATION_DATA, b"hello"), False),
    "cid record": (records.record(records.CID_RECORD, os.urandom(48), epoch=1), False),
    "close_notify": (records.record(ALERT, b"\x01\x00"), False),
    "fatal alert": (records.record(ALERT, b"\x02\x28"), False),
    "change cipher spec": (records.record(CHANGE_CIPHER_SPEC, b"\x01"), False),
    "heartbeat": (records.record(24, b"\x01\x40\x00" + bytes(19)), False),
    "acknowledgement": (records.record(26, b"\x00\x00"), False),
    "server hello": (records.record(HANDSHAKE, records.handshake(2, bytes(70))), False),
    "hello request": (records.record(HANDSHAKE, records.handshake(0, b"")), False),
    "finished": (records.record(HANDSHAKE, records.handshake(20, bytes(12))), False),
    "client key exchange": (records.record(HANDSHAKE, records.handshake(16, bytes(9), 2)), False),
    "unknown message": (records.record(HANDSHAKE, records.handshake(99, bytes(60))), False),
    "first half of a hello": (records.record(HANDSHAKE, records.handshake(
        CLIENT_HELLO, HELLO_MESSAGE[12:42], total=len(HELLO_MESSAGE) - 12)), False),
    "second half of a hello": (records.record(HANDSHAKE, records.handshake(
        CLIENT_HELLO, HELLO_MESSAGE[42:], total=len(HELLO_MESSAGE) - 12, offset=30)), False),
    "fragment beyond the message": (hello_message(HELLO_MESSAGE[12:], offset=16777000), False),
    "fragment longer than its record": (hello_message(HELLO_MESSAGE[12:], length=5000), False),
    "fragment longer than the message": (hello_message(HELLO_MESSAGE[12:], total=3), False),
    "message of 16 MB": (hello_message(HELLO_MESSAGE[12:], total=0xFFFFFF), False),
    "fragment of no length": (hello_message(b"", total=60), False),
    "hello of no length": (hello_message(b""), False),
    "session id beyond the end": (hello_fields(session_id_length=255), True),
    "cookie beyond the end": (hello_fields(cookie_length=255), True),
    "suites beyond the end": (hello_fields(suites_length=0xFFFE), True),
    "odd suites": (hello_fields(suites_length=3), True),
    "no suites": (hello_fields(suites_length=0), True),
    "extensions beyond the end": (hello_fields(extensions_length=0xFFFF), True),
    "extension beyond the end": (records.client_hello(
        extensions=struct.pack("!HH", 10, 5000) + bytes(10)), True),
    "extension twice": (records.client_hello(extensions=2 * records.extension(23, b"")), True),
    "suites unknown": (records.client_hello(suites=(0xABCD, 0x1234)), True),
    "forged cookie": (records.client_hello(cookie=bytes(32), message_sequence=1, sequence=1), True),
    "cookie of 255 bytes": (records.client_hello(cookie=bytes(255), message_sequence=1), True),
    "hello of message sequence 7": (records.client_hello(message_sequence=7), True),
    "dtls 1.3 hello of the first fragment": (records.client_hello_13()[:13] + records.handshake(
        CLIENT_HELLO, bytes(20), total=200), False),
}


def counts(proxy):
    return proxy.counter("dtlsgate_client_datagrams_received_total")


@pytest.fixture
def stranger(closing):
    """A plain UDP socket connected to the gate."""
    def make(proxy, bind=None):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        if bind:
            sock.bind(bind)
        sock.connect(proxy.address)
        sock.settimeout(5 * TIME_FACTOR)
        return closing.add(sock, sock.close)
    return make


def ask(sock, datagram):
    """One datagram there, one back."""
    sock.send(datagram)
    return sock.recv(65535)


def answers(sock):
    """What lies in the socket's buffer."""
    found = []
    while select.select([sock], [], [], 0)[0]:
        found.append(sock.recv(65535))
    return found


def settled_answers(proxy, sock, before, count=1):
    """What came back, asked for after the gate has dealt with count more datagrams."""
    wait_until(lambda: counts(proxy) >= before + count, "the datagram to be counted")
    # Replies leave before the next datagram is read: a second one makes sure of the first.
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with probe:
        probe.connect(proxy.address)
        probe.settimeout(5 * TIME_FACTOR)
        ask(probe, records.client_hello())
    return answers(sock)


def assert_serves_at_once(make_device, proxy):
    """A good hello is answered without any retransmission of the device, which comes after 1 s."""
    began = time.monotonic()
    device = make_device(proxy).connect()
    device.exchange(b"good")
    assert time.monotonic() - began < 0.9
    device.close()


@pytest.fixture(scope="module")
def shared_gate(tmp_path_factory):
    """One gate for all the small cases, so that the effects of one would show in the others."""
    backend = Backend(echo)
    proxy = Proxy(tmp_path_factory.mktemp("gate"), backend, psk={IDENTITY: KEY}).start()
    yield proxy
    proxy.stop()
    backend.close()


@pytest.mark.parametrize("name", BAD)
def test_bad_datagram(shared_gate, stranger, make_device, name):
    datagram, may_be_answered = BAD[name]
    sock = stranger(shared_gate)
    before = counts(shared_gate)
    sock.send(datagram)
    got = settled_answers(shared_gate, sock, before)
    assert len(got) <= (1 if may_be_answered else 0), got
    for answer in got:
        assert records.is_stateless_reply(answer), answer
        assert len(answer) <= AMPLIFICATION_LIMIT * len(datagram)
    assert_serves_at_once(make_device, shared_gate)


def test_bad_datagrams_cut_at_every_byte(shared_gate, stranger, make_device):
    sock = stranger(shared_gate)
    before = counts(shared_gate)
    for hello in (HELLO, records.client_hello_13()):
        for length in range(len(hello)):
            sock.send(hello[:length])
    cuts = len(HELLO) + len(records.client_hello_13())
    assert settled_answers(shared_gate, sock, before, cuts) == []
    assert_serves_at_once(make_device, shared_gate)


@pytest.mark.parametrize("flipped", range(0, len(HELLO), 5))
def test_a_hello_with_flipped_bits(shared_gate, stranger, make_device, flipped):
    sock = stranger(shared_gate)
    before = counts(shared_gate)
    for bit in range(8):
        bad = bytearray(HELLO)
        bad[flipped] ^= 1 << bit
        sock.send(bytes(bad))
    for answer in settled_answers(shared_gate, sock, before, 8):
        assert records.is_stateless_reply(answer), answer
    assert_serves_at_once(make_device, shared_gate)


def test_half_a_hello_does_not_stop_others(shared_gate, make_device, stranger):
    """The state of an unfinished hello must not linger where the next one is read."""
    half = BAD["first half of a hello"][0]
    for _ in range(10):
        sock = stranger(shared_gate)
        for _ in range(3):
            sock.send(half)
        assert records.is_hello_verify(ask(stranger(shared_gate), records.client_hello()))
        assert_serves_at_once(make_device, shared_gate)


@pytest.mark.parametrize("hello", [
    records.client_hello(), records.client_hello(suites=(records.ECDSA_GCM,) * 100), LONG_HELLO,
    records.client_hello(extensions=records.extension(0xFAFA, bytes(1700))),
    records.client_hello_13(), records.client_hello_13(padding_bytes=1500),
    records.client_hello(record_version=records.DTLS_12),
    records.client_hello(extensions=records.extension(0, b"\x00\x0e\x00\x00\x0b127.0.0.1:1")),
], ids=["smallest", "many suites", "1 kB", "1.8 kB", "1.3", "1.3 of 1.6 kB", "record 1.2", "sni"])
def test_the_answer_to_a_stranger_is_small_and_the_same(start_proxy, backend, stranger, hello):
    proxy = start_proxy(backend)
    sock = stranger(proxy)
    first, second = ask(sock, hello), ask(sock, hello)
    for answer in (first, second):
        assert records.is_stateless_reply(answer)
        assert len(answer) <= AMPLIFICATION_LIMIT * len(hello)
    assert len(first) == len(second), "nothing was remembered"
    proxy.wait_outcome("cookie_sent", 2)
    assert proxy.counter("dtlsgate_handshakes_in_progress") == 0


def second_hello(cookie, **hello):
    return records.client_hello(cookie, message_sequence=1, sequence=1, **hello)


def test_a_cookie_opens_the_door_for_its_address_only(start_proxy, backend, stranger, make_device):
    proxy = start_proxy(backend, listener={"retransmit": "60s"})
    random = os.urandom(32)
    owner = stranger(proxy)
    cookie = records.cookie_of(ask(owner, records.client_hello(random=random)))
    good = second_hello(cookie, random=random)

    of_another_port = stranger(proxy)
    of_another_host = stranger(proxy, bind=("127.0.0.2", owner.getsockname()[1]))
    for thief in (of_another_port, of_another_host):
        before = counts(proxy)
        thief.send(good)
        got = settled_answers(proxy, thief, before)
        assert all(records.is_hello_verify(answer) for answer in got) and len(got) <= 1
        assert proxy.client_outcome("handshake_begun") == 0

    changed = bytearray(cookie)
    changed[0] ^= 1
    before = counts(proxy)
    owner.send(second_hello(bytes(changed), random=random))
    owner.send(second_hello(cookie[:-1], random=random))
    owner.send(second_hello(cookie, random=os.urandom(32)))
    got = settled_answers(proxy, owner, before, 3)
    assert all(records.is_hello_verify(answer) for answer in got) and len(got) <= 3
    assert proxy.client_outcome("handshake_begun") == 0

    answer = ask(owner, good)
    assert records.SERVER_HELLO in records.plain_messages(answer), "the real owner is let in"
    proxy.expect_client("handshake_begun", 1)
    assert_serves_at_once(make_device, proxy)


def test_a_cookie_of_an_earlier_run_is_stale(make_proxy, backend, stranger, make_device):
    """The secret is random at each start; an old cookie is treated like none."""
    proxy = make_proxy(backend).start()
    random = os.urandom(32)
    sock = stranger(proxy)
    cookie = records.cookie_of(ask(sock, records.client_hello(random=random)))
    proxy.stop()
    proxy.start()
    before = counts(proxy)
    sock.send(second_hello(cookie, random=random))
    got = settled_answers(proxy, sock, before)
    assert all(records.is_hello_verify(answer) for answer in got)
    assert proxy.client_outcome("handshake_begun") == 0
    assert_serves_at_once(make_device, proxy)


def test_a_replayed_hello_begins_one_handshake(start_proxy, backend, stranger, make_device):
    proxy = start_proxy(backend, listener={"retransmit": "60s"})
    random = os.urandom(32)
    sock = stranger(proxy)
    cookie = records.cookie_of(ask(sock, records.client_hello(random=random)))
    for _ in range(50):
        sock.send(second_hello(cookie, random=random))
    wait_until(lambda: counts(proxy) >= 51, "51 datagrams")
    assert proxy.counter("dtlsgate_handshakes_in_progress") <= 1
    assert_serves_at_once(make_device, proxy)


def test_half_open_handshakes_are_limited_after_the_cookie(start_proxy, backend, stranger,
                                                           make_device):
    proxy = start_proxy(backend, listener={"max_handshakes": 3, "handshake_timeout": "1s"})
    for number in range(5):
        sock, random = stranger(proxy), os.urandom(32)
        answer = ask(sock, records.client_hello(random=random))
        assert records.is_hello_verify(answer), "hellos without a cookie are not counted"
        before = counts(proxy)
        sock.send(second_hello(records.cookie_of(answer), random=random))
        got = settled_answers(proxy, sock, before)
        assert bool(got) == (number < 3), got
    proxy.expect_client("limit_handshakes", 2)
    assert proxy.counter("dtlsgate_handshakes_in_progress") == 3
    proxy.wait_counter("dtlsgate_handshakes_total", 3, result="timeout")
    assert_serves_at_once(make_device, proxy)


def test_junk_from_a_live_session_address(start_proxy, backend, make_shim, make_device):
    """A stranger who forges the address of a device with a session does it no harm."""
    proxy = start_proxy(backend)
    shim = make_shim(proxy)
    device = make_device(shim).connect()
    device.exchange(b"before")
    shim.settle()
    heard = len(shim.to_device())
    before = counts(proxy)
    unanswered = [datagram for datagram, may_be_answered in BAD.values() if not may_be_answered]
    for datagram in unanswered:
        shim.send_to_gate(datagram)
    wait_until(lambda: counts(proxy) >= before + len(unanswered), "junk to be counted")
    shim.settle()
    assert len(shim.to_device()) == heard, "no answer to a forger"
    for turn in range(5):
        device.exchange(b"after %d" % turn)
    assert proxy.sessions() == 1


def test_an_unverified_hello_does_not_end_a_session(start_proxy, backend, make_shim, make_device):
    """RFC 6347 section 4.2.8: the old session lives until the new one is complete."""
    proxy = start_proxy(backend, listener={"handshake_timeout": "1s", "retransmit": "500ms"})
    shim = make_shim(proxy)
    device = make_device(shim).connect()
    device.exchange(b"before")
    random = os.urandom(32)
    shim.send_to_gate(records.client_hello(random=random))
    verify = wait_until(lambda: next((s.data for s in shim.to_device()[-2:]
                                      if records.is_hello_verify(s.data)), None), "a cookie")
    device.exchange(b"after a first hello")
    shim.send_to_gate(second_hello(records.cookie_of(verify), random=random))
    proxy.wait_outcome("handshake_begun", 2)
    device.exchange(b"after a hello with a cookie")
    proxy.wait_counter("dtlsgate_handshakes_total", result="timeout")
    device.exchange(b"after the attempt was given up")
    assert proxy.sessions() == 1 and proxy.closed("replaced") == 0


def test_renegotiation_is_refused(start_proxy, backend, client):
    proxy = start_proxy(backend)
    program = client(OpensslClient.psk(proxy.address, IDENTITY, KEY)).wait_ready()
    program.say("before")
    program.expect("before")
    program.renegotiate()
    program.expect("no renegotiation")  # the warning; OpenSSL itself then ends the session
    proxy.wait_outcome("renegotiation_refused")
    proxy.wait_counter("dtlsgate_sessions_closed_total", reason="fatal_alert")
    assert proxy.handshakes("established") == 1


def test_a_session_outlives_refused_renegotiations(start_proxy, backend, client):
    """gnutls-cli asks again and again, and stays."""
    proxy = start_proxy(backend)
    program = client(GnutlsClient.psk(proxy.address, IDENTITY, KEY, options=["--rehandshake"]))
    program.expect("TLS warning alert")
    proxy.wait_outcome("renegotiation_refused", 3)
    assert proxy.sessions() == 1 and proxy.handshakes("established") == 1
    program.kill()


def test_a_million_bad_datagrams(make_proxy, backend, make_device, monkeypatch):
    """Memory stays as it was, a session from before lives on, and a new device is served."""
    if IS_SANITIZED:  # freed memory is normally kept aside by the sanitizer, up to 256 MB
        monkeypatch.setenv("ASAN_OPTIONS",
                           "quarantine_size_mb=1:thread_local_quarantine_size_kb=64")
    proxy = make_proxy(backend).start()
    device = make_device(proxy).connect()
    device.exchange(b"before")
    wanted = 1_000_000 // COUNT_DIVISOR
    small = [datagram for datagram, _ in BAD.values() if len(datagram) < 2000]
    # Hellos cost the gate most and get an answer: some of the flood, as of any real one.
    datagrams = small * 2 + [records.client_hello(), records.client_hello_13(), LONG_HELLO]

    def send(count):
        """Until so many were received: a flood is faster than any receiver."""
        began = counts(proxy)
        while counts(proxy) < began + count:
            sent.append(flood(proxy.address, datagrams, count // 20, sources=16)["sent"])
        wait_until(lambda: proxy.waiting_bytes() == 0, "an empty socket buffer")
    sent = []
    send(wanted // 20)  # buffers and pools reach their full size
    before = proxy.resident_bytes()
    began = time.monotonic()
    send(wanted)
    seconds = time.monotonic() - began
    growth = proxy.resident_bytes() - before
    print(f"{wanted} bad datagrams in {seconds:.1f} s, resident memory {growth:+d} bytes")
    assert growth < (1 << 20) * (8 if IS_SANITIZED else 1)
    device.exchange(b"after")
    assert_serves_at_once(make_device, proxy)
    lost = (proxy.counter("dtlsgate_client_kernel_drops_total") +
            proxy.counter("dtlsgate_hello_kernel_drops_total"))
    assert counts(proxy) + lost >= sum(sent), "what the kernel dropped is counted too"
    assert proxy.counter("dtlsgate_handshakes_in_progress") == 0
    assert len(proxy.log()) < 200_000, "a flood does not fill the log"
