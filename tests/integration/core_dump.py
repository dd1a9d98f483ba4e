"""What a core dump of a running process would hold, read from the process itself: what the kernel
is told to leave out (madvise's MADV_DONTDUMP, /proc/PID/coredump_filter) is left out."""

import errno
import os
import re
import subprocess
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



# --- made by a debugger ---

EVERYTHING = ("set use-coredump-filter off",)  # as if the process had not been able to set it


def gcore(pid, path, settings=()):
    """Has gdb write a core file of the process, which goes on; its bytes, but for long runs of
    zeros. settings: gdb's commands before that."""
    commands = [word for command in (*settings, f"generate-core-file {path}")
                for word in ("-ex", command)]
    try:
        subprocess.run(["gdb", "-nx", "-batch", "-p", str(pid), *commands], check=True,
                       capture_output=True)
        return _without_zeros(path.read_bytes())
    finally:
        path.unlink(missing_ok=True)


def _without_zeros(data):
    return re.sub(rb"\0{64,}", bytes(64), data)


def pieces(data):
    """All that could be a key: each 16 bytes in a row that look random."""
    return {piece for piece in (data[i:i + 16] for i in range(len(data) - 15))
            if len(set(piece)) > 9}


def _sparse(pid, begin, end):
    """What there is of a mapped file of many gigabytes that has little memory. (To read the rest
    would give it memory.)"""
    fd = os.open(f"/proc/{pid}/map_files/{begin:x}-{end:x}", os.O_RDONLY)
    try:
        data, at = b"", 0
        while True:
            try:
                at = os.lseek(fd, at, os.SEEK_DATA)
            except OSError as error:
                assert error.errno == errno.ENXIO  # no more
                return data
            hole = os.lseek(fd, at, os.SEEK_HOLE)
            data += _without_zeros(os.pread(fd, hole - at, at))
            at = hole
    finally:
        os.close(fd)


def pieces_left_out(pid):
    """Those in memory that the process has told the kernel to leave out of every dump."""
    found = set()
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for begin, end, permissions, _, name, flags in _mappings(pid):
            if "dd" not in flags or "r" not in permissions or name.startswith("[v"):
                continue
            if name.startswith("/memfd:"):
                found |= pieces(_sparse(pid, begin, end))
                continue
            memory.seek(begin)
            found |= pieces(_without_zeros(memory.read(end - begin)))
    return found


def pieces_on_heap(pid):
    return set().union(*(pieces(_without_zeros(data)) for name, data in dumped(pid, False)
                         if name == "[heap]"))
