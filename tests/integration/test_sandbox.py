"""sandbox = on, log and off: what a confined gate cannot do, that it can do all that it must, and what it says where
the kernel cannot confine. Calls are made in a running gate, by a debugger."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import refusing
from conftest import IDENTITY, KEY
from environment import GATE, IS_SANITIZED, TIME_FACTOR, wait_until
from proxy import run_gate, write_private
from test_stuck_log import StuckLog
from test_upgrade import install, starts, upgrade

pytestmark = pytest.mark.skipif(
    IS_SANITIZED or not refusing.is_possible(),
    reason="a gate that is built with a sanitizer, or for another machine, is not confined")
SECRET_KEY = "0123456789abcdef0123456789abcdef"


def landlock_version():
    """0: the kernel has none."""
    script = "import ctypes; print(ctypes.CDLL(None).syscall(444, 0, 0, 1))"
    return max(0, int(subprocess.check_output([sys.executable, "-c", script])))


LANDLOCK = pytest.mark.skipif(landlock_version() == 0, reason="the kernel has no Landlock")
DEBUGGER = pytest.mark.skipif(shutil.which("gdb") is None or os.geteuid() != 0,
                              reason="needs gdb, and root: a gate cannot be traced by others")


def threads(pid, *names):
    """{name: the fields of /proc/PID/task/TID/status}, once threads of these names are there. A thread names itself, and
    has the main thread's name before it first runs; so that one is the main thread's here."""
    def each():
        tasks = sorted(Path(f"/proc/{pid}/task").iterdir(), key=lambda task: task.name == str(pid))
        found = [dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines()) for task in tasks]
        return {fields["Name"]: fields for fields in found}
    wait_until(lambda: set(names) <= each().keys(), f"threads {names}")
    return each()


def filters(pid, thread="dtlsgate"):
    return int(threads(pid, thread)[thread].get("Seccomp_filters", "-1"))


def make_calls(pid, thread, *calls):
    """Makes system calls in a thread of a running process: (name or number, arguments as C). What became of each: a
    name of errno, or the value."""
    tid = int(threads(pid, thread)[thread]["Pid"])
    script = f"""
import gdb, json
gdb.execute("set scheduler-locking on")
[thread] = [t for t in gdb.selected_inferior().threads() if t.ptid[1] == {tid}]
thread.switch()
results = []
for number, arguments in json.loads({json.dumps(calls)!r}):
    call = ", ".join(["(long)" + str(number), *arguments])
    value = int(gdb.parse_and_eval("((long (*)(long, ...))syscall)(" + call + ")"))
    error = int(gdb.parse_and_eval("*((int *(*)(void))__errno_location)()"))
    results.append(-error if value == -1 else value)
