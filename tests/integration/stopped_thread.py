"""Stops one thread of another process, as a debugger does: the others go on. Needs the right to
trace (root, or CAP_SYS_PTRACE), and must be used from one thread of ours."""

import ctypes
import os
import struct
import time
from pathlib import Path

_TRACE_SYSCALLS, _DETACH, _SEIZE, _INTERRUPT, _SYSCALL_INFO = 24, 17, 0x4206, 0x4207, 0x420E
_SYSCALL_STOP = 5 | 0x80  # SIGTRAP, marked by the option below
_OPTION_MARK_SYSCALLS, _WAIT_FOR_THREADS = 1, 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def _ptrace(request, tid, address=0, data=0):
    result = _libc.ptrace(request, tid, address, data)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"ptrace({request:#x}): {os.strerror(error)}")
    return result


def find_thread(pid, name):
    """The ID of the thread that has the name. A thread names itself, so it may have none yet while the
    process is ready already: its sockets are open before it first runs."""
    deadline = time.monotonic() + 10
    while True:
        for task in Path(f"/proc/{pid}/task").iterdir():
            if (task / "comm").read_text().strip() == name:
                return int(task.name)
        assert time.monotonic() < deadline, f"process {pid} has no thread {name}"
        time.sleep(0.01)


class StoppedThread:
    """Stopped from the beginning. Without `within` wherever it is, for an idle worker in its wait
    for events; else when it calls one of these system calls (numbers). cause() makes it do so."""

    def __init__(self, tid, within=(), cause=None):
        self.tid = tid
        _ptrace(_SEIZE, tid, 0, _OPTION_MARK_SYSCALLS)
        _ptrace(_INTERRUPT, tid)
        self._wait()
        if cause:
            cause()
        while within:
            _ptrace(_TRACE_SYSCALLS, tid)
            if os.WSTOPSIG(self._wait()) == _SYSCALL_STOP and self._entered() in within:
                break

    def _wait(self):
        status = os.waitpid(self.tid, _WAIT_FOR_THREADS)[1]
        assert os.WIFSTOPPED(status), f"the thread ended: {status:#x}"
        return status

    def _entered(self):
        """The number of the system call that it is about to make; None if it comes back."""
        buffer = ctypes.create_string_buffer(128)
        _ptrace(_SYSCALL_INFO, self.tid, len(buffer), ctypes.addressof(buffer))
        operation, number = struct.unpack_from("=B23xQ", buffer)
        return number if operation == 1 else None

    def resume(self):
        if self.tid:
            _ptrace(_DETACH, self.tid)
            self.tid = None

    def wait_for_its_end(self):
        """When its process has been killed: it remains until its tracer has seen that."""
        while os.WIFSTOPPED(os.waitpid(self.tid, _WAIT_FOR_THREADS)[1]):
            _ptrace(7, self.tid)  # PTRACE_CONT
        self.tid = None
