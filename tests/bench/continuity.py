"""What a reload, a restart, an upgrade and a crash cost those that have a session: datagrams, silence,
handshakes. All devices send at a pace that waits for nothing, and each datagram is accounted for (load
paced).

The devices are kept as exported sessions (load --save)."""

import json
import os
import statistics
import time
from pathlib import Path

from million import check_memory, establish
from programs import BenchError, metrics_change, stop_load, write_keys
from service import Buffers, Keeper, Service

SUITE = "psk-ccm8"
SESSIONS, MILLION = 100000, 1000000
RATE = 5000  # datagrams a second, of all devices
RELOAD_SESSIONS, RELOAD_KEYS, RELOADS = 1000, 2000, 1000
UNDISTURBED_S = 5
RELOADING_MAX_S = 240
RELOAD_PAUSES_MS = (0, 100)  # one after the other; some ten a second
RELOAD_FILES = ("reload-a.psk", "reload-b.psk")
BEFORE_S, AFTER_S = 1.0, 1.0  # of load around an event
EVENT_MAX_S = 60
TURNS = 3
KILLS = 2  # at the third within a minute the next gate begins without sessions
CHECK_RATE = 10000  # at which every device is asked once whether it still has its session
MOST_CHECKS = 3
BIN_MS = 10
SHOWN_BEFORE_MS, SHOWN_AFTER_MS = 500, 1500
RMEM_MAX = Path("/proc/sys/net/core/rmem_max")


# --- load ---------------------------------------------------------------------------------------


def start_devices(bench, service, sessions, progress):
    load = bench.start_load(service.place.port, sessions, SUITE, more=["--save"])
    try:
        establish(service.gate, load, sessions, progress)
        load.write_line(f"active:{sessions}")  # in an order drawn at random
        json.loads(load.read_line(EVENT_MAX_S))
    except BaseException:
        load.kill()
        raise
    return load


def run_paced(load, seconds, during=None, rate=RATE):
    """What became of a load of so many seconds, or of one that ends with `during`."""
    load.write_line(f"paced:{rate}:{seconds}")
    if during:
        during()
        load.write_line("that is all")
    result = json.loads(load.read_line(seconds + EVENT_MAX_S))
    if result["errors"]:
        raise load.failure(f"{result['errors']} errors")
    return result


