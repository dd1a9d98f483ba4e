"""The player of systemd's store of descriptors, with a service that is a script."""

import socket
import stat
import sys
import types
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from programs import BenchError, Place  # noqa: E402
from service import Buffers, Service  # noqa: E402

# Stores a socket at its first start; tells in a file what each start was given.
SCRIPT = """#!/usr/bin/python3
import array, os, signal, socket, sys

manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

def tell(text, *descriptors):
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    manager.sendmsg([text.encode()], rights, 0, os.environ["NOTIFY_SOCKET"])

def reload(*_):
    tell("RELOADING=1\\nMONOTONIC_USEC=1")
    tell("FDSTOREREMOVE=1\\nFDNAME=old")
    tell("READY=1")

signal.signal(signal.SIGHUP, reload)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
assert os.environ["LISTEN_PID"] == str(os.getpid()) and int(os.environ["FDSTORE"]) > 0
count, names = int(os.environ["LISTEN_FDS"]), os.environ["LISTEN_FDNAMES"]
there = sorted(int(name) for name in os.listdir("/proc/self/fd") if int(name) > 2)
files = [os.fstat(3 + i).st_ino for i in range(count)]
with open(sys.argv[2], "a") as told:
    told.write(f"{names} {files} {len([n for n in there if n < 200 and n != manager.fileno()]) - 1}\\n")
if count == 0:
    one, other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), os.memfd_create("state")
    one.bind(("127.0.0.1", 0))
    tell("FDSTORE=1\\nFDNAME=one\\nFDPOLL=0", one.fileno())
    tell("FDSTORE=1\\nFDNAME=one\\nFDPOLL=0", one.fileno())
    tell("FDSTORE=1\\nFDNAME=old\\nFDPOLL=0", other)
tell("READY=1")
while True:
    signal.pause()
"""


@pytest.fixture(name="bench")
def make_bench(tmp_path):
    program = tmp_path / "service"
    program.write_text(SCRIPT)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    place = Place(tmp_path / "told", 1, 1)
    bench = types.SimpleNamespace(folder=tmp_path, server_cpus={0}, options=types.SimpleNamespace(gate=program))
    bench.write_config = lambda name: place
    return bench


def starts(bench):
    return (bench.folder / "told").read_text().splitlines()


def test_what_is_stored_is_given_to_the_next(bench):
    with Service(bench, "x") as service:
        [stored] = service.sockets()
        address = stored.getsockname()
        stored.close()
        first = service.gate.process.pid
        service.restart()
        assert service.gate.process.pid != first
        service.reload()
        service.restart()
        [again] = service.sockets()
        assert again.getsockname() == address
        again.close()
    none, both, one = (line.split(" ", 1) for line in starts(bench))
    assert none[0] == "" and both[0] == "one:old" and one[0] == "one"
    assert both[1].startswith("[" + one[1].partition("]")[0].strip("[") + ",")
    assert [line.split()[-1] for line in starts(bench)] == ["0", "2", "1"], "and nothing else is open"


def test_a_service_that_ends_is_told(bench):
    (bench.folder / "service").write_text("#!/bin/sh\necho why >&2\nexit 3\n")
    with pytest.raises(BenchError, match="ended with status 3\n.*why"):
        Service(bench, "x").__enter__()


def test_buffers_see_what_waits():
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        with Buffers([receiver.dup()]) as buffers:
            for _ in range(10):
                sender.sendto(b"x" * 64, receiver.getsockname())
            while buffers.most_bytes == 0:
                pass
    receiver.close()
    assert 640 <= buffers.most_bytes < buffers.room_bytes and buffers.drops == 0


def test_no_sockets_no_figures():
    with Buffers([]) as buffers:
        pass
    assert (buffers.most_bytes, buffers.room_bytes, buffers.drops) == (None, None, None)
