"""With which status a start fails: 2 only if a person must change the settings, 1 if the same may
do at another time. --check-config ends as the gate does."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

from conftest import IDENTITY, KEY
from environment import GATE, TIME_FACTOR, own_address
from proxy import gate_environment, run_gate, write_private

PERSON, MAY_PASS = 2, 1


class Settings:
    """A good configuration in a folder of its own, which a case spoils."""

    def __init__(self, folder, keys):
        self.folder = folder
        self.host = own_address()
        self.gate = {"workers": 1, "metrics": ""}
        self.listener = {"listen": f"{self.host}:5684", "backend": "127.0.0.1:5683",
                         "psk_file": "devices.psk"}
        self.text = ""  # more of the file
        self.ini = folder / "gate.ini"
        write_private(folder / "devices.psk", f"{IDENTITY}:{KEY}\n")
        for name in ("server.pem", "server.key", "ca.pem", "client.key"):
            pair, kind = name.split(".")
            path = getattr(getattr(keys, pair), "key" if kind == "key" else "certificate")
            shutil.copy(path, folder / name)

    def use_certificate(self):
        self.listener.update(certificate="server.pem", private_key="server.key",
                             client_ca="ca.pem")

    def write(self):
        lines = ["[gate]"] + [f"{k} = {v}" for k, v in self.gate.items()]
        lines += ["[listener coaps]"] + [f"{k} = {v}" for k, v in self.listener.items()]
        self.ini.write_text("\n".join(lines) + "\n" + self.text)


@pytest.fixture
def settings(tmp_path, keys):
    return Settings(tmp_path, keys)


CASES = {}


def case(status, *words, checked=True):
    """A function that spoils the settings, and what comes of it. checked: --check-config sees it
    too; what only a start can see, it cannot."""
    def enter(spoil):
        CASES[spoil.__name__] = (spoil, status, words, checked)
        return spoil
    return enter


# --- what stands in the settings: a person ---

@case(PERSON, "unknown key")
def unknown_key(s):
    s.listener["lisen"] = "x"


@case(PERSON, "unit")
def value_that_is_none(s):
    s.listener["idle_timeout"] = "60"


@case(PERSON, "not an IP address")
def address_that_is_none(s):
    s.listener["listen"] = "300.1.2.3:5684"


@case(PERSON, "127.0.0.0/8")
def backend_elsewhere(s):
    s.listener["backend"] = "192.0.2.1:5683"


@case(PERSON, "no credentials")
def no_credentials(s):
    del s.listener["psk_file"]


@case(PERSON, "private_key")
def half_a_certificate(s):
    s.listener["certificate"] = "server.pem"


@case(PERSON, "PSK-ROT13")
def unknown_suite(s):
    s.listener["ciphers"] = "PSK-ROT13"


@case(PERSON, "already taken")
def one_address_twice(s):
    s.listener["listen"] += f", {s.host}:5684"


@case(PERSON, "section")
def no_section(s):
    s.text = "[listner x]\n"


@case(PERSON, "root itself")
def user_root(s):
    s.gate["user"] = "root"


@case(PERSON, "lisen", "cannot be opened")
def both_kinds_at_once(s):
    s.listener["lisen"] = "x"
    s.listener["psk_file"] = "nowhere.psk"


@case(PERSON, "Is a directory")
def settings_that_are_a_folder(s):
    s.ini = s.folder


# --- files that are not there, or not good yet ---

@case(MAY_PASS, "cannot be opened", "No such file")
def no_settings(s):
    s.ini = s.folder / "nowhere" / "gate.ini"


@case(MAY_PASS, "psk_file", "No such file")
def no_psk_file(s):
    s.listener["psk_file"] = "nowhere.psk"


@case(MAY_PASS, "psk_file", "is empty")
def empty_psk_file(s):
    write_private(s.folder / "devices.psk", "")


@case(MAY_PASS, "devices.psk:2")
def psk_file_with_a_bad_line(s):
    write_private(s.folder / "devices.psk", f"{IDENTITY}:{KEY}\nx:0\n")


@case(MAY_PASS, "not a regular file")
def psk_file_that_is_a_folder(s):
    s.listener["psk_file"] = "."


@case(MAY_PASS, "certificate", "No such file")
def no_certificate(s):
    s.use_certificate()
    (s.folder / "server.pem").unlink()


@case(MAY_PASS, "private_key", "No such file")
def no_private_key(s):
    s.use_certificate()
    (s.folder / "server.key").unlink()


@case(MAY_PASS, "private_key", "not that of the first certificate")
def key_of_the_certificate_before(s):
    s.use_certificate()
    shutil.copy(s.folder / "client.key", s.folder / "server.key")


@case(MAY_PASS, "certificate", "no PEM certificate")
def certificate_half_written(s):
    s.use_certificate()
    text = (s.folder / "server.pem").read_text()
    (s.folder / "server.pem").write_text(text[:10])


@case(MAY_PASS, "client_ca", "No such file")
def no_client_ca(s):
    s.use_certificate()
    (s.folder / "ca.pem").unlink()


# --- the machine ---

@case(MAY_PASS, "no network interface", "wlan-none")
def no_interface(s):
    s.listener["listen"] = f"{s.host}:5684, [fe80::1%wlan-none]:5684"


@case(MAY_PASS, "no such user")
def no_user(s):
    s.gate["user"] = "no-such-user"


@case(MAY_PASS, "no such address", checked=False)
def no_address(s):
    s.listener["listen"] = "192.0.2.1:5684"


@case(MAY_PASS, "does not have that address", checked=False)
def no_metrics_address(s):
    s.gate["metrics"] = "192.0.2.1:9684"


def run(settings, *options):
    if settings.ini == settings.folder / "gate.ini":
        settings.write()
    return run_gate("-c", settings.ini, *options)


@pytest.mark.parametrize("name", CASES)
def test_a_start_that_fails(settings, name):
    spoil, status, words, checked = CASES[name]
    spoil(settings)
    started = run(settings)
    assert started.returncode == status, started.stderr
    assert all(word in started.stderr for word in words), started.stderr
    check = run(settings, "--check-config")
    assert check.returncode == (status if checked else 0), check.stderr
    if checked:
        assert all(word in check.stderr for word in words), check.stderr


@pytest.mark.parametrize("kind", ["listener", "backend_port", "metrics"])
def test_a_port_that_is_held(settings, kind):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "metrics"
                       else socket.SOCK_DGRAM) as occupant:
        occupant.bind((settings.host, 0))
        taken = "%s:%d" % occupant.getsockname()
        if kind == "listener":
            settings.listener["listen"] = taken
        elif kind == "backend_port":
            settings.gate["backend_port"] = occupant.getsockname()[1]
        else:
            occupant.listen()
            settings.gate["metrics"] = taken
        result = run(settings)
    assert result.returncode == MAY_PASS and "in use" in result.stderr, result.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be somebody who may not read")
@pytest.mark.parametrize("what", ["gate.ini", "devices.psk", "server.key"])
def test_a_file_that_cannot_be_read(keys, what):
    with tempfile.TemporaryDirectory(prefix="dtlsgate-") as folder:
        os.chmod(folder, 0o755)  # pytest's own folders are closed to other users
        settings = Settings(Path(folder), keys)
        settings.use_certificate()
        settings.write()
        nobody = pwd.getpwnam("nobody")
        for path in settings.folder.iterdir():
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        os.chown(settings.folder / what, 0, 0)
        os.chmod(settings.folder / what, 0o600)
        program = shutil.copy(GATE, folder)
        result = subprocess.run(
            ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", program, "-c",
             settings.ini], capture_output=True, text=True, timeout=20 * TIME_FACTOR,
            env=gate_environment(), check=False)
    assert result.returncode == MAY_PASS, result.stderr
    assert what in result.stderr and "Permission denied" in result.stderr, result.stderr


@pytest.mark.parametrize("arguments", [["--no-such-option"], ["-c"], ["stray"]], ids=str)
def test_a_wrong_command_line(arguments):
    assert run_gate(*arguments).returncode == PERSON
