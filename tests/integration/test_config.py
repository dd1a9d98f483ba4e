"""The command line and the configuration: every error in one run, each with file and line."""

import os
import subprocess

import pytest

from conftest import IDENTITY, KEY
from environment import GATE, TIME_FACTOR
from proxy import gate_environment, run_gate, write_private

GOOD = """\
[gate]
workers = 1
metrics =

[listener coaps]
listen = 127.0.0.1:5684
backend = 127.0.0.1:5683
psk_file = devices.psk
"""


@pytest.fixture
def folder(tmp_path):
    write_private(tmp_path / "devices.psk", f"{IDENTITY}:{KEY}\n")
    return tmp_path


@pytest.fixture
def check(folder):
    """check(text) writes the configuration and runs --check-config on it."""
    def run(text, *options):
        (folder / "gate.ini").write_text(text)
        return run_gate(*(options or ["--check-config"]), "-c", folder / "gate.ini")
    return run


def replaced(old, new):
    assert old in GOOD
    return GOOD.replace(old, new)


def line_of(text, part):
    return next(n for n, line in enumerate(text.splitlines(), 1) if part in line)


def test_a_good_file(check):
    result = check(GOOD)
    assert result.returncode == 0, result.stderr
    assert check(GOOD, "-t").returncode == 0
    assert "error" not in result.stderr


# what is wrong: (text, a part of the wrong line, words that the message must have)
WRONG = {
    "unknown key": (GOOD + "lisen = 127.0.0.1:5685\n", "lisen", ["lisen", "did you mean listen"]),
    "key of the other section": (replaced("workers = 1", "backend = 127.0.0.1:1"), "127.0.0.1:1",
                                 ["backend", "[listener NAME]"]),
    "unknown section": (GOOD + "[listner other]\n", "listner", ["listner", "[listener NAME]"]),
    "repeated key": (GOOD + "backend = 127.0.0.1:5690\n", "5690", ["backend", "line 7"]),
    "repeated listener": (GOOD + GOOD[GOOD.index("[listener"):].replace("5684", "5685"), None,
                          ["[listener coaps]", "repeats"]),
    "number out of range": (replaced("workers = 1", "workers = 0"), "workers", ["workers", "256"]),
    "number no number": (replaced("workers = 1", "workers = many"), "workers", ["many", "auto"]),
    "duration without a unit": (GOOD + "idle_timeout = 60\n", "idle_timeout", ["unit", "60s"]),
    "duration of an unknown unit": (GOOD + "idle_timeout = 60 fortnights\n", "idle_timeout",
                                    ["fortnights", "ms, s, m, h, d"]),
    "duration out of range": (GOOD + "handshake_timeout = 1ms\n", "handshake_timeout",
                              ["out of range", "1s"]),
    "no setting": (GOOD + "just words\n", "just words", ["key = value"]),
    "before any section": ("workers = 2\n" + GOOD, "workers = 2", ["section"]),
    "line too long": (GOOD + "ciphers = " + "x" * 8000 + "\n", "ciphers", ["too long"]),
    "list by spaces": (replaced("listen = 127.0.0.1:5684", "listen = 127.0.0.1:5684 127.0.0.2:5684"), "listen =",
                       ["commas"]),
    "variable": (replaced("devices.psk", "${KEYS}/devices.psk"), "${KEYS}", ["variable"]),
    "star": (replaced("listen = 127.0.0.1:5684", "listen = *:5684"), "*:5684", ["0.0.0.0:5684, [::]:5684"]),
    "range of ports": (replaced("listen = 127.0.0.1:5684", "listen = 127.0.0.1:5684-5690"), "5690", ["range"]),
    "home folder": (replaced("devices.psk", "~/devices.psk"), "~", ["home folder"]),
    "suites with and without -": (GOOD + "ciphers = PSK-AES128-CCM-8, -PSK-AES128-CCM\n", "ciphers", ["-", "default"]),
    "missing file": (replaced("devices.psk", "nowhere.psk"), "nowhere.psk",
                     ["psk_file", "nowhere.psk", "No such file"]),
    "missing backend": (replaced("backend = 127.0.0.1:5683\n", ""), "[listener", ["backend"]),
    "missing listen": (replaced("listen = 127.0.0.1:5684\n", ""), "[listener", ["listen"]),
    "backend not on loopback": (replaced("backend = 127.0.0.1", "backend = 192.0.2.1"),
                                "192.0.2.1", ["backend", "127.0.0.0/8"]),
    "backend of ipv6": (replaced("backend = 127.0.0.1", "backend = [::1]"), "[::1]",
                        ["backend", "127.0.0.0/8"]),
    "bad address": (replaced("listen = 127.0.0.1:5684", "listen = 127.0.0.1"), "listen =",
                    ["listen", "127.0.0.1"]),
    "bad port": (replaced("listen = 127.0.0.1:5684", "listen = 127.0.0.1:99999"), "listen =",
                 ["99999"]),
    "two listeners on one address": (
        GOOD + "[listener two]\nlisten = 127.0.0.1:5684\nbackend = 127.0.0.1:5690\n"
        "psk_file = devices.psk\n", None, ["127.0.0.1:5684", "coaps"]),
    "other role": (GOOD + "role = client\n", "role", ["role", "server-only", "never"]),
    "bad version": (GOOD + "versions = 1.0\n", "versions", ["1.0", "1.2"]),
    "bad client_auth": (GOOD + "client_auth = maybe\n", "client_auth",
                        ["maybe", "required, optional, none"]),
    "bad log level": (replaced("workers = 1", "log_level = loud"), "loud", ["loud", "debug"]),
    "empty credentials": (replaced("psk_file = devices.psk\n", ""), "[listener",
                          ["psk_file", "certificate"]),
    "unknown suite": (GOOD + "ciphers = PSK-ROT13\n", "ciphers", ["PSK-ROT13"]),
    "mtu out of range": (GOOD + "mtu = 70000\n", "mtu", ["mtu", "16384"]),
    "no listener": ("[gate]\nworkers = 1\n", None, ["listener"]),
    "nothing": ("", None, ["listener"]),
}


