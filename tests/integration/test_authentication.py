"""Who may enter, and what the log says about those who may not."""

import calendar
import subprocess
import time

import pytest

from clients.gnutls import GnutlsClient
from clients.libcoap import PROGRAMS, CoapClient, url
from clients.openssl import OpensslClient
from conftest import IDENTITY, KEY
from environment import TIME_FACTOR, wait_until

WRONG_KEY = "00112233445566778899aabbccddeef0"
VERSIONS = pytest.mark.parametrize("version", ["1.2", "1.3"])

# A device with a wrong key is told apart at the latest when its handshake times out (2 s).
PATIENCE_S = 5.0


@pytest.fixture
def guarded(start_proxy, backend, keys):
    """guarded(client_auth) is a gate that takes PSK and certificates."""
    def start(client_auth="required", **listener):
        return start_proxy(backend, listener={
            "certificate": keys.server.certificate, "private_key": keys.server.key,
            "client_ca": keys.ca.certificate, "client_auth": client_auth,
            "handshake_timeout": "2s", "retransmit": "500ms", **listener})
    return start


def assert_refused(proxy, device, result):
    """No session; counted and logged under the reason class."""
    handshake = device.handshake(1)
    if handshake.established:
        # In 1.3 the device has finished before the gate has seen its certificate.
        handshake = device.recv(1)
        assert handshake.startswith("failed") or handshake in ("closed", "timeout"), handshake
    proxy.wait_counter("dtlsgate_handshakes_total", 1, PATIENCE_S, result=result)
    assert proxy.sessions() == 0
    assert proxy.handshakes("established") == 0
    line = proxy.wait_log("handshake_failed", reason=result)
    assert line["listener"] == "coaps" and line["client"] == device.local_text
    assert proxy.log_lines("session_established") == []
    return line


@VERSIONS
def test_unknown_identity(guarded, make_device, version):
    proxy = guarded()
    line = assert_refused(proxy, make_device(proxy, psk=("stranger", KEY), version=version),
                          "unknown_identity")
    assert line["identity"] == "stranger", "the operator learns whom to enrol"


@VERSIONS
def test_wrong_key(guarded, make_device, version):
    proxy = guarded()
    line = assert_refused(proxy, make_device(proxy, psk=(IDENTITY, WRONG_KEY), version=version),
                          "wrong_key")
    assert line["identity"] == IDENTITY
    assert WRONG_KEY not in proxy.log() and KEY not in proxy.log()


@VERSIONS
def test_a_wrong_key_is_no_endless_conversation(guarded, make_shim, make_device, version):
    """Both sides repeat their flights; if each did so whenever the other does, a device with a
    wrong key and the gate would fill the network."""
    proxy = guarded()
    shim = make_shim(proxy)
    assert not make_device(shim, psk=(IDENTITY, WRONG_KEY), version=version).handshake(3).established
    proxy.wait_counter("dtlsgate_handshakes_total", result="wrong_key")
    assert len(shim.to_device()) < 30, f"{len(shim.to_device())} datagrams to the device"


def test_wrong_key_of_other_clients(guarded, client):
    proxy = guarded()
    client(OpensslClient.psk(proxy.address, IDENTITY, WRONG_KEY))
    client(GnutlsClient.psk(proxy.address, IDENTITY, WRONG_KEY))
    for program in PROGRAMS:
        client(CoapClient(program, url(proxy.address), identity=IDENTITY, key="wrong"))
    proxy.wait_counter("dtlsgate_handshakes_total", 4, 10, result="wrong_key")
    assert proxy.sessions() == 0


@pytest.mark.parametrize("cipher", ["PSK-AES128-CBC-SHA256", "PSK-AES256-GCM-SHA384"])
def test_no_common_suite(guarded, client, cipher):
    proxy = guarded()
    program = client(OpensslClient.psk(proxy.address, IDENTITY, KEY, cipher))
    proxy.wait_log("handshake_failed", reason="no_common_suite")
    proxy.wait_counter("dtlsgate_handshakes_total", result="no_common_suite")
    status, _ = program.wait_end()
    assert status != 0


def test_suites_of_the_listener_only(guarded, make_device, client):
    proxy = guarded(ciphers="PSK-AES128-CCM-8")
    make_device(proxy, options=["--ciphers", "PSK-AES128-CCM-8"]).connect().exchange(b"known")
    client(OpensslClient.psk(proxy.address, IDENTITY, KEY, "PSK-AES128-GCM-SHA256"))
    proxy.wait_counter("dtlsgate_handshakes_total", result="no_common_suite")


