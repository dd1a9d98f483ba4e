"""Two service managers for conf/dtlsgate.service: a player of its rules that runs anywhere, and a
real user manager of systemd in a mount namespace of its own, where that runs.

Both start the gate under test in place of the program that the unit names, and try again after a
fraction of the time that it names. They have in common: start(), restart(), state() (inactive, activating,
active, auto-restart, failed), restarts(), status() of the last run that ended, pid(), log_path, close().
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import passing
import refusing
from environment import GATE, REPOSITORY, TIME_FACTOR, wait_until
from proxy import gate_environment

UNIT = REPOSITORY / "conf/dtlsgate.service"
SYSTEMD = Path("/usr/lib/systemd/systemd")
RETRY_S = 0.2
# Starts within 10 s beyond which systemd gives up, unless the unit says that it never does. One, so
# that a few starts show it, on a busy machine too.
START_LIMIT = 1
FAMILIES = ("AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET")


def read_unit(path=UNIT):
    """{section: {key: [values]}}, as systemd.syntax(7) reads it: an empty value forgets those before."""
    unit, section = {}, None
    for line in path.read_text().splitlines():
        line = line.strip()
        if not line or line[0] in "#;":
            continue
        if line.startswith("["):
            section = unit.setdefault(line.strip("[]"), {})
            continue
        key, _, value = line.partition("=")
        values = section.setdefault(key.strip(), [])
        if value.strip():
            values.append(value.strip())
        else:
            values.clear()
    return unit


def seconds(text):
    """A time span such as 5s, 200ms, 2min or 10."""
    number, unit = re.fullmatch(r"([\d.]+) *(ms|s|min|)", text).groups()
    return float(number) * {"ms": 0.001, "s": 1, "min": 60, "": 1}[unit]


class Player:
    """Rules of systemd.service(5): Type=, ExecStart=, NotifyAccess= (main), Restart=, RestartSec=,
    RestartPreventExitStatus=, FileDescriptorStoreMax=, the start limit, and
    RestrictAddressFamilies= by a filter."""

    def __init__(self, config_path, folder):
        unit = read_unit()
        self.service, self.unit = unit["Service"], unit["Unit"]
        assert "ExecStartPre" not in self.service, "it would have to be played, too"
        program, *words = self.one("ExecStart").split()
        assert Path(program).name == "dtlsgate" and words[0] == "-c"
        self._command = [str(GATE), "-c", str(config_path), *words[2:]]
        self._store = []  # (name, descriptor)
        self._wants_restart_now = False
        self._notify_path = str(Path(folder) / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self._notify_path)
        self._socket.settimeout(0.02)
        self.log_path = Path(folder) / "unit.log"
        self._log = open(self.log_path, "wb")
        self._state, self._restarts, self._status, self._process = "inactive", 0, None, None
        self._is_ending = False
        self._starts = []
        self._thread = None

    def one(self, key, default=None, table=None):
        return ((table or self.service).get(key) or [default])[-1]

    def _refused_families(self):
        allowed = self.one("RestrictAddressFamilies")
        if allowed is None or not refusing.is_possible():
            return []
        return [f"socket:{family}=EAFNOSUPPORT" for family in FAMILIES
                if family not in allowed.split()]

    def _may_start(self):
        interval_s = seconds(self.one("StartLimitIntervalSec", "10s", self.unit))
        self._starts = [at for at in self._starts if time.monotonic() - at < interval_s]
        self._starts.append(time.monotonic())
        return interval_s == 0 or len(self._starts) <= START_LIMIT

    def _run_once(self):
        self._process = subprocess.Popen(
            [sys.executable, passing.__file__, *(name for name, _ in self._store), "--",
             sys.executable, refusing.__file__, *self._refused_families(), "--", *self._command],
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
            pass_fds=[fd for _, fd in self._store],
            env={**gate_environment(), "NOTIFY_SOCKET": self._notify_path,
                 "PASSED_FDS": ",".join(str(fd) for _, fd in self._store)})
        kind = self.one("Type", "simple")
        self._state = "activating" if kind == "notify" else "active"
        while self._process.poll() is None:
            if self._is_ending or self._wants_restart_now:
                self._process.terminate()
                self._process.wait(timeout=10 * TIME_FACTOR)
                break
            self._hear()
        while self._hear():
            pass
        return self._process.returncode

    def _hear(self):
        """One message; False: none came."""
        try:
            text, fds, _, _ = socket.recv_fds(self._socket, 4096, 8)
        except TimeoutError:
            return False
        fields = dict(line.split("=", 1) for line in text.decode().splitlines() if "=" in line)
        name = fields.get("FDNAME", "stored")
        if fields.get("FDSTORE") == "1":
            assert fields.get("FDPOLL") == "0", "a socket with an error would be dropped"
            self._keep(name, fds[0])
        elif fields.get("FDSTOREREMOVE") == "1":
            for kept, fd in self._store:
                if kept == name:
                    os.close(fd)
            self._store = [(kept, fd) for kept, fd in self._store if kept != name]
        elif fields.get("READY") == "1":
            self._state = "active"
        return True

    def _keep(self, name, fd):
        most = int(self.one("FileDescriptorStoreMax", "0"))
        if len(self._store) < most and not any(os.path.sameopenfile(fd, kept) for _, kept in self._store):
            self._store.append((name, fd))
        else:
            os.close(fd)

    def _wants_restart(self, status):
        prevented = {int(word) for word in self.one("RestartPreventExitStatus", "").split()}
        clean = status in (0, -signal.SIGHUP, -signal.SIGINT, -signal.SIGTERM, -signal.SIGPIPE)
        rule = self.one("Restart", "no")
        return status not in prevented and (rule == "always" or (rule == "on-failure" and not clean))

    def _play(self):
        while True:
            if not self._may_start():
                self._state = "failed"
                return
            self._status = self._run_once()
            if self._wants_restart_now:
                self._wants_restart_now = False
                continue
            if self._is_ending or not self._wants_restart(self._status):
                self._state = "inactive" if self._status == 0 else "failed"
                return
            self._state = "auto-restart"
            time.sleep(RETRY_S)
            self._restarts += 1

    def start(self):
        self._thread = threading.Thread(target=self._play)
        self._thread.start()

    def restart(self):
        """As `systemctl restart`: SIGTERM, and the next start at once."""
        self._state = "deactivating"
        self._wants_restart_now = True

    def state(self):
        return self._state

    def restarts(self):
        return self._restarts

    def status(self):
        return self._status

    def pid(self):
        return self._process.pid

    def close(self):
        self._is_ending = True
        if self._thread:
            self._thread.join(timeout=20 * TIME_FACTOR)
        for _, fd in self._store:
            os.close(fd)
        self._socket.close()
        self._log.close()


# What needs more than a user manager has (nodes that are nobody's), or hides the test's own folders.
NOT_FOR_A_USER_MANAGER = ("ProtectHome", "ProtectKernelTunables", "ProtectKernelLogs", "PrivateTmp")


class UserManager:
    """systemd --user with the unit itself and a drop-in. As root, for the mount namespace."""

    def __init__(self, config_path, folder):
        self.log_path = Path(folder) / "unit.log"
        self._folder = Path(tempfile.mkdtemp(prefix="dtlsgate-"))  # short, for the sockets in it
        # A name of its own: managers that run at the same time have one tree of control groups, and would
        # take each other's processes for their own.
        self._unit = f"{self._folder.name}.service"
        units = self._folder / "config/systemd/user"
        (units / f"{self._unit}.d").mkdir(parents=True)
        (self._folder / "run").mkdir()
        shutil.copy(UNIT, units / self._unit)
        lines = ["[Unit]", f"StartLimitBurst={START_LIMIT}", "[Service]", "User=", "ExecStart=", f"ExecStart={GATE} -c {config_path} --fd-store",
                 f"RestartSec={int(RETRY_S * 1000)}ms", f"StandardError=append:{self.log_path}",
                 f"ReadWritePaths={Path(config_path).parent}",
                 *(f"{key}=no" for key in NOT_FOR_A_USER_MANAGER),
                 *(f'Environment="{key}={value}"' for key, value in gate_environment().items()
                   if key.endswith("SAN_OPTIONS"))]
        (units / f"{self._unit}.d/test.conf").write_text("\n".join(lines) + "\n")
        self._environment = {**os.environ, "HOME": str(self._folder),
                             "XDG_RUNTIME_DIR": str(self._folder / "run"),
                             "XDG_CONFIG_HOME": str(self._folder / "config")}
        script = (f"mount -t tmpfs none /run && mkdir -p /run/systemd/system && "
                  f"exec {SYSTEMD} --user --unit=basic.target")
        self._process = subprocess.Popen(
            ["unshare", "-m", "--propagation", "private", "sh", "-c", script],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=self._environment)

    def is_running(self):
        """After a while, at most: some containers do not let it."""
        try:
            wait_until(lambda: self._process.poll() is not None or
                       self._systemctl("show", "-p", "Version").returncode == 0,
                       "the user manager", 5)
        except AssertionError:
            return False
        return self._process.poll() is None

    def _systemctl(self, *words):
        return subprocess.run(["systemctl", "--user", *words], capture_output=True, text=True,
                              timeout=30 * TIME_FACTOR, env=self._environment, check=False)

    def _show(self, key):
        return self._systemctl("show", self._unit, "--value", "-p", key).stdout.strip()

    def start(self):
        self._systemctl("start", "--no-block", self._unit)

    def restart(self):
        self._systemctl("restart", "--no-block", self._unit)

    def state(self):
        active, sub = self._show("ActiveState"), self._show("SubState")
        return sub if sub == "auto-restart" else active

    def restarts(self):
        return int(self._show("NRestarts"))

    def status(self):
        return int(self._show("ExecMainStatus"))

    def pid(self):
        return int(self._show("MainPID"))

    def close(self):
        if self._process.poll() is None:
            self._systemctl("stop", self._unit)
            self._process.terminate()
            try:
                self._process.wait(timeout=10 * TIME_FACTOR)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
