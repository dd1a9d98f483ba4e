"""Speed: CPU time per round trip and per handshake, of the gate beside the plain relay, in both
shapes of load."""

import collections
import json
import statistics

from figures import SUITES
from programs import SHAPES, BenchError, run_phase, stop_load

# By number of sessions: handshakes of each session that are measured, requests in all.
AMOUNTS = {1: (30, 4000), 10: (10, 10000), 100: (4, 40000), 1000: (2, 100000), 10000: (1, 60000)}
SESSIONS = (1, 100, 1000)
# The curve against the number of sessions is drawn for one suite.
CURVE_SUITE, CURVE_SESSIONS = "psk-ccm8", (1, 10, 100, 1000, 10000)
# A device with a socket of its own costs a descriptor; the bar is for this number.
SMALL_SESSIONS = 1000


def choose_cpus(bench, sessions, shape, workers):
    """With one session only one process at a time has work; where the scheduler wakes it
    up would decide the result, so all share one CPU."""
    if sessions == 1:
        first = {min(bench.cpus)}
        bench.place(first, first)
    elif SHAPES[shape].is_pinned or bench.options.pin:
        servers = set(sorted(bench.cpus)[:workers])
        bench.place(servers, bench.cpus - servers)
    else:
        bench.place(bench.cpus, bench.cpus)


def run(bench, suite, sessions, shape="large", workers=None):
    """One run of the gate, or of the relay for the suite plain. workers: others than the options
    say."""
    choose_cpus(bench, sessions, shape, workers or bench.options.workers)
    with bench.start_relay(sessions) if suite == "plain" else bench.start_gate(workers) as server:
        try:
            with bench.start_load(server.port, sessions, suite, shape=shape) as load:
                has_handshakes = suite != "plain" and shape == "large"
                result = measure(server, load, sessions, bench.options.scale, has_handshakes)
                stop_load(load)
            server.stop()
            if suite == "plain":
                result["batch"] = read_relay_batch(server)
            return result
        except BenchError as error:
            tail = "" if server.log_tail() in str(error) else f"\n{server.log_tail()}"
            raise BenchError(f"{suite}, {sessions} sessions, {shape}: {error}{tail}") from None


def read_relay_batch(relay):
    """Datagrams per system call; an error if it refused any."""
    totals = json.loads(relay.process.stdout.readline())
    if totals["dropped"] or totals["errors"]:
        raise relay.failure(f"dropped datagrams: {totals}")
    return totals["to_backend"] / totals["to_backend_calls"]


