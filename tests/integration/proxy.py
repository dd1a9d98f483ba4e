"""One gate under test: its own folder, address and configuration, started and stopped by a test.

Whatever a test does, stopping checks that the gate ends with status 0 in time, that it leaked no
descriptor, that no sanitizer complained, and that each received datagram has one outcome.
"""

import http.client
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import time
import warnings
from pathlib import Path

from environment import GATE, TIME_FACTOR, own_address, wait_until
from log_reader import check_lines_of, read_log
from prometheus import Counters, check_accounts

LISTENER_PORT, METRICS_PORT = 5684, 9684
STOP_LIMIT_S = 5.0

_SANITIZER_REPORT = re.compile(
    r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|MemorySanitizer|runtime error:|"
    r"SUMMARY: \w*Sanitizer|Assertion .* failed")

_SANITIZER_OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=1:strict_string_checks=1:abort_on_error=0",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=0:second_deadlock_stack=1",
}


def write_private(path, text):
    Path(path).write_text(text)
    os.chmod(path, 0o600)
    return path


def gate_environment():
    return {**_SANITIZER_OPTIONS, **os.environ}


def run_gate(*arguments, timeout_s=20, **options):
    """Runs the binary to its end, for --version, --check-config and the like."""
    result = subprocess.run([str(GATE), *map(str, arguments)], capture_output=True, text=True,
                            errors="replace", timeout=timeout_s * TIME_FACTOR,
                            env=gate_environment(), check=False, **options)
    check_lines_of(result.stderr)
    return result


