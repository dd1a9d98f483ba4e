"""Every kind of client, end to end: its bytes reach the backend and the answer comes back."""

import pytest

from clients.gnutls import GnutlsClient
from clients.libcoap import PROGRAMS, CoapClient, url
from clients.mbedtls import MbedtlsClient
from clients.openssl import OpensslClient
from conftest import IDENTITY, KEY
from environment import own_address

COAP_KEY = "a-text-taken-as-key"
SERVER_TEXT = "This is a test server made with libcoap"


@pytest.fixture
def answering_backend(make_backend):
    return make_backend(answer=lambda data: b"answer to " + data)


@pytest.fixture
def certificate_proxy(start_proxy, keys):
    """A gate that takes PSK and certificates on one port."""
    def start(backend, **listener):
        return start_proxy(backend, psk={IDENTITY: KEY, "coap": COAP_KEY.encode().hex()}, listener={
            "certificate": keys.server.certificate, "private_key": keys.server.key,
            "client_ca": keys.ca.certificate, **listener})
    return start


def assert_established(proxy, version, credential, identity, suite=None):
    line = proxy.wait_log("session_established")
    assert line["listener"] == "coaps" and line["version"] == version
    assert line["credential"] == credential and line["identity"] == identity
    assert suite is None or line["suite"] == suite
    assert proxy.handshakes("established", version=version, credential=credential) == 1
    assert proxy.counter("dtlsgate_handshake_seconds_count") == 1


def talk_and_close(proxy, backend, program):
    """What every client program does: a line there, the answer back, a goodbye."""
    program.say("first line")
    program.expect("answer to first line")
    program.say("second")
    program.expect("answer to second")
    assert backend.received() == [b"first line\n", b"second\n"]
    assert len(backend.sources()) == 1
    status, output = program.close()
    assert status == 0, output
    proxy.wait_closed("closed_by_client")
    line = proxy.wait_log("session_closed")
    assert line["reason"] == "closed_by_client"
    assert proxy.sessions() == 0


@pytest.mark.parametrize("cipher, suite", [
    ("PSK-AES128-CCM8", "TLS_PSK_WITH_AES_128_CCM_8"),
    ("PSK-AES128-CCM", "TLS_PSK_WITH_AES_128_CCM"),
    ("PSK-AES128-GCM-SHA256", "TLS_PSK_WITH_AES_128_GCM_SHA256"),
])
def test_openssl_psk(certificate_proxy, answering_backend, client, cipher, suite):
    proxy = certificate_proxy(answering_backend)
    program = client(OpensslClient.psk(proxy.address, IDENTITY, KEY, cipher)).wait_ready()
    assert_established(proxy, "1.2", "psk", IDENTITY, suite)
    talk_and_close(proxy, answering_backend, program)


