"""What a result is judged by: the bars, and the figures that are compared with the result kept
before. Pure: results in, texts out."""

SUITES = {
    "psk-ccm8": "1.2 PSK-AES128-CCM-8",
    "ecdhe-gcm": "1.2 ECDHE-ECDSA-AES128-GCM",
    "tls13-gcm": "1.3 AES128-GCM",
}
# Of which only memory is measured.
MEMORY_SUITES = {
    "tls13-psk-gcm": "1.3 AES128-GCM, PSK",
    "psk-ccm8-256": "1.2 PSK-AES256-CCM-8",
    "psk-chacha20": "1.2 PSK-CHACHA20-POLY1305",
    "tls13-psk-chacha20": "1.3 CHACHA20-POLY1305, PSK",
    "tls13-gcm-256": "1.3 AES256-GCM, certificates",
}
NAMES = SUITES | MEMORY_SUITES
BAR_SESSIONS = 1000
MILLION = 1000000
BAR_HANDSHAKE_US = 60.0
BAR_FLOOR_RATIO = 1.15
BAR_P50_RATIO = 1.5
BAR_HANDSHAKE_RATIO = 1.25
BAR_FLOOD_SHARE = 0.8
# What the allocator and pages touched for the first time make of a table of fixed size.
BAR_FLOOD_GROWTH_KB = 2048
BAR_EXCESS = 1.3
BAR_BYTES = {"psk-ccm8": 384, "tls13-psk-gcm": 448}  # of a session
BAR_MILLION_RATIO = 1.35
BAR_READY_S = 2.0
BAR_RELOADING_P99_RATIO = 2.0
BAR_SILENCE_MS, BAR_MILLION_SILENCE_MS = 1000, 2000
BAR_LOST_BY_KILL = 128  # the batch in hand, 64 each way, of each worker
BAR_COST_RATIO = 1.01

WORSE_SHARE = 0.10


# --- bars: [(what, is met)] ---------------------------------------------------------------------


def bars(result):
    found = []
    for row in result.get("speed") or []:
        found += speed_bars(row)
    if result.get("flood"):
        found += flood_bars(result["flood"])
    for row in result.get("reconnect") or []:
        found.append(reconnect_bar(row))
    if result.get("million"):
        found += million_bars(result["million"])
    if result.get("reloads"):
        found += [bar for row in result["reloads"] for bar in reload_bars(row)]
    for row in (result.get("restarts") or {"rows": []})["rows"]:
        found += event_bars(row, result["head"]["options"]["workers"])
    for row in (result.get("cost") or {"rows": []})["rows"]:
        found.append(cost_bar(row))
    return found


def at_most(what, value, limit):
    return (f"{what}, at most {limit:g}", value <= limit)


def name_of(row):
    """A row of speed. Rows that were kept before there were shapes are of the large one."""
    name = f"{SUITES[row['suite']]} at {row['sessions']:,} session{'s' if row['sessions'] > 1 else ''}"
    return name if row.get("shape", "large") == "large" else f"{name}, {row['shape']} batches"


def speed_bars(row):
    name = name_of(row)
    if row["sessions"] == 1:
        what = f"{name}: p50 is {row['p50_ratio']:.2f} times the relay's"
        return [at_most(what, row["p50_ratio"], BAR_P50_RATIO)]
    if row["sessions"] != BAR_SESSIONS:
        return []
    found = []
    if "floor_ratio" in row:
        floor_us = row["relay_round_trip_us"] + row["aead_us"]
        what = (
            f"{name}: CPU per round trip {row['round_trip_us']:.2f} us is "
            f"{row['floor_ratio']:.2f} times that of relay and AEAD ({floor_us:.2f} us)"
        )
        found.append(at_most(what, row["floor_ratio"], BAR_FLOOR_RATIO))
    return found + (handshake_bars(row, name) if "handshake_us" in row else [])


