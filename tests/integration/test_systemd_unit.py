"""conf/dtlsgate.service: what it promises, played by a script and by a real manager of systemd."""

import grp
import os
import shutil
import subprocess

import pytest

import refusing
from conftest import IDENTITY, KEY
from environment import GATE, IS_SANITIZED, wait_until
from proxy import write_private
from test_sandbox import landlock_version
from unit_player import SYSTEMD, UNIT, Player, UserManager, read_unit, seconds

SYSTEMD_ANALYZE = shutil.which("systemd-analyze")


def test_what_the_unit_says():
    unit = read_unit()
    service = unit["Service"]
    assert service["Type"] == ["notify"]
    assert not any(key.startswith("ExecStartP") or key == "ExecCondition" for key in service)
    assert unit["Unit"]["StartLimitIntervalSec"] == ["0"]
    assert service["Restart"] == ["on-failure"] and seconds(service["RestartSec"][0]) == 5
    assert service["RestartPreventExitStatus"] == ["2"]
    assert "AF_UNIX" in service["RestrictAddressFamilies"][0].split()
    assert "ProcSubset" not in service
    assert int(service["FileDescriptorStoreMax"][0]) >= 1000 and "--fd-store" in service["ExecStart"][0]
    assert service["ExecReload"][0].endswith("ctl -c /etc/dtlsgate/dtlsgate.ini reload")
    assert service["RuntimeDirectory"] == ["dtlsgate"] and service["LimitMEMLOCK"] == ["infinity"]
    assert service["NoNewPrivileges"] == ["yes"] and service["CapabilityBoundingSet"] == []


@pytest.mark.skipif(not SYSTEMD_ANALYZE, reason="there is no systemd-analyze")
def test_what_systemd_says_to_it(tmp_path):
    copy = tmp_path / "dtlsgate.service"
    copy.write_text(UNIT.read_text().replace("/usr/local/bin/dtlsgate", str(GATE)))
    verify = subprocess.run([SYSTEMD_ANALYZE, "verify", "--man=no", copy], capture_output=True,
                            text=True, timeout=60, check=False)
    assert (verify.returncode, verify.stdout, verify.stderr) == (0, "", "")
    security = subprocess.run([SYSTEMD_ANALYZE, "security", "--offline=true", "--threshold=15",
                               "--no-pager", copy], capture_output=True, text=True, timeout=60,
                              check=False)
    assert security.returncode == 0, security.stdout[-2000:]


@pytest.fixture(params=["player", "systemd"])
def make_manager(request, tmp_path, closing):
    """make(proxy): a manager of a unit that starts this gate."""
    def make(proxy):
        if request.param == "player":
            return closing.add(manager := Player(proxy.config_path, tmp_path), manager.close)
        if os.geteuid() != 0 or not SYSTEMD.exists() or not shutil.which("systemctl"):
            pytest.skip("a user manager in a namespace of its own needs root and systemd")
        manager = UserManager(proxy.config_path, tmp_path)
        closing.add(manager, manager.close)
        if not manager.is_running():
            pytest.skip("a user manager of systemd does not run here")
        return manager
    if request.param == "systemd" and IS_SANITIZED:
        pytest.skip("MemoryDenyWriteExecute and address space limits are not for sanitizers")
    return make


def wait_state(manager, *states, timeout_s=10):
    wait_until(lambda: manager.state() in states, f"state {states}", timeout_s)


def answers(proxy):
    try:
        return proxy.http("/readyz")[0] == 200
    except OSError:
        return False


def test_active_means_listening(make_manager, make_proxy, backend, make_device):
    proxy = make_proxy(backend)
    manager = make_manager(proxy)
    manager.start()
    wait_state(manager, "active")
    assert answers(proxy), "at once"
    make_device(proxy).connect().exchange(b"under the unit's rules")
    started = proxy.counter("process_start_time_seconds")
    assert started > 1_500_000_000, "the unit lets it see the time of the start"
    assert manager.restarts() == 0


