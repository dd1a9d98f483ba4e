"""The guide of the top README.md, from the user to the check of the settings, done as root without
sudo: its own commands, in a mount namespace with an /etc of its own."""

import os
import re
import shutil
import subprocess

import pytest

from environment import GATE, REPOSITORY, TIME_FACTOR
from proxy import gate_environment

PREPARE = """\
set -e
cp -a /etc "$1/etc"
rm -rf "$1/etc/dtlsgate"
mount --bind "$1/etc" /etc
sed -i '/^dtlsgate:/d' /etc/passwd /etc/shadow /etc/group /etc/gshadow # if it is installed here
"""


def guide():
    """{number of a step: its blocks of commands}, without sudo."""
    text = (REPOSITORY / "README.md").read_text()
    text = text[text.index("## From a CoAP server to coaps"):]
    text = text[:text.index("\n## ")]
    steps = re.split(r"^(\d)\. ", text, flags=re.M)[1:]
    blocks = {}
    for number, step in zip(steps[::2], steps[1::2]):
        found = re.findall(r"^   ```\n(.*?)^   ```\n", step, flags=re.M | re.S)
        blocks[int(number)] = [re.sub(r"^   ", "", block, flags=re.M).replace("sudo ", "")
                               for block in found]
    return blocks


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("useradd"),
                    reason="needs root, and useradd")
def test_the_guide_as_root_without_sudo(tmp_path):
    steps = guide()
    text_key, hex_key = steps[3]
    check = steps[5][0]
    assert "--check-config --as dtlsgate" in check
    second = hex_key.replace("490154203237518", "490154203237526")
    assert second != hex_key
    script = "\n".join([PREPARE, *steps[2], text_key, hex_key,
                        *steps[2][0].splitlines()[1:],  # the files again: nothing is lost
                        second, *steps[4], check, "cat /etc/dtlsgate/devices.psk",
                        "stat -c '%U %a' /etc/dtlsgate/devices.psk"])
    shutil.copy(GATE, tmp_path / "dtlsgate")
    result = subprocess.run(
        ["unshare", "-m", "--propagation", "private", "bash", "-c", script, "-", tmp_path],
        capture_output=True, text=True, timeout=60 * TIME_FACTOR, check=False,
        env={**gate_environment(), "PATH": f"{tmp_path}:{os.environ['PATH']}:/usr/sbin"})
    assert result.returncode == 0, result.stdout + result.stderr
    assert "good, checked as dtlsgate" in result.stdout, result.stdout + result.stderr
    lines = result.stdout.splitlines()
    assert lines[-1] == "dtlsgate 600", lines
    identities = [line.rpartition(":")[0] for line in lines[-4:-1]]
    assert identities == ["test-device", "urn:imei:490154203237518", "urn:imei:490154203237526"]


def test_a_running_gate_is_changed_after_a_check():
    for name in ("README.md", "docs/configuration.md"):
        text = (REPOSITORY / name).read_text()
        assert re.search(r"--check-config --as dtlsgate && sudo systemctl reload dtlsgate", text)
    for file in (REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")):
        assert "sudo -u" not in file.read_text(), "root has no sudo, and leaves it out"
