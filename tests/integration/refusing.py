#!/usr/bin/python3
"""Runs a program that the kernel refuses some system calls, as sandboxes do:

    refusing.py recvmmsg=EPERM socket:AF_INET6=EAFNOSUPPORT nofile=64 -- PROGRAM ARGUMENTS

NAME=ERROR refuses a call, NAME:VALUE=ERROR one whose first argument is VALUE (a number, or a name
of Python's socket module), `nofile=NUMBER` sets both limits of descriptors.
"""

import ctypes
import errno
import os
import platform
import resource
import socket
import struct
import sys

# In the order of MACHINES.
CALLS = {"recvmmsg": (299, 243), "sendmmsg": (307, 269), "socket": (41, 198),
         "eventfd2": (290, 19), "pipe2": (293, 59), "pipe": (22, None),
         "execveat": (322, 281), "prctl": (157, 167), "seccomp": (317, 277),
         "landlock_create_ruleset": (444, 444)}
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, MODE_FILTER = 22, 38, 2
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06  # word at an offset; jump; constant
CALL_AT, MACHINE_AT, ARGUMENT_AT = 0, 4, 16
ALLOW, REFUSE = 0x7FFF0000, 0x00050000


def is_possible():
    return platform.machine() in MACHINES


def program(rules):
    """rules: (call, first argument or None, errno)."""
    index, machine = MACHINES[platform.machine()]
    code = [(LOAD, 0, 0, MACHINE_AT), (EQUAL, 1, 0, machine), (RETURN, 0, 0, ALLOW)]
    for call, argument, error in rules:
        number = CALLS[call][index]
        if number is None:
            continue
        code += [(LOAD, 0, 0, CALL_AT), (EQUAL, 0, 1 if argument is None else 3, number)]
        if argument is not None:
            code += [(LOAD, 0, 0, ARGUMENT_AT), (EQUAL, 0, 1, argument)]
        code.append((RETURN, 0, 0, REFUSE | error))
    code.append((RETURN, 0, 0, ALLOW))
    return b"".join(struct.pack("HBBI", *instruction) for instruction in code), len(code)


def refuse(rules):
    """From now on, for this process and what it becomes."""
    code, length = program(rules)
    buffer = ctypes.create_string_buffer(code, len(code))
    fprog = struct.pack("HxxxxxxP", length, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, MODE_FILTER, fprog)):
        if libc.prctl(*arguments) != 0:
            raise OSError(ctypes.get_errno(), "prctl")


def parse(word):
    call, _, error = word.partition("=")
    call, _, argument = call.partition(":")
    value = int(getattr(socket, argument, argument)) if argument else None
    return call, value, getattr(errno, error)


def main():
    end = sys.argv.index("--")
    words = sys.argv[1:end]
    for word in words:
        if word.startswith("nofile="):
            limit = int(word.partition("=")[2])
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    refuse([parse(word) for word in words if not word.startswith("nofile=")])
    os.execvp(sys.argv[end + 1], sys.argv[end + 1:])


if __name__ == "__main__":
    main()
