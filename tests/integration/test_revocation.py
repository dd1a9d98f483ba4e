"""Devices that can prove who they are, and are not served all the same: deny_file and crl_file."""

import re
import subprocess
import time
from datetime import datetime, timedelta, timezone

import pytest

from clients.gnutls import GnutlsClient
from clients.mbedtls import MbedtlsClient
from clients.openssl import OpensslClient
from conftest import IDENTITY, KEY
from environment import wait_until
from proxy import run_gate

VERSIONS = pytest.mark.parametrize("version", ["1.2", "1.3"])


def _openssl(*arguments, **more):
    return subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, **more).stdout


def _serial(pair):
    return _openssl("x509", "-in", pair.certificate, "-noout", "-serial").decode().strip().removeprefix("serial=")


def _key_hash(pair):
    """As docs/credentials.md tells operators to find it."""
    public = _openssl("x509", "-in", pair.certificate, "-noout", "-pubkey")
    der = _openssl("pkey", "-pubin", "-outform", "DER", input=public)
    return subprocess.run(["sha256sum"], input=der, check=True, capture_output=True).stdout.split()[0].decode()


def make_crl(folder, authority, revoked=(), begin=None, end=None):
    """The CRL of an authority, made by `openssl ca`, with the serials of these pairs."""
    def moment(seconds):
        return (datetime.now(timezone.utc) + timedelta(seconds=seconds)).strftime("%Y%m%d%H%M%SZ")
    name = authority.certificate.stem
    (folder / "index.txt").write_text("".join(
        f"R\t491231235959Z\t250101000000Z,keyCompromise\t{_serial(pair)}\tunknown\t/CN=x\n" for pair in revoked))
    (folder / "crlnumber").write_text("01\n")
    (folder / "crl.cnf").write_text(
        "[ca]\ndefault_ca = settings\n[settings]\ndatabase = index.txt\ncrlnumber = crlnumber\ndefault_md = sha256\n"
        "crl_extensions = extensions\n[extensions]\nauthorityKeyIdentifier = keyid\n")
    _openssl("ca", "-config", "crl.cnf", "-gencrl", "-cert", authority.certificate, "-keyfile", authority.key,
             "-crl_lastupdate", moment(begin or -3600), "-crl_nextupdate", moment(end or 3600),
             "-out", f"{name}.crl", cwd=folder)
    return folder / f"{name}.crl"


@pytest.fixture
def guarded(start_proxy, backend, keys):
    """guarded(crl_file=...) is a gate that takes PSK and certificates."""
    def start(**listener):
        return start_proxy(backend, psk={IDENTITY: KEY, "other": KEY}, listener={
            "certificate": keys.server.certificate, "private_key": keys.server.key,
            "client_ca": keys.ca.certificate, "handshake_timeout": "2s", "retransmit": "500ms", **listener})
    return start


def assert_refused(proxy, device, result, detail):
    handshake = device.handshake(1)
    if handshake.established:
        # In 1.3 the device has finished before the gate has seen its certificate.
        handshake = device.recv(1)
        assert handshake.startswith("failed") or handshake in ("closed", "timeout"), handshake
    proxy.wait_counter("dtlsgate_handshakes_total", 1, 5, result=result)
    assert proxy.sessions() == 0 and proxy.handshakes("established") == 0
    line = proxy.wait_log("handshake_failed", reason=result)
    assert line["detail"] == detail
    return line


# --- deny_file ---------------------------------------------------------------------------------


@pytest.fixture
def deny_file(tmp_path):
    def write(*lines):
        path = tmp_path / "deny"
        path.write_text("# lost\n" + "".join(f"{line}\n" for line in lines))
        return path
    return write


@VERSIONS
def test_a_denied_identity(guarded, make_device, deny_file, version):
    proxy = guarded(deny_file=deny_file(IDENTITY))
    line = assert_refused(proxy, make_device(proxy, version=version), "revoked", "it is in deny_file")
    assert line["identity"] == IDENTITY
    make_device(proxy, psk=("other", KEY), version=version).connect().exchange(b"not me")


@VERSIONS
@pytest.mark.parametrize("by", ["name", "key"])
def test_a_denied_certificate(guarded, make_device, deny_file, keys, version, by):
    proxy = guarded(deny_file=deny_file("client" if by == "name" else f"sha256:{_key_hash(keys.client)}"))
    device = make_device(proxy, pair=keys.client, ca=keys.ca, version=version)
    line = assert_refused(proxy, device, "revoked", "it is in deny_file")
    assert line["subject"] == "CN=client"
    make_device(proxy, psk=("other", KEY), version=version).connect().exchange(b"not me")


def test_denied_as_the_log_writes_it(start_proxy, backend, make_device, deny_file):
    """Copied out of the log as it stands there, quotes, escapes and all."""
    odd = 'a "b" \\ größe '
    proxy = start_proxy(backend, psk={odd: KEY})
    make_device(proxy, psk=(odd, KEY)).connect()
    proxy.wait_log("session_established")
    logged = next(line for line in proxy.log().splitlines() if "event=session_established" in line)
    copied = re.search(r' identity=("(?:[^"\\]|\\.)*")', logged)[1]
    again = start_proxy(backend, psk={odd: KEY}, listener={"deny_file": deny_file(copied)})
    assert not make_device(again, psk=(odd, KEY)).handshake(0.5).established
    again.wait_counter("dtlsgate_handshakes_total", 1, 5, result="revoked")


