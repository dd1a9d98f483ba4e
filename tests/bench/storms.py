"""Storms: a flood of ClientHellos from strangers, and all devices coming back at once."""

import ctypes
import json
import os
import statistics
import subprocess
import time
from pathlib import Path

from programs import BenchError, metrics_change, one_and_others, run_phase, stop_load

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
FLOOD_SESSIONS = 1000
FLOOD_SECONDS = 2
IDLE_NS = 2_000_000  # CPU time in 50 ms
STORM_DEVICES = 10000
STORM_SPREAD_MS = 100
CALM_CONCURRENT = 256
STORM_SUITES = ("psk-ccm8", "ecdhe-gcm")
STALLED_DEVICES = 500


def enter_own_network():
    """A network namespace with nothing but loopback, where any address may be a source: answers to
    strangers go to the loopback interface, which drops them. Without the privilege for it,
    everything stays in the network that it is in, and False is returned."""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(CLONE_NEWNET if user == 0 else CLONE_NEWUSER | CLONE_NEWNET) != 0:
        return False
    if user != 0:
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1", encoding="ascii")
    for command in ("link set lo up", "route add default dev lo"):
        done = subprocess.run(["ip", *command.split()], capture_output=True, check=False)
        if done.returncode != 0:
            raise BenchError(f"ip {command}: {done.stderr.decode()}")
    return True


# --- flood -------------------------------------------------------------------------------------


def run_flood(bench, progress):
    """Requests on established sessions while the generator floods the gate, and while it floods a
    sink instead, in turn. The generator has a CPU of its own; the others share what is left."""
    generator_cpus, others = one_and_others(bench.cpus, max)
    bench.place(others, others)
    try:
        with bench.start_gate() as gate:
            with bench.start_load(gate.port, FLOOD_SESSIONS, "psk-ccm8") as load:
                with bench.start_flood(gate.port, generator_cpus) as flood:
                    result = measure_floods(bench, progress, gate, load, flood)
                stop_load(load)
            gate.stop()
            return result
    except BenchError as error:
        raise BenchError(f"flood: {error}") from None


def measure_floods(bench, progress, gate, load, flood):
    run_phase(gate, load, "handshakes")
    run_phase(gate, load, f"requests:{20 * FLOOD_SESSIONS}")  # warm-up
    result = {"resident_before_kb": gate.memory_kb("VmRSS"), "pairs": []}
    begin = gate.metrics()
    for repeat in progress.turns(bench.options.repeat):
        progress.show(f"{repeat}/{bench.options.repeat}")
        order = ("sink", "gate") if repeat % 2 == 0 else ("gate", "sink")
        result["pairs"].append({target: measure_flood(gate, load, flood, target) for target in order})
        result.setdefault("resident_first_kb", gate.memory_kb("VmRSS"))
    result["resident_after_kb"] = gate.memory_kb("VmRSS")
    # Every session answers; run_phase() sees to that.
    run_phase(gate, load, f"requests:{4 * FLOOD_SESSIONS}", may_lose=True)
    change = metrics_change(begin, gate.metrics())
    result["sessions_lost"] = int(change["dtlsgate_sessions_closed_total", ""])
    return result


def measure_flood(gate, load, flood, target):
    """Requests per second while the target is flooded, and what the gate made of the hellos."""
    before = gate.metrics()
    flood.write_line(target)
    time.sleep(0.1)  # queues fill
    requests = run_phase(gate, load, f"requests:{FLOOD_SECONDS}s", may_lose=True)
    flood.write_line("stop")
    generator = json.loads(flood.read_line(5))
    wait_until_idle(gate)
    if generator["errors"]:
        raise flood.failure(f"the kernel refused {generator['errors']} datagrams")
    change = metrics_change(before, gate.metrics())
    seconds = generator["seconds"]
    return {
        "requests_per_s": requests["per_s"],
        "lost": requests["lost"],
        "p99_us": requests["p99_us"],
        "gate_busy": requests["busy"],
        "sent_per_s": generator["per_s"],
        "generator_busy": generator["busy"],
        "sources": generator["sources"],
        "answered_per_s": change["dtlsgate_client_datagrams_total", "cookie_sent"] / seconds,
        "limited_per_s": count_limited(change) / seconds,
        "kernel_drops_per_s": kernel_drops(change) / seconds,
    }


def wait_until_idle(gate):
    """Until the hellos in its socket buffers are dealt with."""
    before, now = -1, gate.cpu_ns()
    while before < 0 or now - before > IDLE_NS:
        time.sleep(0.05)
        before, now = now, gate.cpu_ns()


def count_limited(change):
    """Datagrams that a limit of the gate dropped."""
    return sum(
        value
        for (name, outcome), value in change.items()
        if name == "dtlsgate_client_datagrams_total" and outcome.startswith("limit_")
    )


