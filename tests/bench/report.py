"""A result as Markdown: what it was measured on, tables, bars. Pure: a result in, text out."""

from continuity_report import cost_section, reloads_section, restarts_section
from figures import NAMES, SUITES, bars
from tables import paragraphs, table


def report(result):
    """Everything that the result has."""
    parts = [head(result["head"])]
    for key, section in SECTIONS.items():
        if result.get(key):
            parts.append(section(result[key]))
    return paragraphs(*parts, bars_list(result))


def head(what):
    options = what["options"]
    lines = [
        f"- commit {what['commit']}; {what['gate']}, workers = {options['workers']}",
        f"- {what['machine']}; {what['kernel']}; load average {what['load_average']:.2f} at the start",
        f"- payload {options['payload']} bytes; devices "
        + ("offer a connection ID" if options["connection IDs"] else "offer no connection ID"),
    ]
    if options["settings"]:
        lines.append(f"- settings: {'; '.join(options['settings'])}")
    return "\n".join(lines)


def bars_list(result):
    found = bars(result)
    if not found:
        return ""
    return "Bars:\n\n" + "\n".join(
        f"- {what}: {'met' if is_met else 'MISSED'}" for what, is_met in found
    )


# --- speed --------------------------------------------------------------------------------------


def speed_section(rows):
    turns = min(row["turns"] for row in rows)
    return paragraphs(
        f"Request round trips, CPU in us of the process, median of {turns} turns. *Batches*: large with\n"
        "1,000 requests in flight on one socket; small with 64 in flight, a socket for each device, and a\n"
        "CPU for gate or relay alone. *AEAD*: what wolfCrypt alone needs to open one record and seal one,\n"
        "the set-up of both keys included. *Ratio*: gate / (relay + AEAD).",
        round_trip_table(rows),
        "Handshakes, at most 64 at once, CPU in us of the gate; *library*: what wolfSSL alone needs\n"
        "for the server's side, in memory. Memory: growth of resident memory per session.",
        handshake_table([row for row in rows if "handshake_us" in row]),
    )


def shown(row, key, style):
    """Empty for what the row does not tell: results that were kept before did not know it."""
    return format(row[key], style) if key in row else ""


def round_trip_table(rows):
    titles = ["suite", "sessions", "batches", "gate", "user", "kernel", "relay", "user", "kernel"]
    titles += ["AEAD", "ratio", "(range)", "gate - relay", "(range)", "gate busy", "gate req/s"]
    titles += ["relay req/s", "gate p50 us", "relay p50 us", "gate p99 us"]
    cells = []
    for row in rows:
        is_known = "floor_ratio" in row
        cells.append(
            [
                SUITES[row["suite"]],
                f"{row['sessions']:,}",
                row.get("shape", "large"),
                f"{row['round_trip_us']:.2f}",
                shown(row, "user_us", ".2f"),
                shown(row, "kernel_us", ".2f"),
                f"{row['relay_round_trip_us']:.2f}",
                shown(row, "relay_user_us", ".2f"),
                shown(row, "relay_kernel_us", ".2f"),
                shown(row, "aead_us", ".2f"),
                shown(row, "floor_ratio", ".2f"),
                f"{row['floor_ratio_low']:.2f} to {row['floor_ratio_high']:.2f}" if is_known else "",
                f"{row['difference_us']:+.2f}",
                f"{row['difference_low_us']:+.2f} to {row['difference_high_us']:+.2f}",
                f"{row['busy']:.0%}",
                f"{row['requests_per_s']:,.0f}",
                f"{row['relay_requests_per_s']:,.0f}",
                f"{row['p50_us']:,.0f}",
                f"{row['relay_p50_us']:,.0f}",
                f"{row['p99_us']:,.0f}",
            ]
        )
    return table(titles, cells)


def handshake_table(rows):
    titles = ["suite", "sessions", "CPU / handshake", "library", "ratio", "CPU / close"]
    titles += ["handshakes/s", "p50 us", "p99 us", "kB / session"]
    cells = []
    for row in rows:
        cells.append(
            [
                SUITES[row["suite"]],
                f"{row['sessions']:,}",
                f"{row['handshake_us']:.1f}",
                f"{row['library_handshake_us']:.1f}",
                f"{row['handshake_ratio']:.2f}",
                f"{row['close_us']:.1f}",
                f"{row['handshakes_per_s']:,.0f}",
                f"{row['handshake_p50_us']:,.0f}",
                f"{row['handshake_p99_us']:,.0f}",
                f"{row['session_kb']:.1f}" if row["sessions"] >= 100 else "",
            ]
        )
    return table(titles, cells)


