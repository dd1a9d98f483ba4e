"""What a core dump of a running process would hold, read from the process itself: what the kernel
is told to leave out (madvise's MADV_DONTDUMP, /proc/PID/coredump_filter) is left out."""

import re
from pathlib import Path

_ANONYMOUS_PRIVATE, _PRIVATE_FILE = 1, 4
_HEAD = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ (\d+) *(.*)")


def _mappings(pid):
    """(begin, end, permissions, is of a file, name, flags) of each."""
    head = None
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        match = _HEAD.match(line)
        if match:
            head = match
        elif line.startswith("VmFlags:"):
            yield (int(head[1], 16), int(head[2], 16), head[3], head[4] != "0", head[5],
                   line.split()[1:])


def dumped(pid, with_filter):
    """(name, bytes) of each mapping in a core dump. with_filter: as the process has set it;
    without: as if it had not been able to."""
    bits = int(Path(f"/proc/{pid}/coredump_filter").read_text(), 16) if with_filter else 0x33
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for begin, end, permissions, is_file, name, flags in _mappings(pid):
            if "dd" in flags or "r" not in permissions or name.startswith("[v"):
                continue
            if is_file and "w" not in permissions:
                continue
            # A private mapping of a file holds pages of its own where it was written to.
            wanted = _ANONYMOUS_PRIVATE | (_PRIVATE_FILE if is_file else 0)
            if not bits & wanted:
                continue
            memory.seek(begin)
            yield name or "anonymous", memory.read(end - begin)


def find(pid, needles, with_filter):
    """{name of a needle: [mappings that hold it]} for {name: bytes}, of those that were found."""
    found = {}
    for mapping, data in dumped(pid, with_filter):
        for name, needle in needles.items():
            if needle in data:
                found.setdefault(name, []).append(mapping)
    return found
