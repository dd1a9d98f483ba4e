"""A result as Markdown: what it was measured on, tables, bars. Pure: a result in, text out."""

from figures import SUITES, bars


def table(titles, rows):
    """First column left, the others right."""
    lines = ["| " + " | ".join(titles) + " |"]
    lines.append("|" + "|".join("---" if i == 0 else "---:" for i in range(len(titles))) + "|")
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def paragraphs(*parts):
    return "\n\n".join(part for part in parts if part)


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
        f"Request round trips, CPU in us of the process, median of {turns} turns. *Library*: what\n"
        "wolfSSL alone needs to decrypt one record and encrypt one. *Ratio*: gate / (relay + library).",
        round_trip_table(rows),
        "Handshakes, at most 64 at once, CPU in us of the gate; *library*: what wolfSSL alone needs\n"
        "for the server's side, in memory. Memory: growth of resident memory per session.",
        handshake_table(rows),
    )


def round_trip_table(rows):
    titles = ["suite", "sessions", "gate", "relay", "library", "ratio", "gate - relay", "(range)"]
    titles += ["gate busy", "gate req/s", "relay req/s", "gate p50 us", "relay p50 us", "gate p99 us"]
    cells = []
    for row in rows:
        cells.append(
            [
                SUITES[row["suite"]],
                f"{row['sessions']:,}",
                f"{row['round_trip_us']:.2f}",
                f"{row['relay_round_trip_us']:.2f}",
                f"{row['library_round_trip_us']:.2f}",
                f"{row['round_trip_ratio']:.2f}",
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
    few, many, parked = million["few"], million["many"], million["parked"]
    housekeeping = million["housekeeping"]
    rows = [
        ["keys; ready after", f"{million['sessions']:,}; {million['ready_s']:.2f} s"],
        ["handshakes/s; CPU of each", f"{million['handshakes_per_s']:,.0f}; {million['handshake_us']:.1f} us"],
        ["sessions parked", "not available" if parked is None else f"{parked:,.0f}"],
        ["resident memory without a session", f"{million['base_kb'] / 1024:,.0f} MiB"],
        ["with all", f"{million['resident_kb'] / 1024:,.0f} MiB"],
        ["growth per session", f"{million['bytes_per_session']:,.0f} bytes"],
        [f"CPU per round trip, {few['sessions']:,} sessions", f"{few['round_trip_us']:.2f} us"],
        [f"CPU per round trip, {many['active']:,} of all awake", f"{many['round_trip_us']:.2f} us"],
        ["CPU per round trip that wakes a session", f"{many['waking_us']:.2f} us"],
        [
            "times that timers and parking ran; more than 1 ms",
            f"{housekeeping['turns']:,.0f}; {housekeeping['above_1ms']:,.0f}" if housekeeping else "not available",
        ],
        ["memory of the load generator", f"{million['load_kb'] / 1024:,.0f} MiB"],
    ]
    return paragraphs(
        f"{million['sessions']:,} sessions ({SUITES[million['suite']]}), drawn at random some of them\n"
        "awake, at most 1,000 requests in flight:",
        table(["", ""], rows),
    )


SECTIONS = {
    "million": million_section,
    "speed": speed_section,
    "workers": workers_section,
    "offered": offered_section,
    "flood": flood_section,
    "reconnect": reconnect_section,
}
