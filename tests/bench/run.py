#!/usr/bin/python3
"""Benchmark: what the gate costs, and how it stands storms.

Speed, in CPU time and in pairs with a plain UDP relay; a flood of ClientHellos from strangers; ten
thousand devices that come back at once. Prints tables in Markdown. README.md in this folder says
how to read them.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import report
import speed
import storms
from programs import Bench, BenchError

PARTS = ("speed", "flood", "reconnect")


def show_progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)


def list_of(known):
    def parse(text):
        chosen = text.split(",")
        unknown = set(chosen) - set(known)
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown {unknown}; known: {', '.join(known)}")
        return chosen

    return parse


def parse_options():
    def numbers(text):
        return [int(part) for part in text.split(",")]

    suites = list_of(report.SUITES)
    build = report.TOP / os.environ.get("DTLSGATE_BUILD", "build/release")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gate", type=Path, default=build / "dtlsgate", help="the gate's binary")
    parser.add_argument("--programs", type=Path, default=build / "bench", help="load, relay, ...")
    parser.add_argument(
        "--only", type=list_of(PARTS), default=list(PARTS), metavar="PART,...", help=str(PARTS)
    )
    parser.add_argument("--suites", type=suites, default=list(report.SUITES), metavar="NAME,...")
    parser.add_argument("--sessions", type=numbers, default=[1, 100, 1000], metavar="N,...")
    parser.add_argument("--repeat", type=int, default=5, help="pairs of each kind (5)")
    parser.add_argument("--storms", type=int, default=3, help="reconnections of each kind (3)")
    parser.add_argument("--scale", type=float, default=1.0, help="times the amount of work (1.0)")
    parser.add_argument("--workers", type=int, default=1, help="the gate's workers (1)")
    parser.add_argument("--payload", type=int, default=64, help="bytes (64)")
    parser.add_argument("--log-level", default="info", help="the gate's (info)")
    parser.add_argument(
        "--setting", action="append", default=[], metavar="'KEY = VALUE'", help="of the listener"
    )
    parser.add_argument("--pin", action="store_true", help="speed: gate and relay on own CPU")
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes every run to a file")
    parser.add_argument("--require-bar", action="store_true", help="status 3 if a bar is missed")
    options = parser.parse_args()
    programs = [options.programs / name for name in ("load", "relay", "echo", "flood")]
    for program in [options.gate] + programs:
        if not os.access(program, os.X_OK):
            parser.error(f"{program} is missing; make bench builds it")
    options.gate = options.gate.resolve()
    options.programs = options.programs.resolve()
    return options


def measure_speed(options, folder):
    bench = Bench(options, folder, max(options.sessions))
    try:
        return speed.run_all(bench, show_progress)
    finally:
        bench.echo.kill()


def measure_storms(options, folder):
    """(result of the flood or None, list of results of reconnections)."""
    bench = Bench(options, folder, storms.STORM_DEVICES, storms.enter_own_network())
    flood, reconnects = None, []
    try:
        if "flood" in options.only:
            flood = storms.run_flood(bench, show_progress)
        if "reconnect" in options.only:
            for suite in options.suites:
                if suite in storms.STORM_SUITES:
                    reconnects.append(storms.run_reconnect(bench, suite, show_progress))
        return flood, reconnects
    finally:
        bench.echo.kill()


def print_report(options, load_average, pairs, flood, reconnects):
    """True if all bars that were measured are met."""
    bars = []
    report.print_head(options, load_average)
    if pairs:
        rows = speed.summarize(pairs)
        report.print_speed(rows)
        bars += report.speed_bars(rows)
    if flood:
        summary = storms.summarize_flood(flood)
        report.print_flood(summary)
        bars += report.flood_bars(summary)
    if reconnects:
        rows = [storms.summarize_reconnect(result) for result in reconnects]
        report.print_reconnect(rows, storms.STORM_DEVICES)
        bars += report.reconnect_bars(rows, storms.STORM_DEVICES)
    return report.print_bars(bars)


def main():
    options = parse_options()
    load_average = os.getloadavg()[0]
    pairs, flood, reconnects = {}, None, []
    with tempfile.TemporaryDirectory(prefix="dtlsgate-bench-") as folder:
        try:
            if "speed" in options.only:
                pairs = measure_speed(options, Path(folder))
            if "flood" in options.only or "reconnect" in options.only:
                flood, reconnects = measure_storms(options, Path(folder))
        except BenchError as error:
            show_progress("")
            print(f"bench: {error}", file=sys.stderr)
            return 1
    show_progress("")
    if options.json:
        runs = {
            "speed": [{"suite": s, "sessions": n, "pairs": p} for (s, n), p in pairs.items()],
            "flood": flood,
            "reconnect": reconnects,
        }
        options.json.write_text(json.dumps(runs, indent=1) + "\n", encoding="ascii")
    met = print_report(options, load_average, pairs, flood, reconnects)
    return 3 if options.require_bar and not met else 0


if __name__ == "__main__":
    sys.exit(main())
