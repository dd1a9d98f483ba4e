#!/usr/bin/python3
"""Benchmark: the gate beside a plain relay, on loopback.

Measures the CPU time of the gate per handshake and per request round trip, and, in pairs in the
same run, that of a plain UDP relay with the same sockets. Prints tables in Markdown. README.md in
this folder says how to read them.
"""

import argparse
import collections
import ctypes
import json
import os
import platform
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parent.parent
SUITES = {
    "psk-ccm8": "1.2 PSK-AES128-CCM-8",
    "ecdhe-gcm": "1.2 ECDHE-ECDSA-AES128-GCM",
    "tls13-gcm": "1.3 AES128-GCM",
}
PSK = "000102030405060708090a0b0c0d0e0f"
# By number of sessions: handshakes of each session that are measured, requests in all.
AMOUNTS = {1: (30, 4000), 100: (4, 40000), 1000: (2, 60000)}
MAX_LOST_SHARE = 0.001
BAR_ROUND_TRIP_US = 4.0
BAR_HANDSHAKE_US = 60.0
PR_SET_PDEATHSIG = 1


class BenchError(Exception):
    """A run that gives no number."""


class Program:
    """A child process that ends with this one. The log keeps its standard error."""

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

    def cpu_ns(self):
        """CPU time of all its threads so far, user and kernel together."""
        total = 0
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
        return total

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


def free_port(kind):
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


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
    with open(folder / "devices.psk", "w", encoding="ascii") as file:
        for number in range(most_sessions):
            file.write(f"bench-{number}:{PSK}\n")
    os.chmod(folder / "devices.psk", 0o600)


class Bench:
    """Owns the temporary folder, the echo backend and the options."""

    def __init__(self, options, folder):
        self.options = options
        self.folder = folder
        self.cpus = self.server_cpus = self.other_cpus = os.sched_getaffinity(0)
        make_credentials(folder, max(options.sessions))
        self.echo = self.start("echo", [options.programs / "echo"], self.other_cpus)
        self.backend_port = self.read_port(self.echo)

    def start(self, name, command, cpus, **pipes):
        return Program(name, command, self.folder, cpus, stdout=subprocess.PIPE, **pipes)

    def choose_cpus(self, sessions):
        """With one session only one process at a time has work; where the scheduler wakes it
        up would decide the result, so all share one CPU."""
        first = {min(self.cpus)}
        self.server_cpus = self.other_cpus = self.cpus
        if sessions == 1:
            self.server_cpus = self.other_cpus = first
        elif self.options.pin and len(self.cpus) > 1 and self.options.workers == 1:
            self.server_cpus, self.other_cpus = first, self.cpus - first
        os.sched_setaffinity(self.echo.process.pid, self.other_cpus)

    @staticmethod
    def read_port(program):
        return int(program.read_line(5).partition("=")[2])

    def start_relay(self):
        relay = self.start(
            "relay", [self.options.programs / "relay", self.backend_port], self.server_cpus
        )
        return relay, self.read_port(relay)

    def start_gate(self):
        port, metrics = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_STREAM)
        config = self.folder / "gate.ini"
        config.write_text(
            f"""[gate]
workers = {self.options.workers}
metrics = 127.0.0.1:{metrics}
log_level = {self.options.log_level}

[listener bench]
listen = 127.0.0.1:{port}
backend = 127.0.0.1:{self.backend_port}
psk_file = devices.psk
certificate = server.pem
private_key = server.key
client_ca = ca.pem
""",
            encoding="ascii",
        )
        command = [self.options.gate, "-c", config]
        gate = Program("gate", command, self.folder, self.server_cpus)
        end = time.monotonic() + 10
        while not is_ready(metrics):
            if gate.process.poll() is not None:
                raise gate.failure(f"ended with status {gate.process.returncode}")
            if time.monotonic() > end:
                gate.kill()
                raise gate.failure("did not become ready within 10 s")
            time.sleep(0.02)
        return gate, port

    def start_load(self, port, sessions, suite):
        command = [self.options.programs / "load", "--target", f"127.0.0.1:{port}"]
        command += ["--sessions", sessions, "--payload", self.options.payload]
        if suite == "plain":
            command += ["--plain"]
        elif suite == "psk-ccm8":
            command += ["--suite", suite, "--psk", PSK]
        else:
            command += ["--suite", suite, "--ca", self.folder / "ca.pem"]
            command += ["--cert", self.folder / "device.pem", "--key", self.folder / "device.key"]
        return self.start("load", command + ["-"], self.other_cpus, stdin=subprocess.PIPE)

    def run(self, suite, sessions):
        """One run of the gate, or of the relay for the suite plain."""
        self.choose_cpus(sessions)
        server, port = self.start_relay() if suite == "plain" else self.start_gate()
        load = None
        try:
            load = self.start_load(port, sessions, suite)
            result = measure(server, load, suite, sessions, self.options.scale)
            load.process.stdin.close()
            if load.process.wait(10) != 0:
                raise load.failure(f"ended with status {load.process.returncode}")
            server.stop()
            if suite == "plain":
                result["batch"] = read_relay_batch(server)
            return result
        except BenchError as error:
            tail = "" if server.log_tail() in str(error) else f"\n{server.log_tail()}"
            raise BenchError(f"{suite}, {sessions} sessions: {error}{tail}") from None
        finally:
            if load:
                load.kill()
            server.kill()