@pytest.mark.parametrize("what", WRONG)
def test_an_error(check, folder, what):
    text, part, words = WRONG[what]
    result = check(text)
    assert result.returncode == (1 if what == "missing file" else 2), result.stderr
    where = str(folder / "gate.ini") + (f":{line_of(text, part)}:" if part else ":")
    messages = [line for line in result.stderr.splitlines() if where in line]
    assert any(all(word in message for word in words) for message in messages), result.stderr


def test_all_errors_in_one_run(check):
    text = (replaced("workers = 1", "workers = many").replace("devices.psk", "nowhere.psk")
            + "idle_timeout = 60\nlisen = x\nrole = client\n"
            "[listener two]\nlisten = 127.0.0.1:5690\nbackend = 10.0.0.1:1\n"
            "psk_file = devices.psk\n")
    result = check(text)
    assert result.returncode == 2
    for part in ("many", "nowhere.psk", "idle_timeout", "lisen", "client", "10.0.0.1"):
        assert f":{line_of(text, part)}:" in result.stderr, f"{part}: {result.stderr}"


def test_starting_with_errors_ends_with_status_2(folder):
    (folder / "gate.ini").write_text(replaced("workers = 1", "workers = many"))
    result = run_gate("-c", folder / "gate.ini")
    assert result.returncode == 2
    assert "many" in result.stderr


@pytest.fixture
def with_certificate(keys, check):
    """check() of a file with a certificate; the arguments replace its settings."""
    def run(**changes):
        settings = {"certificate": keys.server.certificate, "private_key": keys.server.key,
                    "client_ca": keys.ca.certificate, **changes}
        return check(GOOD + "".join(f"{k} = {v}\n" for k, v in settings.items() if v is not None))
    return run


def test_a_good_certificate(with_certificate):
    result = with_certificate()
    assert result.returncode == 0 and "warning" not in result.stderr, result.stderr


def test_certificate_errors(with_certificate, keys, folder):
    mismatch = with_certificate(private_key=keys.client.key)
    assert mismatch.returncode == 1 and "private_key" in mismatch.stderr, mismatch.stderr
    no_key = with_certificate(private_key=None)
    assert no_key.returncode == 2 and "private_key" in no_key.stderr
    missing = with_certificate(certificate="nowhere.pem")
    assert missing.returncode == 1 and "nowhere.pem" in missing.stderr
    no_pem = with_certificate(certificate="devices.psk")
    assert no_pem.returncode == 1 and "devices.psk" in no_pem.stderr
    assert KEY not in no_pem.stderr


