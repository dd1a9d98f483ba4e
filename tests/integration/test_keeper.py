"""dtlsgate --keeper: starts the gate, keeps what it is given, starts it again."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from environment import GATE, TIME_FACTOR, wait_until
from proxy import gate_environment, run_gate


@pytest.fixture
def start_kept(start_proxy):
    """A gate under a keeper."""
    def start(backend, **settings):
        return start_proxy(backend, keeper=True, **settings)
    return start


def kill_gate(proxy, number=signal.SIGKILL):
    """Kills the gate, and waits until the next one serves, and has said so: lines of the last moment
    before a kill may be lost."""
    before, count = proxy.gate_pid(), len(proxy.log_lines("ready"))
    os.kill(before, number)
    wait_until(lambda: proxy.gate_pid() not in (before, None), "the next gate", 20)
    proxy.wait_ready()
    wait_until(lambda: len(proxy.log_lines("ready")) > count, "its line", 20)


def fd_target(pid, name):
    """What the keeper has open under that beginning of a name."""
    folder = Path(f"/proc/{pid}/fd")
    links = (os.readlink(folder / entry) for entry in os.listdir(folder))
    return [link for link in links if link.startswith(name)]


def test_it_starts_and_ends_like_the_gate(start_kept, backend, make_device):
    proxy = start_kept(backend)
    assert proxy.gate_pid() != proxy.process.pid
    make_device(proxy).connect().exchange(b"behind a keeper")
    proxy.stop()
    assert proxy.exit_status == 0
    assert len(proxy.log_lines("stopping")) == 1


def test_a_gate_that_is_killed_comes_back(start_kept, backend, make_device):
    proxy = start_kept(backend)
    assert proxy.counter("dtlsgate_started_after_crash") == 0
    for number in (signal.SIGKILL, signal.SIGABRT, signal.SIGTRAP):
        kill_gate(proxy, number)
        assert proxy.counter("dtlsgate_started_after_crash") == 1
        assert f"signal {int(number)}" in proxy.wait_log("gate_died")["text"]
    make_device(proxy).connect().exchange(b"again")
    assert len(proxy.log_lines("gate_died")) == 3
    assert len(proxy.log_lines("ready")) == 4


def test_the_memory_goes_from_gate_to_gate(start_kept, backend):
    proxy = start_kept(backend)
    first = fd_target(proxy.process.pid, "/memfd:dtlsgate-state")
    assert len(first) == 1
    kill_gate(proxy)
    assert fd_target(proxy.gate_pid(), "/memfd:dtlsgate-state")
    assert len(fd_target(proxy.process.pid, "/memfd:dtlsgate-state")) == 1
    assert not proxy.log_lines("state_crashed")


def test_three_crashes_in_a_minute(start_kept, backend, make_device):
    """What is in there may be what it crashes over."""
    proxy = start_kept(backend)
    for _ in range(3):
        assert not proxy.log_lines("state_crashed")
        kill_gate(proxy)
    proxy.wait_log("state_crashed")
    assert proxy.counter("dtlsgate_started_after_crash") == 1
    make_device(proxy).connect().exchange(b"without the sessions of before")
    assert len(fd_target(proxy.process.pid, "/memfd:dtlsgate-state")) == 2, "one for inspection"


def test_pauses_grow_while_it_does_not_come_up(make_proxy, backend):
    """A key file that may come is worth waiting for."""
    proxy = make_proxy(backend, keeper=True)
    key = proxy.folder / "devices.psk"
    key.rename(proxy.folder / "elsewhere")
    proxy.launch()
    wait_until(lambda: len(proxy.log_lines("gate_died")) >= 4, "four starts", 20)
    pauses = [line["text"].split("again in ")[1].split()[0] for line in proxy.log_lines("gate_died")]
    assert pauses[:4] == ["100", "200", "400", "800"]
    (proxy.folder / "elsewhere").rename(key)
    proxy.wait_ready()


def test_settings_for_a_person_end_it(make_proxy, backend):
    proxy = make_proxy(backend, keeper=True, gate={"workers": "many"})
    result = run_gate("--keeper", "-c", proxy.config_path)
    assert result.returncode == 2
    assert result.stderr.count("event=config") == 1, result.stderr


def test_settings_that_are_wrong_later_end_nothing(start_kept, backend):
    """There may be sessions to be kept until somebody has mended them."""
    proxy = start_kept(backend)
    good = proxy.config_path.read_text()
    proxy.config_path.write_text(good.replace("workers = 1", "workers = many"))
    os.kill(proxy.gate_pid(), signal.SIGKILL)
    wait_until(lambda: len(proxy.log_lines("gate_died")) >= 2, "a start that fails", 20)
    assert "exit status 1" in proxy.log_lines("gate_died")[1]["text"], "there are sessions to be kept"
    proxy.config_path.write_text(good)
    proxy.wait_ready()


def test_signals_are_passed_on(start_kept, backend):
    proxy = start_kept(backend)
    proxy.send_signal(signal.SIGUSR1)
    assert "User defined signal 1" in proxy.wait_log("signal_ignored")["text"]
    proxy.stop(signal.SIGINT)
    assert proxy.exit_status == 0


def test_told_to_end_between_two_gates(make_proxy, backend, closing):
    proxy = make_proxy(backend, keeper=True)
    (proxy.folder / "devices.psk").unlink()
    proxy.launch()
    process, proxy.process = proxy.process, None  # ends with the status of the gate: not 0
    closing.add(process, process.kill)
    wait_until(lambda: len(proxy.log_lines("gate_died")) >= 3, "a long pause", 20)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10 * TIME_FACTOR) == 1


def test_it_keeps_the_program_that_was_ready(start_kept, backend):
    proxy = start_kept(backend)
    wait_until(lambda: len(fd_target(proxy.process.pid, str(GATE))) == 1, "the first copy")
    kill_gate(proxy)
    kill_gate(proxy)
    wait_until(lambda: len(fd_target(proxy.process.pid, str(GATE))) == 1, "one copy")


def test_a_program_that_does_not_come_up_gives_way_to_the_last_one(make_proxy, backend, make_device):
    """Somebody installs a program that is none, and the gate dies: first the new one, then the old."""
    proxy = make_proxy(backend, keeper=True)
    installed = proxy.folder / "dtlsgate"
    os.link(GATE, installed)
    proxy.start(program=installed)
    broken = proxy.folder / "new"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    broken.rename(installed)
    os.kill(proxy.gate_pid(), signal.SIGKILL)
    proxy.wait_log("gate_goes_back", timeout_s=20)
    proxy.wait_ready()
    make_device(proxy).connect().exchange(b"the old program")
    installed.write_text("no program at all")
    kill_gate(proxy)
    make_device(proxy).connect().exchange(b"the old program again")


def test_a_gate_that_hangs_is_replaced(start_kept, backend, make_device):
    """30 s without a sign of life. Time itself is the subject."""
    proxy = start_kept(backend)
    before = proxy.gate_pid()
    os.kill(before, signal.SIGSTOP)
    proxy.wait_log("gate_killed", timeout_s=45)
    wait_until(lambda: proxy.gate_pid() not in (before, None), "the next gate", 20)
    proxy.wait_ready()
    make_device(proxy).connect().exchange(b"again")


def test_a_gate_that_does_not_end_is_killed_in_time(start_kept, backend):
    """9 s after it was told first, whatever it is told meanwhile. Time itself is the subject."""
    proxy = start_kept(backend)
    os.kill(proxy.gate_pid(), signal.SIGSTOP)
    began = time.monotonic()
    process, proxy.process = proxy.process, None
    process.send_signal(signal.SIGTERM)
    time.sleep(6)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        process.send_signal(number)
    assert process.wait(20 * TIME_FACTOR) == 128 + signal.SIGKILL
    assert 8.5 < time.monotonic() - began < 13
    assert proxy.log_lines("gate_killed")[0]["text"] == "it does not end"


def test_it_reaps_what_others_leave(make_proxy, backend, tmp_path):
    """As process 1 of a container it inherits all orphans."""
    if os.geteuid() != 0:
        pytest.skip("a process namespace needs root")
    proxy = make_proxy(backend, keeper=True)
    script = 'mount -t proc proc /proc; exec "$@"'
    proxy.start(prefix=["unshare", "--pid", "--fork", "--kill-child", "--mount", "sh", "-c", script, "sh"])
    keeper = Path(f"/proc/{proxy.process.pid}/task/{proxy.process.pid}/children").read_text().split()[0]
    orphan = "(sleep 1000 &) ; exit 0"
    subprocess.run(["nsenter", "-t", keeper, "-p", "-m", "sh", "-c", orphan], check=True,
                   timeout=20 * TIME_FACTOR, env=gate_environment())


    def orphans():  # a zombie is one, too
        children = Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()
        return [child for child in children if Path(f"/proc/{child}/comm").read_text() == "sleep\n"]
    wait_until(orphans, "the orphan is the keeper's")
    os.kill(int(orphans()[0]), signal.SIGKILL)
    wait_until(lambda: not orphans(), "it is reaped")
    os.kill(int(keeper), signal.SIGTERM)
    process, proxy.process = proxy.process, None  # unshare does not pass signals on
    assert process.wait(10 * TIME_FACTOR) == 0
