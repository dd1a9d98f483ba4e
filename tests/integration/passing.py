#!/usr/bin/python3
"""Runs a program that is handed descriptors as systemd does it, from 3 on:

    PASSED_FDS=7,9 passing.py NAME NAME -- PROGRAM ARGUMENTS
"""

import os
import sys


def main():
    end = sys.argv.index("--")
    names = sys.argv[1:end]
    fds = [int(word) for word in os.environ.pop("PASSED_FDS").split(",") if word]
    if names:
        high = [os.dup(fd) for fd in fds]
        while any(fd < 3 + len(names) for fd in high):
            high = [os.dup(fd) if fd < 3 + len(names) else fd for fd in high]
        for fd in fds:  # a copy that nobody knows of would keep a socket open
            os.close(fd)
        for at, fd in enumerate(high):
            os.dup2(fd, 3 + at, inheritable=True)
        os.environ |= {"LISTEN_FDS": str(len(names)), "LISTEN_FDNAMES": ":".join(names),
                       "LISTEN_PID": str(os.getpid())}
    os.execvp(sys.argv[end + 1], sys.argv[end + 1:])


if __name__ == "__main__":
    main()