def handshake_bars(row, name):
    found = []
    if row["suite"] == "psk-ccm8":
        what = f"{name}: CPU per handshake {row['handshake_us']:.2f} us"
        found.append(at_most(what, row["handshake_us"], BAR_HANDSHAKE_US))
    if row["suite"] in ("psk-ccm8", "ecdhe-gcm"):
        what = (
            f"{name}: CPU per handshake {row['handshake_us']:.1f} us is "
            f"{row['handshake_ratio']:.2f} times the library's ({row['library_handshake_us']:.1f} us)"
        )
        found.append(at_most(what, row["handshake_ratio"], BAR_HANDSHAKE_RATIO))
    return found


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


def reconnect_bar(row):
    what = (
        f"{SUITES[row['suite']]}: {row['devices']:,} devices are back in {row['excess']:.2f} times "
        f"what the sustained rate needs, at most {BAR_EXCESS}"
    )
    return (what, row["back"] == row["devices"] and row["excess"] <= BAR_EXCESS)


def million_bars(million):
    sessions = f"{million['sessions']:,} sessions"
    found = []
    for row in million.get("memory", []):
        if row["suite"] in BAR_BYTES:
            what = f"{row['sessions']:,} sessions of {NAMES[row['suite']]}: {row['bytes_per_session']:.0f} bytes each"
            found.append(at_most(what, row["bytes_per_session"], BAR_BYTES[row["suite"]]))
    what = (
        f"{sessions}: CPU per round trip {million['many']['round_trip_us']:.2f} us is "
        f"{million['ratio']:.2f} times that at {million['few']['sessions']:,}"
    )
    found.append(at_most(what, million["ratio"], BAR_MILLION_RATIO))
    what = f"{million['sessions']:,} keys: ready in {million['ready_s']:.2f} s"
    found.append(at_most(what, million["ready_s"], BAR_READY_S))
    housekeeping = million["housekeeping"]
    if housekeeping:
        what = f"{sessions}: {housekeeping['above_1ms']:,.0f} times that housekeeping took more than 1 ms"
        found.append(at_most(what, housekeeping["above_1ms"], 0))
    return found


def reloads_name(reloads):
    pause_ms = reloads["pause_ms"]
    return f"{reloads['reloads']:,} reloads, {f'{pause_ms} ms between two' if pause_ms else 'no pause'}"


def reload_bars(reloads):
    name = reloads_name(reloads)
    what = f"{name}: p99 is {reloads['p99_ratio']:.2f} times that without"
    return [
        (f"{name}: {reloads['reloaded']:,.0f} have succeeded", reloads["reloaded"] == reloads["reloads"]),
        at_most(f"{name}: {reloads['sessions_lost']:,} sessions lost", reloads["sessions_lost"], 0),
        at_most(f"{name}: {reloads['lost']:,} datagrams lost", reloads["lost"], 0),
        at_most(what, reloads["p99_ratio"], BAR_RELOADING_P99_RATIO),
    ]


def event_bars(row, workers):
    if row["kind"] == "undisturbed":
        return []
    name = f"{row['sessions']:,} sessions, {row['kind']}"
    lost = row["lost_requests"] + row["lost_answers"]
    most_ms = BAR_MILLION_SILENCE_MS if row["sessions"] >= MILLION else BAR_SILENCE_MS
    most_lost = BAR_LOST_BY_KILL * workers if row["kind"] == "kill" else 0
    return [
        at_most(f"{name}: {row['sessions_lost']:,} sessions lost", row["sessions_lost"], 0),
        at_most(f"{name}: {row['handshakes']:,.0f} handshakes", row["handshakes"], 0),
        at_most(f"{name}: {lost:,} datagrams lost", lost, most_lost),
        at_most(f"{name}: silent for {row['silence_max_ms']:.0f} ms", row["silence_max_ms"], most_ms),
    ]


def cost_bar(row):
    name = f"{SUITES[row['suite']]}, {row['shape']} batches"
    what = f"{name}: CPU per round trip is {row['ratio']:.3f} times that of the build before"
    return at_most(what, row["ratio"], BAR_COST_RATIO)


# --- comparison with the result kept before -----------------------------------------------------


