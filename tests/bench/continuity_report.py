"""Tables of what a reload, a restart, an upgrade and a crash cost."""

from figures import SUITES
from tables import paragraphs, table

KINDS = {
    "undisturbed": "nothing",
    "restart": "restart",
    "upgrade": "upgrade",
    "kill": "kill -9, keeper",
}


def restarts_section(found):
    return paragraphs(
        f"{found['rate']:,} datagrams/s and their answers, {SUITES[found['suite']]}, of all devices in turn, whatever\n"
        "happens meanwhile. *Silent*: the longest time without any answer; *until ready*: from the order until the\n"
        "gate is ready again; *requests* and *answers lost*: the worst turn; *waited*: the most that stood in one\n"
        "receive buffer of the gate.",
        event_table(found["rows"]),
        outcomes_text(found["rows"]),
        buffers_text(found),
    )


def event_table(rows):
    titles = ["sessions", "event", "turns", "silent ms", "(most)", "until ready ms", "sessions lost", "handshakes"]
    titles += ["requests lost", "answers lost", "p50 ms", "p99 ms", "max ms", "waited kB", "of kB", "kernel drops"]
    cells = []
    for row in rows:
        cells.append(
            [
                f"{row['sessions']:,}",
                KINDS[row["kind"]],
                f"{row['turns']}",
                f"{row['silence_ms']:.0f}",
                f"{row['silence_max_ms']:.0f}",
                f"{row['ready_ms']:.0f}" if row["kind"] != "undisturbed" else "",
                f"{row['sessions_lost']:,}",
                f"{row['handshakes']:,.0f}",
                f"{row['lost_requests']:,}",
                f"{row['lost_answers']:,}",
                f"{row['p50_us'] / 1e3:.2f}",
                f"{row['p99_us'] / 1e3:.1f}",
                f"{row['max_us'] / 1e3:.0f}",
                kilobytes(row["waiting_bytes"]),
                kilobytes(row["buffer_bytes"]),
                "" if row["kernel_drops"] is None else f"{row['kernel_drops']:,}",
            ]
        )
    return table(titles, cells)


def kilobytes(number):
    """Empty for what is not known: what the keeper holds is not ours to look at."""
    return "" if number is None else f"{number / 1024:,.0f}"


def outcomes_text(rows):
    """What the gate says of datagrams that it did not pass on."""
    told = [
        f"{row['sessions']:,} sessions, {row['kind']}: {outcome} {value:,.0f}"
        for row in rows
        for outcome, value in row["outcomes"].items()
    ]
    return "Not passed on, by the gate's counters: " + "; ".join(told) + "." if told else ""


def buffers_text(found):
    """How much room no loss needs."""
    rows = [row for row in found["rows"] if row["waiting_bytes"] and row["silence_max_ms"] > 0]
    if not rows:
        return ""
    longest = max(rows, key=lambda row: row["waiting_bytes"])
    datagrams = found["rate"] * longest["silence_max_ms"] / 1e3
    return (
        "What comes while nobody receives waits in the receive buffer, where the kernel books about\n"
        f"{longest['waiting_bytes'] / max(datagrams, 1):,.0f} bytes for one of these datagrams. The most was "
        f"{kilobytes(longest['waiting_bytes'])} kB of {kilobytes(longest['buffer_bytes'])} kB that were in force; "
        f"`net.core.rmem_max` of the machine: {found['rmem_max']:,}."
    )


def reloads_section(rows):
    return paragraphs(*(part for row in rows for part in (reloads_text(row), reloads_table(row))))


def reloads_text(reloads):
    pause_ms = reloads["pause_ms"]
    how = f"with {pause_ms} ms between two" if pause_ms else "one after the other"
    return (
        f"{reloads['reloads']:,} reloads {how} within {reloads['seconds']:.0f} s, by SIGHUP, each\n"
        f"with another file of {reloads['keys']:,} keys, under {reloads['rate']:,} datagrams/s of {reloads['sessions']:,} sessions; a reload "
        f"takes\n{reloads['reload_ms']:.1f} ms, {reloads['reload_max_ms']:.0f} ms at most. {reloads['sessions_lost']:,} sessions and "
        f"{reloads['lost']:,} of {reloads['sent']:,} datagrams were lost,\nthere were {reloads['handshakes']:,.0f} handshakes:"
    )


def reloads_table(reloads):
    cells = [
        [name, *(f"{row[key] / 1e3:.2f}" for key in ("p50_us", "p99_us", "max_us"))]
        for name, row in (("undisturbed", reloads["undisturbed"]), ("reloads", reloads))
    ]
    return table(["", "p50 ms", "p99 ms", "max ms"], cells)


def cost_section(cost):
    return paragraphs(cost_text(cost), cost_table(cost["rows"]))


def cost_text(cost):
    return (
        "CPU in us of the gate per round trip at 1,000 sessions, now and in the last build whose sessions did not\n"
        f"outlive it (commit {cost['before']}). *Ratio*: median of the turns' own ones, half of which lie in the range."
    )


def cost_table(rows):
    cells = [
        [
            SUITES[row["suite"]],
            row["shape"],
            f"{row['turns']}",
            f"{row['before_us']:.2f}",
            f"{row['now_us']:.2f}",
            f"{row['ratio']:.3f}",
            f"{row['ratio_low']:.3f} to {row['ratio_high']:.3f}",
        ]
        for row in rows
    ]
    return table(["suite", "batches", "turns", "before", "now", "ratio", "(range)"], cells)
