"""What the machine gives or refuses: system calls, IPv6, descriptors, buffers, who the gate is."""

import grp
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import refusing
from conftest import IDENTITY, KEY
from environment import GATE, IS_SANITIZED, TIME_FACTOR
from proxy import Proxy, gate_environment, run_gate

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
SECCOMP = pytest.mark.skipif(not refusing.is_possible(),
                             reason="refusing.py does not know this machine's system calls")
REFUSING = str(Path(refusing.__file__))


def run_refused(rules, *arguments):
    return subprocess.run([sys.executable, REFUSING, *rules, "--", GATE, *map(str, arguments)],
                          capture_output=True, text=True, timeout=20 * TIME_FACTOR,
                          env=gate_environment(), check=False)


# --- system calls ---

@SECCOMP
@pytest.mark.parametrize("error", ["EPERM", "ENOSYS"])
@pytest.mark.parametrize("call", ["recvmmsg", "sendmmsg"])
def test_a_sandbox_without_batches(make_proxy, backend, call, error):
    proxy = make_proxy(backend)
    result = run_refused([f"{call}={error}"], "-c", proxy.config_path)
    assert result.returncode == 1, result.stderr
    assert "start_failed" in result.stderr and f"{call}: " in result.stderr, result.stderr
    assert "seccomp" in result.stderr and "event=ready" not in result.stderr


@SECCOMP
@pytest.mark.skipif(IS_SANITIZED, reason="the sanitizer needs a pipe itself")
def test_an_event_loop_that_cannot_be(make_proxy, backend):
    """libev would abort, and leave a core."""
    proxy = make_proxy(backend)
    result = run_refused(["eventfd2=EMFILE", "pipe2=EMFILE", "pipe=EMFILE"], "-c",
                         proxy.config_path)
    assert result.returncode == 1, result
    assert "event_loop_failed" in result.stderr or "start_failed" in result.stderr, result.stderr
    assert "Too many open files" in result.stderr


# --- IPv6 ---

NO_IPV6 = "socket:AF_INET6=EAFNOSUPPORT"


@SECCOMP
def test_a_kernel_without_ipv6(make_proxy, backend, make_device):
    proxy = make_proxy(backend)
    proxy.sections["listener coaps"]["listen"] += ", [::1]:5684"
    proxy.write_config()
    check = run_refused([NO_IPV6], "-t", "-c", proxy.config_path)
    assert check.returncode == 0, check.stderr
    for text in ("warning", "no IPv6", "[::1]:5684 is left out"):
        assert text in check.stderr, check.stderr
    proxy.start([sys.executable, REFUSING, NO_IPV6, "--"])
    proxy.wait_log("ready")
    assert "[::1]:5684 is left out" in proxy.wait_log("config", level="warning")["text"]
    assert [line["address"] for line in proxy.log_lines("listening")] == [proxy.text]
    make_device(proxy).connect().exchange(b"by IPv4")


@SECCOMP
def test_a_kernel_without_ipv6_and_nothing_else(make_proxy, backend):
    proxy = make_proxy(backend, listener={"listen": "[::1]:5684"})
    for option in ([], ["-t"]):
        result = run_refused([NO_IPV6], "-c", proxy.config_path, *option)
        assert result.returncode == 1 and "no IPv6" in result.stderr, result.stderr


@SECCOMP
def test_a_kernel_without_ipv6_and_metrics_on_it(make_proxy, backend):
    proxy = make_proxy(backend)
    proxy.sections["gate"]["metrics"] = "[::1]:9684"
    proxy.write_config()
    for option in ([], ["-t"]):
        result = run_refused([NO_IPV6], "-c", proxy.config_path, *option)
        assert result.returncode == 1, result.stderr
        assert "metrics = [::1]:9684: this kernel has no IPv6" in result.stderr, result.stderr


# --- descriptors ---

MANY = {"gate": {"workers": 8},
        "listeners": {f"more{i}": {"listen": ", ".join(f"127.0.0.1:{20000 + 8 * i + j}"
                                                       for j in range(8)),
                                   "backend": "127.0.0.1:5683", "psk_file": "devices.psk"}
                      for i in range(2)}}


def soft_limit(pid):
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Max open files")).split()[3])


