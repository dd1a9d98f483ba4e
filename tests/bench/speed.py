"""Speed: CPU time per round trip and per handshake, of the gate beside the plain relay."""

import collections
import json
import statistics

from programs import BenchError, run_phase, stop_load

# By number of sessions: handshakes of each session that are measured, requests in all.
AMOUNTS = {1: (30, 4000), 10: (10, 10000), 100: (4, 40000), 1000: (2, 60000), 10000: (1, 60000)}
SESSIONS = (1, 100, 1000)
# The curve against the number of sessions is drawn for one suite.
CURVE_SUITE, CURVE_SESSIONS = "psk-ccm8", (1, 10, 100, 1000, 10000)


def choose_cpus(bench, sessions):
    """With one session only one process at a time has work; where the scheduler wakes it
    up would decide the result, so all share one CPU."""
    first = {min(bench.cpus)}
    if sessions == 1:
        bench.place(first, first)
    elif bench.options.pin and len(bench.cpus) > 1 and bench.options.workers == 1:
        bench.place(first, bench.cpus - first)
    else:
        bench.place(bench.cpus, bench.cpus)


def run(bench, suite, sessions, workers=None):
    """One run of the gate, or of the relay for the suite plain. workers: others than the options
    say."""
    choose_cpus(bench, sessions)
    server = bench.start_relay() if suite == "plain" else bench.start_gate(workers)
    load = None
    try:
        load = bench.start_load(server.port, sessions, suite)
        result = measure(server, load, suite, sessions, bench.options.scale)
        stop_load(load)
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


def measure(server, load, suite, sessions, scale):
    """Handshakes, then requests on the last sessions; between phases nothing is in flight."""
    rounds, requests = AMOUNTS.get(sessions) or (max(1, 2000 // sessions), 60000)
    requests = int(requests * scale)
    handshakes, closes = [], []
    empty_kb = server.memory_kb("VmRSS")
    if suite != "plain":
        run_phase(server, load, "handshakes")  # warm-up
        resident_kb = server.memory_kb("VmRSS")
        for _ in range(max(1, int(rounds * scale))):
            closes.append(run_phase(server, load, "close"))
            handshakes.append(run_phase(server, load, "handshakes"))
    else:
        run_phase(server, load, "handshakes")
        resident_kb = server.memory_kb("VmRSS")
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


def kinds(options):
    """[(suite, sessions)] in the order in which they are measured."""
    found = []
    for suite in options.suites:
        default = CURVE_SESSIONS if suite == CURVE_SUITE else SESSIONS
        found += [(suite, sessions) for sessions in options.sessions or default]
    return found


def run_all(bench, progress):
    """(suite, sessions) -> list of triples (gate, relay, library). Which of gate and relay goes
    first alternates."""
    triples = collections.defaultdict(list)
    todo = kinds(bench.options)
    for repeat in progress.turns(bench.options.repeat):
        library = {suite: bench.run_crypto(suite) for suite in bench.options.suites}
        for i, (suite, sessions) in enumerate(todo):
            step = repeat * len(todo) + i
            progress.show(f"{step}/{bench.options.repeat * len(todo)} {suite}, {sessions} sessions")
            order = [suite, "plain"] if repeat % 2 == 0 else ["plain", suite]
            results = {name: run(bench, name, sessions) for name in order}
            triples[suite, sessions].append((results[suite], results["plain"], library[suite]))
    return triples


def summarize(triples):
    """Medians over the turns; a difference or a ratio is the median of the turns' own ones."""
    rows = []
    for (suite, sessions), results in triples.items():
        row = {"suite": suite, "sessions": sessions, "turns": len(results)}
        for key in results[0][0]:
            row[key] = median([gate for gate, _, _ in results], key)
        for key in ("round_trip_us", "requests_per_s", "busy", "p50_us", "p99_us", "batch"):
            row["relay_" + key] = median([relay for _, relay, _ in results], key)
        for key in ("round_trip_us", "handshake_us"):
            row["library_" + key] = median([library for _, _, library in results], key)
        differences = [g["round_trip_us"] - r["round_trip_us"] for g, r, _ in results]
        row["difference_us"] = statistics.median(differences)
        row["difference_low_us"], row["difference_high_us"] = min(differences), max(differences)
        row["round_trip_ratio"] = statistics.median(
            g["round_trip_us"] / (r["round_trip_us"] + lib["round_trip_us"]) for g, r, lib in results
        )
        row["handshake_ratio"] = statistics.median(
            g["handshake_us"] / lib["handshake_us"] for g, _, lib in results
        )
        row["p50_ratio"] = statistics.median(g["p50_us"] / r["p50_us"] for g, r, _ in results)
        rows.append(row)
    return rows
