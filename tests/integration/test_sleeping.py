"""Sessions that outlast the silence of their devices: whatever library a device uses, either side may be
the one who speaks next, and no stranger can change that."""

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

import records
from clients.gnutls import GnutlsClient
from clients.libcoap import PROGRAMS, CoapClient, url
from clients.mbedtls import MbedtlsClient
from clients.openssl import OpensslClient
from conftest import IDENTITY, KEY
from environment import COUNT_DIVISOR, own_address
from test_closing import Silence

MOVES = "dtlsgate_address_changes_total"
COAP_KEY = "a-text-taken-as-key"

# Without a connection ID, with an empty one, with one of the device's own.
CIDS = pytest.mark.parametrize("cid", [None, b"", b"\x01\x02\x03"], ids=["none", "empty", "own"])


def asleep(device, backend, text=b"good night"):
    """The device speaks and falls silent; returns its address at the backend."""
    device.send(text)
    return backend.wait_for(text).source


# --- every kind of client ------------------------------------------------------------------------


@pytest.mark.parametrize("credential", ["psk", "certificate"])
@CIDS
def test_a_device_that_sleeps(start_proxy, silent_backend, make_device, keys, cid, credential):
    """Either side may be the one who speaks first; then it sleeps again."""
    proxy = start_proxy(silent_backend, listener={
        "certificate": keys.server.certificate, "private_key": keys.server.key,
        "client_ca": keys.ca.certificate})
    who = {"pair": keys.client, "ca": keys.ca} if credential == "certificate" else {}
    device = make_device(proxy, cid=cid, **who).connect()
    source = asleep(device, silent_backend)
    for turn in range(2):
        silent_backend.send(source, b"notification %d" % turn)
        assert device.recv() == b"notification %d" % turn
        assert asleep(device, silent_backend, b"report %d" % turn) == source
    assert len(silent_backend.received()) == 3
    assert proxy.sessions() == 1 and proxy.handshakes("established") == 1
    assert proxy.client_outcome("record_discarded") == 0


@pytest.mark.parametrize("own_bytes", [None, 0, 8])
def test_mbedtls_sleeps_between_requests(start_proxy, silent_backend, client, own_bytes):
    proxy = start_proxy(silent_backend)
    cid = None if own_bytes is None else bytes(range(own_bytes))
    program = client(MbedtlsClient.psk(proxy.address, IDENTITY, KEY, cid=cid, exchanges=3))
    for number in (1, 2, 3):
        arrival = silent_backend.wait_arrival(number)
        silent_backend.send(arrival.source, b"answer %d\n" % number)
    assert "answer 3\n" in program.wait_closed()
    proxy.wait_closed("closed_by_client")
    assert len(silent_backend.sources()) == 1


@pytest.mark.parametrize("kind", [OpensslClient, GnutlsClient])
def test_openssl_and_gnutls_sleep(start_proxy, silent_backend, client, kind):
    proxy = start_proxy(silent_backend)
    program = client(kind.psk(proxy.address, IDENTITY, KEY)).wait_ready()
    program.say("first")
    source = silent_backend.wait_for(b"first\n").source
    for turn in range(2):
        silent_backend.send(source, b"notification %d\n" % turn)
        program.expect("notification %d" % turn)
        program.say(f"line {turn}")
        assert silent_backend.wait_for(b"line %d\n" % turn).source == source
    status, output = program.close()
    assert status == 0, output
    proxy.wait_closed("closed_by_client")


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_observer_sleeps_until_there_is_news(start_proxy, coap_server, client, program):
    proxy = start_proxy(coap_server, psk={"coap": COAP_KEY.encode().hex()})

    def request(name, *options):
        return client(CoapClient(name, url(proxy.address, "example_data"), *options,
                                 identity="coap", key=COAP_KEY))
    observer = request(program, "-s", "20", "-w")
    proxy.wait_counter("dtlsgate_backend_datagrams_total", outcome="forwarded")
    for news in ("first news", "second news"):
        request(PROGRAMS[0], "-m", "put", "-e", news).answer()
        observer.expect(news)


# --- what happens to a sleeping one ---------------------------------------------------------------


