"""Signals, privileges, starting and stopping."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

from conftest import IDENTITY, KEY
from environment import COUNT_DIVISOR, GATE, IS_SANITIZED, TIME_FACTOR, wait_until
from proxy import Proxy, gate_environment, run_gate

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to drop it")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_goodbye_and_ends(start_proxy, backend, make_device, number):
    proxy = start_proxy(backend)
    devices = [make_device(proxy, version=version).connect() for version in ("1.2", "1.3")]
    unfinished = make_device(proxy)
    unfinished.raw(b"\x16")
    for device in devices:
        device.exchange(b"hello")
    proxy.stop(number)
    assert proxy.exit_status == 0
    assert proxy.stop_seconds < 5 * TIME_FACTOR
    assert [device.recv() for device in devices] == ["closed", "closed"]
    assert all(line["duration_s"] for line in proxy.log_lines("session_closed", reason="shutdown"))


def test_devices_that_do_not_answer_do_not_hold_it_up(start_proxy, backend, make_device):
    proxy = start_proxy(backend, gate={"workers": 2})
    for _ in range(10):
        device = make_device(proxy).connect()
        device.quit()
    proxy.stop()
    assert proxy.stop_seconds < 5 * TIME_FACTOR


def test_stray_signals_harm_nothing(start_proxy, backend, make_device):
    proxy = start_proxy(backend)
    device = make_device(proxy).connect()
    for number in (signal.SIGPIPE, signal.SIGUSR1, signal.SIGALRM, signal.SIGCHLD, signal.SIGWINCH,
                   signal.SIGURG, signal.SIGIO, signal.SIGCONT):
        for _ in range(3):
            proxy.send_signal(number)
        device.exchange(b"after signal %d" % number)
    assert proxy.is_ready()


def test_a_request_that_comes_too_early(make_proxy, backend, make_device):
    """It waits until the gate can hear it: until then the gate reads its settings, of a pipe here."""
    proxy = make_proxy(backend, gate={"workers": 1})
    text = proxy.config_path.read_text()
    proxy.config_path.unlink()
    os.mkfifo(proxy.config_path)
    proxy.launch()
    with open(proxy.config_path, "w", encoding="ascii") as pipe:  # opened by the gate, too
        proxy.send_signal(signal.SIGHUP)
        proxy.send_signal(signal.SIGUSR1)
        pipe.write(text)
        pipe.flush()
        (proxy.folder / "settings").write_text(text)
        os.rename(proxy.folder / "settings", proxy.config_path)
    proxy.wait_ready()
    proxy.wait_log("reloaded")
    proxy.wait_log("signal_ignored")
    make_device(proxy).connect().exchange(b"it serves")


def test_two_signals_to_end_are_as_good_as_one(start_proxy, backend, make_device):
    proxy = start_proxy(backend)
    make_device(proxy).connect()
    proxy.send_signal(signal.SIGTERM)
    proxy.send_signal(signal.SIGINT)
    proxy.process.wait(timeout=5 * TIME_FACTOR)
    assert proxy.process.returncode == 0


def test_a_stopped_and_continued_gate_goes_on(start_proxy, backend, make_device):
    proxy = start_proxy(backend)
    device = make_device(proxy).connect()
    proxy.send_signal(signal.SIGSTOP)
    device.send(b"meanwhile")
    proxy.send_signal(signal.SIGCONT)
    assert device.recv() == b"meanwhile"


def statuses(pid):
    """/proc/PID/status of each thread, as dicts of words."""
    return [{key: value.split() for key, _, value in
             (line.partition(":") for line in (task / "status").read_text().splitlines())}
            for task in Path(f"/proc/{pid}/task").iterdir()]


@ROOT_ONLY
def test_started_as_root_it_becomes_another_user(make_proxy, backend, make_device):
    nobody = pwd.getpwnam("nobody")
    proxy = make_proxy(backend, gate={"user": "nobody", "workers": 2})
    # Supplementary groups of its own, as a login or a container may give it.
    proxy.start(prefix=["setpriv", "--groups", "0,1,4"])
    threads = statuses(proxy.process.pid)
    assert len(threads) >= 3
    for status in threads:
        assert status["Uid"] == [str(nobody.pw_uid)] * 4, status["Name"]
        assert status["Gid"] == [str(nobody.pw_gid)] * 4
        assert set(status["Groups"]) <= {str(g) for g in os.getgrouplist("nobody", nobody.pw_gid)}
        for capabilities in ("CapPrm", "CapEff", "CapAmb"):
            assert int(status[capabilities][0], 16) == 0, capabilities
    make_device(proxy).connect().exchange(b"served by nobody")


def first_free_port():
    """Below it a port needs a capability; some containers give all away."""
    return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())


@ROOT_ONLY
@pytest.mark.skipif(first_free_port() <= 684, reason="every user may have low ports here")
def test_what_another_user_may_not_have_is_refused_at_a_reload(backend, make_device):
    """The start reads and binds as root, a reload as who the gate has become."""
    with tempfile.TemporaryDirectory(prefix="dtlsgate-") as folder:
        os.chmod(folder, 0o777)  # pytest's own folders are closed to other users
        proxy = Proxy(folder, backend, psk={IDENTITY: KEY},
                      gate={"user": "nobody", "workers": 1, "control": f"{folder}/ctl.sock"})
        listener = proxy.sections["listener coaps"]
        keys = proxy.folder / "devices.psk"
        nobody = pwd.getpwnam("nobody")
        try:
            proxy.start()
            device = make_device(proxy).connect()
            said = str(proxy.ctl("reload", status=1))
            assert "devices.psk" in said and "Permission denied" in said
            os.chown(keys, nobody.pw_uid, nobody.pw_gid)
            proxy.ctl("reload")
            listener["listen"] = f"{proxy.text}, {proxy.host}:684"
            proxy.write_config()
            assert "CAP_NET_BIND_SERVICE" in str(proxy.ctl("reload", status=1))
            device.exchange(b"as before")
        finally:
            proxy.stop()


@ROOT_ONLY
def test_without_a_user_it_stays_and_says_so(start_proxy, backend):
    proxy = start_proxy(backend)
    assert statuses(proxy.process.pid)[0]["Uid"] == ["0"] * 4


@ROOT_ONLY
def test_an_unknown_user_is_an_error(make_proxy, backend):
    proxy = make_proxy(backend, gate={"user": "no-such-user"})
    result = run_gate("-c", proxy.config_path)
    assert result.returncode in (1, 2)
    assert "no-such-user" in result.stderr


@pytest.fixture
def open_folder(closing):
    """pytest's own folders are closed to other users."""
    folder = tempfile.TemporaryDirectory(prefix="dtlsgate-")
    closing.add(folder, folder.cleanup)
    os.chmod(folder.name, 0o755)
    return folder.name