def figures(result):
    """{name: (value, is less better)}"""
    found = {}
    for row in result.get("speed") or []:
        name = name_of(row)
        found[f"{name}: CPU us per round trip"] = (row["round_trip_us"], True)
        if row["sessions"] == 1:
            found[f"{name}: p50 us"] = (row["p50_us"], True)
        if row["sessions"] >= BAR_SESSIONS and "handshake_us" in row:
            found[f"{name}: CPU us per handshake"] = (row["handshake_us"], True)
            found[f"{name}: kB of memory per session"] = (row["session_kb"], True)
    offered = result.get("offered") or {}
    for suite, rows in offered.get("handshakes", {}).items():
        most = max(row["done_per_s"] for row in rows)
        found[f"{SUITES[suite]}: handshakes/s at most"] = (most, False)
    rows = offered.get("requests", {}).get("gate")
    if rows:
        most = max(row["done_per_s"] for row in rows)
        found["requests/s at most"] = (most, False)
    for row in result.get("workers") or []:
        name = f"{SUITES[row['suite']]}, two workers: CPU us per"
        found[f"{name} round trip"] = (row["round_trip_us_2"], True)
        found[f"{name} handshake"] = (row["handshake_us_2"], True)
    if result.get("flood"):
        found["flood: share of requests/s kept"] = (result["flood"]["share"], False)
    for row in result.get("reconnect") or []:
        name = f"reconnect, {SUITES[row['suite']]}"
        found[f"{name}: times what is needed"] = (row["excess"], True)
    million = result.get("million")
    if million:
        found |= million_figures(million)
    return found | continuity_figures(result)


def continuity_figures(result):
    found = {}
    for row in result.get("reloads") or []:
        found[f"{reloads_name(row)}: ms of each"] = (row["reload_ms"], True)
    for row in (result.get("restarts") or {"rows": []})["rows"]:
        if row["kind"] != "undisturbed":
            name = f"{row['sessions']:,} sessions, {row['kind']}"
            found[f"{name}: ms of silence"] = (row["silence_ms"], True)
    for row in (result.get("cost") or {"rows": []})["rows"]:
        name = f"{SUITES[row['suite']]}, {row['shape']} batches"
        found[f"{name}: times the CPU of the build before"] = (row["ratio"], True)
    return found


def million_figures(million):
    name = f"{million['sessions']:,} sessions"
    found = {
        f"{name}: bytes of memory each": (million["bytes_per_session"], True),
        f"{name}: CPU us per round trip": (million["many"]["round_trip_us"], True),
        f"{name}: handshakes/s": (million["handshakes_per_s"], False),
        f"{name}: s until ready": (million["ready_s"], True),
    }
    for row in million.get("memory", []):
        if row["suite"] != million["suite"]:
            found[f"{NAMES[row['suite']]}: bytes of memory each"] = (row["bytes_per_session"], True)
    return found


def worse_by(old, new, is_less_better):
    """0.1: a tenth worse; negative: better. A figure that was 0 and is not has no share."""
    if old == new:
        return 0.0
    if not is_less_better:
        old, new = new, old
    return new / old - 1 if old > 0 else float("inf")


def compare(old, new):
    """[(name, old value, new value, worse by)] of the figures that both results have."""
    before, now = figures(old), figures(new)
    return [
        (name, before[name][0], value, worse_by(before[name][0], value, is_less_better))
        for name, (value, is_less_better) in now.items()
        if name in before
    ]


def comparison_text(old, new):
    """What has changed since the kept result, in lines; warnings first."""
    changes = compare(old, new)
    found = [f"Compared with the kept result, of commit {old['head']['commit']}:", ""]
    for key in ("machine", "kernel"):
        if old["head"][key] != new["head"][key]:
            found.append(f"- another {key}, {old['head'][key]}: figures differ for that alone")
    for key, value in old["head"]["options"].items():
        if new["head"]["options"].get(key) != value:
            found.append(f"- it was measured with {key} = {value}: figures differ for that alone")
    worse = [change for change in changes if change[3] >= WORSE_SHARE]
    for name, before, now, by in sorted(worse, key=lambda change: -change[3]):
        found.append(f"- WARNING: {by:.0%} worse: {name}: {before:.4g} before, {now:.4g} now")
    better = sum(change[3] <= -WORSE_SHARE for change in changes)
    found.append(
        f"- {len(changes)} figures: {len(worse)} are {WORSE_SHARE:.0%} worse or more, {better} as "
        f"much better"
    )
    return "\n".join(found)
