"""What it costs on the way of a datagram that sessions lie in memory which outlives the process: CPU time of
a round trip beside that of the last build in which they did not.

Both gates run at the same time and have the load in turn, a fraction of a second each, so what else the
machine does meets both."""

import contextlib
import shutil
import statistics
import subprocess

import head
from figures import SUITES
from programs import SHAPES, BenchError, run_phase, stop_load

BEFORE_COMMIT = "9bee9cab60b7"
COST_SUITES = ("psk-ccm8", "ecdhe-gcm")
SESSIONS = 1000
REQUESTS = 15000  # of a turn
TURNS = 16  # with the same two processes
STARTS = 3
BUILD_MAX_S = 300
WHO = ("before", "now")


def run_all(bench, progress):
    """(suite, shape) -> turns of {before, now}; suites that the options leave out are left out."""
    progress.show(f"building {bench.options.before}")
    programs = {"before": build(bench, bench.options.before), "now": bench.options.gate}
    kinds = [
        (suite, shape)
        for suite in COST_SUITES
        for shape in bench.options.shapes
        if suite in bench.options.suites
    ]
    turns = {kind: [] for kind in kinds}
    for start in progress.turns(STARTS):
        for suite, shape in kinds:
            progress.show(f"{start}/{STARTS} {SUITES[suite]}, {shape} batches")
            turns[suite, shape] += measure(bench, programs, suite, shape)
    return turns


# --- the build before ---------------------------------------------------------------------------


def build(bench, commit):
    """The gate of that commit, in a folder that is kept for the next time."""
    folder = bench.options.programs.parent / f"before-{commit}"
    program = folder / "build" / "release" / "dtlsgate"
    if program.exists():
        return program
    shutil.rmtree(folder, ignore_errors=True)
    library = folder / "build" / "wolfssl"
    library.mkdir(parents=True)
    # What is built of the library goes for both, if the pin and the patches are the same.
    for built in (head.TOP / "build" / "wolfssl").iterdir():
        if not built.name.startswith("prefix"):
            (library / built.name).symlink_to(built)
    tree = subprocess.run(
        ["git", "-C", head.TOP, "archive", commit], capture_output=True, check=False
    )
    if tree.returncode != 0:
        raise BenchError(f"no commit {commit} here: {tree.stderr.decode()}")
    subprocess.run(["tar", "-x", "-C", folder], input=tree.stdout, check=True)
    made = subprocess.run(
        ["make", "-C", folder, f"-j{len(bench.cpus)}", f"COMMIT={commit}", "all"],
        capture_output=True,
        text=True,
        timeout=BUILD_MAX_S,
        check=False,
    )
    if made.returncode != 0:
        raise BenchError(f"make of {commit}: {made.stderr[-2000:]}")
    return program


# --- measuring ----------------------------------------------------------------------------------


def measure(bench, programs, suite, shape):
    """Turns of {before, now}: CPU in us of a round trip. Which has the load first alternates."""
    if SHAPES[shape].is_pinned:
        servers = {min(bench.cpus)}
        bench.place(servers, bench.cpus - servers)
    else:
        bench.place(bench.cpus, bench.cpus)
    requests = f"requests:{int(REQUESTS * bench.options.scale)}"
    with contextlib.ExitStack() as stack:
        gates, loads = {}, {}
        for who in WHO:
            gate = bench.start_gate(name=f"gate-{who}", program=programs[who])
            gates[who] = stack.enter_context(gate)
            loads[who] = stack.enter_context(bench.start_load(gate.port, SESSIONS, suite, shape=shape))
            run_phase(gates[who], loads[who], "handshakes")
            run_phase(gates[who], loads[who], requests)
        turns = []
        for turn in range(TURNS):
            order = WHO if turn % 2 == 0 else tuple(reversed(WHO))
            turns.append({who: run_phase(gates[who], loads[who], requests)["round_trip_us"] for who in order})
        for who in WHO:
            stop_load(loads[who])
            gates[who].stop()
    return turns


def summarize(bench, turns):
    rows = [summarize_one(*kind, found) for kind, found in turns.items()]
    return {"before": bench.options.before, "rows": rows}


def summarize_one(suite, shape, turns):
    """The ratio is the median of the turns' own ones; half of them lie between low and high."""
    ratios = sorted(turn["now"] / turn["before"] for turn in turns)
    low, ratio, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return {
        "suite": suite,
        "shape": shape,
        "turns": len(turns),
        "before_us": statistics.median(turn["before"] for turn in turns),
        "now_us": statistics.median(turn["now"] for turn in turns),
        "ratio": ratio,
        "ratio_low": low,
        "ratio_high": high,
    }
