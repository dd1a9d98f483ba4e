"""state_file: sessions go on after a stop and a start that share nothing but a file; and a file is used once."""

import os
import signal
import socket
import subprocess

import pytest

from conftest import IDENTITY, KEY
from environment import wait_until
from proxy import write_private

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
STATE_KEY = "5a" * 32

SUITES = [
    ("1.2", "PSK-AES128-CCM-8", "psk"),
    ("1.2", "PSK-AES128-GCM-SHA256", "psk"),
    ("1.2", "ECDHE-ECDSA-CHACHA20-POLY1305", "certificate"),
    ("1.2", "ECDHE-ECDSA-AES256-GCM-SHA384", "certificate"),
    ("1.3", "TLS13-AES128-GCM-SHA256", "psk"),
    ("1.3", "TLS13-CHACHA20-POLY1305-SHA256", "psk"),
    ("1.3", "TLS13-AES128-CCM-8-SHA256", "certificate"),
]


@pytest.fixture
def make_keeping(make_proxy, keys):
    """A gate with a state_file, which takes PSK and certificates."""
    def make(backend, *, gate=None, **settings):
        proxy = make_proxy(
            backend, gate={"state_file": "state", "state_key_file": "state.key", **(gate or {})},
            listener={"certificate": keys.server.certificate, "private_key": keys.server.key,
                      "client_ca": keys.ca.certificate}, **settings)
        write_private(proxy.folder / "state.key", STATE_KEY + "\n")
        return proxy
    return make


@pytest.fixture
def keeping(make_keeping, backend):
    return make_keeping(backend).start()


def state_of(proxy):
    return proxy.folder / "state"


def restart(proxy, **settings):
    proxy.stop()
    assert state_of(proxy).exists()
    proxy.start(**settings)
    assert not state_of(proxy).exists()


def established(proxy):
    return len(proxy.log_lines("session_established"))


def refused_because(proxy, why):
    line = proxy.wait_log("state_file_refused")
    assert line["level"] == "error" and why in line["text"], line
    return line


# --- sessions go on ---


@pytest.mark.parametrize("version, suite, credential", SUITES)
@pytest.mark.parametrize("cid", [None, b"\x01\x02"], ids=["no-cid", "cid"])
def test_sessions_go_on(keeping, backend, make_device, keys, version, suite, credential, cid):
    device = make_device(keeping, version=version, cid=cid, ca=keys.ca,
                         pair=keys.client if credential == "certificate" else None,
                         options=["--ciphers", suite, "--classic-groups"]).connect()
    for turn in range(3):
        device.exchange(b"%d before" % turn)
        restart(keeping)
        assert device.recv(0.2) == "timeout", "no farewell"
        device.exchange(b"%d after" % turn)
        keeping.wait_log("state_file_read", machine="same")
    assert established(keeping) == 1 and keeping.sessions() == 1
    assert len(backend.sources()) == 1, "the server sees one device all the time"


def test_the_server_speaks_first(keeping, backend, make_device):
    """Its answer was on the way while there was no gate, or it has something to tell."""
    device = make_device(keeping).connect()
    device.exchange(b"hello")
    restart(keeping)
    backend.send(backend.sources()[0], b"news")
    assert device.recv() == b"news"


def test_somebody_else_has_the_port(keeping, backend, make_device):
    """A file keeps no sockets. The gate opens the same port again, if it can, and says what follows if not."""
    device = make_device(keeping).connect()
    device.exchange(b"hello")
    port = backend.sources()[0][1]
    restart(keeping)
    device.exchange(b"again")
    assert {source[1] for source in backend.sources()} == {port}
    keeping.stop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("0.0.0.0", port))
        keeping.start()
    line = keeping.wait_log("backend_port_lost")
    assert line["level"] == "warning" and str(port) in line["text"], line
    device.exchange(b"and again")
    assert len(backend.sources()) == 2, "the same device, from another port"


def test_a_replay_is_one_after_it_too(keeping, make_device, make_shim, backend):
    shim = make_shim(keeping)
    device = make_device(shim).connect()
    device.exchange(b"once")
    record = shim.to_gate()[-1].data
    restart(keeping)
    shim.send_to_gate(record)
    keeping.wait_counter("dtlsgate_records_discarded_total")
    assert backend.received().count(b"once") == 1


