"""What starts a gate again and gives it back what it had: a player of systemd's store of descriptors, and
dtlsgate --keeper."""

import array
import contextlib
import fcntl
import os
import signal
import socket
import struct
import threading
import time
from pathlib import Path

from programs import BenchError, Gate

STORE_MAX = 64
STORED_FROM = 100  # out of the way of those that a start puts in place, from 3 on
READY_MAX_S = 30
LOOK_S = 0.1  # from one look to the next whether the process has ended
# linux/sock_diag.h
SO_MEMINFO, MEMINFO_VARS = 55, 9
MEMINFO_WAITING, MEMINFO_RCVBUF, MEMINFO_DROPS = 0, 1, 8


class Service:
    """Plays the part of systemd for one service with Type=notify and a store of descriptors
    (sd_notify(3), sd_listen_fds(3)). A thread of its own hears what the gate says."""

    name = "systemd's store"

    def __init__(self, bench, name, **settings):
        self.bench, self._name, self._starts = bench, name, 0
        self.place = bench.write_config(name, **settings)
        self.gate = None
        self._stored = []  # (name, descriptor), owned
        self._heard = threading.Condition()
        self._ready, self._is_closed = 0, False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._path = bench.folder / f"{name}.notify"
        self._socket.bind(str(self._path))
        self._socket.settimeout(0.2)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    # --- what the gate says ---

    def _listen(self):
        while not self._is_closed:
            try:
                data, ancillary, _, _ = self._socket.recvmsg(4096, 1024)
            except TimeoutError:
                continue
            except OSError:
                return
            descriptors = array.array("i")
            for level, kind, content in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    descriptors.frombytes(content[: len(content) // 4 * 4])
            self._hear(dict(line.partition("=")[::2] for line in data.decode().splitlines()), descriptors)

    def _hear(self, said, descriptors):
        with self._heard:
            for descriptor in descriptors:
                if said.get("FDSTORE") == "1" and not self._has(descriptor):
                    self._stored.append((said.get("FDNAME", "stored"), move_up(descriptor)))
                os.close(descriptor)
            if said.get("FDSTOREREMOVE") == "1":
                for name, descriptor in [item for item in self._stored if item[0] == said["FDNAME"]]:
                    self._stored.remove((name, descriptor))
                    os.close(descriptor)
            if said.get("READY") == "1":
                self._ready += 1
            self._heard.notify_all()

    def _has(self, descriptor):
        return any(os.path.sameopenfile(descriptor, stored) for _, stored in self._stored)

    def _wait_ready(self, before):
        """Until it has said so once more."""
        end = time.monotonic() + READY_MAX_S
        with self._heard:
            while self._ready == before and self.gate.process.poll() is None and time.monotonic() < end:
                self._heard.wait(LOOK_S)
            is_ready = self._ready > before
        self.gate.check_alive()
        if not is_ready:
            raise self.gate.failure(f"did not say READY=1 within {READY_MAX_S} s")

    def sockets(self):
        """Those that are stored and take datagrams, as sockets of ours; to be closed."""
        found = []
        with self._heard:
            for _, descriptor in self._stored:
                if os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:"):
                    one = socket.socket(fileno=os.dup(descriptor))
                    if one.type == socket.SOCK_DGRAM:
                        found.append(one)
                    else:
                        one.close()
        return found

    # --- what is done to it ---

    def start(self):
        before = self._ready
        with self._heard:
            stored = list(self._stored)
        moves = " ".join(f"{3 + i}<&{descriptor}-" for i, (_, descriptor) in enumerate(stored))
        # The shell's number is that of the gate, which takes its place.
        command = ["bash", "-c", f'export LISTEN_PID=$$; exec "$0" "$@" {moves}']
        environment = {
            **os.environ,
            "NOTIFY_SOCKET": str(self._path),
            "FDSTORE": str(STORE_MAX),
            "LISTEN_FDS": str(len(stored)),
            "LISTEN_FDNAMES": ":".join(name for name, _ in stored),
        }
        self._starts += 1
        self.gate = Gate(
            f"{self._name}-{self._starts}",
            [*command, self.bench.options.gate, "-c", self.place.config],
            self.bench.folder,
            self.bench.server_cpus,
            self.place,
            env=environment,
            pass_fds=[descriptor for _, descriptor in stored],
        )
        self._wait_ready(before)
        return self.gate

    def restart(self):
        """systemctl restart."""
        self.gate.stop()
        self.start()

    def upgrade(self):
        """With the same program: it is the same process afterwards."""
        self._signal(signal.SIGUSR2)

    def reload(self):
        self._signal(signal.SIGHUP)

    def _signal(self, number):
        before = self._ready
        os.kill(self.gate.process.pid, number)
        self._wait_ready(before)

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._is_closed = True
        if self.gate:
            self.gate.kill()
        self._thread.join()
        self._socket.close()
        for _, descriptor in self._stored:
            os.close(descriptor)
        self._stored = []


def move_up(descriptor):
    """A copy that children do not inherit unless they are told to."""
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, STORED_FROM)


class Keeper:
    """dtlsgate --keeper: the process that holds what a gate has, and its child, the gate."""

    name = "keeper"

    def __init__(self, bench, name, **settings):
        self.bench = bench
        self.place = bench.write_config(name, **settings)
        self._name = name
        self.gate = None  # the keeper; it answers for the gate

    def __enter__(self):
        command = [self.bench.options.gate, "--keeper", "-c", self.place.config]
        folder, cpus = self.bench.folder, self.bench.server_cpus
        self.gate = Gate(self._name, command, folder, cpus, self.place)
        try:
            self.gate.wait_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        pid = self.child()
        self.gate.kill()
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def child(self):
        pid = self.gate.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children")
        try:
            found = children.read_text(encoding="ascii").split()
        except OSError:
            return None
        return int(found[0]) if found else None

    def kill(self):
        """The gate, by SIGKILL; until the next one is ready."""
        before = self.child()
        if before is None:
            raise BenchError("the keeper has no child, or /proc does not tell it")
        os.kill(before, signal.SIGKILL)
        end = time.monotonic() + READY_MAX_S
        while self.child() in (None, before) or not self.gate.is_ready():
            self.gate.check_alive()
            if time.monotonic() > end:
                raise self.gate.failure(f"no gate is ready {READY_MAX_S} s after the kill")
            time.sleep(0.01)

    def sockets(self):
        """What the keeper holds is its own."""
        return []


class Buffers:
    """While it is entered: how much waits in the receive buffers of these sockets, which are closed
    then. A thread looks every few milliseconds."""

    LOOK_S = 0.005

    def __init__(self, sockets):
        self._sockets = sockets
        self.most_bytes = self.room_bytes = self.drops = None
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _look(self):
        found = []
        for one in self._sockets:
            info = one.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 4 * MEMINFO_VARS)
            found.append(struct.unpack(f"{MEMINFO_VARS}I", info))
        return found

    def _watch(self):
        while not self._is_over.wait(self.LOOK_S):
            self.most_bytes = max(self.most_bytes, *(info[MEMINFO_WAITING] for info in self._look()))

    def __enter__(self):
        if self._sockets:
            found = self._look()
            self.most_bytes = 0
            self.room_bytes = min(info[MEMINFO_RCVBUF] for info in found)
            self.drops = -sum(info[MEMINFO_DROPS] for info in found)
            self._thread.start()
        return self

    def __exit__(self, *_):
        self._is_over.set()
        if self._sockets:
            self._thread.join()
            self.drops += sum(info[MEMINFO_DROPS] for info in self._look())
        for one in self._sockets:
            one.close()
