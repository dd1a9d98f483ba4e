"""Clients of other libraries that have nothing in common with the gate, or give up: the log says why,
and what they offered."""

import pytest

from clients.gnutls import GnutlsClient
from clients.mbedtls import MbedtlsClient
from clients.openssl import OpensslClient
from conftest import IDENTITY, KEY


def openssl(*options):
    return lambda proxy, keys: OpensslClient(proxy.address, *options)


def openssl_certificate(*options):
    return lambda proxy, keys: OpensslClient(
        proxy.address, "-cert", keys.client.certificate, "-key", keys.client.key, *options)


def gnutls(priority):
    return lambda proxy, keys: GnutlsClient(
        proxy.address, priority, "--pskusername", IDENTITY, "--pskkey", KEY)


def mbedtls(suite):
    return lambda proxy, keys: MbedtlsClient.psk(proxy.address, IDENTITY, KEY, suite=suite)


ECDSA = ["-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"]
CASES = [
    ("openssl cbc", openssl("-psk_identity", IDENTITY, "-psk", KEY, "-cipher",
                            "PSK-AES128-CBC-SHA256"),
     "no_common_suite", "no cipher suite in common", "suites:TLS_PSK_WITH_AES_128_CBC_SHA256,"),
    ("openssl group", openssl_certificate("-groups", "X448", *ECDSA),
     "no_common_suite", "no group in common", "groups:x448 "),
    ("gnutls suite", gnutls("+AES-256-CCM:+PSK"),
     "no_common_suite", "no cipher suite in common", "suites:TLS_PSK_WITH_AES_256_CCM"),
    ("gnutls group", gnutls("+AES-128-GCM:+ECDHE-ECDSA:-GROUP-ALL:+GROUP-X448"),
     "no_common_suite", "no group in common", "groups:x448 "),
    ("mbedtls suite", mbedtls("TLS-PSK-WITH-AES-128-CBC-SHA256"),
     "no_common_suite", "no cipher suite in common", "suites:TLS_PSK_WITH_AES_128_CBC_SHA256"),
    ("no certificate", openssl(*ECDSA), "no_certificate", None,
     "suites:TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,"),
]


@pytest.mark.parametrize("make, reason, detail, offered", [case[1:] for case in CASES],
                         ids=[case[0] for case in CASES])
def test_reason_of_other_clients(start_proxy, backend, keys, client, make, reason, detail, offered):
    proxy = start_proxy(backend, listener={
        "certificate": keys.server.certificate, "private_key": keys.server.key,
        "client_ca": keys.ca.certificate})
    client(make(proxy, keys))
    line = proxy.wait_log("handshake_failed", timeout_s=10)
    assert line["reason"] == reason, line
    assert detail is None or line["detail"].startswith(detail), line
    assert offered in line["offered"] and line["offered"].startswith("versions:1.2 "), line


def test_alert_of_a_client_that_does_not_trust_the_gate(start_proxy, backend, keys, client):
    """It is in plaintext, and believed when nothing follows for 10 s."""
    proxy = start_proxy(backend, listener={
        "certificate": keys.server.certificate, "private_key": keys.server.key,
        "client_ca": keys.ca.certificate})
    client(OpensslClient(proxy.address, "-verify_return_error", "-CAfile", keys.stranger.certificate,
                         *ECDSA))
    assert proxy.wait_log("handshake_stalled", reason="client_alert")["detail"] == "unknown_ca"
    line = proxy.wait_log("handshake_failed", timeout_s=20)
    assert (line["reason"], line["detail"], line["flight"], line["sent"]) == (
        "client_alert", "unknown_ca", "4", "1"), line