def test_a_late_answer_has_its_reason(keeping, backend, make_device):
    device = make_device(keeping).connect()
    device.exchange(b"hello")
    device.close()
    keeping.wait_closed("closed_by_client")
    restart(keeping)
    backend.send(backend.sources()[0], b"late")
    keeping.wait_late("closed_by_client")
    assert keeping.late("unknown") == 0


def test_a_ticket_goes_on_too(keeping, make_device):
    device = make_device(keeping, version="1.3", options=["--tickets", "--classic-groups"]).connect()
    device.exchange(b"first")
    assert device.keep() > 0
    device.close()
    keeping.wait_closed("closed_by_client")
    restart(keeping)
    device.resume()
    assert keeping.handshakes("established", resumed="yes") == 1


def test_another_number_of_workers(make_keeping, backend, make_device):
    proxy = make_keeping(backend, gate={"workers": 3}).start()
    devices = [make_device(proxy).connect() for _ in range(6)]
    for workers in (1, 2):
        proxy.sections["gate"]["workers"] = workers
        proxy.write_config()
        restart(proxy)
        for number, device in enumerate(devices):
            device.exchange(b"%d of %d" % (number, workers))
    assert established(proxy) == 6


@ROOT_ONLY
def test_another_machine(keeping, make_device, tmp_path):
    """Nothing but the machine id is another one: DTLS 1.3 has no guard against a second use."""
    one, two = (make_device(keeping, version=version).connect() for version in ("1.2", "1.3"))
    for device in (one, two):
        device.exchange(b"here")
    other = tmp_path / "machine-id"
    other.write_text("00112233445566778899aabbccddeeff\n")
    script = f'mount --bind {other} /etc/machine-id && exec "$@"'
    restart(keeping, prefix=["unshare", "--mount", "sh", "-c", script, "sh"])
    keeping.wait_log("state_file_read", machine="other")
    one.exchange(b"there")
    assert keeping.sessions() == 1
    assert keeping.wait_log("sessions_taken_over", level="warning")["other_machine"] == "1"
    assert keeping.closed("other_machine") == 1 and keeping.closed("torn") == 0, "nothing was damaged"
    two.send(b"nobody")
    assert two.recv(0.3) == "timeout"
    two.connect()
    two.exchange(b"there, anew")


# --- once ---


def test_a_second_name_of_a_file_that_was_read(keeping, make_device):
    """As if its removal had never come to the disk."""
    make_device(keeping).connect().exchange(b"hello")
    keeping.stop()
    os.link(state_of(keeping), keeping.folder / "again")
    keeping.start()
    keeping.wait_log("state_file_read")
    keeping.stop()
    os.rename(keeping.folder / "again", state_of(keeping))
    keeping.start()
    refused_because(keeping, "read before")
    assert keeping.sessions() == 0 and not state_of(keeping).exists()


def test_memory_is_newer_than_any_file(make_keeping, backend, make_device):
    proxy = make_keeping(backend, keeper=True).start()
    device = make_device(proxy).connect()
    device.exchange(b"first")
    proxy.stop()
    old = state_of(proxy).read_bytes()
    proxy.start()
    device.exchange(b"second")
    state_of(proxy).write_bytes(old)
    before = proxy.gate_pid()
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: proxy.gate_pid() not in (before, None), "the next gate", 20)
    proxy.wait_ready()
    proxy.wait_log("state_file_removed")
    assert not state_of(proxy).exists()
    device.exchange(b"third")
    assert established(proxy) == 1


def test_a_gate_that_starts_too_early_finds_nothing(make_keeping, backend, make_device):
    """As a new container before the old one has ended: the file is written last of all."""
    old = make_keeping(backend).start()
    make_device(old).connect().exchange(b"hello")
    new = make_keeping(backend)
    new.sections["gate"] |= {"state_file": state_of(old), "state_key_file": old.folder / "state.key"}
    new.write_config()
    new.start()
    assert "there is none" in new.wait_log("state_file_none")["text"]
    old.stop()
    assert state_of(old).exists()
    assert new.sessions() == 0
    new.stop()
    assert state_of(old).exists()
    new.start()
    new.wait_log("state_file_read")


def test_a_gate_that_is_killed_leaves_no_file(keeping):
    keeping.process.kill()
    keeping.process.wait()
    keeping.process = None
    assert not state_of(keeping).exists()
    keeping.start()
    assert len(keeping.log_lines("state_file_none")) == 2


# --- refused ---


