"""dtlsgate ctl upgrade and SIGUSR2: another version goes on in the same process."""

import os
import shutil
import signal

import pytest

from environment import GATE, wait_until
from proxy import run_gate

# Programs that an operator may install by mistake: one that refuses when it is asked, and two that fail later.
REFUSES = "#!/bin/sh\necho 'error: gate.ini: this version knows no such setting' >&2\nexit 2\n"
BREAKS = """#!/bin/bash
case " $* " in
*" --check-handover "*) exec {real} "$@" ;;
esac
exec -a "$0" {broken} "$@"
"""


def broken_program(folder):
    """The gate, but it does not know its settings any more: it fails in good order before it is ready."""
    broken = folder / "broken"
    broken.write_bytes(GATE.read_bytes().replace(b"metrics\0", b"netrics\0"))
    broken.chmod(0o755)
    return BREAKS.format(real=GATE, broken=broken)


def install(proxy, content=None, name="dtlsgate"):
    """Puts a program where the gate was started from, as `make install` does: by a new file."""
    new = proxy.folder / "new"
    if content is None:
        shutil.copy(GATE, new)
    else:
        new.write_text(content)
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


def test_settings_that_the_new_version_cannot_use(start_installed, backend, make_device):
    proxy = start_installed(backend)
    device = make_device(proxy).connect()
    good = proxy.config_path.read_text()
    proxy.config_path.write_text(good + "nonsense = 1\n")
    proxy.send_signal(signal.SIGUSR2)
    assert "nonsense" in proxy.wait_log("upgrade_check", level="error")["text"]
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
    install(proxy, BREAKS.format(real=GATE, broken="/bin/false"))
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


# --- dtlsgate ctl upgrade: who asks hears the end of it, from whichever process there is then ---

@pytest.fixture
def start_controlled(start_installed):
    def start(backend, **settings):
        return start_installed(backend, gate={"control": "control.sock"}, **settings)
    return start


def ctl_upgrade(proxy):
    return run_gate("ctl", "-c", proxy.config_path, "upgrade")


def test_ctl_upgrade(start_controlled, backend, make_device):
    proxy = start_controlled(backend)
    device = make_device(proxy).connect()
    install(proxy)
    result = ctl_upgrade(proxy)
    assert (result.returncode, result.stderr) == (0, ""), result
    assert starts(proxy) == 2, "it answers when the next one serves"
    proxy.wait_ready()
    device.exchange(b"goes on")


def test_ctl_upgrade_that_is_refused(start_controlled, backend):
    proxy = start_controlled(backend)
    install(proxy, REFUSES)
    result = ctl_upgrade(proxy)
    assert result.returncode == 1
    assert "no such setting" in result.stdout + result.stderr
    assert starts(proxy) == 1


def test_ctl_upgrade_that_fails_later(start_controlled, backend):
    proxy = start_controlled(backend)
    install(proxy, broken_program(proxy.folder))
    result = ctl_upgrade(proxy)
    assert result.returncode == 1
    assert "this version goes on" in result.stderr
    assert starts(proxy) == 2
    proxy.wait_ready()