# --- load that is offered -----------------------------------------------------------------------


def offered_section(offered):
    parts = []
    titles = ["offered/s", "done/s", "p50 us", "p99 us", "repeated", "failed", "limited"]
    titles += ["busy", "devices busy"]
    for suite in (suite for suite in SUITES if suite in offered["handshakes"]):
        rows = offered["handshakes"][suite]
        parts.append(
            f"Handshakes of {SUITES[suite]} that begin at a rate, whatever became of those before;\n"
            "gate and devices have a CPU each:"
        )
        parts.append(table(titles, [offered_cells(row) for row in rows]))
    for who, rows in offered["requests"].items():
        parts.append(f"The same of requests ({SUITES['psk-ccm8']}, 1,000 sessions), {who}:")
        parts.append(table(titles, [offered_cells(row) for row in rows]))
    parts.append(
        "*Repeated*: flights or requests sent again; *failed*: handshakes not over in time; *limited*:\n"
        "datagrams that a limit of the gate, such as max_handshakes, dropped."
    )
    return paragraphs(*parts)


def offered_cells(row):
    return [
        f"{row['offered_per_s']:,.0f}",
        f"{row['done_per_s']:,.0f}",
        f"{row['p50_us']:,.0f}",
        f"{row['p99_us']:,.0f}",
        f"{row['lost']:,}",
        f"{row['failed']:,}",
        f"{row.get('limited', 0):,.0f}",
        f"{row['busy']:.0%}",
        f"{row['load_busy']:.0%}",
    ]


# --- workers ------------------------------------------------------------------------------------


def workers_section(rows):
    titles = ["suite", "us / round trip, 1", "2", "ratio", "us / handshake, 1", "2", "ratio"]
    titles += ["req/s, 1", "2"]
    cells = []
    for row in rows:
        cells.append(
            [
                SUITES[row["suite"]],
                f"{row['round_trip_us_1']:.2f}",
                f"{row['round_trip_us_2']:.2f}",
                f"{row['round_trip_us_ratio']:.2f}",
                f"{row['handshake_us_1']:.1f}",
                f"{row['handshake_us_2']:.1f}",
                f"{row['handshake_us_ratio']:.2f}",
                f"{row['requests_per_s_1']:,.0f}",
                f"{row['requests_per_s_2']:,.0f}",
            ]
        )
    return paragraphs(
        "Two workers beside one, 1,000 sessions. CPU time, because devices and backend have the same\n"
        "two CPUs: requests/s do not show what two workers can do.",
        table(titles, cells),
    )


# --- storms -------------------------------------------------------------------------------------