print("results:", json.dumps(results))
"""
    shown = subprocess.run(["gdb", "-nx", "-batch", "-iex", "set debuginfod enabled off", "-p", str(pid), "-ex",
                            f"python exec({script!r})"], capture_output=True, text=True,
                           timeout=60 * TIME_FACTOR, check=False)
    [line] = [line for line in shown.stdout.splitlines() if line.startswith("results:")] or [""]
    assert line, shown
    return [errno.errorcode[-value] if value < 0 else value for value in json.loads(line.removeprefix("results:"))]


# x86-64, arm64.
NUMBERS = {"openat": (257, 56), "execve": (59, 221), "socket": (41, 198), "unshare": (272, 97), "ptrace": (101, 117),
           "mprotect": (10, 226), "mmap": (9, 222), "bpf": (321, 280), "io_uring_setup": (425, 425),
           "connect": (42, 203), "mkdirat": (258, 34), "getpid": (39, 172), "keyctl": (250, 219),
           "sync_file_range": (277, 84), "ioctl": (16, 29), "writev": (20, 66), "sendto": (44, 206),
           "sendmsg": (46, 211), "sendmmsg": (307, 269), "close": (3, 57)}


def number(name):
    return NUMBERS[name][refusing.MACHINES[os.uname().machine][0]]


def call(name, *arguments):
    return number(name), [str(argument) for argument in arguments]


def text(path):
    return f'"{path}"'


# --- what it cannot do ---

def test_all_threads_are_confined(start_proxy, backend, make_device):
    proxy = start_proxy(backend, gate={"workers": 2})
    make_device(proxy).connect().exchange(b"served")
    line = proxy.wait_log("sandbox")
    assert (line["mode"], line["calls"], line["inherited"]) == ("on", "filtered", "no")
    found = threads(proxy.gate_pid(), "dtlsgate", "log", "metrics", "worker-0", "worker-1")
    for name, fields in found.items():
        assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2"), name
    if "Seccomp_filters" in found["log"]:
        assert filters(proxy.gate_pid(), "worker-1") == filters(proxy.gate_pid()) + 1, "a worker has its own besides"
        assert filters(proxy.gate_pid(), "log") == filters(proxy.gate_pid()), "the log's thread has the process's"


@DEBUGGER
def test_calls_that_nobody_needs_are_refused(start_proxy, backend):
    proxy = start_proxy(backend)
    results = make_calls(
        proxy.gate_pid(), "dtlsgate",
        call("getpid"), call("ptrace", 0, 0, 0, 0), call("unshare", 0x10000000), call("bpf", 0, 0, 0),
        call("io_uring_setup", 1, 0), call("keyctl", 0, 0), call("socket", 17, 3, 0), call("socket", 2, 3, 1),
        call("mkdirat", -100, text(proxy.folder / "made"), 0o700),
        call("mmap", 0, 4096, 7, 0x22, -1, 0), call("mprotect", "(long)$sp & ~4095L", 4096, 7))
    assert results == [proxy.gate_pid()] + 10 * ["ENOSYS"]


@DEBUGGER
@LANDLOCK
def test_files_of_others_are_refused(start_proxy, backend, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    secret = write_private(other / "secret", "of somebody else")
    proxy = start_proxy(backend, gate={"control": "control.sock"})
    results = make_calls(
        proxy.gate_pid(), "dtlsgate",
        call("openat", -100, text(secret), 0), call("openat", -100, text(other / "new"), os.O_CREAT | os.O_WRONLY, 0o600),
        call("openat", -100, text(proxy.config_path), os.O_WRONLY),
        call("openat", -100, text("/proc/sys/kernel/core_pattern"), os.O_WRONLY),
        call("execve", text("/bin/true"), 0, 0))
    assert results == 5 * ["EACCES"]
    [descriptor] = make_calls(proxy.gate_pid(), "dtlsgate", call("openat", -100, text(proxy.config_path), 0))
    assert isinstance(descriptor, int)
    make_calls(proxy.gate_pid(), "dtlsgate", call("close", descriptor))


@DEBUGGER
@LANDLOCK
def test_programs_beside_the_libraries_are_refused(start_proxy, backend):
    """The loader may be executed, and lies among libraries; other folders of /usr/lib have programs."""
    programs = [path for pattern in ("systemd/systemd*", "gcc/*/*/cc1", "git-core/git-*", "apt/methods/*")
                for path in Path("/usr/lib").glob(pattern) if path.is_file() and os.access(path, os.X_OK)]
    if not programs:
        pytest.skip("no program is in /usr/lib here")
    proxy = start_proxy(backend)
    assert make_calls(proxy.gate_pid(), "dtlsgate", call("execve", text(programs[0]), 0, 0)) == ["EACCES"]


@DEBUGGER
def test_connections_that_landlock_does_not_see_are_refused(start_proxy, backend):
    """MPTCP, and data that opens a connection of TCP by itself."""
    mptcp, fast_open = 262, 0x20000000
    proxy = start_proxy(backend)
    for thread in ("dtlsgate", "worker-0"):
        assert make_calls(
            proxy.gate_pid(), thread,
            call("sendto", -1, 0, 0, fast_open, 0, 0), call("sendmsg", -1, 0, fast_open),
            call("sendmmsg", -1, 0, 0, fast_open | 0x40), call("socket", 2, 1, mptcp), call("socket", 10, 1, mptcp),
        ) == 5 * ["ENOSYS"]
        assert make_calls(
            proxy.gate_pid(), thread, call("sendto", -1, 0, 0, 0x40, 0, 0), call("sendmsg", -1, 0, 0),
            call("sendmmsg", -1, 0, 0, 0x40)) == 3 * ["EBADF"]
    opened = make_calls(proxy.gate_pid(), "dtlsgate", call("socket", 2, 1, 0), call("socket", 10, 1, 6),
                        call("socket", 2, 0o2000002, 17), call("socket", 1, 2, 0))
    assert all(isinstance(descriptor, int) for descriptor in opened), opened
    make_calls(proxy.gate_pid(), "dtlsgate", *(call("close", descriptor) for descriptor in opened))


@DEBUGGER
def test_what_is_rarely_needed_is_not_refused(start_proxy, backend):
    """A large state_file, the number of an interface, the C library's last words."""
    proxy = start_proxy(backend)
    assert make_calls(proxy.gate_pid(), "dtlsgate", call("sync_file_range", -1, 0, 0, 2),
                      call("ioctl", -1, 0x8933, 0)) == 2 * ["EBADF"]
    assert make_calls(proxy.gate_pid(), "worker-0", call("writev", -1, 0, 0)) == ["EBADF"]


