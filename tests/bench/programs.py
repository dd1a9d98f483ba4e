"""The programs that take part: gate, relay, backend, generators; their CPU time and memory."""

import ctypes
import dataclasses
import json
import os
import re
import select
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

PSK = "000102030405060708090a0b0c0d0e0f"
MAX_LOST_SHARE = 0.001
GATE_READY_MAX_S = 30
PHASE_MAX_S = 90
CID_BYTES = 8  # what the gate gives by default
DEFAULT_MAX_SESSIONS = 100000
PR_SET_PDEATHSIG = 1
SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")


class BenchError(Exception):
    """A run that gives no number."""


@dataclasses.dataclass(frozen=True)
class Shape:
    """How requests reach the server: what decides how many it finds at once."""

    in_flight: int  # at most: they must fit into the sockets' buffers
    has_own_sockets: bool  # each device has one, or they share one
    is_pinned: bool  # the server has a CPU for itself, devices and backend have the others


@dataclasses.dataclass(frozen=True)
class Place:
    """Of a gate: its settings, and where it is reached."""

    config: Path
    port: int
    metrics_port: int


SHAPES = {"large": Shape(1000, False, False), "small": Shape(64, True, True)}


class Program:
    """A child process that ends with this one, or with the block that it is made for (`with`). The log
    keeps its standard error."""

    def __init__(self, name, command, folder, cpus, **pipes):
        self.name = name
        self.log = folder / f"{name}.log"
        libc = ctypes.CDLL(None)

        def prepare():
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            os.sched_setaffinity(0, cpus)

        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [str(part) for part in command], stderr=log, preexec_fn=prepare, text=True, **pipes
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def failure(self, what):
        """An error that shows the end of the log."""
        return BenchError(f"{self.name}: {what}\n{self.log_tail()}")

    def log_tail(self):
        lines = self.log.read_text(errors="replace").splitlines()[-8:]
        return "\n".join(f"  {self.name}: {line}" for line in lines)

    def read_line(self, timeout_s):
        """One line of standard output."""
        if not select.select([self.process.stdout], [], [], timeout_s)[0]:
            raise self.failure(f"said nothing for {timeout_s} s")
        line = self.process.stdout.readline()
        if not line:
            raise self.failure(f"ended with status {self.process.wait()}")
        return line

    def write_line(self, line):
        """One line to standard input."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def cpu_ns(self):
        """CPU time of all its threads so far, user and kernel together."""
        total = 0
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
        return total

    def cpu_ticks(self):
        """(user, kernel) in hundredths of a second: for their shares in cpu_ns() over a long time."""
        user = kernel = 0
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            # Behind the name, which may hold anything: utime and stime are fields 14 and 15.
            fields = (task / "stat").read_text().rpartition(")")[2].split()
            user += int(fields[11])
            kernel += int(fields[12])
        return user, kernel

    def memory_kb(self, what):
        """VmRSS: resident now; VmHWM: the most since forget_peak()."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(re.search(rf"^{what}:\s*(\d+) kB$", status, re.MULTILINE)[1])

    def forget_peak(self):
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5", encoding="ascii")

    def check_alive(self):
        if self.process.poll() is not None:
            raise self.failure(f"ended with status {self.process.returncode}")

    def stop(self):
        """Ends it with SIGTERM; must exit with status 0."""
        self.process.terminate()
        try:
            status = self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()
            raise self.failure("did not end within 10 s of SIGTERM") from None
        if status != 0:
            raise self.failure(f"ended with status {status}")

    def kill(self):
        """Ends it, whatever state it is in."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()


class Gate(Program):
    """The gate."""

    def __init__(self, name, command, folder, cpus, place, **pipes):
        self.begin_s = time.monotonic()
        super().__init__(name, command, folder, cpus, **pipes)
        self.port = place.port
        self.metrics_url = f"http://127.0.0.1:{place.metrics_port}"
        self.ready_s = None  # it took so long

    def wait_ready(self):
        while not self.is_ready():
            self.check_alive()
            if time.monotonic() > self.begin_s + GATE_READY_MAX_S:
                self.kill()
                raise self.failure(f"did not become ready within {GATE_READY_MAX_S} s")
            time.sleep(0.01)
        self.ready_s = time.monotonic() - self.begin_s

    def is_ready(self):
        try:
            with urllib.request.urlopen(f"{self.metrics_url}/readyz", timeout=1) as answer:
                return answer.status == 200
        except OSError:
            return False

    def metrics(self):
        with urllib.request.urlopen(f"{self.metrics_url}/metrics", timeout=30) as answer:
            return parse_metrics(answer.read().decode("ascii"))


def parse_metrics(text):
    """(name, value of the label that tells members of a family apart, or "") -> sum."""
    values = {}
    for line in text.splitlines():
        sample = SAMPLE.match(line)
        if not sample:
            continue
        labels = dict(re.findall(r'(\w+)="([^"]*)"', sample[2] or ""))
        which = labels.get("outcome") or labels.get("result") or labels.get("le") or ""
        values[sample[1], which] = values.get((sample[1], which), 0) + float(sample[3])
    return values


def metrics_change(before, after):
    return {key: value - before.get(key, 0) for key, value in after.items()}


def free_port(kind):
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def one_and_others(cpus, choose):
    """One CPU, and all others; the same one twice if there is no other."""
    one = {choose(cpus)}
    return one, (cpus - one or one)


def make_certificate(folder, name, signed_by=None):
    """NAME.pem and NAME.key, EC P-256; self-signed as a CA, or signed by one."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "30", "-subj", f"/CN=bench {name}"]
    command += ["-keyout", f"{name}.key", "-out", f"{name}.pem"]
    if signed_by:
        command += ["-CA", f"{signed_by}.pem", "-CAkey", f"{signed_by}.key"]
        command += ["-addext", "basicConstraints=critical,CA:FALSE"]
    made = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise BenchError(f"openssl req: {made.stderr}")