def start_as_nobody(folder, backend, closing, **gate):
    program = shutil.copy(GATE, folder)
    proxy = Proxy(folder, backend, psk={IDENTITY: KEY}, gate={"workers": 2, **gate})
    closing.add(proxy, proxy.stop)
    nobody = pwd.getpwnam("nobody")
    os.chown(proxy.folder / "devices.psk", nobody.pw_uid, nobody.pw_gid)
    return proxy.start(["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups",
                        "--inh-caps=-all", "--bounding-set=-all"], program)


@ROOT_ONLY
@pytest.mark.skipif(first_free_port() <= 684, reason="every user may have low ports here")
def test_low_ports_outlive_an_upgrade(backend, make_device, closing, open_folder):
    """Who has given up root could not open them again."""
    program = shutil.copy(GATE, open_folder)
    proxy = Proxy(open_folder, backend, psk={IDENTITY: KEY}, gate={"user": "nobody", "workers": 2})
    closing.add(proxy, proxy.stop)
    proxy.sections["listener coaps"]["listen"] = f"{proxy.text}, {proxy.host}:684"
    proxy.metrics_address = (proxy.host, 685)
    proxy.sections["gate"]["metrics"] = f"{proxy.host}:685"
    proxy.write_config()
    nobody = pwd.getpwnam("nobody")
    os.chown(proxy.folder / "devices.psk", nobody.pw_uid, nobody.pw_gid)
    proxy.start(program=program)
    device = make_device(proxy).connect()
    for turn in (2, 3):
        os.kill(proxy.gate_pid(), signal.SIGUSR2)
        wait_until(lambda: len(proxy.log_lines("ready")) == turn, "the next version", 20)
        assert proxy.http("/healthz")[0] == 200
        device.exchange(b"as before")


@ROOT_ONLY
def test_an_ordinary_user_can_run_it(backend, make_device, closing, open_folder):
    """Nothing that it does needs root: not the steering program, not the device-bound socket."""
    proxy = start_as_nobody(open_folder, backend, closing)
    assert statuses(proxy.process.pid)[0]["Uid"] == [str(pwd.getpwnam("nobody").pw_uid)] * 4
    if not IS_SANITIZED:  # the leak sanitizer must look into the process
        owner = os.stat(f"/proc/{proxy.process.pid}/environ").st_uid
        assert owner == 0, "dumpable: keys could get into a core dump"
    make_device(proxy).connect().exchange(b"unprivileged")