def test_the_soft_limit_is_raised(make_proxy, backend, make_device):
    proxy = make_proxy(backend, **MANY)
    proxy.start(["sh", "-c", 'ulimit -S -n 20; exec "$@"', "-"])
    limit, used = soft_limit(proxy.process.pid), proxy.descriptors()
    assert used > 8 * 17 * 2, "more than there may be without"
    assert used + 16 <= limit <= used + 128, "what is needed, and not much more"
    make_device(proxy).connect().exchange(b"one of many sockets")


@ROOT_ONLY
@SECCOMP
def test_a_hard_limit_that_is_too_low(backend):
    with ordinary(backend, **MANY) as (proxy, run):
        result = run([sys.executable, REFUSING, "nofile=100", "--"])
        assert result.returncode == 1, result.stderr
        line = result.stderr.splitlines()[-1]
        for text in ("start_failed", "8 workers", "100 are allowed", "LimitNOFILE="):
            assert text in line, result.stderr
        assert "event=listening" not in result.stderr


# --- who it is ---

class ordinary:
    """A gate that `nobody` can start, and a function that runs it so to its end."""

    def __init__(self, backend, **settings):
        self.folder = tempfile.TemporaryDirectory(prefix="dtlsgate-")
        os.chmod(self.folder.name, 0o755)  # pytest's own folders are closed to other users
        shutil.copy(REFUSING, self.folder.name)
        self.program = shutil.copy(GATE, self.folder.name)
        self.proxy = Proxy(self.folder.name, backend, psk={IDENTITY: KEY}, **settings)
        nobody = pwd.getpwnam("nobody")
        os.chown(self.proxy.folder / "devices.psk", nobody.pw_uid, nobody.pw_gid)

    def prefix(self, groups="--clear-groups"):
        return ["setpriv", "--reuid", "nobody", "--regid", "nogroup", groups, "--inh-caps=-all",
                "--bounding-set=-all"]

    def run(self, prefix=(), *options, groups="--clear-groups"):
        prefix = [str(Path(self.folder.name) / "refusing.py") if word == REFUSING else word
                  for word in prefix]
        return subprocess.run(
            [*self.prefix(groups), *prefix, self.program, "-c", self.proxy.config_path, *options],
            capture_output=True, text=True, timeout=20 * TIME_FACTOR, env=gate_environment(),
            check=False)

    def __enter__(self):
        return self.proxy, self.run

    def __exit__(self, *_):
        try:
            self.proxy.stop()
        finally:
            self.folder.cleanup()


@ROOT_ONLY
def test_root_without_a_user_is_warned_of(start_proxy, backend):
    proxy = start_proxy(backend)
    assert "user = NAME" in proxy.wait_log("runs_as_root", level="warning")["text"]
    assert len(proxy.log_lines("runs_as_root")) == 1
    other = start_proxy(backend, gate={"user": "nobody"})
    other.wait_log("ready")
    assert not other.log_lines("runs_as_root")


@ROOT_ONLY
def test_receive_buffers_that_are_cut(backend):
    """As the machine is: warned of if, and only if, the kernel gives less."""
    wanted = 8 * 1024 * 1024
    given = int(Path("/proc/sys/net/core/rmem_max").read_text())
    gate = ordinary(backend, gate={"workers": 2})
    with gate as (proxy, _):
        proxy.start(gate.prefix(), gate.program)
        proxy.wait_log("ready")
        lines = proxy.log_lines("receive_buffer", level="warning")
        assert len(lines) == (given < wanted)
        for line in lines:
            assert line["wanted_bytes"] == str(wanted) and line["got_bytes"] == str(given)
            assert f"sysctl -w net.core.rmem_max={wanted}" in line["text"]
        assert not proxy.log_lines("runs_as_root")


@pytest.mark.parametrize("address, is_public", [
    ("127.0.0.1", False), ("10.1.2.3", False), ("172.31.0.1", False), ("192.168.0.1", False),
    ("169.254.1.1", False), ("100.64.0.1", False), ("[::1]", False), ("[fd00::1]", False),
    ("[fe80::1%lo]", False), ("0.0.0.0", True), ("[::]", True), ("172.32.0.1", True),
    ("100.128.0.1", True), ("192.0.2.1", True), ("[2001:db8::1]", True)])