def measure(server, load, sessions, scale, has_handshakes):
    """Handshakes if they are to be measured, then requests on the last sessions; between phases nothing is in flight."""
    rounds, requests = AMOUNTS.get(sessions) or (max(1, 2000 // sessions), 60000)
    requests = int(requests * scale)
    handshakes, closes = [], []
    empty_kb = server.memory_kb("VmRSS")
    run_phase(server, load, "handshakes")  # warm-up
    resident_kb = server.memory_kb("VmRSS")
    for _ in range(max(1, int(rounds * scale)) if has_handshakes else 0):
        closes.append(run_phase(server, load, "close"))
        handshakes.append(run_phase(server, load, "handshakes"))
    run_phase(server, load, f"requests:{max(requests // 10, 4 * sessions)}")  # warm-up
    requests = run_phase(server, load, f"requests:{requests}")
    return {
        "handshake_us": cpu_us(handshakes),
        "close_us": cpu_us(closes),
        "handshakes_per_s": total(handshakes, "done") / max(total(handshakes, "seconds"), 1e-9),
        "handshake_p50_us": median(handshakes, "p50_us"),
        "handshake_p99_us": median(handshakes, "p99_us"),
        "round_trip_us": requests["round_trip_us"],
        "user_ticks": requests["user_ticks"],
        "kernel_ticks": requests["kernel_ticks"],
        "requests_per_s": requests["per_s"],
        "busy": requests["cpu_ns"] / 1e9 / requests["seconds"],
        "p50_us": requests["p50_us"],
        "p99_us": requests["p99_us"],
        "resident_kb": resident_kb,
        "session_kb": (resident_kb - empty_kb) / sessions,
        "lost": requests["lost"] + total(handshakes, "lost"),
    }


def total(results, key):
    return sum(result[key] for result in results)


def median(results, key):
    return statistics.median(result[key] for result in results) if results else 0.0


def cpu_us(results):
    return total(results, "cpu_ns") / 1e3 / max(total(results, "done"), 1)


def speed_suites(options):
    return [suite for suite in options.suites if suite in SUITES]


def kinds(options):
    """[(suite, sessions, shape)] in the order in which they are measured."""
    found = []
    for suite in speed_suites(options):
        default = CURVE_SESSIONS if suite == CURVE_SUITE else SESSIONS
        if "large" in options.shapes:
            found += [(suite, sessions, "large") for sessions in options.sessions or default]
        if "small" in options.shapes:
            found += [(suite, sessions, "small") for sessions in options.sessions or [SMALL_SESSIONS]]
    return found


def run_all(bench, progress):
    """(suite, sessions, shape) -> list of turns {gate, relay, aead_us, library_us}. Which of gate
    and relay goes first alternates."""
    turns = collections.defaultdict(list)
    todo = kinds(bench.options)
    for repeat in progress.turns(bench.options.repeat):
        library_us = {suite: bench.run_library(suite) for suite in speed_suites(bench.options)}
        for i, (suite, sessions, shape) in enumerate(todo):
            step = f"{repeat * len(todo) + i}/{bench.options.repeat * len(todo)}"
            progress.show(f"{step} {suite}, {sessions} sessions, {shape}")
            order = [suite, "plain"] if repeat % 2 == 0 else ["plain", suite]
            results = {name: run(bench, name, sessions, shape) for name in order}
            turns[suite, sessions, shape].append(
                {
                    "gate": results[suite],
                    "relay": results["plain"],
                    "aead_us": bench.run_crypto(suite, sessions),
                    "library_us": library_us[suite],
                }
            )
    return turns


def user_share(results):
    """Of the CPU time; over all turns, for the kernel tells it from samples."""
    user, kernel = total(results, "user_ticks"), total(results, "kernel_ticks")
    return user / max(user + kernel, 1)


HANDSHAKE_FIGURES = (
    *("handshake_us", "close_us", "handshakes_per_s", "handshake_p50_us", "handshake_p99_us"),
    *("resident_kb", "session_kb"),
)
REQUEST_FIGURES = ("round_trip_us", "requests_per_s", "busy", "p50_us", "p99_us")


def summarize(turns):
    return [summarize_one(*kind, found) for kind, found in turns.items()]


def summarize_one(suite, sessions, shape, turns):
    """Medians over the turns; a difference or a ratio is the median of the turns' own ones."""
    gates, relays = [turn["gate"] for turn in turns], [turn["relay"] for turn in turns]
    row = {"suite": suite, "sessions": sessions, "shape": shape, "turns": len(turns)}
    row |= {key: median(gates, key) for key in (*REQUEST_FIGURES, "lost")}
    row |= {"relay_" + key: median(relays, key) for key in (*REQUEST_FIGURES, "batch")}
    for who, results in (("", gates), ("relay_", relays)):
        row[f"{who}user_us"] = row[f"{who}round_trip_us"] * user_share(results)
        row[f"{who}kernel_us"] = row[f"{who}round_trip_us"] - row[f"{who}user_us"]
    row["aead_us"] = median(turns, "aead_us")

    def of_turns(figure):
        return [figure(turn["gate"], turn["relay"], turn) for turn in turns]

    differences = of_turns(lambda gate, relay, _: gate["round_trip_us"] - relay["round_trip_us"])
    row["difference_us"] = statistics.median(differences)
    row["difference_low_us"], row["difference_high_us"] = min(differences), max(differences)
    floor_ratios = of_turns(
        lambda gate, relay, turn: gate["round_trip_us"] / (relay["round_trip_us"] + turn["aead_us"])
    )
    row["floor_ratio"] = statistics.median(floor_ratios)
    row["floor_ratio_low"], row["floor_ratio_high"] = min(floor_ratios), max(floor_ratios)
    if shape == "large":
        row |= {key: median(gates, key) for key in HANDSHAKE_FIGURES}
        row["library_handshake_us"] = median(turns, "library_us")
        row["handshake_ratio"] = statistics.median(
            of_turns(lambda gate, _, turn: gate["handshake_us"] / turn["library_us"])
        )
    row["p50_ratio"] = statistics.median(of_turns(lambda gate, relay, _: gate["p50_us"] / relay["p50_us"]))
    return row