def read_relay_batch(relay):
    """Datagrams per system call; an error if it refused any."""
    totals = json.loads(relay.process.stdout.readline())
    if totals["dropped"] or totals["errors"]:
        raise relay.failure(f"dropped datagrams: {totals}")
    return totals["to_backend"] / totals["to_backend_calls"]


def is_ready(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1) as answer:
            return answer.status == 200
    except OSError:
        return False


def run_phase(server, load, phase):
    """What the load generator says of the phase, with the server's CPU time added."""
    before = server.cpu_ns()
    load.process.stdin.write(phase + "\n")
    load.process.stdin.flush()
    result = json.loads(load.read_line(60))
    if server.process.poll() is not None:
        raise server.failure(f"ended with status {server.process.returncode}")
    result["cpu_ns"] = server.cpu_ns() - before
    if result["errors"] or result["lost"] > MAX_LOST_SHARE * max(result["done"], 1):
        raise load.failure(f"{phase}: {result['lost']} lost, {result['errors']} errors")
    return result


def measure(server, load, suite, sessions, scale):
    """Handshakes, then requests on the last sessions; between phases nothing is in flight."""
    rounds, requests = AMOUNTS.get(sessions) or (max(1, 2000 // sessions), 60000)
    requests = int(requests * scale)
    handshakes, closes = [], []
    if suite != "plain":
        run_phase(server, load, "handshakes")  # warm-up
        for _ in range(max(1, int(rounds * scale))):
            closes.append(run_phase(server, load, "close"))
            handshakes.append(run_phase(server, load, "handshakes"))
    else:
        run_phase(server, load, "handshakes")
    run_phase(server, load, f"requests:{max(requests // 10, 4 * sessions)}")  # warm-up
    requests = run_phase(server, load, f"requests:{requests}")
    return {
        "handshake_us": cpu_us(handshakes),
        "close_us": cpu_us(closes),
        "handshakes_per_s": total(handshakes, "done") / max(total(handshakes, "seconds"), 1e-9),
        "handshake_p50_us": median(handshakes, "p50_us"),
        "handshake_p99_us": median(handshakes, "p99_us"),
        "round_trip_us": cpu_us([requests]),
        "requests_per_s": requests["per_s"],
        "busy": requests["cpu_ns"] / 1e9 / requests["seconds"],
        "p50_us": requests["p50_us"],
        "p99_us": requests["p99_us"],
        "lost": requests["lost"] + total(handshakes, "lost"),
    }


def total(results, key):
    return sum(result[key] for result in results)


def median(results, key):
    return statistics.median(result[key] for result in results) if results else 0.0


def cpu_us(results):
    return total(results, "cpu_ns") / 1e3 / max(total(results, "done"), 1)


def run_all(bench, options):
    """(suite, sessions) -> list of pairs (gate, relay). Which goes first alternates."""
    pairs = collections.defaultdict(list)
    steps = len(options.suites) * len(options.sessions) * options.repeat
    for repeat in range(options.repeat):
        for suite in options.suites:
            for sessions in options.sessions:
                done = sum(map(len, pairs.values()))
                show_progress(f"{done}/{steps} {suite}, {sessions} sessions")
                order = [suite, "plain"] if repeat % 2 == 0 else ["plain", suite]
                results = {name: bench.run(name, sessions) for name in order}
                pairs[suite, sessions].append((results[suite], results["plain"]))
    show_progress("")
    return pairs


def show_progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)


def summarize(pairs):
    """Medians over the pairs; the difference is the median of the pairs' differences."""
    rows = []
    for (suite, sessions), results in pairs.items():
        row = {"suite": suite, "sessions": sessions, "pairs": len(results)}
        for key in results[0][0]:
            row[key] = median([gate for gate, _ in results], key)
        for key in ("round_trip_us", "requests_per_s", "busy", "p50_us", "p99_us", "batch"):
            row["relay_" + key] = median([relay for _, relay in results], key)
        differences = [g["round_trip_us"] - r["round_trip_us"] for g, r in results]
        row["difference_us"] = statistics.median(differences)
        row["difference_low_us"], row["difference_high_us"] = min(differences), max(differences)
        rows.append(row)
    return rows


def describe_machine():
    model = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(("model name", "Model")):
            model = line.partition(":")[2].strip()
            break
    cpus = len(os.sched_getaffinity(0))
    return f"{model}, {cpus} CPUs, {platform.system()} {platform.release()} {platform.machine()}"


def describe_commit():
    def git(*arguments):
        return subprocess.run(
            ["git", "-C", str(TOP), *arguments], capture_output=True, text=True, check=False
        ).stdout.strip()

    commit = git("rev-parse", "--short=12", "HEAD")
    if not commit:
        return "unknown"
    return commit + (" with local changes" if git("status", "--porcelain", "-uno") else "")


def print_table(titles, rows):
    print("| " + " | ".join(titles) + " |")
    print("|" + "|".join("---" if i == 0 else "---:" for i in range(len(titles))) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def print_report(rows, options, load_average):
    version = subprocess.run(
        [str(options.gate), "--version"], capture_output=True, text=True, check=False
    ).stdout.splitlines()
    print("## Speed\n")
    print(f"- commit: {describe_commit()}")
    print(f"- gate: {version[0] if version else 'unknown version'}, workers = {options.workers}")
    print(f"- machine: {describe_machine()}")
    print(f"- payload {options.payload} bytes, one request in flight per session, medians of")
    print(f"  {options.repeat} runs; load average {load_average:.2f} at the start\n")
    print("Request round trips; CPU is process time of gate or relay, per round trip:\n")
    titles = ["suite", "sessions", "gate CPU us", "relay CPU us", "gate - relay us", "(range)"]
    titles += ["gate busy", "relay busy", "gate req/s", "relay req/s", "gate p50 us", "gate p99 us"]
    table = []
    for row in rows:
        table.append(
            [
                SUITES[row["suite"]],
                str(row["sessions"]),
                f"{row['round_trip_us']:.2f}",
                f"{row['relay_round_trip_us']:.2f}",
                f"{row['difference_us']:+.2f}",
                f"{row['difference_low_us']:+.2f} to {row['difference_high_us']:+.2f}",
                f"{row['busy']:.0%}",
                f"{row['relay_busy']:.0%}",
                f"{row['requests_per_s']:,.0f}",
                f"{row['relay_requests_per_s']:,.0f}",
                f"{row['p50_us']:,.0f}",
                f"{row['p99_us']:,.0f}",
            ]
        )
    print_table(titles, table)
    print("Handshakes, at most 64 at once; CPU is process time of the gate:\n")
    titles = ["suite", "sessions", "CPU us / handshake", "CPU us / close", "handshakes/s"]
    titles += ["p50 us", "p99 us"]
    table = []
    for row in rows:
        table.append(
            [
                SUITES[row["suite"]],
                str(row["sessions"]),
                f"{row['handshake_us']:.1f}",
                f"{row['close_us']:.1f}",
                f"{row['handshakes_per_s']:,.0f}",
                f"{row['handshake_p50_us']:,.0f}",
                f"{row['handshake_p99_us']:,.0f}",
            ]
        )
    print_table(titles, table)


def print_bars(rows):
    """True if both bars were measured and met."""
    row = next((r for r in rows if r["suite"] == "psk-ccm8" and r["sessions"] == 1000), None)
    if not row:
        print("The bars need psk-ccm8 at 1,000 sessions; not measured.")
        return False
    checks = [
        ("CPU per round trip over the relay's", row["difference_us"], BAR_ROUND_TRIP_US),
        ("CPU per handshake", row["handshake_us"], BAR_HANDSHAKE_US),
    ]
    print("First bar, PSK-AES128-CCM-8 at 1,000 sessions:\n")
    for what, value, bar in checks:
        verdict = "met" if value <= bar else "MISSED"
        print(f"- {what}: {value:.2f} us, at most {bar:.0f} us: {verdict}")
    return all(value <= bar for _, value, bar in checks)


def parse_options():
    def numbers(text):
        return [int(part) for part in text.split(",")]

    def names(text):
        chosen = text.split(",")
        unknown = set(chosen) - set(SUITES)
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown {unknown}; known: {', '.join(SUITES)}")
        return chosen

    build = TOP / os.environ.get("DTLSGATE_BUILD", "build/release")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gate", type=Path, default=build / "dtlsgate", help="the gate's binary")
    parser.add_argument("--programs", type=Path, default=build / "bench", help="load, relay, echo")
    parser.add_argument("--suites", type=names, default=list(SUITES), metavar="NAME,...")
    parser.add_argument("--sessions", type=numbers, default=[1, 100, 1000], metavar="N,...")
    parser.add_argument("--repeat", type=int, default=5, help="pairs of each kind (5)")
    parser.add_argument("--scale", type=float, default=1.0, help="times the amount of work (1.0)")
    parser.add_argument("--workers", type=int, default=1, help="the gate's workers (1)")
    parser.add_argument("--payload", type=int, default=64, help="bytes (64)")
    parser.add_argument("--log-level", default="info", help="the gate's (info)")
    parser.add_argument("--pin", action="store_true", help="gate, relay: a CPU of their own")
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes every run to a file")
    parser.add_argument("--require-bar", action="store_true", help="status 3 if a bar is missed")
    options = parser.parse_args()
    for program in [options.gate] + [options.programs / n for n in ("load", "relay", "echo")]:
        if not os.access(program, os.X_OK):
            parser.error(f"{program} is missing; make bench builds it")
    options.gate = options.gate.resolve()
    return options


def main():
    options = parse_options()
    load_average = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="dtlsgate-bench-") as folder:
        bench = None
        try:
            bench = Bench(options, Path(folder))
            pairs = run_all(bench, options)
        except BenchError as error:
            show_progress("")
            print(f"bench: {error}", file=sys.stderr)
            return 1
        finally:
            if bench:
                bench.echo.kill()
    rows = summarize(pairs)
    if options.json:
        runs = [{"suite": s, "sessions": n, "pairs": p} for (s, n), p in pairs.items()]
        options.json.write_text(json.dumps(runs, indent=1) + "\n", encoding="ascii")
    print_report(rows, options, load_average)
    met = print_bars(rows)
    return 3 if options.require_bar and not met else 0


if __name__ == "__main__":
    sys.exit(main())