@pytest.mark.parametrize("cid", [b"", b"\x01\x02\x03"], ids=["empty", "own"])
def test_a_device_that_moved_in_its_sleep(start_proxy, silent_backend, make_device, cid):
    proxy = start_proxy(silent_backend)
    device = make_device(proxy, cid=cid).connect()
    source = asleep(device, silent_backend)
    for turn, host in enumerate((None, own_address())):
        device.rebind(host)
        assert asleep(device, silent_backend, b"from elsewhere %d" % turn) == source
        proxy.count_of(MOVES, turn + 1)
        silent_backend.send(source, b"found you")
        assert device.recv() == b"found you"


def test_one_record_proves_no_address(start_proxy, silent_backend, make_device):
    """An address that has sent one record gets three times its bytes; with the second one it is proved
    (RFC 9146 section 6)."""
    proxy = start_proxy(silent_backend)
    device = make_device(proxy, cid=b"").connect()
    asleep(device, silent_backend)
    device.rebind()
    source = asleep(device, silent_backend, b"once")
    large = bytes(200)
    for number in (1, 2):
        silent_backend.send(source, large)
        proxy.expect_backend("address_unproved", number)
    asleep(device, silent_backend, b"twice")
    silent_backend.send(source, large)
    assert device.recv() == large


@CIDS
def test_a_device_that_rebooted(start_proxy, silent_backend, make_shim, make_device, cid):
    """At the same port: the new session takes the place of the old one, which stays silent."""
    proxy = start_proxy(silent_backend)
    shim = make_shim(proxy)
    device = make_device(shim, cid=cid).connect()
    old = asleep(device, silent_backend)
    device.forget()
    device.connect()
    proxy.wait_closed("replaced")
    new = asleep(device, silent_backend, b"rebooted")
    assert new != old and proxy.sessions() == 1
    Silence(proxy, shim, silent_backend).holds_for(old, "replaced")
    silent_backend.send(new, b"welcome back")
    assert device.recv() == b"welcome back"


@CIDS
def test_a_close_notify_is_answered(start_proxy, silent_backend, make_shim, make_device, cid):
    proxy = start_proxy(silent_backend)
    shim = make_shim(proxy)
    device = make_device(shim, cid=cid).connect()
    source = asleep(device, silent_backend)
    device.close()
    assert device.recv() == "closed"
    proxy.wait_closed("closed_by_client")
    assert proxy.sessions() == 0
    Silence(proxy, shim, silent_backend).holds_for(source, "closed_by_client")


@pytest.mark.parametrize("cid", [None, b""], ids=["none", "empty"])
def test_nothing_after_the_end_of_an_idle_session(start_proxy, silent_backend, make_shim,
                                                  make_device, cid):
    proxy = start_proxy(silent_backend,
                        listener={"idle_timeout": "1s", "idle_timeout_cid": "1s"})
    shim = make_shim(proxy)
    device = make_device(shim, cid=cid).connect()
    source = asleep(device, silent_backend)
    proxy.wait_closed("idle")
    assert device.recv() == "closed", "the end is told"
    Silence(proxy, shim, silent_backend).holds_for(source, "idle")


def test_the_gate_stops_while_all_sleep(start_proxy, backend, make_device):
    devices_count = max(24 // COUNT_DIVISOR, 6)
    proxy = start_proxy(backend, gate={"workers": 2})
    devices = [make_device(proxy, cid=None if n % 2 else b"") for n in range(devices_count)]
    for device in devices:
        device.connect().exchange(b"good night")
    proxy.stop()
    assert [device.recv() for device in devices] == ["closed"] * devices_count
    assert len(proxy.log_lines("session_closed", reason="shutdown")) == devices_count


# --- what strangers can do ------------------------------------------------------------------------


def turned(data, position):
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1:]


@CIDS
def test_a_forged_record_changes_nothing(start_proxy, silent_backend, make_shim, make_device, cid):
    """From the device's address, and with its connection ID from any other."""
    proxy = start_proxy(silent_backend)
    shim = make_shim(proxy)
    device = make_device(shim, cid=cid).connect()
    source = asleep(device, silent_backend)
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
        shim.send_to_gate(records.client_hello())  # answered without its session
        proxy.wait_outcome("cookie_sent", 2)
        stranger.setblocking(False)
        with pytest.raises(BlockingIOError):
            stranger.recv(1)
    silent_backend.send(source, b"nothing happened")
    assert device.recv() == b"nothing happened"
    assert proxy.counter(MOVES) == 0 and silent_backend.received() == [b"good night"]