def make_credentials(folder, most_sessions):
    make_certificate(folder, "ca")
    make_certificate(folder, "server", "ca")
    make_certificate(folder, "device", "ca")
    write_keys(folder / "devices.psk", most_sessions)


def write_keys(path, devices, more=""):
    """Keys of so many devices, and more lines. Who reads the file meanwhile finds the old one."""
    new = path.with_suffix(".new")
    with open(new, "w", encoding="ascii") as file:
        for number in range(devices):
            file.write(f"bench-{number:018d}:{PSK}\n")  # the names of device.c
        file.write(more)
    os.chmod(new, 0o600)
    new.rename(path)


def lines(settings):
    return "".join(f"{setting}\n" for setting in settings)


class Bench:
    """Owns the temporary folder, the echo backend and the options; starts the programs."""

    def __init__(self, options, folder, most_sessions, has_own_network=False):
        self.options = options
        self.has_own_network = has_own_network
        self.folder = folder
        self.most_sessions = most_sessions
        self.cpus = self.server_cpus = self.other_cpus = os.sched_getaffinity(0)
        make_credentials(folder, most_sessions)
        self.echo = self.start("echo", [options.programs / "echo"], self.other_cpus)
        self.backend_port = self.read_port(self.echo)

    def start(self, name, command, cpus, **pipes):
        return Program(name, command, self.folder, cpus, stdout=subprocess.PIPE, **pipes)

    def place(self, server_cpus, other_cpus):
        """CPUs of the gate or relay, and of all others: holds for what is started from now on."""
        self.server_cpus, self.other_cpus = server_cpus, other_cpus
        os.sched_setaffinity(self.echo.process.pid, other_cpus)

    @staticmethod
    def read_port(program):
        return int(program.read_line(5).partition("=")[2])

    def start_relay(self, devices=0):
        """devices: how many there will be, if they are many."""
        command = [self.options.programs / "relay", self.backend_port, devices]
        relay = self.start("relay", command, self.server_cpus)
        relay.port = self.read_port(relay)
        return relay

    def write_config(self, name, workers=None, ciphers="", psk_file="devices.psk", max_sessions=0):
        """Where a gate of that name will be. workers: other than the option says. ciphers, max_sessions: other
        than the gate's own default."""
        port, metrics_port = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_STREAM)
        gate_settings = list(self.options.gate_setting)
        if not max_sessions and self.most_sessions > DEFAULT_MAX_SESSIONS:
            max_sessions = self.most_sessions + 1000
        if max_sessions:
            gate_settings.insert(0, f"max_sessions = {max_sessions}")
        config = self.folder / f"{name}.ini"
        config.write_text(
            f"""[gate]
workers = {workers or self.options.workers}
metrics = 127.0.0.1:{metrics_port}
log_level = {self.options.log_level}
{lines(gate_settings)}
[listener bench]
listen = 127.0.0.1:{port}
backend = 127.0.0.1:{self.backend_port}
psk_file = {psk_file}
certificate = server.pem
private_key = server.key
client_ca = ca.pem
ciphers = {ciphers}
{lines(self.options.setting)}""",
            encoding="ascii",
        )
        return Place(config, port, metrics_port)

    def start_gate(self, workers=None, ciphers="", name="gate", program=None):
        """A gate that is ready. program: another build of it."""
        place = self.write_config(name, workers, ciphers)
        command = [program or self.options.gate, "-c", place.config]
        gate = Gate(name, command, self.folder, self.server_cpus, place)
        gate.wait_ready()
        return gate

    def identity_options(self, suite):
        """What devices of the suite are told of keys and certificates."""
        if "psk" in suite:
            return ["--suite", suite, "--psk", PSK]
        options = ["--suite", suite, "--ca", self.folder / "ca.pem"]
        return options + [
            *("--cert", self.folder / "device.pem", "--key", self.folder / "device.key")
        ]

    def start_load(self, port, sessions, suite, concurrent=64, shape="large", more=()):
        command = [self.options.programs / "load", "--target", f"127.0.0.1:{port}"]
        command += ["--sessions", sessions, "--payload", self.options.payload]
        command += ["--concurrent", concurrent, "--in-flight", SHAPES[shape].in_flight, *more]
        command += ["--own-sockets"] if SHAPES[shape].has_own_sockets else []
        command += ["--cid"] if self.options.cid else []
        command += ["--plain"] if suite == "plain" else self.identity_options(suite)
        return self.start("load", command + ["-"], self.other_cpus, stdin=subprocess.PIPE)

    def run_alone(self, name, *arguments):
        """What a program that needs no other says, one object a line."""
        program = self.start(name, [self.options.programs / name, *arguments], self.cpus)
        with program:
            try:
                output, _ = program.process.communicate(timeout=PHASE_MAX_S)
            except subprocess.TimeoutExpired:
                raise program.failure(f"did not end within {PHASE_MAX_S} s") from None
        if program.process.returncode != 0:
            raise program.failure(f"ended with status {program.process.returncode}")
        return [json.loads(line) for line in output.splitlines()]

    def cid_bytes(self):
        return CID_BYTES if self.options.cid else 0

    def run_crypto(self, suite, sessions, has_aes=True):
        """us that the AEAD alone needs for a round trip, under keys of so many sessions; see crypto.c."""
        arguments = ["--suite", suite, "--sessions", sessions, "--payload", self.options.payload]
        arguments += ["--cid", self.cid_bytes()] + ([] if has_aes else ["--without-aes"])
        return self.run_alone("crypto", *arguments)[0]["round_trip_us"]

    def run_library(self, suite):
        """us that wolfSSL alone needs for the server's side of a handshake; see library.c."""
        arguments = ["--cid", self.cid_bytes(), *self.identity_options(suite)]
        arguments += ["--server-cert", self.folder / "server.pem"]
        arguments += ["--server-key", self.folder / "server.key"]
        return self.run_alone("library", *arguments)[0]["handshake_us"]

    def start_flood(self, port, cpus):
        command = [self.options.programs / "flood", f"127.0.0.1:{port}"]
        command += ["any"] if self.has_own_network else []
        return self.start("flood", command, cpus, stdin=subprocess.PIPE)


