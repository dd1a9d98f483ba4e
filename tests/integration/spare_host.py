"""A host of its own for an example of conf/: network, mounts, /etc/dtlsgate and /run/dtlsgate, so that addresses and
paths are those of the example. Needs root."""

import os
import subprocess

from clients.program import Program
from environment import wait_until
from proxy import gate_environment

_PREPARE = """\
set -e
ip link set lo up
mkdir -p /etc/dtlsgate /run/dtlsgate
mount --bind "$1/etc" /etc/dtlsgate
mount --bind "$1/run" /run/dtlsgate
touch "$1/ready"
exec sleep 600
"""


class SpareHost:
    """etc: the folder that is /etc/dtlsgate there."""

    def __init__(self, folder):
        folder = folder / "host"
        self.etc, self.run = folder / "etc", folder / "run"
        for path in (folder, self.etc, self.run):
            path.mkdir()
        self._programs = []
        self._process = subprocess.Popen(
            ["unshare", "--net", "--mount", "--propagation", "private", "bash", "-c", _PREPARE, "-", folder])
        wait_until(lambda: (folder / "ready").exists(), "a network and mounts of its own")

    def _inside(self, command):
        return ["nsenter", f"--target={self._process.pid}", "--net", "--mount", *map(str, command)]

    def start(self, *command, **environment):
        """A program that runs until the end of the host."""
        with_environment = ["env", *(f"{name}={value}" for name, value in environment.items()), *command]
        self._programs.append(Program(self._inside(with_environment)))
        return self._programs[-1]

    def call(self, *command, timeout_s=20):
        return subprocess.run(self._inside(command), capture_output=True, text=True, errors="replace",
                              timeout=timeout_s, env=gate_environment(), check=False)

    def write(self, name, text):
        """A file in its /etc/dtlsgate, whole at any moment."""
        new = self.etc / f"{name}.new"
        new.write_text(text)
        os.chmod(new, 0o600)
        new.rename(self.etc / name)

    def close(self):
        for program in reversed(self._programs):
            program.kill()
        self._process.kill()
        self._process.wait()
