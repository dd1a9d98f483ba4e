"""Sessions whose devices sleep are parked, and nobody outside can tell: not the device, whatever
library it uses, not the backend, and no stranger."""

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

import records
from clients.gnutls import GnutlsClient
from clients.libcoap import PROGRAMS, CoapClient, url
from clients.mbedtls import MbedtlsClient
from clients.openssl import OpensslClient
from conftest import IDENTITY, KEY
from environment import COUNT_DIVISOR, own_address, wait_until
from test_closing import Silence

SOON = {"park_after": "200ms"}
PARKED, WOKEN = "dtlsgate_sessions_parked", "dtlsgate_sessions_woken_total"
IN_VAIN = "dtlsgate_sessions_woken_in_vain_total"
MOVES = "dtlsgate_address_changes_total"
COAP_KEY = "a-text-taken-as-key"

# Without a connection ID, with an empty one, with one of the device's own.
CIDS = pytest.mark.parametrize("cid", [None, b"", b"\x01\x02\x03"], ids=["none", "empty", "own"])


def wait_parked(proxy, exactly=1):
    wait_until(lambda: proxy.counter(PARKED) == exactly, f"{exactly} parked sessions")


def asleep(proxy, device, backend, text=b"good night"):
    """The device speaks, then its session is parked; returns its address at the backend."""
    device.send(text)
    source = backend.wait_for(text).source
    wait_parked(proxy)
    return source


# --- every kind of client ------------------------------------------------------------------------


@pytest.mark.parametrize("credential", ["psk", "certificate"])
@CIDS
def test_a_device_that_sleeps(start_proxy, silent_backend, make_device, keys, cid, credential):
    """Either side may be the one who speaks first; then it sleeps again."""
    proxy = start_proxy(silent_backend, gate=SOON, listener={
        "certificate": keys.server.certificate, "private_key": keys.server.key,
        "client_ca": keys.ca.certificate})
    who = {"pair": keys.client, "ca": keys.ca} if credential == "certificate" else {}
    device = make_device(proxy, cid=cid, **who).connect()
    source = asleep(proxy, device, silent_backend)
    for turn in range(2):
        silent_backend.send(source, b"notification %d" % turn)
        assert device.recv() == b"notification %d" % turn
        wait_parked(proxy)
        assert asleep(proxy, device, silent_backend, b"report %d" % turn) == source
    assert len(silent_backend.received()) == 3
    assert proxy.counter(WOKEN) == 4 and proxy.counter(IN_VAIN) == 0
    assert proxy.sessions() == 1 and proxy.handshakes("established") == 1
    assert proxy.client_outcome("record_discarded") == 0


@pytest.mark.parametrize("own_bytes", [None, 0, 8])
def test_mbedtls_sleeps_between_requests(start_proxy, silent_backend, client, own_bytes):
    proxy = start_proxy(silent_backend, gate=SOON)
    cid = None if own_bytes is None else bytes(range(own_bytes))
    program = client(MbedtlsClient.psk(proxy.address, IDENTITY, KEY, cid=cid, exchanges=3))
    for number in (1, 2, 3):
        arrival = silent_backend.wait_arrival(number)
        wait_parked(proxy)
        silent_backend.send(arrival.source, b"answer %d\n" % number)
    assert "answer 3\n" in program.wait_closed()
    proxy.wait_closed("closed_by_client")
    assert proxy.counter(WOKEN) == 3 and len(silent_backend.sources()) == 1


@pytest.mark.parametrize("kind", [OpensslClient, GnutlsClient])
def test_openssl_and_gnutls_sleep(start_proxy, silent_backend, client, kind):
    proxy = start_proxy(silent_backend, gate=SOON)
    program = client(kind.psk(proxy.address, IDENTITY, KEY)).wait_ready()
    program.say("first")
    source = silent_backend.wait_for(b"first\n").source
    for turn in range(2):
        wait_parked(proxy)
        silent_backend.send(source, b"notification %d\n" % turn)
        program.expect("notification %d" % turn)
        wait_parked(proxy)
        program.say(f"line {turn}")
        assert silent_backend.wait_for(b"line %d\n" % turn).source == source
    wait_parked(proxy)
    status, output = program.close()
    assert status == 0, output
    proxy.wait_closed("closed_by_client")
    assert proxy.counter(PARKED) == 0 and proxy.counter(IN_VAIN) == 0


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_observer_sleeps_until_there_is_news(start_proxy, coap_server, client, program):
    proxy = start_proxy(coap_server, gate=SOON, psk={"coap": COAP_KEY.encode().hex()})

    def request(name, *options):
        return client(CoapClient(name, url(proxy.address, "example_data"), *options,
                                 identity="coap", key=COAP_KEY))
    observer = request(program, "-s", "20", "-w")
    proxy.wait_counter("dtlsgate_backend_datagrams_total", outcome="forwarded")
    for news in ("first news", "second news"):
        wait_parked(proxy)
        request(PROGRAMS[0], "-m", "put", "-e", news).answer()
        observer.expect(news)