def test_no_common_version(guarded, make_device):
    proxy = guarded(versions="1.3")
    device = make_device(proxy, version="1.2")
    assert not device.handshake(0.5).established
    refused = ("hello_ignored", "handshake_failed")
    wait_until(lambda: sum(proxy.client_outcome(outcome) for outcome in refused) >= 1,
               "the refusal to be counted")
    assert proxy.sessions() == 0


@VERSIONS
@pytest.mark.parametrize("who", ["stranger", "expired"])
@pytest.mark.parametrize("client_auth", ["required", "optional"])
def test_a_certificate_that_is_not_accepted(guarded, make_device, keys, version, who, client_auth):
    proxy = guarded(client_auth)
    device = make_device(proxy, pair=getattr(keys, who), ca=keys.ca, version=version)
    line = assert_refused(proxy, device, "certificate_rejected")
    assert line["detail"] == {"stranger": "its issuer is not in client_ca",
                              "expired": "it has expired"}[who]
    assert line["subject"].startswith("CN=") and line["issuer"].startswith("CN=")
    assert line["serial"] and line["not_after"].endswith("Z"), f"the line says which: {line}"


def test_the_expiry_of_certificates_is_a_metric(guarded, keys):
    proxy = guarded()
    for file, pair in {"certificate": keys.server, "client_ca": keys.ca}.items():
        text = subprocess.run(["openssl", "x509", "-noout", "-enddate", "-in", pair.certificate], check=True,
                              capture_output=True, text=True).stdout
        end = calendar.timegm(time.strptime(text.strip(), "notAfter=%b %d %H:%M:%S %Y GMT"))
        assert proxy.counter("dtlsgate_certificate_not_after_timestamp_seconds", file=file) == end


@VERSIONS
def test_no_certificate_where_one_is_required(guarded, make_device, keys, version):
    proxy = guarded()
    assert_refused(proxy, make_device(proxy, anonymous=True, ca=keys.ca, version=version),
                   "no_certificate")


@VERSIONS
@pytest.mark.parametrize("client_auth", ["optional", "none"])
def test_no_certificate_where_none_is_required(guarded, make_device, keys, version, client_auth):
    proxy = guarded(client_auth)
    device = make_device(proxy, anonymous=True, ca=keys.ca, version=version).connect()
    device.exchange(b"anonymous")
    line = proxy.wait_log("session_established")
    assert line["credential"] == "none" and not line.get("identity")
    assert proxy.handshakes("established", credential="none") == 1
    warnings = [line for line in proxy.log_lines(level="warning") if "client_auth" in str(line)]
    assert warnings, "the operator is told who may enter"


@VERSIONS
def test_a_certificate_where_it_is_optional(guarded, make_device, keys, version):
    proxy = guarded("optional")
    make_device(proxy, pair=keys.client, ca=keys.ca, version=version).connect().exchange(b"me")
    assert proxy.wait_log("session_established")["identity"] == "client"
    assert proxy.handshakes("established", credential="certificate") == 1


def test_a_psk_client_that_also_offers_certificate_suites(guarded, client):
    """Such a client must never end up in a session that authenticated nobody."""
    proxy = guarded()
    client(OpensslClient(proxy.address, "-psk_identity", IDENTITY, "-psk", KEY))
    proxy.wait_counter("dtlsgate_handshakes_total", timeout_s=PATIENCE_S)
    for line in proxy.log_lines("session_established"):
        assert line["credential"] == "psk", line
    assert proxy.handshakes("established", credential="none") == 0


def test_the_port_is_open_for_good_devices_meanwhile(guarded, make_device, keys):
    proxy = guarded()
    for number in range(5):
        make_device(proxy, psk=(f"stranger{number}", KEY)).handshake(0.2)
        make_device(proxy, anonymous=True, ca=keys.ca).handshake(0.2)
        make_device(proxy).connect().exchange(b"good %d" % number)
    assert proxy.sessions() == 5


def test_a_flood_of_failures_does_not_flood_the_log(guarded, make_device):
    """Every failure is counted; the log shows some, and how many lines it held back."""
    attempts = 300
    proxy = guarded()
    device = make_device(proxy, psk=(IDENTITY, WRONG_KEY), version="1.3")
    for _ in range(attempts):
        assert device.handshake().word == "failed"
    proxy.wait_counter("dtlsgate_handshakes_total", attempts, result="wrong_key")

    def all_told():
        shown = len(proxy.log_lines("handshake_failed"))
        held_back = sum(int(line["lines"]) for line in proxy.log_lines("log_suppressed"))
        return shown + held_back == attempts and shown
    shown = wait_until(all_told, "shown and held back lines to add up")
    assert shown < attempts / 2 * TIME_FACTOR
