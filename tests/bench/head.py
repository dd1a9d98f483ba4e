"""What a result was measured on."""

import os
import platform
import subprocess
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent


def describe_machine():
    model = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(("model name", "Model")):
            model = line.partition(":")[2].strip()
            break
    return f"{model}, {len(os.sched_getaffinity(0))} CPUs, {platform.machine()}"


def describe_commit():
    def git(*arguments):
        return subprocess.run(
            ["git", "-C", str(TOP), *arguments], capture_output=True, text=True, check=False
        ).stdout.strip()

    commit = git("rev-parse", "--short=12", "HEAD")
    if not commit:
        return "unknown"
    return commit + (" with local changes" if git("status", "--porcelain", "-uno") else "")


def describe(options, load_average):
    version = subprocess.run(
        [str(options.gate), "--version"], capture_output=True, text=True, check=False
    ).stdout.splitlines()
    return {
        "commit": describe_commit(),
        "gate": version[0] if version else "unknown version",
        "machine": describe_machine(),
        "kernel": f"{platform.system()} {platform.release()}",
        "load_average": load_average,
        "options": {
            "workers": options.workers,
            "payload": options.payload,
            "connection IDs": options.cid,
            "settings": options.gate_setting + options.setting,
        },
    }
