"""Nobody reads the log: devices, probes and the end of the gate do not wait for it."""

import os
import pty
import signal
import socket
import subprocess
import termios
import threading
import time
import tty

import pytest

from environment import TIME_FACTOR, wait_until
from log_reader import read_line

STUCK_LOGS = ["pty that nobody reads", "pty that is full", "pty that was stopped with Ctrl-S", "pipe", "FIFO",
              "pipe whose reader is stopped", "stream socket", "datagram socket"]


class StuckLog:
    """A stderr that takes nothing, until release() begins to read it."""

    def __init__(self, kind, folder):
        self.kind, self._reader_program = kind, None
        self._text, self._thread, self.reader = [], None, None
        if kind.startswith("pty"):
            self.reader, self.writer = pty.openpty()
            if "full" in kind:
                tty.setraw(self.reader)
        elif kind == "FIFO":
            os.mkfifo(folder / "log")
            self.reader = os.open(folder / "log", os.O_RDONLY | os.O_NONBLOCK)
            self.writer = os.open(folder / "log", os.O_WRONLY)
            os.set_blocking(self.reader, True)
        elif kind == "pipe":
            self.reader, self.writer = os.pipe()
        elif kind == "pipe whose reader is stopped":
            reader, self.writer = os.pipe()
            self._reader_program = subprocess.Popen(["cat"], stdin=reader, stdout=subprocess.PIPE)
            os.close(reader)
            self._reader_program.send_signal(signal.SIGSTOP)
            self.reader = self._reader_program.stdout.fileno()
        else:
            kinds = {"stream socket": socket.SOCK_STREAM, "datagram socket": socket.SOCK_DGRAM}
            reader, writer = socket.socketpair(socket.AF_UNIX, kinds[kind])
            self.reader, self.writer = reader.detach(), writer.detach()
        if "Ctrl-S" in kind:
            self._stop_terminal()
        elif kind != "pty that nobody reads":  # that one is filled by the gate, to the last byte
            self._fill()

    def _stop_terminal(self):
        attributes = termios.tcgetattr(self.writer)
        attributes[0] |= termios.IXON
        termios.tcsetattr(self.writer, termios.TCSANOW, attributes)
        os.write(self.reader, b"\x13")

    def _fill(self):
        os.set_blocking(self.writer, False)
        for piece in (b"x" * 1023 + b"\n", b"\n"):
            try:
                while True:
                    os.write(self.writer, piece)
            except BlockingIOError:
                pass
        os.set_blocking(self.writer, True)

    def release(self):
        if "Ctrl-S" in self.kind:
            os.write(self.reader, b"\x11")
        if self._reader_program:
            self._reader_program.send_signal(signal.SIGCONT)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        try:
            while data := os.read(self.reader, 65536):
                self._text.append(data)
        except OSError:
            pass  # a pty says so when its last writer is gone

    def lines(self):
        """What was read so far, without what the test filled it with."""
        text = b"".join(self._text).decode(errors="replace").replace("\r\n", "\n")
        return [line for line in text.split("\n")[:-1] if line.strip("x")]

    def close(self):
        if self._reader_program:
            self._reader_program.kill()
            self._reader_program.wait()
        for descriptor in {self.reader, self.writer}:
            try:
                os.close(descriptor)
            except OSError:
                pass  # the test has closed it


@pytest.fixture(params=STUCK_LOGS)
def stuck_log(request, tmp_path, closing):
    log = StuckLog(request.param, tmp_path)
    return closing.add(log, log.close)


def log_until_lines_are_lost(proxy):
    """Each of these signals is a line."""
    def is_lost():
        for _ in range(100):
            proxy.send_signal(signal.SIGUSR1)
            time.sleep(0.0001)
        return proxy.counter("dtlsgate_log_lines_dropped_total") > 0
    wait_until(is_lost, "lines that are lost", timeout_s=10)


def test_nothing_waits_for_a_log_that_nobody_reads(make_proxy, backend, make_device, stuck_log):
    """From before the start until after the end."""
    proxy = make_proxy(backend, gate={"workers": 2}).start(stderr=stuck_log.writer)
    device = make_device(proxy)
    began = time.monotonic()
    for turn in range(20):
        device.connect().exchange(b"turn %d" % turn)
    assert time.monotonic() - began < 2 * TIME_FACTOR
    log_until_lines_are_lost(proxy)
    began = time.monotonic()
    for turn in range(20):
        device.connect().exchange(b"later turn %d" % turn)
    assert time.monotonic() - began < 2 * TIME_FACTOR
    assert proxy.http("/healthz")[0] == 200
    proxy.stop()
    assert proxy.stop_seconds < 3 * TIME_FACTOR


def test_lines_come_when_somebody_reads_again(make_proxy, backend, make_device, stuck_log):
    """Each line is whole; how many were lost stands where they are missing."""
    proxy = make_proxy(backend).start(stderr=stuck_log.writer)
    os.close(stuck_log.writer)
    device = make_device(proxy).connect()
    log_until_lines_are_lost(proxy)
    device.exchange(b"meanwhile")
    stuck_log.release()
    wait_until(lambda: any("event=log_dropped" in line for line in stuck_log.lines()), "the report")
    device.connect().exchange(b"afterwards")
    proxy.stop()
    wait_until(lambda: any("event=stopping" in line for line in stuck_log.lines()), "the last line")
    lines = [read_line(line) for line in stuck_log.lines()]
    events = [line["event"] for line in lines]
    assert events.index("listening") < events.index("ready")
    assert "session_established" in events
    assert events.count("stopping") == 1 and events[-1] in ("stopping", "session_closed")
    first = events.index("log_dropped")
    assert first > 500, "the ring was full"
    lost = sum(int(line["lines"]) for line in lines if line["event"] == "log_dropped")
    assert lost > 0


def test_a_start_that_fails_ends(make_proxy, backend, stuck_log):
    proxy = make_proxy(backend)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as occupant:
        occupant.bind(proxy.address)
        proxy.launch(stderr=stuck_log.writer)
        assert proxy.process.wait(timeout=5 * TIME_FACTOR) == 1
    proxy.process = None


def test_a_full_disk(make_proxy, backend, make_device):
    with open("/dev/full", "wb", buffering=0) as full:
        proxy = make_proxy(backend).start(stderr=full)
    make_device(proxy).connect().exchange(b"served")
    assert proxy.counter("dtlsgate_log_lines_dropped_total") >= 2