def test_warnings_do_not_stop_it(with_certificate, keys, folder):
    os.chmod(folder / "devices.psk", 0o644)
    readable = with_certificate()
    assert readable.returncode == 0
    assert "warning" in readable.stderr and "devices.psk" in readable.stderr
    os.chmod(folder / "devices.psk", 0o600)
    expired = with_certificate(certificate=keys.expired.certificate, private_key=keys.expired.key)
    assert expired.returncode == 0
    assert "warning" in expired.stderr and "expired" in expired.stderr
    no_ca = with_certificate(client_ca=None)
    assert no_ca.returncode == 0
    assert "warning" in no_ca.stderr and "client_ca" in no_ca.stderr, "nobody to trust"
    for client_auth in ("optional", "none"):
        open_door = with_certificate(client_auth=client_auth)
        assert open_door.returncode == 0
        assert "warning" in open_door.stderr and "client_auth" in open_door.stderr


@pytest.mark.parametrize("setting", ["park_after = 30s", "live_sessions = 20000"])
def test_a_removed_setting_is_a_warning(check, folder, start_proxy, backend, setting):
    """From --check-config, and in the log of a gate that starts with it."""
    text = replaced("workers = 1", f"workers = 1\n{setting}")
    result = check(text)
    said = (f"{folder / 'gate.ini'}:{line_of(text, setting)}: [gate] {setting}: is no setting any more; "
            "remove it: sessions need no parking")
    assert result.returncode == 0 and f"warning: {said}\n" in result.stderr, result.stderr
    key, value = setting.split(" = ")
    proxy = start_proxy(backend, gate={key: value})
    lines = [line for line in proxy.log_lines("config") if key in line["text"]]
    assert len(lines) == 1 and lines[0]["level"] == "warning", lines
    assert lines[0]["text"].endswith("remove it: sessions need no parking"), lines


@pytest.mark.parametrize("line, words", [
    ("no colon at all", ["colon"]),
    ("device2:0011223", ["hex digits"]),
    ("device2:00112233445566778899aabbccddeegg", ["hex"]),
    ("device2:", ["hex digits"]),
    (":00112233445566778899aabbccddeeff", ["identity"]),
    ("x" * 129 + ":00112233445566778899aabbccddeeff", ["129", "128"]),
    ("device2:" + "00" * 65, ["130", "128"]),
    (f"{IDENTITY}:ffeeddccbbaa99887766554433221100", ["line 1"]),
])
def test_a_bad_line_of_a_psk_file(check, folder, line, words):
    write_private(folder / "devices.psk", f"{IDENTITY}:{KEY}\n\n{line}\nlast:{KEY}\n")
    result = check(GOOD)
    assert result.returncode == 1
    messages = [m for m in result.stderr.splitlines() if f"{folder / 'devices.psk'}:3:" in m]
    assert len(messages) == 1 and all(word in messages[0] for word in words), result.stderr
    assert KEY not in result.stderr and "00112233" not in result.stderr, "a key was shown"


@pytest.mark.parametrize("key, words", [
    (f"0x{KEY}", ["0x"]), (f" {KEY}", ["space"]), ("AAECAwQFBgcICQoLDA0ODw==", ["base64"]),
])
def test_a_key_in_another_form(check, folder, key, words):
    write_private(folder / "devices.psk", f"{IDENTITY}:{KEY}\ndevice2:{key}\n")
    result = check(GOOD)
    assert result.returncode == 1
    messages = [m for m in result.stderr.splitlines() if f"{folder / 'devices.psk'}:2:" in m]
    assert len(messages) == 1 and all(word in messages[0] for word in words), result.stderr
    assert key.strip() not in result.stderr, "a key was shown"


def test_utf16(check, folder):
    (folder / "utf16.ini").write_bytes(GOOD.encode("utf-16"))
    result = run_gate("--check-config", "-c", folder / "utf16.ini")
    assert result.returncode == 2 and "UTF-16" in result.stderr, result.stderr
    write_private(folder / "devices.psk", "")
    (folder / "devices.psk").write_bytes(f"{IDENTITY}:{KEY}\n".encode("utf-16"))
    result = check(GOOD)
    assert result.returncode == 1 and "devices.psk:1: the file is UTF-16" in result.stderr, result.stderr


def suites_of(printed):
    return next(line for line in printed.splitlines() if line.startswith("ciphers = ")).split(" = ")[1].split(":")