def stop_load(load):
    load.process.stdin.close()
    if load.process.wait(10) != 0:
        raise load.failure(f"ended with status {load.process.returncode}")


def run_phase(server, load, phase, may_lose=False):
    """What the load generator says of the phase; with CPU time, and busy, of server and load."""
    begin_s, before, load_before = time.monotonic(), server.cpu_ns(), load.cpu_ns()
    user_before, kernel_before = server.cpu_ticks()
    load.write_line(phase)
    result = json.loads(load.read_line(PHASE_MAX_S))
    server.check_alive()
    result["cpu_ns"] = server.cpu_ns() - before
    user, kernel = server.cpu_ticks()
    result["user_ticks"], result["kernel_ticks"] = user - user_before, kernel - kernel_before
    elapsed_ns = (time.monotonic() - begin_s) * 1e9
    result["busy"] = result["cpu_ns"] / elapsed_ns
    result["load_busy"] = (load.cpu_ns() - load_before) / elapsed_ns
    result["round_trip_us"] = result["cpu_ns"] / 1e3 / max(result["done"], 1)
    is_lossy = result["lost"] > MAX_LOST_SHARE * max(result["done"], 1)
    if result["errors"] or (is_lossy and not may_lose):
        raise load.failure(f"{phase}: {result['lost']} lost, {result['errors']} errors")
    return result