@DEBUGGER
def test_a_worker_opens_and_executes_nothing(start_proxy, backend, make_device):
    proxy = start_proxy(backend)
    device = make_device(proxy).connect()
    results = make_calls(
        proxy.gate_pid(), "worker-0",
        call("openat", -100, text(proxy.config_path), 0), call("execve", text(GATE), 0, 0), call("socket", 2, 2, 0),
        call("connect", 0, 0, 0), call("mmap", 0, 4096, 5, 0x22, -1, 0))
    assert results == 5 * ["ENOSYS"]
    device.exchange(b"as before")


@DEBUGGER
@pytest.mark.parametrize("mode", ["log", "off"])
def test_nothing_is_refused(start_proxy, backend, tmp_path, mode):
    secret = write_private(tmp_path / "secret", "of somebody else")
    proxy = start_proxy(backend, gate={"sandbox": mode})
    pid = proxy.gate_pid()
    descriptor, shared = make_calls(pid, "dtlsgate", call("openat", -100, text(secret), 0), call("unshare", 0))
    assert isinstance(descriptor, int) and shared == 0
    make_calls(pid, "dtlsgate", call("close", descriptor))
    before = int(threads(os.getpid())[threads_name()].get("Seccomp_filters", "-1"))
    assert filters(pid) == before + (mode == "log")


def threads_name():
    return Path("/proc/self/comm").read_text().strip()


# --- what it must be able to do ---

@pytest.fixture
def start_installed(make_proxy):
    def start(backend, prefix=(), **settings):
        proxy = make_proxy(backend, **settings)
        return proxy.start(prefix, install(proxy))
    return start


def ctl_upgrade(proxy):
    return run_gate("ctl", "-c", proxy.config_path, "upgrade")


def test_upgrades_add_no_layers(start_installed, backend, make_device):
    """The kernel takes 16 layers of Landlock only."""
    proxy = start_installed(backend, gate={"control": "control.sock", "workers": 2})
    device = make_device(proxy).connect()
    before = filters(proxy.gate_pid())
    for _ in range(18):
        install(proxy)
        assert ctl_upgrade(proxy).returncode == 0
    proxy.wait_ready()
    assert filters(proxy.gate_pid()) == before
    assert [line["inherited"] for line in proxy.log_lines("sandbox")] == ["no"] + 18 * ["yes"]
    assert proxy.log_lines("sandbox_partial") == []
    device.exchange(b"goes on")
    assert proxy.handshakes("established") == 1


def test_an_upgrade_with_other_settings_adds_one(start_installed, backend, tmp_path):
    """What it has not been given at the start it cannot have; what it does not need any more it gives up."""
    (tmp_path / "keys").mkdir()
    write_private(tmp_path / "keys" / "more.psk", f"more:{SECRET_KEY}\n")
    proxy = start_installed(backend, listener={"psk_file": f"devices.psk, {tmp_path / 'keys' / 'more.psk'}"})
    before = filters(proxy.gate_pid())
    proxy.sections["listener coaps"]["psk_file"] = "devices.psk"
    proxy.write_config()
    upgrade(proxy)
    upgrade(proxy)
    layers = 1 if landlock_version() > 0 else 0
    assert [line["inherited"] for line in proxy.log_lines("sandbox")] == ["no"] + layers * ["no"] + (2 - layers) * ["yes"]
    assert filters(proxy.gate_pid()) == before, "the system calls are the same"


def test_an_interface_by_its_name(start_proxy, backend):
    """Its number is asked for whenever the settings are read. It is there; the address is not."""
    proxy = start_proxy(backend, gate={"control": "control.sock"})
    proxy.sections["listener coaps"]["listen"] += ", [fe80::1%lo]:5684"
    proxy.write_config()
    result = proxy.run_ctl("reload")
    assert result.returncode == 1
    assert "this machine has no such address" in result.stdout + result.stderr, result