def sessions_lost(load, sessions):
    """Each device is asked once; more than once if an answer was missing, which may be the machine's
    fault, where a session that has ended misses each."""
    seconds = -(-sessions // CHECK_RATE)
    least = sessions
    for _ in range(MOST_CHECKS):
        asked = run_paced(load, seconds, rate=sessions // seconds)
        least = min(least, asked["lost"])
        if least == 0:
            break
    return least


def handshakes_of(change):
    return sum(value for (name, _), value in change.items() if name == "dtlsgate_handshakes_total")


def outcomes_of(change):
    """Of datagrams that the gate did not pass on, by its own word."""
    return {
        f"{name.removeprefix('dtlsgate_').removesuffix('_total')} {outcome}": value
        for (name, outcome), value in change.items()
        if name.endswith("datagrams_total") and outcome != "forwarded" and value > 0
    }


# --- reloads ------------------------------------------------------------------------------------


def write_two_files(bench):
    """What the file of keys is by turns: what changes are keys of devices that have no session."""
    for turn, name in enumerate(RELOAD_FILES):
        write_keys(bench.folder / name, RELOAD_KEYS, f"other-{turn}:{turn:032x}\n")


def reload_all(bench, service, pause_ms, seconds, progress):
    """Each reload finds another file of keys than the one before. They are written beforehand: here every
    millisecond of CPU time that is not the gate's would be measured as the gate's."""
    for turn in range(RELOADS):
        fresh = bench.folder / "reload.psk.new"
        os.link(bench.folder / RELOAD_FILES[turn % 2], fresh)
        os.replace(fresh, bench.folder / "reload.psk")
        begin = time.monotonic()
        service.reload()
        seconds.append(time.monotonic() - begin)
        time.sleep(pause_ms / 1e3)
        if turn % 100 == 0:
            progress.show(f"{turn:,} of {RELOADS:,} reloads")


def run_reloads(bench, progress):
    return [measure_reloads(bench, pause_ms, progress) for pause_ms in RELOAD_PAUSES_MS]


def measure_reloads(bench, pause_ms, progress):
    progress.show(f"reloads, {pause_ms} ms between two, {RELOAD_SESSIONS:,} sessions")
    write_two_files(bench)
    (bench.folder / "reload.psk").unlink(missing_ok=True)
    os.link(bench.folder / RELOAD_FILES[1], bench.folder / "reload.psk")
    seconds = []
    with Service(bench, f"reload-{pause_ms}", psk_file="reload.psk") as service:
        with start_devices(bench, service, RELOAD_SESSIONS, progress) as load:
            before = service.gate.metrics()
            undisturbed = [run_paced(load, UNDISTURBED_S)]
            during = run_paced(
                load, RELOADING_MAX_S, lambda: reload_all(bench, service, pause_ms, seconds, progress)
            )
            undisturbed.append(run_paced(load, UNDISTURBED_S))
            lost = sessions_lost(load, RELOAD_SESSIONS)
            change = metrics_change(before, service.gate.metrics())
            stop_load(load)
    if len(seconds) != RELOADS:
        raise BenchError(f"{len(seconds)} of {RELOADS} reloads")
    quiet_p99_us = statistics.median(phase["p99_us"] for phase in undisturbed)
    return {
        "sessions": RELOAD_SESSIONS,
        "rate": RATE,
        "keys": RELOAD_KEYS,
        "reloads": RELOADS,
        "pause_ms": pause_ms,
        "reloaded": change.get(("dtlsgate_config_reloads_total", "success"), 0),
        "seconds": during["sent"] / RATE,
        "reload_ms": 1000 * statistics.median(seconds),
        "reload_max_ms": 1000 * max(seconds),
        "sent": during["sent"],
        "lost": during["lost"],
        "sessions_lost": lost,
        "handshakes": handshakes_of(change),
        "undisturbed": {
            "p50_us": statistics.median(phase["p50_us"] for phase in undisturbed),
            "p99_us": quiet_p99_us,
            "max_us": max(phase["max_us"] for phase in undisturbed),
        },
        **{key: during[key] for key in ("p50_us", "p99_us", "max_us")},
        "p99_ratio": during["p99_us"] / quiet_p99_us,
    }


# --- restart, upgrade, kill ---------------------------------------------------------------------


def run_restarts(bench, progress):
    sessions = (bench.options.sessions or [SESSIONS])[0]
    rows = measure_events(bench, sessions, TURNS, progress)
    if bench.options.million:
        rows += measure_events(bench, MILLION, 1, progress)
    rmem_max = int(RMEM_MAX.read_text(encoding="ascii"))
    return {"suite": SUITE, "rate": RATE, "rmem_max": rmem_max, "rows": rows}


def measure_events(bench, sessions, turns, progress):
    """A row for each kind of event."""
    check_memory(sessions)
    settings = {"psk_file": f"{sessions}.psk", "max_sessions": sessions + sessions // 4 + 1000}
    write_keys(bench.folder / settings["psk_file"], sessions)
    rows = []
    with Service(bench, f"service-{sessions}", **settings) as service:
        kinds = {"undisturbed": None, "restart": service.restart, "upgrade": service.upgrade}
        rows += measure_kinds(bench, service, kinds, sessions, turns, progress)
    with Keeper(bench, f"keeper-{sessions}", **settings) as keeper:
        rows += measure_kinds(bench, keeper, {"kill": keeper.kill}, sessions, min(turns, KILLS), progress)
    return rows


def measure_kinds(bench, service, kinds, sessions, turns, progress):
    found = {kind: [] for kind in kinds}
    with start_devices(bench, service, sessions, progress) as load:
        for turn in progress.turns(turns):
            for kind, act in kinds.items():
                progress.show(f"{sessions:,} sessions, {kind} {turn + 1}/{turns}")
                found[kind].append(measure_event(service, load, act))
        progress.show(f"{sessions:,} sessions: does each device still have its own?")
        lost = sessions_lost(load, sessions)
        stop_load(load)
    return [
        summarize_event(kind, events) | {"sessions": sessions, "sessions_lost": lost}
        for kind, events in found.items()
    ]


def measure_event(service, load, act):
    """One event under load. act: what happens, returns when it is over; None: nothing."""
    times = {}

    def during():
        time.sleep(BEFORE_S)
        times["begin"] = time.monotonic_ns()
        if act:
            act()
        times["end"] = time.monotonic_ns()
        time.sleep(AFTER_S)

    before = service.gate.metrics()
    with Buffers(service.sockets()) as buffers:
        result = run_paced(load, EVENT_MAX_S, during)
    change = metrics_change(before, service.gate.metrics())
    return {
        "ready_ms": (times["end"] - times["begin"]) / 1e6,
        "silence_ms": result["silence_us"] / 1e3,
        "handshakes": handshakes_of(change),
        "outcomes": outcomes_of(change),
        "waiting_bytes": buffers.most_bytes,
        "buffer_bytes": buffers.room_bytes,
        "kernel_drops": buffers.drops,
        "answers": answers_around(result, times["begin"]),
        **{key: result[key] for key in ("sent", "lost_requests", "lost_answers", "broken")},
        **{key: result[key] for key in ("p50_us", "p99_us", "max_us")},
    }


def answers_around(result, event_ns):
    """[(ms since the event, answers in the 10 ms from then on)]"""
    at_ms = (event_ns - result["start_ns"]) / 1e6
    bins = range(len(result["answers"]))
    points = [(round(i * BIN_MS - at_ms, 1), result["answers"][i]) for i in bins]
    return [point for point in points if -SHOWN_BEFORE_MS <= point[0] <= SHOWN_AFTER_MS]


def summarize_event(kind, events):
    """Medians of times, and the worst of what must not be; answers are those of the longest silence."""
    row = {"kind": kind, "turns": len(events), "outcomes": {}}
    for event in events:
        for outcome, value in event["outcomes"].items():
            row["outcomes"][outcome] = max(value, row["outcomes"].get(outcome, 0))
    for key in ("ready_ms", "silence_ms", "p50_us", "p99_us"):
        row[key] = statistics.median(event[key] for event in events)
    for key in ("handshakes", "lost_requests", "lost_answers", "broken", "max_us"):
        row[key] = max(event[key] for event in events)
    for key in ("waiting_bytes", "buffer_bytes", "kernel_drops"):
        known = [event[key] for event in events if event[key] is not None]
        row[key] = max(known) if known else None
    worst = max(events, key=lambda event: event["silence_ms"])
    return row | {"silence_max_ms": worst["silence_ms"], "answers": worst["answers"]}
