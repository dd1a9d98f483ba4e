"""A million devices on one gate, all awake: memory of a session, CPU time beside that at a thousand,
how soon the gate is ready with as many keys.

The devices are the load generator's, kept as exported sessions, 0.5 kB each (load --save). So are
the 1,000 that another gate serves first, with whose CPU time the million's is compared. What a
session of another suite takes is measured with devices that fall asleep after one request."""

import contextlib
import re
import statistics
import time
from pathlib import Path

from programs import BenchError, one_and_others, run_phase
from speed import user_share

SUITE = "psk-ccm8"
FEW = 1000
REQUESTS = 100000
CHUNK = 10000  # handshakes from one look at memory and progress to the next
MOST_TURNS = 3
SETTLING_MAX_S = 20
# Of 1.3 the gate keeps what a repeated Finished or ticket may need for so long (RFC 9147 section 5.8.1).
REMAINDER_S = 240
# Other suites, of which only memory is measured: the gate's name of it, and how many sessions there are
# for each of SUITE's. Certificates are slow, so there are fewer.
OTHERS = {
    "tls13-psk-gcm": ("TLS13-AES128-GCM-SHA256", 1.0),
    "psk-ccm8-256": ("PSK-AES256-CCM-8", 0.1),
    "psk-chacha20": ("PSK-CHACHA20-POLY1305", 0.1),
    "tls13-psk-chacha20": ("TLS13-CHACHA20-POLY1305-SHA256", 0.1),
    "tls13-gcm-256": ("TLS13-AES256-GCM-SHA384", 0.03),
}
# Memory: 2 kB a session for gate and devices together, and what must stay free at any time.
NEEDED_KB_PER_SESSION, LEFT_FREE_KB = 2, 512 * 1024
HOUSEKEEPING = "dtlsgate_housekeeping_seconds_bucket"


def available_kb():
    text = Path("/proc/meminfo").read_text(encoding="ascii")
    return int(re.search(r"^MemAvailable:\s*(\d+) kB$", text, re.MULTILINE)[1])


def check_memory(sessions):
    needed_kb = LEFT_FREE_KB + NEEDED_KB_PER_SESSION * sessions
    if available_kb() < needed_kb:
        raise BenchError(
            f"{sessions:,} sessions need {needed_kb >> 10:,} MiB of memory and "
            f"{available_kb() >> 10:,} are free; --sessions N takes fewer"
        )


def run(bench, sessions, progress):
    check_memory(sessions)
    bench.place(*one_and_others(bench.cpus, min))
    few = min(FEW, sessions)
    result = {"suite": SUITE, "sessions": sessions, "cid": bench.options.cid}
    result["few"] = measure_relay(bench, few, progress) | measure_few(bench, few, progress)
    result["many"] = measure_relay(bench, sessions, progress)
    result |= measure_gate(bench, sessions, progress, result["many"])
    for who in ("", "relay_"):
        many, few = (result[name][f"{who}round_trip_us"] for name in ("many", "few"))
        result[f"{who}ratio"] = many / few
    result["memory"] = [
        {key: result[key] for key in ("suite", "sessions", "handshakes_per_s", "bytes_per_session")},
        *measure_others(bench, sessions, progress),
    ]
    result["parts"] = bench.run_alone("sizes")
    return result


# --- CPU time ---


def measure_few(bench, sessions, progress):
    progress.show(f"{sessions:,} sessions")
    with bench.start_gate() as gate:
        with bench.start_load(gate.port, sessions, SUITE, more=["--save"]) as load:
            establish(gate, load, sessions, progress)
            return measure_awake(bench, gate, load, sessions)


def measure_relay(bench, sessions, progress):
    """The relay beside it, and what the AEAD alone needs, without instructions for AES too."""
    progress.show(f"relay, {sessions:,} devices")
    with bench.start_relay(sessions) as relay:
        with bench.start_load(relay.port, sessions, "plain") as load:
            establish(relay, load, sessions, progress)
            found = measure_awake(bench, relay, load, sessions)
    return {
        "sessions": sessions,
        "aead_us": bench.run_crypto(SUITE, sessions),
        "aead_without_aes_us": bench.run_crypto(SUITE, sessions, has_aes=False),
        **{f"relay_{key}": value for key, value in found.items()},
    }


def measure_gate(bench, sessions, progress, many):
    """A gate with all sessions; CPU time goes to many. Nobody waits for a million close_notify."""
    progress.show(f"the gate reads {sessions:,} keys")
    with bench.start_gate() as gate:
        result = {"ready_s": gate.ready_s, "base_kb": gate.memory_kb("VmRSS")}
        with bench.start_load(gate.port, sessions, SUITE, more=["--save"]) as load:
            try:
                result |= establish(gate, load, sessions, progress)
                result["resident_kb"] = settled_kb(gate)
                growth_kb = result["resident_kb"] - result["base_kb"]
                result["bytes_per_session"] = 1024 * growth_kb / sessions
                many |= measure_awake(bench, gate, load, sessions)
            except BenchError as error:
                raise BenchError(f"{sessions:,} sessions: {error}") from None
            result["housekeeping"] = read_housekeeping(gate.metrics())
            result["load_kb"] = load.memory_kb("VmRSS")
    return result