@LANDLOCK
def test_a_program_in_another_folder(make_proxy, backend, make_device):
    """A link to the newest version is not followed to where the sandbox does not let it."""
    proxy = make_proxy(backend, gate={"control": "control.sock"})
    for version in ("1", "2"):
        (proxy.folder / "versions" / version).mkdir(parents=True)
        shutil.copy(GATE, proxy.folder / "versions" / version / "dtlsgate")
    current = proxy.folder / "versions" / "current"
    current.symlink_to("1")
    proxy.start(program=current / "dtlsgate")
    device = make_device(proxy).connect()
    (proxy.folder / "new").symlink_to("2")
    (proxy.folder / "new").rename(current)
    result = ctl_upgrade(proxy)
    assert result.returncode == 1
    assert "sandbox = on allows only what lies in the folder" in result.stderr + result.stdout, result
    assert "sandbox = on" in proxy.wait_log("upgrade_failed")["text"]
    device.exchange(b"as before")


@LANDLOCK
def test_a_reload_that_names_another_folder(start_proxy, backend, make_device, tmp_path):
    (tmp_path / "keys").mkdir()
    write_private(tmp_path / "keys" / "more.psk", f"more:{SECRET_KEY}\n")
    proxy = start_proxy(backend, gate={"control": "control.sock"})
    device = make_device(proxy).connect()
    proxy.sections["listener coaps"]["psk_file"] = f"devices.psk, {tmp_path / 'keys' / 'more.psk'}"
    proxy.write_config()
    result = proxy.run_ctl("reload")
    assert result.returncode == 1
    assert "sandbox = on allows only the folders that were known at the start" in result.stderr + result.stdout
    assert "more.psk" in result.stderr + result.stdout and str(proxy.folder) in result.stderr + result.stdout
    device.exchange(b"as before")
    write_private(proxy.folder / "more.psk", f"more:{SECRET_KEY}\n")
    proxy.sections["listener coaps"]["psk_file"] = "devices.psk, more.psk"
    proxy.write_config()
    assert proxy.run_ctl("reload").returncode == 0
    make_device(proxy, psk=("more", SECRET_KEY)).connect()


@LANDLOCK
def test_a_reload_that_names_another_folder_for_the_state(make_proxy, backend, tmp_path):
    """Else it would only show at the stop, when the sessions are lost."""
    (tmp_path / "elsewhere").mkdir()
    proxy = make_proxy(backend, gate={"control": "control.sock", "state_file": "state", "state_key_file": "state.key"})
    write_private(proxy.folder / "state.key", "5a" * 32 + "\n")
    proxy.start()
    proxy.sections["gate"]["state_file"] = tmp_path / "elsewhere" / "state"
    proxy.write_config()
    result = proxy.run_ctl("reload")
    assert result.returncode == 1 and "known at the start" in result.stderr + result.stdout, result
    proxy.sections["gate"]["state_file"] = "another"
    proxy.write_config()
    assert proxy.run_ctl("reload").returncode == 0
    proxy.stop()
    assert (proxy.folder / "another").exists()


@LANDLOCK
def test_an_upgrade_to_settings_that_name_another_folder(start_installed, backend, make_device, tmp_path):
    """It is refused before anything of the gate is touched."""
    (tmp_path / "keys").mkdir()
    shutil.copy(write_private(tmp_path / "devices.psk", f"{IDENTITY}:{KEY}\n"), tmp_path / "keys" / "devices.psk")
    os.chmod(tmp_path / "keys" / "devices.psk", 0o600)
    proxy = start_installed(backend)
    device = make_device(proxy).connect()
    proxy.sections["listener coaps"]["psk_file"] = tmp_path / "keys" / "devices.psk"
    proxy.write_config()
    proxy.send_signal(signal.SIGUSR2)
    wait_until(lambda: any("known at the start" in line["text"] for line in proxy.log_lines("upgrade_check")),
               "what is refused")
    proxy.wait_log("upgrade_failed")
    device.exchange(b"as before")
    assert starts(proxy) == 1


