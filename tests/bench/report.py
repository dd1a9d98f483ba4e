"""The report: tables in Markdown, and the bars."""

import os
import platform
import subprocess
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
SUITES = {
    "psk-ccm8": "1.2 PSK-AES128-CCM-8",
    "ecdhe-gcm": "1.2 ECDHE-ECDSA-AES128-GCM",
    "tls13-gcm": "1.3 AES128-GCM",
}
BAR_ROUND_TRIP_US = 4.0
BAR_HANDSHAKE_US = 60.0
BAR_FLOOD_SHARE = 0.8
# What the allocator and pages touched for the first time make of a table of fixed size.
BAR_FLOOD_GROWTH_KB = 2048
BAR_EXCESS = 1.3


def describe_machine():
    model = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(("model name", "Model")):
            model = line.partition(":")[2].strip()
            break
    cpus = len(os.sched_getaffinity(0))
    return f"{model}, {cpus} CPUs, {platform.system()} {platform.release()} {platform.machine()}"


def describe_commit():
    def git(*arguments):
        return subprocess.run(
            ["git", "-C", str(TOP), *arguments], capture_output=True, text=True, check=False
        ).stdout.strip()

    commit = git("rev-parse", "--short=12", "HEAD")
    if not commit:
        return "unknown"
    return commit + (" with local changes" if git("status", "--porcelain", "-uno") else "")


