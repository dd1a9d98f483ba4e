"""A million sleeping devices on one gate: memory per parked session, CPU time with some of them
awake, and how soon the gate is ready with as many keys.

The devices are the load generator's, kept as exported sessions, 0.5 kB each (load --save). So are
the 1,000 that another gate serves first, with whose CPU time the million's is compared."""

import re
import statistics
import time
from pathlib import Path

from programs import BenchError, run_phase

SUITE = "psk-ccm8"
FEW = 1000
MOST_ACTIVE = 10000
REQUESTS = 100000
CHUNK = 10000  # handshakes from one look at memory and progress to the next
MOST_TURNS = 3
SETTLING_MAX_S = 20
PARKING_MAX_S = 120
# Memory: 2 kB a session for gate and devices together, and what must stay free at any time.
NEEDED_KB_PER_SESSION, LEFT_FREE_KB = 2, 512 * 1024
PARKED = ("dtlsgate_sessions_parked", "")
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
    result = {"suite": SUITE, "sessions": sessions, "cid": bench.options.cid}
    result["few"] = measure_few(bench, min(FEW, sessions), progress)
    progress.show(f"the gate reads {sessions:,} keys")
    gate = bench.start_gate()
    load = None
    try:
        result["ready_s"] = gate.ready_s
        result["base_kb"] = gate.memory_kb("VmRSS")
        load = bench.start_load(gate.port, sessions, SUITE, more=["--save"])
        result |= establish(gate, load, sessions, progress)
        result |= wait_until_parked(gate, sessions, progress)
        growth_kb = result["resident_kb"] - result["base_kb"]
        result["bytes_per_session"] = 1024 * growth_kb / sessions
        result["many"] = measure_many(bench, gate, load, sessions, progress)
        result["ratio"] = result["many"]["round_trip_us"] / result["few"]["round_trip_us"]
        result["housekeeping"] = read_housekeeping(gate.metrics())
        result["load_kb"] = load.memory_kb("VmRSS")
        return result
    except BenchError as error:
        raise BenchError(f"{sessions:,} sessions: {error}") from None
    finally:
        # Nobody waits for a million close_notify.
        for program in (load, gate):
            if program:
                program.kill()


def measure_few(bench, sessions, progress):
    progress.show(f"{sessions:,} sessions, all awake")
    gate = bench.start_gate()
    load = None
    try:
        load = bench.start_load(gate.port, sessions, SUITE, more=["--save"])
        run_phase(gate, load, "handshakes")
        run_phase(gate, load, f"requests:{10 * sessions}")  # warm-up
        turns = [measure_requests(bench, gate, load) for _ in range(MOST_TURNS)]
        return summarize_turns(turns) | {"sessions": sessions}
    finally:
        for program in (load, gate):
            if program:
                program.kill()


def measure_requests(bench, gate, load):
    requests = run_phase(gate, load, f"requests:{int(REQUESTS * bench.options.scale)}")
    return {
        "round_trip_us": requests["cpu_ns"] / 1e3 / requests["done"],
        "requests_per_s": requests["per_s"],
        "busy": requests["busy"],
        "p50_us": requests["p50_us"],
    }


def summarize_turns(turns):
    return {key: statistics.median(turn[key] for turn in turns) for key in turns[0]}


def establish(gate, load, sessions, progress):
    """All sessions, some at a time; ends when memory becomes short."""
    cpu_ns, seconds, done = 0, 0.0, 0
    while done < sessions:
        progress.show(f"{done:,} of {sessions:,} sessions, {available_kb() >> 10:,} MiB free")
        if available_kb() < LEFT_FREE_KB:
            raise BenchError(f"memory is short after {done:,}; --sessions N takes fewer")
        some = run_phase(gate, load, f"handshakes:{CHUNK}", may_lose=True)
        if some["done"] == 0:
            raise BenchError(f"no more than {done:,} were established")
        done += some["done"]
        cpu_ns += some["cpu_ns"]
        seconds += some["seconds"]
        # What a device does next. Until it has, the gate keeps its last flight.
        run_phase(gate, load, f"active:{some['done']}:{done - some['done']}")
        run_phase(gate, load, f"requests:{some['done']}")
    return {"handshake_us": cpu_ns / 1e3 / done, "handshakes_per_s": done / seconds}


def wait_until_parked(gate, sessions, progress):
    """The number of parked sessions, None if this gate does not tell, and its memory then."""
    end = time.monotonic() + PARKING_MAX_S
    parked = gate.metrics().get(PARKED)
    while parked is not None and parked < sessions and time.monotonic() < end:
        progress.show(f"{parked:,.0f} of {sessions:,} sessions are parked")
        time.sleep(1)
        parked = gate.metrics().get(PARKED)
    return {"parked": parked, "resident_kb": settled_kb(gate)}


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


def measure_many(bench, gate, load, sessions, progress):
    """Some devices, drawn at random, wake up: the first request of each, then more of them."""
    active = max(1, min(MOST_ACTIVE, sessions // 10))
    turns = []
    for turn in range(MOST_TURNS):
        progress.show(f"{active:,} of {sessions:,} sessions awake, {turn}/{MOST_TURNS}")
        run_phase(gate, load, f"active:{active}")
        waking = run_phase(gate, load, f"requests:{active}")
        turns.append(measure_requests(bench, gate, load))
        turns[-1]["waking_us"] = waking["cpu_ns"] / 1e3 / waking["done"]
    return summarize_turns(turns) | {"active": active}


def read_housekeeping(metrics):
    """How often timers and parking ran, and how often for more than 1 ms; None if not told."""
    buckets = {float(le): n for (name, le), n in metrics.items() if name == HOUSEKEEPING and le}
    if not buckets:
        return None
    turns = max(buckets.values())
    below = max((n for le, n in buckets.items() if le <= 0.001), default=0)
    return {"turns": turns, "above_1ms": turns - below}