@LANDLOCK
def test_certificates_behind_links(start_proxy, backend, make_device, keys, tmp_path):
    """As certbot and Kubernetes lay them: names lead to the newest of a folder elsewhere."""
    archive, live = tmp_path / "archive", tmp_path / "live"
    for folder in (archive, live):
        folder.mkdir()
    pair = keys.server

    def point(version):
        for kind, path in (("cert", pair.certificate), ("key", pair.key)):
            shutil.copy(path, archive / f"{kind}{version}.pem")
            os.chmod(archive / f"{kind}{version}.pem", 0o600)
            (live / "new").symlink_to(archive / f"{kind}{version}.pem")
            (live / "new").rename(live / f"{kind}.pem")

    point(1)
    proxy = start_proxy(backend, gate={"control": "control.sock"}, listener={
        "certificate": live / "cert.pem", "private_key": live / "key.pem", "client_auth": "none"})
    point(2)
    assert proxy.run_ctl("reload").returncode == 0


def test_sandbox_off_in_an_upgrade(start_installed, backend):
    """Nobody gives back what the version before has given up."""
    proxy = start_installed(backend)
    proxy.sections["gate"]["sandbox"] = "off"
    proxy.write_config()
    proxy.send_signal(signal.SIGHUP)
    wait_until(lambda: any("sandbox" in line["text"] for line in proxy.log_lines("config", level="warning")),
               "that it needs a restart")
    upgrade(proxy)
    assert "restart" in proxy.wait_log("sandbox_inherited")["text"]
    assert threads(proxy.gate_pid())["dtlsgate"]["Seccomp"] == "2"


def test_a_crash_under_the_keeper(start_proxy, backend, make_device):
    """The keeper is not confined: what it starts confines itself anew."""
    proxy = start_proxy(backend, keeper=True)
    device = make_device(proxy).connect()
    assert filters(proxy.process.pid) == filters(proxy.gate_pid()) - 1
    before = proxy.gate_pid()
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: starts(proxy) == 2, "another gate", 20)
    proxy.wait_ready()
    assert [line["inherited"] for line in proxy.log_lines("sandbox")] == ["no", "no"]
    device.exchange(b"goes on")


# --- a kernel that cannot ---

def without(*words):
    return [sys.executable, str(Path(refusing.__file__)), *words, "--"]


@pytest.mark.parametrize("error", ["ENOSYS", "EOPNOTSUPP"])
def test_a_kernel_without_landlock(start_installed, backend, make_device, error):
    proxy = start_installed(backend, without(f"landlock_create_ruleset={error}"))
    assert "files are not confined" in proxy.wait_log("sandbox_partial", level="warning")["text"]
    assert proxy.wait_log("sandbox")["files"] == "all"
    make_device(proxy).connect().exchange(b"served")
    before = filters(proxy.gate_pid())
    upgrade(proxy)
    make_device(proxy).connect().exchange(b"served by the next one")
    assert filters(proxy.gate_pid()) == before, "the system calls are the same"


@pytest.mark.parametrize("calls, event", [(["landlock_create_ruleset=EPERM"], "files are not confined"),
                                          (["seccomp=EPERM"], "system calls are not refused")])
def test_a_filter_around_the_gate(start_installed, backend, calls, event):
    """The kernel is not to blame."""
    proxy = start_installed(backend, without(*calls))
    [line] = [line["text"] for line in proxy.log_lines("sandbox_partial") if event in line["text"]]
    assert "a filter around the gate" in line and "kernel" not in line


@LANDLOCK
def test_a_log_that_nobody_reads(make_proxy, backend, tmp_path, closing):
    """Its thread waits there, and nobody can stop it: it is said to be not confined."""
    log = StuckLog("pipe", tmp_path)
    closing.add(log, log.close)
    make_proxy(backend).start(stderr=log.writer)
    log.release()
    wait_until(lambda: any("event=ready" in line for line in log.lines()), "its lines")
    [partial] = [line for line in log.lines() if "event=sandbox_partial" in line]
    assert "in the thread of the log" in partial
    [line] = [line for line in log.lines() if "event=sandbox " in line]
    assert "calls=filtered files=partly" in line


def test_a_kernel_without_seccomp(start_installed, backend, make_device):
    proxy = start_installed(backend, without("seccomp=EINVAL", "prctl:22=EINVAL"))
    assert any("system calls are not refused" in line["text"] for line in proxy.log_lines("sandbox_partial"))
    assert proxy.wait_log("sandbox")["calls"] == "all"
    make_device(proxy).connect().exchange(b"served")
    upgrade(proxy)
    make_device(proxy).connect().exchange(b"served by the next one")
