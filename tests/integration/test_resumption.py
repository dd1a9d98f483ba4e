"""Sessions that go on from earlier ones by a ticket, with clients of several libraries."""

import pytest

from clients.gnutls import GnutlsClient
from clients.mbedtls import MbedtlsClient
from clients.openssl import OpensslClient
from conftest import IDENTITY, KEY
from environment import wait_until

VERSIONS = pytest.mark.parametrize("version", ["1.2", "1.3"])
CREDENTIALS = pytest.mark.parametrize("credential", ["psk", "certificate"])
IDENTITIES = {"psk": IDENTITY, "certificate": "client"}


@pytest.fixture
def gate(start_proxy, keys):
    """A gate that takes PSK and certificates on one port."""
    def start(backend, **settings):
        listener = {"certificate": keys.server.certificate, "private_key": keys.server.key,
                    "client_ca": keys.ca.certificate, **settings.pop("listener", {})}
        return start_proxy(backend, listener=listener, **settings)
    return start


@pytest.fixture
def device(make_device, keys):
    def make(proxy, version, credential, **settings):
        pair = keys.client if credential == "certificate" else None
        options = ["--tickets", "--classic-groups", *settings.pop("options", ())]
        return make_device(proxy, version=version, pair=pair, options=options, **settings)
    return make


def resumed(proxy, **labels):
    return proxy.handshakes("established", resumed="yes", **labels)


def full(proxy, **labels):
    return proxy.handshakes("established", resumed="no", **labels)


def earn_ticket(device):
    """In 1.3 the ticket comes after the handshake."""
    device.connect()
    device.exchange(b"first")
    return device.keep()


@VERSIONS
@CREDENTIALS
def test_device_resumes_as_who_it_was(gate, backend, device, version, credential):
    proxy = gate(backend)
    one = device(proxy, version, credential)
    assert 0 < earn_ticket(one) < 400
    one.close()
    proxy.wait_closed("closed_by_client")
    one.resume()
    one.exchange(b"again")
    assert resumed(proxy, version=version, credential=credential) == 1
    assert full(proxy, version=version, credential=credential) == 1
    lines = proxy.log_lines("session_established")
    assert [line["resumed"] for line in lines] == ["no", "yes"]
    assert {line["identity"] for line in lines} == {IDENTITIES[credential]}
    assert {line["credential"] for line in lines} == {credential}
    old, new = backend.sources()
    assert old != new, "a resumed session is a new one to the backend"


@VERSIONS
def test_resumed_session_replaces_the_one_at_its_address(gate, backend, device, version):
    """A device that reboots but has kept its ticket."""
    proxy = gate(backend)
    one = device(proxy, version, "psk")
    earn_ticket(one)
    one.forget()
    one.resume()
    one.exchange(b"back")
    assert resumed(proxy) == 1 and proxy.closed("replaced") == 1 and proxy.sessions() == 1


@VERSIONS
@CREDENTIALS
def test_not_after_a_restart(gate, backend, device, version, credential):
    proxy = gate(backend)
    one = device(proxy, version, credential)
    earn_ticket(one)
    proxy.stop()
    proxy.start()
    one.resume()
    one.exchange(b"again")
    assert resumed(proxy) == 0
    assert full(proxy) == 1


@VERSIONS
def test_not_when_tickets_are_off(gate, backend, device, version):
    proxy = gate(backend, listener={"tickets": "off"})
    assert earn_ticket(device(proxy, version, "psk")) == 0
    assert full(proxy) == 1


@VERSIONS
def test_revoked_key_resumes_nothing(gate, backend, device, version):
    """A key that is taken out of psk_file, and the restart that takes it out of use."""
    proxy = gate(backend)
    one = device(proxy, version, "psk")
    earn_ticket(one)
    proxy.stop()
    psk_file = proxy.folder / "devices.psk"
    psk_file.write_text(psk_file.read_text().replace(f"{IDENTITY}:", f"#{IDENTITY}:"))
    proxy.start()
    with pytest.raises(AssertionError):
        one.resume(timeout_s=3)
    assert proxy.sessions() == 0 and proxy.handshakes("established") == 0


def openssl(proxy, keys, credential, *options):
    if credential == "psk":
        return OpensslClient(proxy.address, "-psk_identity", IDENTITY, "-psk", KEY, "-cipher",
                             "PSK-AES128-CCM8:@SECLEVEL=0", *options)
    return OpensslClient(proxy.address, "-CAfile", keys.ca.certificate, "-cert",
                         keys.client.certificate, "-key", keys.client.key, "-cipher",
                         "ECDHE-ECDSA-AES128-GCM-SHA256", *options)


@CREDENTIALS
def test_openssl(gate, backend, client, keys, tmp_path, credential):
    """Each time from another port, and so at another worker now and then."""
    proxy = gate(backend, gate={"workers": 4})
    session = tmp_path / "session.pem"
    again = 5
    for number, (option, word) in enumerate([("-sess_out", "New, "),
                                             *[("-sess_in", "Reused, ")] * again]):
        program = client(openssl(proxy, keys, credential, option, session)).wait_ready()
        program.expect(word)
        program.say(f"line {number}")
        wait_until(lambda: len(backend.received()) == number + 1, "the line at the backend")
        status, output = program.close()
        assert status == 0, output
        proxy.wait_closed("closed_by_client", number + 1)
    assert resumed(proxy, version="1.2", credential=credential) == again and full(proxy) == 1
    assert proxy.log_lines("session_established")[-1]["identity"] == IDENTITIES[credential]


@CREDENTIALS
def test_openssl_after_a_restart(gate, backend, client, keys, tmp_path, credential):
    proxy = gate(backend)
    session = tmp_path / "session.pem"
    client(openssl(proxy, keys, credential, "-sess_out", session)).wait_ready().close()
    proxy.stop()
    proxy.start()
    program = client(openssl(proxy, keys, credential, "-sess_in", session)).wait_ready()
    program.expect("New, ")
    assert resumed(proxy) == 0 and full(proxy, credential=credential) == 1
    assert program.close()[0] == 0


@CREDENTIALS
def test_gnutls(gate, backend, client, keys, credential):
    proxy = gate(backend)
    program = client(
        GnutlsClient.psk(proxy.address, IDENTITY, KEY, options=["-r"]) if credential == "psk" else
        GnutlsClient.certificate(proxy.address, keys, keys.client, options=["-r"]))
    program.expect("This is a resumed session")
    program.say("after")
    wait_until(lambda: backend.received() == [b"after\n"], "the line at the backend")
    status, output = program.close()
    assert status == 0, output
    assert resumed(proxy, version="1.2", credential=credential) == 1 and full(proxy) == 1


@CREDENTIALS
def test_mbedtls(gate, backend, client, keys, credential):
    proxy = gate(backend)
    program = client(
        MbedtlsClient.psk(proxy.address, IDENTITY, KEY, tickets=1, reconnect=2)
        if credential == "psk" else
        MbedtlsClient.certificate(proxy.address, keys, keys.client, tickets=1, reconnect=2))
    program.wait_closed()
    proxy.wait_closed("closed_by_client", 3)
    assert resumed(proxy, version="1.2", credential=credential) == 2 and full(proxy) == 1