class Proxy:
    """gate, listener: settings that replace or join the defaults below; None removes one.
    listeners: whole further sections {name: settings}. psk: {identity: hexkey}.
    keeper: the gate runs as the child of dtlsgate --keeper.
    """

    def __init__(self, folder, backend, *, psk=None, gate=None, listener=None, listeners=None,
                 keeper=False):
        self.folder = Path(folder)
        self.host = own_address()
        self.address = (self.host, LISTENER_PORT)
        self.text = "%s:%d" % self.address
        self.metrics_address = (self.host, METRICS_PORT)
        self.log_path = self.folder / "gate.log"
        self.config_path = self.folder / "gate.ini"
        self.is_journal = False  # the log file takes the journal's place, see test_log.py
        self.process = None
        self.exit_status = None
        self.stop_seconds = None
        self._descriptors_at_start = 0
        self._words = ["--keeper"] if keeper else []
        self._keys = list((psk or {}).values())
        if psk is not None:
            write_private(self.folder / "devices.psk",
                          "".join(f"{name}:{key}\n" for name, key in psk.items()))
        base_gate = {"workers": 1, "metrics": "%s:%d" % self.metrics_address}
        base_listener = {"listen": self.text, "backend": getattr(backend, "text", backend),
                         "psk_file": "devices.psk" if psk is not None else None}
        self.sections = {"gate": {**base_gate, **(gate or {})},
                         "listener coaps": {**base_listener, **(listener or {})}}
        for name, settings in (listeners or {}).items():
            self.sections[f"listener {name}"] = settings
        self.write_config()

    def write_config(self):
        lines = []
        for section, settings in self.sections.items():
            lines.append(f"[{section}]")
            lines += [f"{k} = {v}" for k, v in settings.items() if v is not None]
        self.config_path.write_text("\n".join(lines) + "\n")

    # --- life ---

    def start(self, prefix=(), program=GATE, stderr=None):
        """prefix: words before the program, such as a command that runs it as somebody else.
        stderr: a descriptor that takes the log in place of the log file."""
        self.launch(prefix, program, stderr)
        if not self.sections["gate"]["metrics"]:
            self.wait_log("ready", timeout_s=20)
            return self
        return self.wait_ready()

    def wait_ready(self):
        """After launch(), or when another gate takes this one's place."""
        wait_until(self.answers_ready, "readiness", timeout_s=20)
        self._descriptors_at_start = 0
        wait_until(lambda: self.descriptors() <= self._least_descriptors(), "quiet descriptors")
        return self

    def launch(self, prefix=(), program=GATE, stderr=None):
        """Starts it without waiting until it serves."""
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [*prefix, str(program), *self._words, "-c", str(self.config_path)], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log if stderr is None else stderr,
                env=gate_environment())

    def is_ready(self):
        assert self.process.poll() is None, (
            f"the gate ended with status {self.process.returncode}:\n{self.log()[-4000:]}")
        try:
            return self.http("/readyz")[0] == 200
        except OSError:
            return False

    def answers_ready(self):
        """The same, but there may be no gate for a moment."""
        try:
            return self.gate_pid() is not None and self.is_ready()
        except OSError:
            return False

    def _least_descriptors(self):
        """The fewest descriptors seen: HTTP connections that are just closing come on top."""
        seen = self.descriptors()
        self._descriptors_at_start = min(self._descriptors_at_start or seen, seen)
        return self._descriptors_at_start

    def gate_pid(self):
        """Of the gate itself; None while its keeper has none."""
        pid = self.process.pid
        if not self._words:
            return pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(children[0]) if children else None

    def descriptors(self):
        """0 for who may not look, which is said in pytest's summary: only root may, since a gate gives no dumps."""
        try:
            return len(os.listdir(f"/proc/{self.gate_pid()}/fd"))
        except PermissionError:
            assert os.geteuid() != 0
            warnings.warn("descriptors of the gate are not counted: that needs root", stacklevel=2)
            return 0

    def resident_bytes(self):
        fields = Path(f"/proc/{self.gate_pid()}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def waiting_bytes(self):
        """What lies in the socket buffers of the listener, not yet read by the gate."""
        local = socket.inet_aton(self.host)[::-1].hex().upper() + f":{LISTENER_PORT:04X}"
        rows = [line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:]]
        return sum(int(row[4].split(":")[1], 16) for row in rows if row[1] == local)

    def send_signal(self, number):
        self.process.send_signal(number)

    def stop(self, number=signal.SIGTERM):
        """Stops the gate and checks what must hold at the end of any run."""
        if self.process is None:
            return
        process, self.process = self.process, None
        try:
            if process.poll() is None:
                self.process = process
                self._check_before_stop()
                self.process = None
        finally:
            began = time.monotonic()
            process.send_signal(number)
            try:
                self.exit_status = process.wait(timeout=STOP_LIMIT_S * TIME_FACTOR)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise AssertionError(f"the gate did not end in {STOP_LIMIT_S} s") from None
            finally:
                self.stop_seconds = time.monotonic() - began
        self._check_log()
        assert self.exit_status == 0, (
            f"the gate ended with status {self.exit_status}:\n{self.log()[-4000:]}")

    def _check_before_stop(self):
        if not self.sections["gate"]["metrics"]:
            return
        counters = self.counters()
        wrong = counters.get("dtlsgate_client_datagrams_total", outcome="wrong_worker")
        assert wrong == 0, f"{wrong} datagrams came to the wrong worker"
        wait_until(lambda: self.descriptors() <= self._descriptors_at_start,
                   f"no more than the {self._descriptors_at_start} descriptors of the start")

    def _check_log(self):
        log = self.log()
        report = _SANITIZER_REPORT.search(log)
        assert not report, f"sanitizer report:\n{log[max(0, report.start() - 200):][:6000]}"
        self.check_log_lines()
        shown = [key for key in self._keys if len(key) >= 16 and key.lower() in log.lower()]
        assert not shown, f"keys in the log: {shown}"

    def check_log_lines(self):
        """Each line is as it must be, however the gate came to its end."""
        if self.log_path.exists():
            read_log(self.log_path, self.is_journal)

    # --- what it shows ---

    def http(self, path, method="GET"):
        """(status, body as text) of a request to the metrics address."""
        status, body, _ = self.http_with_headers(path, method)
        return status, body

    def http_with_headers(self, path, method="GET", headers=None):
        """The same with the headers of the answer."""
        connection = http.client.HTTPConnection(*self.metrics_address, timeout=5 * TIME_FACTOR)
        try:
            connection.request(method, path, headers=headers or {})
            response = connection.getresponse()
            return response.status, response.read().decode(), response.headers
        finally:
            connection.close()

    def counters(self):
        """One scrape, whose accounts are checked."""
        status, text = self.http("/metrics")
        assert status == 200, text
        counters = Counters(text)
        check_accounts(counters)
        return counters

    def counter(self, name, **labels):
        return self.counters().get(name, **labels)

    def client_outcome(self, outcome):
        return self.counter("dtlsgate_client_datagrams_total", outcome=outcome)

    def backend_outcome(self, outcome):
        return self.counter("dtlsgate_backend_datagrams_total", outcome=outcome)

    def count_of(self, name, exactly, **labels):
        """Waits until a counter reached a value, and asserts that it is no higher: a datagram is
        counted after what it caused has been sent."""
        self.wait_counter(name, exactly, **labels)
        assert self.counter(name, **labels) == exactly, f"{name}{labels} is not {exactly}"

    def expect_client(self, outcome, exactly):
        self.count_of("dtlsgate_client_datagrams_total", exactly, outcome=outcome)

    def expect_backend(self, outcome, exactly):
        self.count_of("dtlsgate_backend_datagrams_total", exactly, outcome=outcome)

    def late(self, reason):
        return self.counter("dtlsgate_late_backend_datagrams_discarded_total", reason=reason)

    def late_total(self):
        return self.counter("dtlsgate_late_backend_datagrams_discarded_total")

    def closed(self, reason):
        return self.counter("dtlsgate_sessions_closed_total", reason=reason)

    def sessions(self):
        return self.counter("dtlsgate_sessions")

    def handshakes(self, result, **labels):
        return self.counter("dtlsgate_handshakes_total", result=result, **labels)

    def wait_counter(self, name, least=1, timeout_s=5.0, **labels):
        """Waits until a counter reached a value."""
        wait_until(lambda: self.counter(name, **labels) >= least,
                   f"{name}{labels} >= {least}", timeout_s)

    def wait_closed(self, reason, least=1, timeout_s=5.0):
        self.wait_counter("dtlsgate_sessions_closed_total", least, timeout_s, reason=reason)

    def wait_late(self, reason, least=1, timeout_s=5.0):
        self.wait_counter("dtlsgate_late_backend_datagrams_discarded_total", least, timeout_s,
                          reason=reason)

    def wait_outcome(self, outcome, least=1, timeout_s=5.0):
        self.wait_counter("dtlsgate_client_datagrams_total", least, timeout_s, outcome=outcome)

    def log(self):
        """What was written so far. A running gate writes a line a moment after what it tells of."""
        if self.process and self.process.poll() is None:
            time.sleep(0.01)
        return self.log_path.read_text(errors="replace")

    def log_contains(self, text):
        return text in self.log()

    def log_lines(self, event=None, **fields):
        """The log lines as dicts, those with this event and these values only."""
        wanted = {**fields, **({"event": event} if event else {})}
        self.log()
        return [line for line in read_log(self.log_path, self.is_journal)
                if all(line.get(key) == value for key, value in wanted.items())]

    def wait_log(self, event, timeout_s=5.0, **fields):
        """Waits for a log line; returns the last one that fits."""
        what = f"log line event={event} {shlex.join(f'{k}={v}' for k, v in fields.items())}"
        return wait_until(lambda: self.log_lines(event, **fields), what, timeout_s)[-1]

    # --- its control socket: gate={"control": "control.sock"} ---

    @property
    def control_path(self):
        return self.folder / self.sections["gate"]["control"]

    def run_ctl(self, *words, timeout_s=20):
        """dtlsgate ctl for this gate, as people run it."""
        return run_gate("ctl", "-c", self.config_path, *words, timeout_s=timeout_s)

    def ctl(self, *words, status=0):
        """The objects of the answer; the last one has `done` and `ok`."""
        result = self.run_ctl("--json", *words)
        assert result.returncode == status, result
        objects = [json.loads(line) for line in result.stdout.splitlines()]
        assert objects[-1]["done"] and objects[-1]["ok"] == (status == 0), objects[-1]
        assert not any("done" in line for line in objects[:-1])
        return objects

    def check_config(self):
        return run_gate("-t", "-c", self.config_path)