def test_metrics_on_a_public_address(make_proxy, backend, address, is_public):
    proxy = make_proxy(backend)
    proxy.sections["gate"]["metrics"] = f"{address}:9684"
    proxy.write_config()
    result = proxy.check_config()
    assert result.returncode == 0, result.stderr
    assert ("no password" in result.stderr) == is_public, result.stderr


@ROOT_ONLY
@pytest.mark.parametrize("mode, group, is_good", [
    (0o440, 0, True), (0o640, 0, True), (0o400, 65534, True), (0o440, 65534, False),
    (0o460, 0, False), (0o660, 0, False), (0o444, 0, False), (0o604, 0, False)])
def test_a_key_file_of_the_own_group(make_proxy, backend, mode, group, is_good):
    proxy = make_proxy(backend)
    os.chown(proxy.folder / "devices.psk", 0, group)
    os.chmod(proxy.folder / "devices.psk", mode)
    result = proxy.check_config()
    assert result.returncode == 0, result.stderr
    assert ("lets other users read" in result.stderr) != is_good, result.stderr
    assert is_good or f"mode {mode:04o}" in result.stderr


@ROOT_ONLY
def test_a_key_file_of_a_supplementary_group(backend):
    """As Kubernetes (fsGroup) and OpenShift hand out secrets."""
    with ordinary(backend) as (proxy, run):
        os.chown(proxy.folder / "devices.psk", 0, 4242)
        os.chmod(proxy.folder / "devices.psk", 0o440)
        result = run([], "-t", groups="--groups=4241,4242")
        assert result.returncode == 0 and "warning" not in result.stderr, result.stderr
        assert run([], "-t").returncode == 1, "nor can others read it"


# --- as whom it checks ---

@ROOT_ONLY
def test_checking_as_another_user(backend):
    with ordinary(backend) as (proxy, run):
        def check(*options):
            return run_gate("-c", proxy.config_path, "-t", *options)
        as_root = check()
        assert as_root.returncode == 0 and "checked as root" in as_root.stdout, as_root
        assert "--as USER" in as_root.stdout
        as_nobody = check("--as", "nobody")
        assert as_nobody.returncode == 0 and "checked as nobody" in as_nobody.stdout, as_nobody
        assert "checked as nobody" in run([], "-t").stdout
        assert "checked as nobody" in run([], "-t", "--as", "nobody").stdout, "it is that already"
        not_root = run([], "-t", "--as", "games")
        assert not_root.returncode == 1 and "only root" in not_root.stderr, not_root.stderr
        assert check("--as", "no-such-user").returncode == 1
        os.chown(proxy.folder / "devices.psk", 0, 0)
        assert check().returncode == 0
        denied = check("--as", "nobody")
        assert denied.returncode == 1 and "Permission denied" in denied.stderr, denied.stderr
        assert "checked as nobody" in denied.stderr


@ROOT_ONLY
def test_checking_as_a_user_brings_its_groups(backend):
    """A file of one of the user's groups is read, one of root's group is not."""
    member = next((user.pw_name, group.gr_gid) for group in grp.getgrall()
                  for user in pwd.getpwall()
                  if user.pw_uid != 0 and user.pw_gid == group.gr_gid != 0)
    with ordinary(backend) as (proxy, _):
        for group, status in ((member[1], 0), (0, 1)):
            os.chown(proxy.folder / "devices.psk", 0, group)
            os.chmod(proxy.folder / "devices.psk", 0o440)
            result = subprocess.run(
                ["setpriv", "--groups=0", GATE, "-c", proxy.config_path, "-t", "--as", member[0]],
                capture_output=True, text=True, timeout=20 * TIME_FACTOR, env=gate_environment(),
                check=False)
            assert result.returncode == status, result.stderr


def test_as_is_for_checking_only(make_proxy, backend):
    proxy = make_proxy(backend)
    result = run_gate("-c", proxy.config_path, "--as", "nobody")
    assert result.returncode == 2 and "--check-config" in result.stderr, result.stderr


@ROOT_ONLY
def test_checking_for_a_gate_that_becomes_another_user(make_proxy, backend):
    """It reads its files as root: to check as root is right."""
    result = make_proxy(backend, gate={"user": "nobody"}).check_config()
    assert result.returncode == 0 and "becomes nobody" in result.stdout, result