def stop_with_a_session(proxy, make_device):
    device = make_device(proxy).connect()
    device.exchange(b"hello")
    proxy.stop()
    return device


def test_nothing_of_it_can_be_read(keeping, make_device):
    stop_with_a_session(keeping, make_device)
    content = state_of(keeping).read_bytes()
    assert state_of(keeping).stat().st_mode & 0o7777 == 0o600
    assert IDENTITY.encode() not in content and bytes.fromhex(KEY) not in content


def test_another_key(keeping, make_device):
    device = stop_with_a_session(keeping, make_device)
    write_private(keeping.folder / "state.key", "00" * 32)
    keeping.start()
    refused_because(keeping, "another key")
    assert state_of(keeping).exists(), "it stays: the right key may be found again"
    device.connect()
    device.exchange(b"anew")
    restart(keeping)
    device.exchange(b"and on")


@pytest.mark.parametrize("damage", ["torn", "changed"])
def test_a_damaged_file(keeping, make_device, damage):
    stop_with_a_session(keeping, make_device)
    content = state_of(keeping).read_bytes()
    state_of(keeping).write_bytes(content[:-20] if damage == "torn" else
                                  content[:-60] + b"\x5a" + content[-59:])
    keeping.start()
    refused_because(keeping, "is torn" if damage == "torn" else "is damaged")
    assert keeping.sessions() == 0


def test_somebody_elses_file_stays(keeping):
    keeping.stop()
    state_of(keeping).write_text("of somebody else, and long enough to be taken for a header of a file\n" * 3)
    keeping.start()
    refused_because(keeping, "no state file")
    keeping.stop()
    assert "no state file" in keeping.wait_log("state_file_failed")["text"]
    assert state_of(keeping).read_text().startswith("of somebody else")


def test_who_cannot_be_kept_is_told(keeping, make_device):
    """A file that is in the way is seen before: devices hear a close_notify instead of nothing."""
    device = make_device(keeping).connect()
    state_of(keeping).write_text("of somebody else\n")
    keeping.stop()
    assert device.recv() == "closed"
    assert not keeping.log_lines("sessions_kept")


@ROOT_ONLY
def test_a_file_that_cannot_be_removed(keeping, make_device):
    """A read-only file system, under the feet of root."""
    stop_with_a_session(keeping, make_device)
    folder = keeping.folder / "read-only"
    folder.mkdir()
    os.rename(state_of(keeping), folder / "state")
    keeping.sections["gate"]["state_file"] = folder / "state"
    keeping.write_config()
    before = (folder / "state").read_bytes()
    script = f'mount --bind {folder} {folder} && mount -o remount,bind,ro {folder} && exec "$@"'
    keeping.start(prefix=["unshare", "--mount", "sh", "-c", script, "sh"])
    refused_because(keeping, "Read-only file system")
    assert keeping.sessions() == 0
    keeping.stop()
    assert (folder / "state").read_bytes() == before


@ROOT_ONLY
def test_the_user_that_it_becomes_may_not_write(make_keeping, backend):
    proxy = make_keeping(backend, gate={"user": "nobody", "state_file": "/proc/state"}).start()
    proxy.wait_log("state_file_unwritable", level="warning")


# --- the check ---


def test_the_check_names_what_is_wrong(make_keeping, backend):
    proxy = make_keeping(backend, gate={"state_file": "none/state"})
    result = proxy.check_config()
    assert result.returncode == 0 and "warning" in result.stderr
    assert "[gate] state_file = " in result.stderr and "could not be written" in result.stderr
    write_private(proxy.folder / "state.key", "too short")
    result = proxy.check_config()
    assert result.returncode == 2
    assert "[gate] state_key_file: " in result.stderr and "openssl rand" in result.stderr


def test_the_key_as_a_credential_of_systemd(make_keeping, backend, make_device, monkeypatch, tmp_path):
    proxy = make_keeping(backend, gate={"state_key_file": None})
    assert "LoadCredential" in proxy.check_config().stderr
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    write_private(tmp_path / "state_key", STATE_KEY)
    proxy.start()
    device = make_device(proxy).connect()
    restart(proxy)
    device.exchange(b"on")


def test_the_key_that_openssl_makes(make_keeping, backend):
    proxy = make_keeping(backend)
    made = subprocess.run(["openssl", "rand", "-hex", "32"], capture_output=True, text=True, check=True)
    write_private(proxy.folder / "state.key", made.stdout)
    assert proxy.check_config().returncode == 0