def kernel_drops(change):
    """Datagrams from devices that the kernel dropped, whichever socket they were for."""
    return sum(
        value
        for (name, _), value in change.items()
        if name.startswith(("dtlsgate_client", "dtlsgate_hello")) and name.endswith("kernel_drops_total")
    )


def summarize_flood(result):
    """Medians; the share kept is the median of the pairs' shares."""
    shares = [
        pair["gate"]["requests_per_s"] / max(pair["sink"]["requests_per_s"], 1)
        for pair in result["pairs"]
    ]
    summary = {
        "share": statistics.median(shares),
        "share_low": min(shares),
        "share_high": max(shares),
        "sources": result["pairs"][0]["gate"]["sources"],
        "sessions_lost": result["sessions_lost"],
        "resident_before_kb": result["resident_before_kb"],
        "resident_first_kb": result["resident_first_kb"],
        "resident_after_kb": result["resident_after_kb"],
    }
    for target in ("sink", "gate"):
        runs = [pair[target] for pair in result["pairs"]]
        summary[target] = {
            key: statistics.median(run[key] for run in runs)
            for key in runs[0]
            if key != "sources"
        }
    return summary


# --- reconnection ------------------------------------------------------------------------------


def run_reconnect(bench, suite, progress):
    """Devices that have a session reboot and shake hands again: first as many at once as the rate
    needs, then all of them. The gate has a CPU of its own, the devices have the others."""
    bench.place(*one_and_others(bench.cpus, min))
    result = {"suite": suite, "runs": []}
    progress.show(f"{suite}: memory")
    result["stalled_kb"] = measure_stalled(bench, suite)
    try:
        with bench.start_gate() as gate:
            with bench.start_load(gate.port, STORM_DEVICES, suite, CALM_CONCURRENT) as load:
                empty_kb = gate.memory_kb("VmRSS")
                run_phase(gate, load, "handshakes", may_lose=True)
                result["session_kb"] = (gate.memory_kb("VmRSS") - empty_kb) / STORM_DEVICES
                for repeat in progress.turns(bench.options.storms):
                    progress.show(f"{suite} {repeat}/{bench.options.storms}")
                    result["runs"].append(measure_reconnect(gate, load))
                stop_load(load)
            gate.stop()
            return result
    except BenchError as error:
        raise BenchError(f"reconnect, {suite}: {error}") from None


def measure_stalled(bench, suite):
    """Resident memory per handshake that waits for its device."""
    with bench.start_gate() as gate, bench.start_load(gate.port, STALLED_DEVICES, suite) as load:
        before_kb = gate.memory_kb("VmRSS")
        run_phase(gate, load, "stall")
        return (gate.memory_kb("VmRSS") - before_kb) / STALLED_DEVICES


def measure_reconnect(gate, load):
    """The rate that gate and devices sustain together, then the storm."""
    calm = run_phase(gate, load, "reconnect", may_lose=True)
    resident_kb = gate.memory_kb("VmRSS")
    gate.forget_peak()
    before = gate.metrics()
    storm = run_phase(gate, load, f"storm:{STORM_SPREAD_MS}", may_lose=True)
    change = metrics_change(before, gate.metrics())
    return {
        "handshakes_per_s": calm["per_s"],
        "calm_gate_busy": calm["busy"],
        "calm_load_busy": calm["load_busy"],
        "seconds": storm["seconds"],
        "back": storm["done"],
        "excess": storm["seconds"] * calm["per_s"] / STORM_DEVICES,
        "p50_s": storm["p50_us"] / 1e6,
        "p99_s": storm["p99_us"] / 1e6,
        "gate_busy": storm["busy"],
        "load_busy": storm["load_busy"],
        "retransmissions": storm["lost"],
        "load_kernel_drops": storm["kernel_drops"],
        "kernel_drops": kernel_drops(change),
        "limited": count_limited(change),
        "peak_growth_kb": gate.memory_kb("VmHWM") - resident_kb,
        "outcomes": {
            outcome: value
            for (name, outcome), value in change.items()
            if value and name in ("dtlsgate_client_datagrams_total", "dtlsgate_handshakes_total")
        },
    }


def summarize_reconnect(result):
    """Medians over the runs."""
    runs = result["runs"]
    summary = {key: result[key] for key in ("suite", "stalled_kb", "session_kb")}
    for key in runs[0]:
        if key != "outcomes":
            summary[key] = statistics.median(run[key] for run in runs)
    summary["devices"] = STORM_DEVICES
    summary["back"] = min(run["back"] for run in runs)
    summary["excess_low"] = min(run["excess"] for run in runs)
    summary["excess_high"] = max(run["excess"] for run in runs)
    return summary
