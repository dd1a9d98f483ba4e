"""Keys are not in a core dump of a running gate."""

import hashlib
import os
import re
import shutil
import ssl
import subprocess

import pytest

import core_dump
from environment import IS_SANITIZED
from keys import Pair

KINDS = {
    "P-256": ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "P-384": ["EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
    "RSA": ["RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    "Ed25519": ["ED25519"],
}
PUBLIC = ("pub", "modulus")


def secret_numbers(key):
    """{name: big-endian bytes} of what is secret in a private key, and is as good as it."""
    text = subprocess.run(["openssl", "pkey", "-in", str(key), "-noout", "-text"], check=True,
                          capture_output=True, text=True).stdout
    numbers = {name: bytes.fromhex(re.sub(r"[\s:]", "", value)).lstrip(b"\0")
               for name, value in re.findall(r"^(\w+):\n((?:    [0-9a-f:]+\n)+)", text, re.M)
               if name not in PUBLIC}
    if text.startswith("ED25519"):  # RFC 8032 section 5.1.5
        digest = bytearray(hashlib.sha512(numbers["priv"]).digest())
        digest[0] &= 248
        digest[31] = digest[31] & 63 | 64
        numbers |= {"scalar": bytes(digest[:32]), "prefix": bytes(digest[32:])}
    return numbers


def needles_of(secrets):
    """Each half of each, as bytes and as the little-endian words of a big number."""
    return {f"{name} {order}, {half} half": data
            for name, secret in secrets.items()
            for order, whole in (("as bytes", secret), ("as words", secret[::-1]))
            for half, data in (("first", whole[:len(whole) // 2]), ("last", whole[len(whole) // 2:]))}


@pytest.fixture(params=KINDS)
def pair(request, tmp_path):
    key, certificate = tmp_path / "server.key", tmp_path / "server.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", *KINDS[request.param], "-nodes", "-days",
                    "30", "-subj", "/CN=gate", "-keyout", key, "-out", certificate],
                   check=True, capture_output=True)
    os.chmod(key, 0o600)
    return Pair(certificate, key)


@pytest.mark.skipif(IS_SANITIZED, reason="sanitizers keep memory that was given back")
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_keys_of_files_are_in_no_core_dump(start_proxy, backend, make_device, pair, version):
    """Nor would they be if the process had not asked for dumps without memory."""
    psks = {"device1": os.urandom(32).hex(), "device2": os.urandom(16).hex()}
    proxy = start_proxy(backend, psk=psks, listener={
        "certificate": pair.certificate, "private_key": pair.key, "client_auth": "none"})
    for turn in range(3):
        make_device(proxy, anonymous=True, version=version).connect().exchange(b"certificate")
        make_device(proxy, psk=("device1", psks["device1"]),
                    version=version).connect().exchange(b"psk %d" % turn)
    secrets = secret_numbers(pair.key)
    assert len(secrets) in (1, 3, 6)
    secrets |= {name: bytes.fromhex(key) for name, key in psks.items()}
    pid = proxy.process.pid
    assert core_dump.find(pid, {"a setting": str(pair.certificate).encode()}, with_filter=False), \
        "what is not secret is found"
    assert core_dump.find(pid, needles_of(secrets), with_filter=False) == {}


def test_a_core_dump_holds_no_memory_at_all(start_proxy, backend, make_device):
    """So neither the keys of sessions, nor what is on a stack for the moment of a signature."""
    proxy = start_proxy(backend)
    make_device(proxy).connect().exchange(b"session")
    # One is enough, and a sanitizer has some of terabytes.
    assert next(core_dump.dumped(proxy.process.pid, with_filter=False), None)
    assert not list(core_dump.dumped(proxy.process.pid, with_filter=True))


# Version, cipher suite, whether the device has a PSK.
SESSIONS = [("1.2", "PSK-AES128-CCM-8", True), ("1.2", "ECDHE-ECDSA-AES256-GCM-SHA384", False),
            ("1.2", "ECDHE-ECDSA-CHACHA20-POLY1305", False),
            ("1.3", "TLS13-AES128-GCM-SHA256", True), ("1.3", "TLS13-AES128-GCM-SHA256", False),
            ("1.3", "TLS13-CHACHA20-POLY1305-SHA256", False)]


def keys_of_session(proxy, device, certificate):
    """What the gate has in memory of its own and the device has too: traffic keys, secrets, the
    PSK. Neither tells; but nothing else is random and known to both, but what is public."""
    der = ssl.PEM_cert_to_DER_cert(certificate.read_text())
    shared = (core_dump.pieces_left_out(proxy.process.pid) &
              core_dump.pieces_on_heap(device.pid)) - core_dump.pieces(der)
    words = b"expa", b"nd 3", b"2-by", b"te k"  # ChaCha20's constant, RFC 8439 section 2.3
    return {piece for piece in shared if not any(word in piece for word in words)}


@pytest.mark.skipif(IS_SANITIZED, reason="the leak sanitizer and a debugger exclude each other")
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("gdb"), reason="needs root and gdb")
@pytest.mark.parametrize("version, suite, has_psk", SESSIONS)
def test_keys_of_sessions_are_in_no_core_dump(start_proxy, backend, make_device, keys, tmp_path,
                                              version, suite, has_psk):
    """Nor would they be if the process had not asked for dumps without memory."""
    proxy = start_proxy(backend, listener={
        "certificate": keys.server.certificate, "private_key": keys.server.key,
        "client_auth": "none"})
    device = make_device(proxy, version=version, anonymous=not has_psk,
                         options=["--ciphers", suite]).connect()
    for turn in range(3):
        device.exchange(b"turn %d" % turn)
    secrets = keys_of_session(proxy, device, keys.server.certificate)
    assert len(secrets) >= 2, "a key for each direction"
    pid, path = proxy.process.pid, tmp_path / "core"
    for settings in (), core_dump.EVERYTHING:
        core = core_dump.gcore(pid, path, settings)
        assert not [secret.hex() for secret in secrets if secret in core], settings
    assert str(keys.server.certificate).encode() in core, "what is not secret is found"
    device.exchange(b"it goes on")