def print_table(titles, rows):
    print("| " + " | ".join(titles) + " |")
    print("|" + "|".join("---" if i == 0 else "---:" for i in range(len(titles))) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def print_head(options, load_average):
    version = subprocess.run(
        [str(options.gate), "--version"], capture_output=True, text=True, check=False
    ).stdout.splitlines()
    print("## Benchmark\n")
    print(f"- commit: {describe_commit()}")
    print(f"- gate: {version[0] if version else 'unknown version'}, workers = {options.workers}")
    for setting in options.setting:
        print(f"- setting: {setting}")
    print(f"- machine: {describe_machine()}")
    print(f"- payload {options.payload} bytes, one request in flight per session, medians of")
    print(f"  {options.repeat} runs; load average {load_average:.2f} at the start\n")


def print_speed(rows):
    print("Request round trips; CPU is process time of gate or relay, per round trip:\n")
    titles = ["suite", "sessions", "gate CPU us", "relay CPU us", "gate - relay us", "(range)"]
    titles += ["gate busy", "relay busy", "gate req/s", "relay req/s", "gate p50 us", "gate p99 us"]
    table = []
    for row in rows:
        table.append(
            [
                SUITES[row["suite"]],
                str(row["sessions"]),
                f"{row['round_trip_us']:.2f}",
                f"{row['relay_round_trip_us']:.2f}",
                f"{row['difference_us']:+.2f}",
                f"{row['difference_low_us']:+.2f} to {row['difference_high_us']:+.2f}",
                f"{row['busy']:.0%}",
                f"{row['relay_busy']:.0%}",
                f"{row['requests_per_s']:,.0f}",
                f"{row['relay_requests_per_s']:,.0f}",
                f"{row['p50_us']:,.0f}",
                f"{row['p99_us']:,.0f}",
            ]
        )
    print_table(titles, table)
    print("Handshakes, at most 64 at once; CPU is process time of the gate:\n")
    titles = ["suite", "sessions", "CPU us / handshake", "CPU us / close", "handshakes/s"]
    titles += ["p50 us", "p99 us"]
    table = []
    for row in rows:
        table.append(
            [
                SUITES[row["suite"]],
                str(row["sessions"]),
                f"{row['handshake_us']:.1f}",
                f"{row['close_us']:.1f}",
                f"{row['handshakes_per_s']:,.0f}",
                f"{row['handshake_p50_us']:,.0f}",
                f"{row['handshake_p99_us']:,.0f}",
            ]
        )
    print_table(titles, table)


def print_flood(flood):
    sources = "any address" if flood["sources"] == "any" else "127/8, one port"
    print("Flood of ClientHellos, 1.2 and 1.3 in turn, from spoofed addresses, while 1,000")
    print("sessions (PSK-AES128-CCM-8) make requests. The generator has one CPU, all others share")
    print("the rest; in the row *sink* the same flood goes to a socket that nobody reads.")
    print(f"Sources: {sources}.\n")
    titles = ["flood at", "hellos/s", "generator busy", "req/s", "p99 us", "requests lost"]
    titles += ["gate busy", "answered/s", "limited/s", "kernel drops/s"]
    table = []
    for target in ("sink", "gate"):
        row = flood[target]
        table.append(
            [
                target,
                f"{row['sent_per_s']:,.0f}",
                f"{row['generator_busy']:.0%}",
                f"{row['requests_per_s']:,.0f}",
                f"{row['p99_us']:,.0f}",
                f"{row['lost']:,.0f}",
                f"{row['gate_busy']:.0%}",
                f"{row['answered_per_s']:,.0f}",
                f"{row['limited_per_s']:,.0f}",
                f"{row['kernel_drops_per_s']:,.0f}",
            ]
        )
    print_table(titles, table)


def print_reconnect(rows, devices):
    print(f"{devices:,} devices with a session reboot at once, their first hellos within 0.1 s;")
    print("they repeat a flight after 1 s, 2 s, 4 s ... The gate has one CPU, the devices have the")
    print("others. *Sustained* is the same with at most 256 at once; *excess* is the time until")
    print("the last is back by what the sustained rate would need.\n")
    titles = ["suite", "sustained/s", "all back s", "excess", "(range)", "p50 s", "gate busy"]
    titles += ["devices busy", "flights repeated", "limited", "kernel drops", "peak memory"]
    table = []
    for row in rows:
        table.append(
            [
                SUITES[row["suite"]],
                f"{row['handshakes_per_s']:,.0f}",
                f"{row['seconds']:.2f}" if row["back"] == devices else f"{row['back']:,} in 30 s",
                f"{'' if row['back'] == devices else '> '}{row['excess']:.2f}",
                f"{row['excess_low']:.2f} to {row['excess_high']:.2f}",
                f"{row['p50_s']:.2f}",
                f"{row['gate_busy']:.0%}",
                f"{row['load_busy']:.0%}",
                f"{row['retransmissions']:,.0f}",
                f"{row['limited']:,.0f}",
                f"{row['kernel_drops'] + row['load_kernel_drops']:,.0f}",
                f"+{row['peak_growth_kb'] / 1024:.0f} MiB",
            ]
        )
    print_table(titles, table)
    print("Resident memory, kB:\n")
    table = [
        [SUITES[row["suite"]], f"{row['session_kb']:.1f}", f"{row['stalled_kb']:.1f}"]
        for row in rows
    ]
    print_table(["suite", "per session", "per handshake in progress"], table)


def speed_bars(rows):
    row = next((r for r in rows if r["suite"] == "psk-ccm8" and r["sessions"] == 1000), None)
    if not row:
        return []
    suite = "PSK-AES128-CCM-8 at 1,000 sessions"
    over, handshake = row["difference_us"], row["handshake_us"]
    return [
        (
            f"{suite}: CPU per round trip over the relay's: {over:.2f} us, at most 4 us",
            over <= BAR_ROUND_TRIP_US,
        ),
        (
            f"{suite}: CPU per handshake: {handshake:.2f} us, at most 60 us",
            handshake <= BAR_HANDSHAKE_US,
        ),
    ]


def flood_bars(flood):
    growth_kb = flood["resident_after_kb"] - flood["resident_before_kb"]
    share_range = f"{flood['share_low']:.0%} to {flood['share_high']:.0%}"
    return [
        (
            f"flood: sessions keep {flood['share']:.0%} of their requests/s ({share_range}), "
            f"at least {BAR_FLOOD_SHARE:.0%}",
            flood["share"] >= BAR_FLOOD_SHARE,
        ),
        (f"flood: {flood['sessions_lost']} sessions lost, at most 0", flood["sessions_lost"] == 0),
        (
            f"flood: resident memory {flood['resident_before_kb']:,} kB before, "
            f"{flood['resident_first_kb']:,} kB after the first flood, "
            f"{flood['resident_after_kb']:,} kB after the last, at most "
            f"{BAR_FLOOD_GROWTH_KB:,} kB more than before",
            growth_kb <= BAR_FLOOD_GROWTH_KB,
        ),
    ]


def reconnect_bars(rows, devices):
    return [
        (
            f"{SUITES[row['suite']]}: {devices:,} devices are back in {row['excess']:.2f} times "
            f"what the sustained rate needs, at most {BAR_EXCESS}",
            row["back"] == devices and row["excess"] <= BAR_EXCESS,
        )
        for row in rows
    ]


def print_bars(bars):
    """True if bars were measured and all were met."""
    if not bars:
        print("No bar was measured; the ones of speed need psk-ccm8 at 1,000 sessions.")
        return False
    print("Bars:\n")
    for what, is_met in bars:
        print(f"- {what}: {'met' if is_met else 'MISSED'}")
    return all(is_met for _, is_met in bars)