@pytest.mark.parametrize("cipher, suite", [
    ("ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    ("ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
    ("ECDHE-ECDSA-AES128-CCM", "TLS_ECDHE_ECDSA_WITH_AES_128_CCM"),
    ("ECDHE-ECDSA-AES128-CCM8:@SECLEVEL=0", "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8"),
])
def test_openssl_client_certificate(certificate_proxy, answering_backend, client, keys, cipher,
                                    suite):
    proxy = certificate_proxy(answering_backend)
    program = client(OpensslClient.certificate(proxy.address, keys, keys.client, cipher))
    program.wait_ready()
    assert_established(proxy, "1.2", "certificate", "client", suite)
    talk_and_close(proxy, answering_backend, program)


def test_openssl_with_an_rsa_server(certificate_proxy, answering_backend, client, keys):
    proxy = certificate_proxy(answering_backend, certificate=keys.rsa_server.certificate,
                              private_key=keys.rsa_server.key)
    program = client(OpensslClient.certificate(proxy.address, keys, keys.client,
                                               "ECDHE-RSA-AES128-GCM-SHA256")).wait_ready()
    assert_established(proxy, "1.2", "certificate", "client",
                       "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")
    talk_and_close(proxy, answering_backend, program)


def test_openssl_without_a_client_certificate(certificate_proxy, answering_backend, client, keys):
    proxy = certificate_proxy(answering_backend, client_auth="none", client_ca=None)
    program = client(OpensslClient.certificate(proxy.address, keys)).wait_ready()
    assert proxy.wait_log("session_established")["credential"] == "none"
    talk_and_close(proxy, answering_backend, program)


@pytest.mark.parametrize("cipher", ["AES-128-CCM-8", "AES-128-GCM"])
def test_gnutls_psk(certificate_proxy, answering_backend, client, cipher):
    proxy = certificate_proxy(answering_backend)
    program = client(GnutlsClient.psk(proxy.address, IDENTITY, KEY, cipher)).wait_ready()
    assert_established(proxy, "1.2", "psk", IDENTITY)
    talk_and_close(proxy, answering_backend, program)


@pytest.mark.parametrize("cipher", ["AES-128-GCM", "CHACHA20-POLY1305", "AES-128-CCM-8"])
def test_gnutls_client_certificate(certificate_proxy, answering_backend, client, keys, cipher):
    proxy = certificate_proxy(answering_backend)
    program = client(GnutlsClient.certificate(proxy.address, keys, keys.client, cipher))
    program.wait_ready()
    assert_established(proxy, "1.2", "certificate", "client")
    talk_and_close(proxy, answering_backend, program)


def exchange_with_mbedtls(proxy, backend, program, exchanges):
    """The backend answers each request of an Mbed TLS client, until the client closes."""
    for number in range(1, exchanges + 1):
        arrival = backend.wait_arrival(number)
        assert arrival.data.startswith(b"GET / HTTP/1.0\r\n") and arrival.data.endswith(b"\r\n")
        backend.send(arrival.source, b"answer %d\n" % number)
    assert f"answer {exchanges}\n" in program.wait_closed()
    proxy.wait_closed("closed_by_client")


@pytest.mark.parametrize("suite", [
    "TLS-PSK-WITH-AES-128-CCM-8", "TLS-PSK-WITH-AES-128-CCM", "TLS-PSK-WITH-AES-128-GCM-SHA256"])
def test_mbedtls_psk(certificate_proxy, silent_backend, client, suite):
    proxy = certificate_proxy(silent_backend)
    program = client(MbedtlsClient.psk(proxy.address, IDENTITY, KEY, suite, exchanges=3))
    exchange_with_mbedtls(proxy, silent_backend, program, 3)
    assert_established(proxy, "1.2", "psk", IDENTITY, suite.replace("-", "_"))
    assert len(silent_backend.sources()) == 1


@pytest.mark.parametrize("suite", [
    "TLS-ECDHE-ECDSA-WITH-AES-128-CCM-8", "TLS-ECDHE-ECDSA-WITH-AES-128-GCM-SHA256",
    "TLS-ECDHE-ECDSA-WITH-CHACHA20-POLY1305-SHA256"])
def test_mbedtls_client_certificate(certificate_proxy, silent_backend, client, keys, suite):
    proxy = certificate_proxy(silent_backend)
    program = client(MbedtlsClient.certificate(proxy.address, keys, keys.client, suite))
    exchange_with_mbedtls(proxy, silent_backend, program, 1)
    assert_established(proxy, "1.2", "certificate", "client")


@pytest.mark.parametrize("credential", ["psk", "certificate"])
def test_mbedtls_with_little_room(certificate_proxy, silent_backend, client, keys, credential):
    """Its flights come in datagrams of at most 512 bytes, and its requests are as long as fits."""
    proxy = certificate_proxy(silent_backend)
    room = {"mtu": 512, "max_frag_len": 512, "request_bytes": 450, "exchanges": 2}
    program = client(
        MbedtlsClient.psk(proxy.address, IDENTITY, KEY, **room) if credential == "psk" else
        MbedtlsClient.certificate(proxy.address, keys, keys.client, **room))
    exchange_with_mbedtls(proxy, silent_backend, program, 2)
    assert [len(data) for data in silent_backend.received()] == [450, 450]


def test_mbedtls_that_reboots_on_its_port(certificate_proxy, silent_backend, client):
    proxy = certificate_proxy(silent_backend)
    program = client(MbedtlsClient.psk(proxy.address, IDENTITY, KEY, reconnect_hard=True))
    exchange_with_mbedtls(proxy, silent_backend, program, 2)
    assert proxy.handshakes("established") == 2 and proxy.closed("replaced") == 1
    old, new = silent_backend.sources()
    assert old[0] != new[0], "the new session has an address of its own"


@pytest.fixture
def coap(certificate_proxy, coap_server, client, keys):
    """coap(program, path, options...): one request of device "coap" through the gate."""
    proxy = certificate_proxy(coap_server)

    def request(program, path, *options, **credentials):
        if not credentials:
            credentials = {"identity": "coap", "key": COAP_KEY}
        return client(CoapClient(program, url(proxy.address, path), *options, **credentials))
    request.proxy, request.keys = proxy, keys
    return request


@pytest.mark.parametrize("program", PROGRAMS)
def test_libcoap_get(coap, program):
    assert SERVER_TEXT in coap(program, "").answer()
    coap.proxy.wait_closed("closed_by_client")


@pytest.mark.parametrize("program", PROGRAMS)
def test_libcoap_get_with_a_certificate(coap, program):
    answer = coap(program, "", keys=coap.keys, pair=coap.keys.client).answer()
    assert SERVER_TEXT in answer
    assert_established(coap.proxy, "1.2", "certificate", "client")


@pytest.mark.parametrize("program", PROGRAMS)
def test_libcoap_blockwise_put_and_get(coap, program, tmp_path):
    body = "".join(f"line {number} of a body in many blocks\n" for number in range(40))
    (tmp_path / "body").write_text(body)
    coap(program, "example_data", "-m", "put", "-b", "64", "-f", tmp_path / "body").answer()
    assert body in coap(program, "example_data", "-b", "128").answer()
    # One request for each block.
    coap.proxy.wait_outcome("forwarded", len(body) / 64 + len(body) / 128)


@pytest.mark.parametrize("program", PROGRAMS)
def test_libcoap_observe(coap, program):
    observer = coap(program, "example_data", "-s", "20", "-w")
    coap.proxy.wait_counter("dtlsgate_backend_datagrams_total", outcome="forwarded")
    # A second device changes the resource: the server tells the first one on its own.
    for news in ("first news", "second news"):
        coap(PROGRAMS[0], "example_data", "-m", "put", "-e", news).answer()
        observer.expect(news)


DEVICE_SUITES = [
    ("1.2", "psk", "PSK-AES128-CCM-8"),
    ("1.2", "psk", "PSK-AES128-CCM"),
    ("1.2", "psk", "PSK-AES128-GCM-SHA256"),
    ("1.2", "certificate", "ECDHE-ECDSA-AES128-CCM-8"),
    ("1.2", "certificate", "ECDHE-ECDSA-AES128-GCM-SHA256"),
    ("1.3", "psk", "TLS13-AES128-GCM-SHA256"),
    ("1.3", "psk", "TLS13-AES128-CCM-SHA256"),
    ("1.3", "psk", "TLS13-AES128-CCM-8-SHA256"),
    ("1.3", "psk", "TLS13-CHACHA20-POLY1305-SHA256"),
    ("1.3", "certificate", "TLS13-AES128-GCM-SHA256"),
    ("1.3", "certificate", "TLS13-CHACHA20-POLY1305-SHA256"),
]


@pytest.mark.parametrize("version, credential, suite", DEVICE_SUITES)
def test_wolfssl_device(certificate_proxy, backend, make_device, keys, version, credential, suite):
    proxy = certificate_proxy(backend)
    who = {"pair": keys.client, "ca": keys.ca} if credential == "certificate" else {}
    device = make_device(proxy, version=version, options=["--ciphers", suite], **who)
    device.connect()
    device.exchange(b"there and back")
    identity = "client" if credential == "certificate" else IDENTITY
    assert_established(proxy, version, credential, identity)
    device.close()
    assert device.recv() == "closed", "close_notify is answered"
    proxy.wait_closed("closed_by_client")


@pytest.mark.parametrize("options", [
    ["--no-ems"], ["--sni", "127.0.0.1"], ["--sni", "gate.example"], ["--mtu", "400"],
    ["--classic-groups"],
], ids=lambda options: options[0].strip("-") + options[-1].strip("-"))
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_odd_devices_are_served(certificate_proxy, backend, make_device, keys, version, options):
    if version == "1.3" and options == ["--no-ems"]:
        options = ["--no-key-share"]  # 1.3 has no such extension, but hellos without a share
    proxy = certificate_proxy(backend)
    device = make_device(proxy, version=version, pair=keys.client, ca=keys.ca, options=options)
    device.connect().exchange(b"odd but welcome")


def test_a_device_of_both_versions_gets_the_newer(certificate_proxy, backend, make_device, keys):
    proxy = certificate_proxy(backend)
    device = make_device(proxy, version="any", pair=keys.client, ca=keys.ca)
    device.connect().exchange(b"newer")
    assert_established(proxy, "1.3", "certificate", "client")


def test_a_listener_of_one_version_serves_only_that(certificate_proxy, backend, make_device, keys):
    proxy = certificate_proxy(backend, versions="1.2")
    make_device(proxy, version="any", pair=keys.client, ca=keys.ca).connect().exchange(b"older")
    assert_established(proxy, "1.2", "certificate", "client")
    assert not make_device(proxy, version="1.3").handshake(1).established
    make_device(proxy, version="1.2").connect().exchange(b"still there")


def test_two_listeners_with_backends_of_their_own(make_proxy, make_backend, make_device):
    first, second = make_backend(), make_backend()
    other = (own_address(), 5684)
    proxy = make_proxy(first, listeners={"other": {
        "listen": "%s:%d" % other, "backend": second.text, "psk_file": "devices.psk"}}).start()
    make_device(proxy).connect().exchange(b"to the first")
    make_device(other).connect().exchange(b"to the second")
    assert first.received() == [b"to the first"] and second.received() == [b"to the second"]
    counters = proxy.counters()
    for listener in ("coaps", "other"):
        assert counters.get("dtlsgate_sessions", listener=listener) == 1
        assert counters.get("dtlsgate_client_datagrams_total", listener=listener,
                            outcome="forwarded") == 1