def test_its_filter_leaves_room_for_that_of_the_gate(make_manager, make_proxy, backend, make_device):
    """The gate confines itself under the unit, and gives its control socket to a group."""
    others = [group for group in os.getgroups() if group != os.getegid()]
    group = grp.getgrgid(others[0] if others else os.getegid())
    proxy = make_proxy(backend, gate={"control": "control.sock", "control_group": group.gr_name})
    manager = make_manager(proxy)
    manager.start()
    wait_state(manager, "active")
    log = manager.log_path.read_text()
    assert os.lstat(proxy.control_path).st_gid == group.gr_gid
    assert proxy.run_ctl("status").returncode == 0
    if IS_SANITIZED or not refusing.is_possible():
        return
    [line] = [line for line in log.splitlines() if "event=sandbox " in line]
    files = "confined" if landlock_version() > 0 else "all"
    assert f"calls=filtered files={files}" in line
    assert ("event=sandbox_partial" in log) == (files == "all"), log


def test_it_waits_for_what_comes_late(make_manager, make_proxy, backend, make_device):
    """More starts in a row than the manager allows by itself, and then the key is there."""
    proxy = make_proxy(backend)
    (proxy.folder / "devices.psk").unlink()
    manager = make_manager(proxy)
    manager.start()
    wait_until(lambda: manager.restarts() >= 3, "the third restart", 20)
    wait_until(lambda: manager.status() == 1, "status 1")  # systemd has none while one is running
    write_private(proxy.folder / "new", f"{IDENTITY}:{KEY}\n").rename(proxy.folder / "devices.psk")
    wait_state(manager, "active")
    make_device(proxy).connect().exchange(b"at last")


def test_it_leaves_to_a_person_what_only_a_person_can_mend(make_manager, make_proxy, backend):
    proxy = make_proxy(backend, gate={"workers": "many"})
    manager = make_manager(proxy)
    manager.start()
    wait_state(manager, "failed")
    assert manager.status() == 2 and manager.restarts() == 0


def test_it_comes_back_when_it_was_killed(make_manager, make_proxy, backend, make_device):
    proxy = make_proxy(backend)
    manager = make_manager(proxy)
    manager.start()
    wait_state(manager, "active")
    first = manager.pid()
    os.kill(first, 9)
    wait_until(lambda: manager.restarts() >= 1 and manager.state() == "active", "the next one", 20)
    assert manager.pid() != first
    make_device(proxy).connect().exchange(b"again")


def test_a_restart_hands_the_state_on(make_manager, make_proxy, backend, make_device):
    """Nobody is told, and the next process has what this one had."""
    proxy = make_proxy(backend)
    manager = make_manager(proxy)
    manager.start()
    wait_state(manager, "active")
    first, memory = manager.pid(), state_of(manager.pid())
    device = make_device(proxy).connect()
    manager.restart()
    wait_until(lambda: manager.pid() not in (first, 0) and manager.state() == "active", "the next one", 20)
    assert state_of(manager.pid()) == memory
    assert device.recv(timeout_s=0.3) == "timeout", "no close_notify"


def test_a_typo_and_a_restart_cost_no_session(make_manager, make_proxy, backend, make_device):
    """A unit that has failed would let go of its store: it goes on trying while there are sessions."""
    proxy = make_proxy(backend)
    good = proxy.config_path.read_text()
    manager = make_manager(proxy)
    manager.start()
    wait_state(manager, "active")
    memory = state_of(manager.pid())
    device = make_device(proxy).connect()
    proxy.config_path.write_text(good.replace("workers = 1", "workers = many"))
    manager.restart()
    wait_until(lambda: manager.restarts() >= 2, "the second start that fails", 20)
    proxy.config_path.write_text(good)
    wait_state(manager, "active", timeout_s=20)
    assert state_of(manager.pid()) == memory
    device.exchange(b"the same session")


def state_of(pid):
    """The memory that holds the sessions: its number is that of no other file."""
    folder = f"/proc/{pid}/fd"
    found = {os.stat(f"{folder}/{fd}").st_ino for fd in os.listdir(folder)
             if os.readlink(f"{folder}/{fd}").startswith("/memfd:dtlsgate-state")}
    assert len(found) == 1
    return found