def flood_section(flood):
    sources = "any address" if flood["sources"] == "any" else "127/8, one port"
    titles = ["flood at", "hellos/s", "generator busy", "req/s", "p99 us", "requests lost"]
    titles += ["gate busy", "answered/s", "limited/s", "kernel drops/s"]
    cells = []
    for target in ("sink", "gate"):
        row = flood[target]
        cells.append(
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
    return paragraphs(
        "Flood of ClientHellos, 1.2 and 1.3 in turn, from spoofed addresses, while 1,000 sessions\n"
        "(PSK-AES128-CCM-8) make requests. The generator has one CPU, all others share the rest; in\n"
        f"the row *sink* the same flood goes to a socket that nobody reads. Sources: {sources}.",
        table(titles, cells),
    )


def reconnect_section(rows):
    devices = rows[0]["devices"]
    titles = ["suite", "sustained/s", "all back s", "excess", "(range)", "p50 s", "gate busy"]
    titles += ["devices busy", "flights repeated", "limited", "kernel drops", "peak memory"]
    titles += ["kB / session", "kB / handshake in progress"]
    cells = []
    for row in rows:
        is_back = row["back"] == devices
        cells.append(
            [
                SUITES[row["suite"]],
                f"{row['handshakes_per_s']:,.0f}",
                f"{row['seconds']:.2f}" if is_back else f"{row['back']:,} in 30 s",
                f"{'' if is_back else '> '}{row['excess']:.2f}",
                f"{row['excess_low']:.2f} to {row['excess_high']:.2f}",
                f"{row['p50_s']:.2f}",
                f"{row['gate_busy']:.0%}",
                f"{row['load_busy']:.0%}",
                f"{row['retransmissions']:,.0f}",
                f"{row['limited']:,.0f}",
                f"{row['kernel_drops'] + row['load_kernel_drops']:,.0f}",
                f"+{row['peak_growth_kb'] / 1024:.0f} MiB",
                f"{row['session_kb']:.1f}",
                f"{row['stalled_kb']:.1f}",
            ]
        )
    return paragraphs(
        f"{devices:,} devices with a session reboot at once, their first hellos within 0.1 s; they\n"
        "repeat a flight after 1 s, 2 s, 4 s ... The gate has one CPU, the devices have the others.\n"
        "*Sustained* is the same with at most 256 at once; *excess* is the time until the last is\n"
        "back by what the sustained rate would need.",
        table(titles, cells),
    )


# --- a million ----------------------------------------------------------------------------------


def million_section(million):
    return paragraphs(
        f"{million['sessions']:,} sessions ({SUITES[million['suite']]}):",
        table(["", ""], million_rows(million)),
        "CPU per round trip in us, all devices drawn at random, at most 1,000 requests in flight.\n"
        "*AEAD without*: as on a CPU that has no instructions for AES.",
        awake_table(million),
        *memory_tables(million),
    )


def million_rows(million):
    housekeeping = million.get("housekeeping")
    rows = [
        ["keys; ready after", f"{million['sessions']:,}; {million['ready_s']:.2f} s"],
        ["handshakes/s; CPU of each", f"{million['handshakes_per_s']:,.0f}; {million['handshake_us']:.1f} us"],
        ["resident memory without a session", f"{million['base_kb'] / 1024:,.0f} MiB"],
        ["with all", f"{million['resident_kb'] / 1024:,.0f} MiB"],
        ["growth per session", f"{million['bytes_per_session']:,.0f} bytes"],
        ["housekeeping", housekeeping_text(housekeeping) if housekeeping else "not available"],
        ["memory of the load generator", f"{million['load_kb'] / 1024:,.0f} MiB"],
    ]
    return rows


def housekeeping_text(housekeeping):
    longest_ms = housekeeping.get("longest_ms")
    times = f"{housekeeping['turns']:,.0f} times, {housekeeping['above_1ms']:,.0f} of them more than 1 ms"
    return times + (f", none more than {longest_ms:g} ms" if longest_ms else "")


def awake_table(million):
    titles = ["sessions", "gate", "user", "kernel", "relay", "user", "kernel", "AEAD", "AEAD without"]
    titles += ["gate busy", "gate req/s"]
    cells = []
    for sessions, row in ((million["few"]["sessions"], million["few"]), (million["sessions"], million["many"])):
        cells.append(
            [
                f"{sessions:,}",
                f"{row['round_trip_us']:.2f}",
                shown(row, "user_us", ".2f"),
                shown(row, "kernel_us", ".2f"),
                shown(row, "relay_round_trip_us", ".2f"),
                shown(row, "relay_user_us", ".2f"),
                shown(row, "relay_kernel_us", ".2f"),
                shown(row, "aead_us", ".2f"),
                shown(row, "aead_without_aes_us", ".2f"),
                f"{row['busy']:.0%}" if "busy" in row else "",
                shown(row, "requests_per_s", ",.0f"),
            ]
        )
    ratios = ["ratio", f"{million['ratio']:.2f}", "", "", shown(million, "relay_ratio", ".2f")]
    return table(titles, [*cells, ratios + [""] * (len(titles) - len(ratios))])


def memory_tables(million):
    """Memory by suite, and by part of a session; none of results that were kept before."""
    if "memory" not in million:
        return []
    rows = [
        [
            NAMES[row["suite"]],
            f"{row['sessions']:,}",
            f"{row['bytes_per_session']:,.0f}",
            f"{row['handshakes_per_s']:,.0f}",
        ]
        for row in million["memory"]
    ]
    parts = [
        [part["part"], f"{part['bytes']:,}", f"{part['count']:,}", f"{part['bytes'] * part['count']:,}"]
        for part in million["parts"]
    ]
    known = sum(part["bytes"] * part["count"] for part in million["parts"])
    parts.append(["all else", "", "", f"{million['bytes_per_session'] - known:,.0f}"])
    parts.append(["together, measured", "", "", f"{million['bytes_per_session']:,.0f}"])
    return [
        "Memory of a session: growth of resident memory by the number of sessions, when nothing of the\n"
        "handshake is kept any more; identities of 24 bytes:",
        table(["suite", "sessions", "bytes each", "handshakes/s"], rows),
        f"What its parts take of {SUITES[million['suite']]}, by the compiler's word; *all else*: tables, the\n"
        "identity's text, what the allocator adds:",
        table(["part", "bytes", "of each session", "together"], parts),
    ]


SECTIONS = {
    "million": million_section,
    "speed": speed_section,
    "workers": workers_section,
    "offered": offered_section,
    "flood": flood_section,
    "reconnect": reconnect_section,
    "reloads": reloads_section,
    "restarts": restarts_section,
    "cost": cost_section,
}
