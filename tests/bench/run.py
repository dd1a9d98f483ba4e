#!/usr/bin/python3
"""Benchmark: what the gate costs, and how it stands storms.

Speed beside a plain UDP relay and what cryptography alone needs; offered load; two workers; a flood of
ClientHellos from strangers; ten thousand devices that come back at once; a million of them.
Prints tables in Markdown and compares with the result that is kept in the repository. README.md in
this folder says how to read them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import continuity
import cost
import figures
import head
import million
import offered
import plots
import report
import results
import speed
import storms
import workers
from programs import SHAPES, Bench, BenchError
from progress import Progress

# Each kind has a result of its own, of these parts.
KINDS = {
    "bench": ("speed", "offered", "workers", "flood", "reconnect"),
    "million": ("million",),
    "continuity": ("reloads", "restarts", "cost"),
}
PARTS = tuple(part for parts in KINDS.values() for part in parts)
IN_OWN_NETWORK = ("flood", "reconnect")  # the last parts: there is no way back
MILLION = 1000000
MOST_OF_LOAD = 3000000
# More devices than a part has sessions: their keys are in the gate's file.
MOST_SESSIONS = max(
    *speed.CURVE_SESSIONS, *offered.HANDSHAKE_DEVICES.values(), storms.STORM_DEVICES
)
STATUS_FAILED, STATUS_BAR_MISSED, STATUS_INTERRUPTED = 1, 3, 130


def list_of(known):
    def parse(text):
        chosen = text.split(",")
        unknown = set(chosen) - set(known)
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown {unknown}; known: {', '.join(known)}")
        return chosen

    return parse


def numbers(text):
    found = [int(part) for part in text.split(",")]
    if min(found) < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return found


def make_parser():
    suites = list_of(figures.NAMES)
    build = head.TOP / os.environ.get("DTLSGATE_BUILD", "build/release")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gate", type=Path, default=build / "dtlsgate", help="the gate's binary")
    parser.add_argument("--programs", type=Path, default=build / "bench", help="load, relay, ...")
    parser.add_argument(
        "--only", type=list_of(PARTS), metavar="PART,...", help=" or ".join(f"{parts}" for parts in KINDS.values())
    )
    parser.add_argument(
        "--suites", type=suites, default=list(figures.NAMES), metavar="NAME,...", help=f"{list(figures.NAMES)}"
    )
    parser.add_argument(
        "--shapes", type=list_of(SHAPES), default=list(SHAPES), metavar="NAME,...", help="of speed: large,small"
    )
    parser.add_argument(
        "--sessions", type=numbers, metavar="N,...", help="of speed; of million (1000000); of restarts (100000)"
    )
    parser.add_argument("--million", action="store_true", help="restarts: with 1,000,000 sessions, too")
    parser.add_argument(
        "--before", default=cost.BEFORE_COMMIT, metavar="COMMIT", help="cost: beside the build of this commit"
    )
    parser.add_argument("--repeat", type=int, default=5, help="turns of each kind (5)")
    parser.add_argument("--storms", type=int, default=3, help="reconnections of each kind (3)")
    parser.add_argument("--scale", type=float, default=1.0, help="times the amount of work (1.0)")
    parser.add_argument(
        "--minutes", type=float, default=9, help="fewer turns if it would take longer (9)"
    )
    parser.add_argument("--workers", type=int, default=1, help="the gate's workers (1)")
    parser.add_argument("--payload", type=int, default=64, help="bytes (64)")
    parser.add_argument(
        "--no-cid", dest="cid", action="store_false", help="devices offer no connection ID"
    )
    parser.add_argument("--log-level", default="info", help="the gate's (info)")
    for option, section in (("--setting", "the listener"), ("--gate-setting", "[gate]")):
        parser.add_argument(
            option, action="append", default=[], metavar="'KEY = VALUE'", help=f"of {section}"
        )
    parser.add_argument("--pin", action="store_true", help="speed: gate and relay have a CPU of their own in both shapes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes every run to a file")
    parser.add_argument("--require-bar", action="store_true", help="status 3 if a bar is missed")
    parser.add_argument(
        "--keep", action="store_true", help="keeps the result: tests/bench/results, documentation"
    )
    parser.add_argument(
        "--results", type=Path, default=results.FOLDER, metavar="FOLDER", help="another place"
    )
    return parser


def check_cpus(parser, options):
    pinned = [f"the shape {shape}" for shape in options.shapes if SHAPES[shape].is_pinned]
    pinned += ["--pin"] if options.pin else []
    cpus = len(os.sched_getaffinity(0))
    if pinned and cpus <= options.workers:
        parser.error(
            f"{pinned[0]} wants a CPU for each of the gate's {options.workers} workers and one for the "
            f"devices; there are {cpus}. --shapes large, without --pin, goes with fewer"
        )


def parse_options():
    parser = make_parser()
    options = parser.parse_args()
    options.only = options.only or list(KINDS["bench"])
    kinds = [kind for kind, parts in KINDS.items() if set(parts) & set(options.only)]
    if len(kinds) > 1:
        parser.error(f"--only: {' and '.join(kinds)} have results of their own, make one after the other")
    options.kind = kinds[0]
    is_whole = set(options.only) == set(KINDS[options.kind])
    is_whole = is_whole and set(options.suites) == set(figures.NAMES)
    is_whole = is_whole and set(options.shapes) == set(SHAPES)
    if options.keep and not is_whole and options.results == results.FOLDER:
        parser.error("--keep takes a whole result, without --only, --suites and --shapes; --results elsewhere")
    if options.sessions and max(options.sessions) > MOST_OF_LOAD:
        parser.error(f"--sessions: {MOST_OF_LOAD:,} at most")
    if {"speed", "cost"} & set(options.only):
        check_cpus(parser, options)
    names = ("load", "relay", "echo", "flood", "crypto", "library", "sizes")
    for program in [options.gate] + [options.programs / name for name in names]:
        if not os.access(program, os.X_OK):
            parser.error(f"{program} is missing; make bench builds it")
    if options.keep and not plots.is_available():
        parser.error(plots.MISSING)
    options.suites = [suite for suite in figures.NAMES if suite in options.suites]
    options.gate = options.gate.resolve()
    options.programs = options.programs.resolve()
    return options


# --- measuring ----------------------------------------------------------------------------------


def measure_speed(bench, progress):
    turns = speed.run_all(bench, progress)
    runs = [{"kind": kind, "turns": found} for kind, found in turns.items()]
    return speed.summarize(turns), runs


def measure_offered(bench, progress):
    found = offered.run_all(bench, progress)
    return found, found


def measure_workers(bench, progress):
    found = workers.run_all(bench, progress)
    return workers.summarize(found), found


def measure_flood(bench, progress):
    found = storms.run_flood(bench, progress)
    return storms.summarize_flood(found), found


def measure_reconnect(bench, progress):
    suites = [suite for suite in storms.STORM_SUITES if suite in bench.options.suites]
    found = [storms.run_reconnect(bench, suite, progress) for suite in suites]
    return [storms.summarize_reconnect(result) for result in found], found


def measure_million(bench, progress):
    found = million.run(bench, bench.most_sessions, progress)
    return found, found


def measure_reloads(bench, progress):
    found = continuity.run_reloads(bench, progress)
    return found, found


def measure_restarts(bench, progress):
    found = continuity.run_restarts(bench, progress)
    return found, found


def measure_cost(bench, progress):
    found = cost.run_all(bench, progress)
    return cost.summarize(bench, found), [{"kind": kind, "turns": turns} for kind, turns in found.items()]


# part -> function that gives (what is kept of it, every run)
MEASURE = {
    "speed": measure_speed,
    "offered": measure_offered,
    "workers": measure_workers,
    "flood": measure_flood,
    "reconnect": measure_reconnect,
    "million": measure_million,
    "reloads": measure_reloads,
    "restarts": measure_restarts,
    "cost": measure_cost,
}


def measure(options, folder, progress):
    """(result, every run, errors): a part that fails is missing in the result, the others go on."""
    result, runs, errors = {"head": head.describe(options, os.getloadavg()[0])}, {}, []
    most = MOST_SESSIONS
    if options.kind != "continuity" and (options.sessions or "million" in options.only):
        most = max(options.sessions or [MILLION])
        most = most if "million" in options.only else max(most, MOST_SESSIONS)
    bench = None
    try:
        for part in (part for part in PARTS if part in options.only):
            progress.begin(part)
            if part in IN_OWN_NETWORK and (bench is None or not bench.has_own_network):
                bench = move(bench, options, folder, most)
            bench = bench or Bench(options, folder, most)
            try:
                result[part], runs[part] = MEASURE[part](bench, progress)
            except BenchError as error:
                progress.show("failed")
                errors.append(f"{part}: {error}")
    finally:
        if bench:
            bench.echo.kill()
    return result, runs, errors


def move(bench, options, folder, most):
    """All that is started from now on is in a network of its own, if there can be one."""
    if bench:
        bench.echo.kill()
    return Bench(options, folder, most, storms.enter_own_network())


# --- results ------------------------------------------------------------------------------------


def compare(options, kind, result):
    old = results.load(options.results, kind)
    if old is None:
        print(f"\nNo result is kept in {options.results} to compare with; --keep keeps this one.")
    else:
        print("\n" + figures.comparison_text(old, result))


def write(folder, kind, result):
    """The result and what can be drawn of it, with the other kind that is there already."""
    results.keep(folder, kind, result)
    there = {kind: results.load(folder, kind) for kind in results.KINDS}
    drawn = plots.draw_all(folder, there) if plots.is_available() else []
    print(f"\nWritten to {folder}: {', '.join([f'{kind}.json', *drawn])}")
    if not plots.is_available():
        print(plots.MISSING)


def finish(options, result, errors):
    """Prints, compares and keeps it; returns the exit status."""
    kind = options.kind
    result = results.rounded(result)
    print(f"## Benchmark\n\n{report.report(result)}")
    compare(options, kind, result)
    if result.keys() - {"head"}:
        write(options.programs.parent / "bench-results", kind, result)
    for error in errors:
        print(f"\nbench: {error}", file=sys.stderr)
    if errors:
        return STATUS_FAILED
    if options.keep:
        write(options.results, kind, result)
        if options.results.resolve() == results.FOLDER:
            subprocess.run([sys.executable, head.TOP / "scripts" / "gen-docs"], check=True)
    is_met = all(met for _, met in figures.bars(result))
    return STATUS_BAR_MISSED if options.require_bar and not is_met else 0


def main():
    options = parse_options()
    progress = Progress(options.minutes, options.only)
    with tempfile.TemporaryDirectory(prefix="dtlsgate-bench-") as folder:
        try:
            result, runs, errors = measure(options, Path(folder), progress)
        except (BenchError, KeyboardInterrupt) as error:
            progress.clear()
            print(f"bench: {str(error) or 'interrupted'}", file=sys.stderr)
            return STATUS_FAILED if str(error) else STATUS_INTERRUPTED
    progress.clear()
    if options.json:
        options.json.write_text(json.dumps(runs, indent=1) + "\n", encoding="ascii")
    return finish(options, result, errors)


if __name__ == "__main__":
    sys.exit(main())