def test_print_config_shows_the_suites_that_are_offered(with_certificate, check, folder, keys):
    """All of them, whose line is longer than inih takes; and the file that they stand in is good."""
    texts = {"": None, "without": "-PSK-AES128-CCM-8, -TLS13-AES128-CCM-8-SHA256", "named": "PSK-AES128-CCM-8"}
    suites, printed = {}, {}
    for name, ciphers in texts.items():
        with_certificate(ciphers=ciphers)
        printed[name] = run_gate("--print-config", "-c", folder / "gate.ini").stdout
        suites[name] = suites_of(printed[name])
        (folder / "printed.ini").write_text(printed[name])
        again = run_gate("--check-config", "-c", folder / "printed.ini")
        assert again.returncode == 0, again.stderr
        assert run_gate("--print-config", "-c", folder / "printed.ini").stdout == printed[name]
    assert len(":".join(suites[""])) > 198 and "PSK-AES128-CCM-8" in suites[""], printed[""]
    assert suites["without"] == [suite for suite in suites[""] if not suite.endswith("CCM-8-SHA256")
                                 and suite != "PSK-AES128-CCM-8"]
    assert suites["named"] == ["PSK-AES128-CCM-8"]


def test_print_config_is_a_configuration(check, folder):
    printed = check(GOOD, "--print-config")
    assert printed.returncode == 0, printed.stderr
    settings = [line.partition(" =")[0] for line in printed.stdout.splitlines() if "=" in line]
    for key in ("workers", "metrics", "log_level", "user", "max_sessions", "tombstone", "listen",
                "backend", "role", "versions", "psk_file", "certificate", "private_key",
                "client_ca", "client_auth", "ciphers", "tickets", "mtu", "retransmit", "handshake_timeout",
                "idle_timeout", "max_handshakes"):
        assert key in settings, printed.stdout
    (folder / "printed.ini").write_text(printed.stdout)
    again = run_gate("--print-config", "-c", folder / "printed.ini")
    assert (again.returncode, again.stdout) == (0, printed.stdout)


def test_version_and_help():
    version = run_gate("--version")
    assert version.returncode == 0 and "dtlsgate" in version.stdout
    assert "wolfSSL 5." in version.stdout, version.stdout
    assert "1.2" in version.stdout and "1.3" in version.stdout, "features are told"
    usage = run_gate("--help")
    assert usage.returncode == 0
    for option in ("-c", "--check-config", "--print-config", "--version", "--help"):
        assert option in usage.stdout
    assert run_gate("-V").stdout == version.stdout
    assert run_gate("-h").stdout == usage.stdout
    assert run_gate("ctl", "-h").stdout == run_gate("ctl", "--help").stdout != ""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for an /etc of its own")
def test_without_c_the_file_is_that_in_etc(folder, start_proxy, backend):
    """In a mount namespace whose /etc/dtlsgate is the folder of the test."""
    (folder / "dtlsgate.ini").write_text(GOOD)
    proxy = start_proxy(backend, gate={"control": "control.sock"})

    def run(*arguments, show=folder):
        script = 'mount -t tmpfs tmpfs /etc && mkdir /etc/dtlsgate && mount --bind "$1" /etc/dtlsgate && shift && "$@"'
        return subprocess.run(["unshare", "-m", "--propagation", "private", "sh", "-c", script, "-", show, GATE,
                               *arguments], capture_output=True, text=True, timeout=20 * TIME_FACTOR, check=False,
                              env=gate_environment())
    check = run("--check-config")
    assert check.returncode == 0 and "/etc/dtlsgate/dtlsgate.ini: good" in check.stdout, check.stderr
    (folder / "empty").mkdir()
    nothing = run(show=folder / "empty")
    assert nothing.returncode == 1, nothing.stderr
    assert "/etc/dtlsgate/dtlsgate.ini: cannot be opened" in nothing.stderr and "-c FILE" in nothing.stderr

    (folder / "dtlsgate.ini").write_text(GOOD.replace("metrics =", f"control = {proxy.control_path}"))
    status = run("ctl", "status")
    assert status.returncode == 0 and "uptime" in status.stdout, status.stderr
    (folder / "dtlsgate.ini").unlink()
    lost = run("ctl", "status")
    assert lost.returncode == 3 and "/run/dtlsgate/control.sock" in lost.stderr, lost.stderr


@pytest.mark.parametrize("arguments", [
    ["--no-such-option"], ["-x"], ["-c"], ["-c", "/"], ["-c", "/dev/null"],
    ["stray"],
], ids=str)
def test_wrong_use_ends_with_status_2(arguments):
    result = run_gate(*arguments)
    assert result.returncode == 2
    assert result.stderr.strip(), "it says what is wrong"
    assert result.stdout == ""
