"""Two workers on two CPUs beside one: what the second costs, in CPU time.

The generator shares the machine, so what two workers can do together is not to be seen here; that
each datagram costs no more than with one is."""

import statistics

import speed

SESSIONS = 1000
SUITES = ("psk-ccm8", "ecdhe-gcm")
MOST_TURNS = 3
FIGURES = ("round_trip_us", "handshake_us", "requests_per_s", "busy")


def run_all(bench, progress):
    """suite -> list of {workers: result}; empty with one CPU."""
    found = {suite: [] for suite in SUITES if suite in bench.options.suites}
    if len(bench.cpus) < 2:
        progress.show("not measured: there is one CPU only")
        return {}
    turns = min(bench.options.repeat, MOST_TURNS)
    for turn in progress.turns(turns):
        for suite, results in found.items():
            progress.show(f"{turn}/{turns} {suite}")
            order = (1, 2) if turn % 2 == 0 else (2, 1)
            results.append({n: speed.run(bench, suite, SESSIONS, workers=n) for n in order})
    return found


def summarize(found):
    rows = []
    for suite, results in found.items():
        row = {"suite": suite, "sessions": SESSIONS, "turns": len(results)}
        for key in FIGURES:
            for n in (1, 2):
                row[f"{key}_{n}"] = statistics.median(result[n][key] for result in results)
        for key in ("round_trip_us", "handshake_us"):
            row[f"{key}_ratio"] = statistics.median(r[2][key] / r[1][key] for r in results)
        rows.append(row)
    return rows