def test_sessions_of_1_3_are_served_and_not_parked(start_proxy, backend, make_device):
    """The library cannot export them yet, not even when there are more than live_sessions."""
    proxy = start_proxy(backend, gate={**SOON, "live_sessions": 1})
    newer = [make_device(proxy, version="1.3", cid=cid).connect() for cid in (None, b"")]
    for turn in range(2):
        for device in newer:
            device.exchange(b"turn %d" % turn)
        older = make_device(proxy).connect()
        older.exchange(b"is idle for a shorter time")
        wait_parked(proxy, turn + 1)
    woken = proxy.counter(WOKEN)
    for device in newer:
        device.exchange(b"still there")
    assert proxy.counter(WOKEN) == woken and proxy.counter(PARKED) == 2 and proxy.sessions() == 4


# --- what happens to a sleeping one ---------------------------------------------------------------


@pytest.mark.parametrize("cid", [b"", b"\x01\x02\x03"], ids=["empty", "own"])
def test_a_device_that_moved_in_its_sleep(start_proxy, silent_backend, make_device, cid):
    proxy = start_proxy(silent_backend, gate=SOON)
    device = make_device(proxy, cid=cid).connect()
    source = asleep(proxy, device, silent_backend)
    for turn, host in enumerate((None, own_address())):
        device.rebind(host)
        assert asleep(proxy, device, silent_backend, b"from elsewhere %d" % turn) == source
        proxy.count_of(MOVES, turn + 1)
        silent_backend.send(source, b"found you")
        assert device.recv() == b"found you"
        wait_parked(proxy)
    assert proxy.counter(IN_VAIN) == 0


def test_sleep_proves_no_address(start_proxy, silent_backend, make_device):
    """An address that has sent one record gets three times its bytes, however often its session was
    parked meanwhile; with the second one it is proved (RFC 9146 section 6)."""
    proxy = start_proxy(silent_backend, gate=SOON)
    device = make_device(proxy, cid=b"").connect()
    asleep(proxy, device, silent_backend)
    device.rebind()
    source = asleep(proxy, device, silent_backend, b"once")
    large = bytes(200)
    for number in (1, 2):
        silent_backend.send(source, large)
        proxy.expect_backend("address_unproved", number)
        wait_parked(proxy)
    asleep(proxy, device, silent_backend, b"twice")
    silent_backend.send(source, large)
    assert device.recv() == large


@CIDS
def test_a_device_that_rebooted(start_proxy, silent_backend, make_shim, make_device, cid):
    """At the same port: the new session takes the place of the parked one, which stays silent."""
    proxy = start_proxy(silent_backend, gate=SOON)
    shim = make_shim(proxy)
    device = make_device(shim, cid=cid).connect()
    old = asleep(proxy, device, silent_backend)
    device.forget()
    device.connect()
    proxy.wait_closed("replaced")
    new = asleep(proxy, device, silent_backend, b"rebooted")
    assert new != old and proxy.sessions() == 1
    Silence(proxy, shim, silent_backend).holds_for(old, "replaced")
    assert proxy.counter(PARKED) == 1, "what is late wakes nobody"
    silent_backend.send(new, b"welcome back")
    assert device.recv() == b"welcome back"


@CIDS
def test_a_close_notify_is_answered(start_proxy, silent_backend, make_shim, make_device, cid):
    proxy = start_proxy(silent_backend, gate=SOON)
    shim = make_shim(proxy)
    device = make_device(shim, cid=cid).connect()
    source = asleep(proxy, device, silent_backend)
    device.close()
    assert device.recv() == "closed"
    proxy.wait_closed("closed_by_client")
    assert proxy.counter(PARKED) == 0 and proxy.sessions() == 0
    Silence(proxy, shim, silent_backend).holds_for(source, "closed_by_client")