def measure_awake(bench, server, load, sessions):
    """Requests of all devices, drawn at random: nobody has a second turn before all had one."""
    turns = []
    for _ in range(MOST_TURNS):
        run_phase(server, load, f"active:{sessions}")
        turns.append(run_phase(server, load, f"requests:{int(REQUESTS * bench.options.scale)}"))
    found = {
        key: statistics.median(turn[key] for turn in turns)
        for key in ("round_trip_us", "busy", "p50_us", "per_s")
    }
    found["requests_per_s"] = found.pop("per_s")
    found["user_us"] = found["round_trip_us"] * user_share(turns)
    found["kernel_us"] = found["round_trip_us"] - found["user_us"]
    return found


def establish(server, load, sessions, progress, then=None):
    """All sessions, some at a time; ends when memory becomes short. then: a phase after each."""
    cpu_ns, seconds, done = 0, 0.0, 0
    while done < sessions:
        progress.show(f"{done:,} of {sessions:,} sessions, {available_kb() >> 10:,} MiB free")
        if available_kb() < LEFT_FREE_KB:
            raise BenchError(f"memory is short after {done:,}; --sessions N takes fewer")
        some = run_phase(server, load, f"handshakes:{CHUNK}", may_lose=True)
        if some["done"] == 0:
            raise BenchError(f"no more than {done:,} were established")
        done += some["done"]
        cpu_ns += some["cpu_ns"]
        seconds += some["seconds"]
        # What a device does next. Until it has, the gate keeps its last flight.
        run_phase(server, load, f"active:{some['done']}:{done - some['done']}")
        run_phase(server, load, f"requests:{some['done']}")
        if then:
            run_phase(server, load, then)
    return {"handshake_us": cpu_ns / 1e3 / done, "handshakes_per_s": done / max(seconds, 1e-9)}


def read_housekeeping(metrics):
    """How often timers ran, how often for more than 1 ms, and what the longest did not exceed (None:
    it is beyond all that the gate tells apart); None if not told."""
    buckets = sorted((float(le), n) for (name, le), n in metrics.items() if name == HOUSEKEEPING and le)
    if not buckets:
        return None
    turns = buckets[-1][1]
    below = max((n for le, n in buckets if le <= 0.001), default=0)
    longest_s = next(le for le, n in buckets if n == turns)
    return {
        "turns": turns,
        "above_1ms": turns - below,
        "longest_ms": longest_s * 1000 if longest_s != float("inf") else None,
    }


# --- memory ---


def settled_kb(gate):
    """Resident memory when no more of it is given back."""
    before = gate.memory_kb("VmRSS")
    for _ in range(SETTLING_MAX_S):
        time.sleep(1)
        now = gate.memory_kb("VmRSS")
        if now > before * 0.999:
            return now
        before = now
    return before


def measure_others(bench, sessions, progress):
    """Gates side by side, so that what is kept of each for a while is waited for once."""
    rows = []
    with contextlib.ExitStack() as stack:
        for suite in (suite for suite in OTHERS if suite in bench.options.suites):
            ciphers, share = OTHERS[suite]
            gate = bench.start_gate(ciphers=ciphers, name=f"gate-{suite}")
            stack.enter_context(gate)
            rows.append((gate, establish_asleep(bench, gate, suite, int(sessions * share), progress)))
        if any(suite.startswith("tls13") for suite in OTHERS if suite in bench.options.suites):
            wait(REMAINDER_S, progress)
        for gate, row in rows:
            growth_kb = settled_kb(gate) - row.pop("base_kb")
            row["bytes_per_session"] = 1024 * growth_kb / row["sessions"]
    return [row for _, row in rows]


def establish_asleep(bench, gate, suite, sessions, progress):
    sessions = max(1, sessions)
    row = {"suite": suite, "sessions": sessions, "base_kb": gate.memory_kb("VmRSS")}
    try:
        with bench.start_load(gate.port, sessions, suite) as load:
            made = establish(gate, load, sessions, progress, then="sleep")
    except BenchError as error:
        raise BenchError(f"{sessions:,} sessions, {suite}: {error}") from None
    return row | {"handshakes_per_s": made["handshakes_per_s"]}


def wait(seconds, progress):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        progress.show(f"{end - time.monotonic():.0f} s until handshakes of 1.3 are forgotten")
        time.sleep(min(10, max(0.1, end - time.monotonic())))