@ROOT_ONLY
@pytest.mark.parametrize("user", ["nobody", "daemon"])
def test_another_user_than_it_may_become_is_told(backend, closing, open_folder, user):
    """The same user is no news, such as after each upgrade."""
    proxy = start_as_nobody(open_folder, backend, closing, user=user)
    assert len(proxy.log_lines("user_kept")) == (user == "daemon")


def test_an_address_in_use_is_told(make_proxy, backend):
    proxy = make_proxy(backend)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as occupant:
        occupant.bind(proxy.address)
        result = run_gate("-c", proxy.config_path)
    assert result.returncode == 1
    assert proxy.text in result.stderr, result.stderr


def test_a_metrics_address_in_use_is_told(make_proxy, backend):
    proxy = make_proxy(backend)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as occupant:
        occupant.bind(proxy.metrics_address)
        occupant.listen()
        result = run_gate("-c", proxy.config_path)
    assert result.returncode == 1
    assert "%s:%d" % proxy.metrics_address in result.stderr, result.stderr


def test_the_same_gate_twice_is_refused(start_proxy, backend, make_device):
    """SO_REUSEPORT alone would let the second one take half of the devices."""
    proxy = start_proxy(backend)
    before = make_device(proxy).connect()
    result = run_gate("-c", proxy.config_path)
    assert result.returncode == 1
    assert "in use" in result.stderr, result.stderr
    before.exchange(b"undisturbed")
    for number in range(8):
        make_device(proxy).connect().exchange(b"device %d" % number)


def test_it_starts_again_at_once_on_the_same_address(make_proxy, backend, make_device):
    proxy = make_proxy(backend)
    for turn in range(3):
        proxy.start()
        device = make_device(proxy).connect()
        device.exchange(b"turn %d" % turn)
        proxy.stop()
        assert device.recv() == "closed"


@pytest.fixture
def log_pipe(closing):
    """(reader, writer): what a supervisor gives a daemon as stderr."""
    reader, writer = os.pipe()
    closing.add(reader, lambda: close_quietly(reader))
    closing.add(writer, lambda: close_quietly(writer))
    return reader, writer


def close_quietly(descriptor):
    try:
        os.close(descriptor)
    except OSError:
        pass  # the test has closed it


def test_a_reader_of_the_log_that_goes_away(make_proxy, backend, make_device, log_pipe):
    reader, writer = log_pipe
    proxy = make_proxy(backend).start(stderr=writer)
    os.close(writer)
    os.close(reader)
    device = make_device(proxy)
    for turn in range(5):
        device.connect().exchange(b"turn %d" % turn)


def test_two_gates_that_start_at_once(make_proxy, backend):
    """The address goes to one of them; the other says who has it, and what has to be tried again."""
    proxy = make_proxy(backend, gate={"metrics": ""})
    for _ in range(max(20 // COUNT_DIVISOR, 2)):
        gates = [subprocess.Popen([GATE, "-c", proxy.config_path], stdin=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, text=True, env=gate_environment())
                 for _ in range(2)]
        try:
            wait_until(lambda: any(gate.poll() is not None for gate in gates), "one that ends")
        finally:
            for gate in gates:
                gate.terminate()
            logs = [gate.communicate(timeout=10 * TIME_FACTOR)[1] for gate in gates]
        loser = 0 if gates[0].returncode == 1 else 1
        assert gates[loser].returncode == 1, logs
        assert "in use" in logs[loser] and "start_failed" in logs[loser], logs[loser]
        assert gates[1 - loser].returncode in (0, -signal.SIGTERM), logs[1 - loser]
        assert "start_failed" not in logs[1 - loser], logs


def test_a_manager_that_listens_later(start_proxy, backend, tmp_path, monkeypatch):
    """It gets the descriptors that it is to keep after 30 s. Time itself is the subject."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("FDSTORE", "128")
    proxy = start_proxy(backend)
    lines = proxy.log_lines("notify_failed")
    assert [line["text"].count("FDSTORE=1") for line in lines] == [1, 0], "it is asked once, and then told READY=1"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(40 * TIME_FACTOR)
        assert manager.recv(100).startswith(b"FDSTORE=1\nFDNAME=state")
        assert manager.recv(100).startswith(b"FDSTORE=1\nFDNAME=binary")
    proxy.stop()