@pytest.mark.parametrize("cid", [None, b""], ids=["none", "empty"])
def test_nothing_after_the_end_of_a_parked_session(start_proxy, silent_backend, make_shim,
                                                   make_device, cid):
    proxy = start_proxy(silent_backend, gate=SOON,
                        listener={"idle_timeout": "1s", "idle_timeout_cid": "1s"})
    shim = make_shim(proxy)
    device = make_device(shim, cid=cid).connect()
    source = asleep(proxy, device, silent_backend)
    proxy.wait_closed("idle")
    assert device.recv() == "closed", "the end is told"
    assert proxy.counter(PARKED) == 0
    Silence(proxy, shim, silent_backend).holds_for(source, "idle")


def test_the_gate_stops_while_all_sleep(start_proxy, backend, make_device):
    devices_count = max(24 // COUNT_DIVISOR, 6)
    proxy = start_proxy(backend, gate={**SOON, "workers": 2})
    devices = [make_device(proxy, cid=None if n % 2 else b"") for n in range(devices_count)]
    for device in devices:
        device.connect().exchange(b"good night")
    wait_parked(proxy, devices_count)
    proxy.stop()
    assert [device.recv() for device in devices] == ["closed"] * devices_count
    assert len(proxy.log_lines("session_closed", reason="shutdown")) == devices_count


# --- what strangers can do ------------------------------------------------------------------------


def turned(data, position):
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1:]


@CIDS
def test_a_forged_record_leaves_it_parked(start_proxy, silent_backend, make_shim, make_device, cid):
    """From the device's address, and with its connection ID from any other."""
    proxy = start_proxy(silent_backend, gate={"park_after": "1s"})
    shim = make_shim(proxy)
    device = make_device(shim, cid=cid).connect()
    source = asleep(proxy, device, silent_backend)
    shim.settle()
    record = next(s.data for s in reversed(shim.to_gate()))
    forgeries = [turned(record, -1), turned(record, -9), record]  # tag, ciphertext, a replay
    discarded = proxy.client_outcome("record_discarded")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind((own_address(), 0))
        stranger.connect(proxy.address)
        for number, data in enumerate(forgeries, 1):
            shim.send_to_gate(data) if cid is None or number == 1 else stranger.send(data)
            proxy.expect_client("record_discarded", discarded + number)
            assert proxy.counter(PARKED) == 1, "at once again: it was not used"
            assert proxy.counter(IN_VAIN) == number
        shim.send_to_gate(records.client_hello())  # answered without its session
        proxy.wait_outcome("cookie_sent", 2)
        stranger.setblocking(False)
        with pytest.raises(BlockingIOError):
            stranger.recv(1)
    assert proxy.counter(PARKED) == 1 and proxy.counter(WOKEN) == len(forgeries)
    silent_backend.send(source, b"nothing happened")
    assert device.recv() == b"nothing happened"
    assert proxy.counter(MOVES) == 0 and silent_backend.received() == [b"good night"]


# --- many ----------------------------------------------------------------------------------------


def test_live_sessions_is_a_bound_over_all_workers(start_proxy, backend, make_device):
    """No session is idle for park_after: the least recently used make room."""
    workers, live, count = 4, 8, 32
    proxy = start_proxy(backend, gate={"workers": workers, "live_sessions": live,
                                       "park_after": "1h"})
    devices = [make_device(proxy, cid=(None, b"", b"\x07")[n % 3]) for n in range(count)]

    def awake():
        counters = proxy.counters()
        return counters.get("dtlsgate_sessions") - counters.get(PARKED)

    def one_turn(device, turn):
        if turn == 0:
            device.connect(30)
        device.exchange(b"turn %d" % turn)
    with ThreadPoolExecutor(8) as threads:
        for turn in range(3):
            list(threads.map(lambda device, turn=turn: one_turn(device, turn), devices))
            wait_until(lambda: awake() <= live, f"no more than {live} live sessions")
    assert proxy.sessions() == count
    assert len({port for _, port in backend.sources()}) > 1, "more than one worker has sessions"
    assert len(backend.sources()) == count
    assert proxy.counter(WOKEN) >= 2 * (count - live), "in each turn most of them slept"
    assert proxy.counter(IN_VAIN) == 0
    # Who was used last is awake, whoever has the same worker.
    before = proxy.counter(WOKEN)
    for turn in range(10):
        devices[-1].exchange(b"again")
        before = proxy.counter(WOKEN) if turn == 0 else before
    assert proxy.counter(WOKEN) == before
