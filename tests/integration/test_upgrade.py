"""dtlsgate ctl upgrade and SIGUSR2: another version goes on in the same process."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import refusing
from environment import GATE, TIME_FACTOR, wait_until
from proxy import gate_environment, run_gate, write_private

# Programs that an operator may install by mistake, as bodies of main(): one that refuses when it is asked, and two that
# fail later. No scripts: a confined gate executes no shell.
REFUSES = 'fputs("error: gate.ini: this version knows no such setting\\n", stderr); return 2;'
BREAKS = """for (int i = 1; i < argc; i++)
    if (strcmp(argv[i], "--check-handover") == 0)
        execv("{real}", argv);
execv("{broken}", argv);
return 1;
"""
# One that is gone when it is to be executed.
VANISHES = """if (unlink(argv[0]) != 0)
    perror("unlink");
execv("{real}", argv);
return 1;
"""
# The kernel does not execute a descriptor, which is how the gate goes back.
NO_WAY_BACK = [sys.executable, str(Path(refusing.__file__)), "execveat=EACCES", "--"]
SECCOMP = pytest.mark.skipif(not refusing.is_possible(), reason="refusing.py does not know this machine's system calls")


def broken_program(folder):
    """The gate, but it does not know its settings any more: it fails in good order before it is ready."""
    broken = folder / "broken"
    broken.write_bytes(GATE.read_bytes().replace(b"metrics\0", b"netrics\0"))
    broken.chmod(0o755)
    return BREAKS.format(real=good_program(folder), broken=broken)


def good_program(folder):
    """A copy where a confined gate may execute it."""
    return shutil.copy(GATE, folder / "good")


def install(proxy, body=None, name="dtlsgate"):
    """Puts a program where the gate was started from, as `make install` does: by a new file. body: of its main()."""
    new = proxy.folder / "new"
    if body is None:
        shutil.copy(GATE, new)
    else:
        text = "\n".join(["#include <stdio.h>", "#include <string.h>", "#include <unistd.h>",
                          "int main(int argc, char **argv)", "{", "(void)argc; (void)argv;", body, "}"])
        subprocess.run(["gcc", "-x", "c", "-", "-o", new], input=text, text=True, check=True)
    new.chmod(0o755)
    new.rename(proxy.folder / name)
    return proxy.folder / name


@pytest.fixture
def start_installed(make_proxy):
    """A gate that runs from a folder of its own, so that another program can take its place."""
    def start(backend, **settings):
        proxy = make_proxy(backend, **settings)
        return proxy.start(program=install(proxy))
    return start


def starts(proxy):
    return len(proxy.log_lines("ready"))


def upgrade(proxy):
    """Waits until the next one serves. The process is the same."""
    before, count = proxy.gate_pid(), starts(proxy)
    os.kill(before, signal.SIGUSR2)
    wait_until(lambda: starts(proxy) == count + 1, "the next version", 20)
    proxy.wait_ready()
    assert proxy.gate_pid() == before


def test_the_same_process_goes_on(start_installed, backend, make_device):
    proxy = start_installed(backend)
    install(proxy)
    upgrade(proxy)
    assert "from" in proxy.wait_log("upgraded")["text"]
    make_device(proxy).connect().exchange(b"served by the new one")
    upgrade(proxy)
    assert starts(proxy) == 3
    assert proxy.counter("dtlsgate_started_after_crash") == 0
    proxy.stop()
    assert proxy.exit_status == 0


def test_a_version_that_refuses(start_installed, backend, make_device):
    """It says why before anything of the gate is touched."""
    proxy = start_installed(backend)
    device = make_device(proxy).connect()
    install(proxy, REFUSES)
    proxy.send_signal(signal.SIGUSR2)
    assert "no such setting" in proxy.wait_log("upgrade_check", level="error")["text"]
    assert "this version goes on" in proxy.wait_log("upgrade_failed")["text"]
    device.exchange(b"as before")
    assert starts(proxy) == 1


@pytest.mark.parametrize(("pattern", "by", "told"), [
    (r"\Z", "nonsense = 1\n", "nonsense"),
    (r"(?m)^(listen = .*)$", r"\1, 192.0.2.77:5684", "has not got the address of 192.0.2.77:5684"),
])
def test_settings_that_the_new_version_cannot_use(start_installed, backend, make_device, pattern, by, told):
    """This one could not go on with them either, so it does not let go before."""
    proxy = start_installed(backend)
    device = make_device(proxy).connect()
    good = proxy.config_path.read_text()
    bad = re.sub(pattern, by, good)
    assert bad != good
    proxy.config_path.write_text(bad)
    proxy.send_signal(signal.SIGUSR2)
    wait_until(lambda: any(told in line["text"] for line in proxy.log_lines("upgrade_check", level="error")), told)
    proxy.wait_log("upgrade_failed")
    device.exchange(b"as before")
    proxy.config_path.write_text(good)
    upgrade(proxy)


def test_a_version_that_fails_later(start_installed, backend, make_device):
    """It executes the one before, which has all sessions, and says why."""
    proxy = start_installed(backend)
    device = make_device(proxy).connect()
    before = proxy.gate_pid()
    install(proxy, broken_program(proxy.folder))
    proxy.send_signal(signal.SIGUSR2)
    assert "settings have errors" in proxy.wait_log("upgrade_failed", timeout_s=20)["text"]
    wait_until(lambda: starts(proxy) == 2, "the old version", 20)
    proxy.wait_ready()
    assert len(proxy.log_lines("upgrade_failed")) == 2, "of both"
    device.exchange(b"as before")
    assert proxy.gate_pid() == before and proxy.handshakes("established") == 1
    install(proxy)
    upgrade(proxy)
    device.exchange(b"a good one at last")


def test_a_version_that_dies_later(start_installed, backend, make_device):
    """Nobody is left to execute anything, but the keeper is."""
    proxy = start_installed(backend, keeper=True)
    device = make_device(proxy).connect()
    install(proxy, BREAKS.format(real=good_program(proxy.folder), broken="/nowhere"))
    os.kill(proxy.gate_pid(), signal.SIGUSR2)
    proxy.wait_log("gate_goes_back", timeout_s=20)
    wait_until(lambda: starts(proxy) == 2, "the old version", 20)
    proxy.wait_ready()
    device.exchange(b"as before")
    assert proxy.handshakes("established") == 1


def test_no_program_at_all(start_installed, backend, make_device):
    proxy = start_installed(backend)
    (proxy.folder / "dtlsgate").unlink()
    proxy.send_signal(signal.SIGUSR2)
    assert "executing" in proxy.wait_log("upgrade_failed")["text"]
    make_device(proxy).connect().exchange(b"as before")


def test_asked_twice(start_installed, backend):
    proxy = start_installed(backend)
    proxy.send_signal(signal.SIGUSR2)
    proxy.send_signal(signal.SIGUSR2)
    wait_until(lambda: starts(proxy) >= 2, "the next version", 20)
    proxy.wait_ready()


def test_told_to_end_meanwhile(start_installed, backend):
    """The next version hears it, if this one does not."""
    proxy = start_installed(backend)
    proxy.send_signal(signal.SIGUSR2)
    proxy.send_signal(signal.SIGTERM)
    process, proxy.process = proxy.process, None
    assert process.wait(20) == 0


# --- neither the new version nor this one can be executed ---

def start_without_a_way_back(make_proxy, backend, **gate):
    proxy = make_proxy(backend, gate=gate)
    if "state_file" in gate:
        write_private(proxy.folder / "state.key", "5a" * 32 + "\n")
    return proxy.start(NO_WAY_BACK, install(proxy))


def last_words(proxy):
    """The gate has ended."""
    process, proxy.process = proxy.process, None
    assert process.wait(20 * TIME_FACTOR) == 1
    return proxy.log_lines("upgrade_failed")[-1]["text"]


STATE_FILE = {"state_file": "state", "state_key_file": "state.key"}


@SECCOMP
def test_no_way_forward_and_none_back(make_proxy, backend, make_device):
    """Descriptors have moved by then. The sessions are found all the same."""
    proxy = start_without_a_way_back(make_proxy, backend, **STATE_FILE)
    device = make_device(proxy).connect()
    install(proxy, VANISHES.format(real=good_program(proxy.folder)))
    proxy.send_signal(signal.SIGUSR2)
    assert "executing" in (said := last_words(proxy)) and "go into the state_file" in said
    assert len(proxy.log_lines("state_file_written")) == 1
    proxy.start()
    device.exchange(b"goes on")
    assert len(proxy.log_lines("session_established")) == 1


@SECCOMP
def test_no_way_back_later(make_proxy, backend, make_device):
    """The new version has the sessions, but not the port that it needs besides."""
    proxy = start_without_a_way_back(make_proxy, backend, **STATE_FILE)
    device = make_device(proxy).connect()
    metrics = proxy.sections["gate"]["metrics"]
    with socket.socket() as other:
        other.bind((proxy.address[0], 0))
        other.listen()
        proxy.sections["gate"]["metrics"] = f"{proxy.address[0]}:{other.getsockname()[1]}"
        proxy.write_config()
        proxy.send_signal(signal.SIGUSR2)
        assert "go into the state_file" in last_words(proxy)
    assert len(proxy.log_lines("state_file_written")) == 1
    proxy.sections["gate"]["metrics"] = metrics
    proxy.write_config()
    proxy.start()
    device.exchange(b"goes on")
    assert len(proxy.log_lines("session_established")) == 1


@SECCOMP
def test_no_way_at_all_and_no_file(make_proxy, backend):
    """Who asked hears of it, too."""
    proxy = start_without_a_way_back(make_proxy, backend, control="control.sock")
    install(proxy, VANISHES.format(real=good_program(proxy.folder)))
    result = ctl_upgrade(proxy)
    assert result.returncode == 1 and "executing" in result.stderr, result
    assert "its sessions are lost" in last_words(proxy)


# --- dtlsgate ctl upgrade: who asks hears the end of it, from whichever process there is then ---

@pytest.fixture
def start_controlled(start_installed):
    def start(backend, **settings):
        return start_installed(backend, gate={"control": "control.sock"}, **settings)
    return start


def ctl_upgrade(proxy):
    return run_gate("ctl", "-c", proxy.config_path, "upgrade")


def latest_upgrade(proxy):
    """By status, which says it with ctl and over HTTP."""
    *_, status, _ = proxy.ctl("status")
    assert json.loads(proxy.http("/status")[1])["gate"]["last_upgrade"] == status["last_upgrade"]
    assert status.get("upgraded_from") == (status["version"] if status["last_upgrade"] == "done" else None)
    assert ("last_upgrade_ago_s" in status) == (status["last_upgrade"] != "none")
    return status["last_upgrade"]


def test_ctl_upgrade(start_controlled, backend, make_device):
    proxy = start_controlled(backend)
    assert latest_upgrade(proxy) == "none"
    device = make_device(proxy).connect()
    install(proxy)
    result = ctl_upgrade(proxy)
    assert (result.returncode, result.stderr) == (0, ""), result
    assert starts(proxy) == 2, "it answers when the next one serves"
    assert latest_upgrade(proxy) == "done"
    proxy.wait_ready()
    device.exchange(b"goes on")


def test_ctl_upgrade_that_is_refused(start_controlled, backend):
    proxy = start_controlled(backend)
    install(proxy, REFUSES)
    result = ctl_upgrade(proxy)
    assert result.returncode == 1
    assert "no such setting" in result.stdout + result.stderr
    assert starts(proxy) == 1
    assert latest_upgrade(proxy) == "refused"


def test_ctl_upgrade_that_fails_later(start_controlled, backend):
    proxy = start_controlled(backend)
    install(proxy, broken_program(proxy.folder))
    result = ctl_upgrade(proxy)
    assert result.returncode == 1
    assert "this version goes on" in result.stderr
    assert starts(proxy) == 2
    proxy.wait_ready()
    assert latest_upgrade(proxy) == "failed"


@pytest.mark.parametrize("how", ["signal", "ctl stop"])
def test_ctl_upgrade_and_told_to_end_meanwhile(start_controlled, backend, closing, how):
    """The gate ends, and who asked for an upgrade hears that there is none."""
    proxy = start_controlled(backend)
    install(proxy, 'puts("warning: I think"); fflush(stdout); sleep(1000); return 0;')
    asker = subprocess.Popen([GATE, "ctl", "-c", proxy.config_path, "upgrade"], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True, env=gate_environment())
    closing.add(asker, asker.kill)
    proxy.wait_log("upgrade_check")
    if how == "signal":
        proxy.send_signal(signal.SIGTERM)
    else:
        assert run_gate("ctl", "-c", proxy.config_path, "stop").returncode == 0
    process, proxy.process = proxy.process, None
    assert process.wait(20 * TIME_FACTOR) == 0
    _, said = asker.communicate(timeout=20 * TIME_FACTOR)
    assert asker.returncode == 1 and "the gate was told to end" in said, said
    assert starts(proxy) == 1