def test_a_bad_deny_file_is_told_with_its_line(make_proxy, backend, deny_file):
    proxy = make_proxy(backend, listener={"deny_file": deny_file("good", "sha256:1234")})
    result = proxy.check_config()
    assert result.returncode == 1
    assert "deny:3: sha256: must be followed by the 64 hexadecimal digits" in result.stderr


# --- crl_file ----------------------------------------------------------------------------------


@VERSIONS
def test_a_revoked_certificate(guarded, make_device, keys, tmp_path, version):
    proxy = guarded(crl_file=make_crl(tmp_path, keys.ca, [keys.client]))
    device = make_device(proxy, pair=keys.client, ca=keys.ca, version=version)
    line = assert_refused(proxy, device, "revoked", "it has been revoked")
    assert line["subject"] == "CN=client" and line["issuer"] == "CN=ca"
    make_device(proxy, psk=(IDENTITY, KEY), version=version).connect().exchange(b"not me")


@VERSIONS
def test_one_that_is_not_revoked(guarded, make_device, keys, tmp_path, version):
    proxy = guarded(crl_file=make_crl(tmp_path, keys.ca, [keys.expired]))
    make_device(proxy, pair=keys.client, ca=keys.ca, version=version).connect().exchange(b"me")


@pytest.mark.parametrize("library", ["openssl", "gnutls", "mbedtls"])
def test_revoked_devices_of_other_libraries(guarded, client, keys, tmp_path, library):
    proxy = guarded(crl_file=make_crl(tmp_path, keys.ca, [keys.client]))
    program = {"openssl": OpensslClient, "gnutls": GnutlsClient, "mbedtls": MbedtlsClient}[library]
    client(program.certificate(proxy.address, keys, keys.client))
    proxy.wait_counter("dtlsgate_handshakes_total", 1, 10, result="revoked")
    assert proxy.handshakes("established") == 0 and proxy.sessions() == 0


@VERSIONS
def test_a_crl_that_has_expired_lets_nobody_in(guarded, make_device, keys, tmp_path, version):
    proxy = guarded(crl_file=make_crl(tmp_path, keys.ca, end=-60))
    device = make_device(proxy, pair=keys.client, ca=keys.ca, version=version)
    assert_refused(proxy, device, "crl_expired", "the CRL of the CA that issued it has expired")
    make_device(proxy, psk=(IDENTITY, KEY), version=version).connect().exchange(b"by PSK")


@VERSIONS
def test_a_crl_that_expires_meanwhile(guarded, make_device, keys, tmp_path, version):
    """Sessions stay; neither a new device nor a ticket gets in."""
    proxy = guarded(crl_file=make_crl(tmp_path, keys.ca, end=5))
    before = make_device(proxy, pair=keys.client, ca=keys.ca, version=version).connect()
    before.exchange(b"in time")
    next_update = proxy.counter("dtlsgate_crl_next_update_timestamp_seconds")
    assert abs(next_update - time.time()) < 60
    wait_until(lambda: time.time() > next_update + 1, "the CRL to expire", 20)
    before.exchange(b"still here")
    late = make_device(proxy, pair=keys.client, ca=keys.ca, version=version)
    if late.handshake(1).established:
        late.recv(1)
    proxy.wait_counter("dtlsgate_handshakes_total", 1, 5, result="crl_expired")
    before.exchange(b"and still")
    assert proxy.sessions() == 1


def test_check_config_says_what_it_has_read(make_proxy, backend, keys, tmp_path, deny_file):
    proxy = make_proxy(backend, psk={IDENTITY: KEY, "other": KEY}, listener={
        "certificate": keys.server.certificate, "private_key": keys.server.key, "client_ca": keys.ca.certificate,
        "crl_file": make_crl(tmp_path, keys.ca, [keys.client]), "deny_file": deny_file("a", "b", "c")})
    said = proxy.check_config().stdout
    assert "devices.psk: 2 identities\n" in said
    assert "ca.pem: 1 CA\n" in said
    assert "CRL of CN=ca: 1 revoked, good until 2" in said
    assert "deny: 3 denied devices\n" in said


def test_a_ca_without_a_crl_is_an_error(make_proxy, backend, keys, tmp_path):
    proxy = make_proxy(backend, listener={
        "certificate": keys.server.certificate, "private_key": keys.server.key, "client_ca": keys.ca.certificate,
        "crl_file": make_crl(tmp_path, keys.stranger_ca)})
    result = run_gate("-c", proxy.config_path)
    assert result.returncode == 1
    assert "there is no CRL of CN=ca, a CA of client_ca" in result.stderr


# --- several files -----------------------------------------------------------------------------


def test_several_psk_files(start_proxy, backend, make_device, tmp_path):
    more = tmp_path / "more.psk"
    more.write_text(f"beside:{KEY}\n")
    more.chmod(0o600)
    proxy = start_proxy(backend, psk={IDENTITY: KEY}, listener={"psk_file": f"devices.psk, {more}"})
    make_device(proxy, psk=(IDENTITY, KEY)).connect().exchange(b"of the first")
    make_device(proxy, psk=("beside", KEY)).connect().exchange(b"of the second")
    assert proxy.log_lines("listening")[0]["psk_identities"] == "2"
    more.write_text(f"{IDENTITY}:{KEY}\n")
    result = proxy.check_config()
    assert result.returncode == 1
    assert f"{more}:1: repeats the identity of" in result.stderr and "devices.psk:1;" in result.stderr
