"""The parts of the benchmark that run nothing: comparison, bars, tables, plots, time. No figure is
measured here."""

import io
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import continuity  # noqa: E402
import cost  # noqa: E402
import figures  # noqa: E402
import million  # noqa: E402
import plots  # noqa: E402
import programs  # noqa: E402
import readme  # noqa: E402
import report  # noqa: E402
import results  # noqa: E402
import speed  # noqa: E402
from progress import Progress  # noqa: E402


def speed_row(suite="psk-ccm8", sessions=1000, shape="large", **others):
    row = {
        "suite": suite,
        "sessions": sessions,
        "shape": shape,
        "turns": 5,
        "round_trip_us": 10.0,
        "user_us": 2.0,
        "kernel_us": 8.0,
        "relay_round_trip_us": 8.0,
        "relay_user_us": 0.5,
        "relay_kernel_us": 7.5,
        "aead_us": 1.0,
        "floor_ratio": 1.11,
        "floor_ratio_low": 1.1,
        "floor_ratio_high": 1.12,
        "difference_us": 2.0,
        "difference_low_us": 1.5,
        "difference_high_us": 2.5,
        "busy": 0.5,
        "requests_per_s": 50000.0,
        "relay_requests_per_s": 60000.0,
        "p50_us": 100.0,
        "p50_ratio": 1.1,
        "relay_p50_us": 90.0,
        "p99_us": 200.0,
        "handshake_us": 15.0,
        "library_handshake_us": 12.0,
        "handshake_ratio": 1.25,
        "close_us": 10.0,
        "handshakes_per_s": 9000.0,
        "handshake_p50_us": 300.0,
        "handshake_p99_us": 500.0,
        "session_kb": 9.0,
        "resident_kb": 20480,
    }
    row |= others
    if shape == "small":
        for key in ("handshake_us", "library_handshake_us", "handshake_ratio", "close_us", "session_kb"):
            del row[key]
    return row


def speed_row_before():
    """As it was kept when there was one shape, and the floor went through the library's objects."""
    row = speed_row()
    for key in [*(key for key in row if key.startswith("floor_")), "shape", "aead_us"]:
        del row[key]
    for key in ("user_us", "kernel_us", "relay_user_us", "relay_kernel_us"):
        del row[key]
    return row | {"library_round_trip_us": 1.0, "round_trip_ratio": 1.11}


def offered_row(offered, done):
    return {
        "rate": offered,
        "offered_per_s": float(offered),
        "done_per_s": float(done),
        "p50_us": 100.0,
        "p99_us": 200.0,
        "lost": 0,
        "failed": 0,
        "busy": 0.5,
        "load_busy": 0.6,
    }


def flood_target():
    names = "sent_per_s generator_busy requests_per_s p99_us lost gate_busy"
    names += " answered_per_s limited_per_s kernel_drops_per_s"
    return {name: 1.0 for name in names.split()}


def bench_result(**others):
    flood = {"share": 0.9, "share_low": 0.8, "share_high": 0.95, "sources": "any"}
    flood |= {"sessions_lost": 0, "sink": flood_target(), "gate": flood_target()}
    flood |= {f"resident_{when}_kb": 10000 for when in ("before", "first", "after")}
    reconnect = {"suite": "psk-ccm8", "devices": 10000, "back": 10000}
    names = "handshakes_per_s seconds excess excess_low excess_high p50_s gate_busy load_busy"
    names += " retransmissions limited kernel_drops load_kernel_drops peak_growth_kb session_kb"
    reconnect |= {name: 1.0 for name in (names + " stalled_kb").split()}
    workers = {"suite": "psk-ccm8", "turns": 3}
    for key in ("round_trip_us", "handshake_us", "requests_per_s"):
        workers |= {f"{key}_1": 10.0, f"{key}_2": 11.0, f"{key}_ratio": 1.1}
    return {
        "head": {
            "commit": "0123456789ab",
            "gate": "dtlsgate 0.1.0",
            "machine": "a machine",
            "kernel": "Linux 6",
            "load_average": 0.5,
            "options": {"workers": 1, "payload": 64, "connection IDs": True, "settings": ["a = 1"]},
        },
        "speed": [speed_row(sessions=1), speed_row(), speed_row("tls13-gcm"), speed_row(shape="small")],
        "offered": {
            "handshakes": {"psk-ccm8": [offered_row(1000, 1000), offered_row(2000, 1500)]},
            "requests": {"gate": [offered_row(1000, 1000)], "relay": [offered_row(1000, 1000)]},
        },
        "workers": [workers],
        "flood": flood,
        "reconnect": [reconnect],
    } | others


def awake(sessions, us):
    names = "user_us kernel_us relay_round_trip_us relay_user_us relay_kernel_us aead_us"
    names += " aead_without_aes_us busy requests_per_s"
    return {name: 1.0 for name in names.split()} | {"sessions": sessions, "round_trip_us": us}


def memory_row(suite, bytes_per_session):
    row = {"suite": suite, "sessions": 1000000, "handshakes_per_s": 10000.0}
    return row | {"bytes_per_session": bytes_per_session}


def million_result_before():
    """As it was kept when sessions were parked."""
    found = million_result()
    for key in ("relay_ratio", "memory", "parts"):
        del found["million"][key]
    few = {"sessions": 1000, "round_trip_us": 10.0}
    many = {"active": 10000, "round_trip_us": 12.0, "waking_us": 20.0}
    found["million"] |= {"few": few, "many": many, "parked": 990000.0, "bytes_per_session": 614.0}
    del found["million"]["housekeeping"]["longest_ms"]
    return found


def million_result(**others):
    found = {
        "suite": "psk-ccm8",
        "sessions": 1000000,
        "cid": True,
        "few": awake(1000, 10.0),
        "many": awake(1000000, 12.0),
        "ratio": 1.2,
        "relay_ratio": 1.1,
        "ready_s": 1.5,
        "handshakes_per_s": 10000.0,
        "handshake_us": 40.0,
        "base_kb": 100000,
        "resident_kb": 700000,
        "bytes_per_session": 380.0,
        "housekeeping": {"turns": 100000.0, "above_1ms": 0.0, "longest_ms": 0.3},
        "load_kb": 470000,
        "memory": [memory_row("psk-ccm8", 380.0), memory_row("tls13-psk-gcm", 440.0)],
        "parts": [{"part": "session", "bytes": 192, "count": 1}],
    }
    return {"head": bench_result()["head"], "million": found | others}


def restart_row(kind="restart", **others):
    row = {"kind": kind, "sessions": 100000, "turns": 3, "silence_ms": 200.0, "silence_max_ms": 300.0}
    row |= {"ready_ms": 150.0, "sessions_lost": 0, "handshakes": 0.0, "broken": 0, "outcomes": {}}
    row |= {"lost_requests": 0, "lost_answers": 0, "p50_us": 100.0, "p99_us": 200.0, "max_us": 300000.0}
    row |= {"waiting_bytes": 1200000, "buffer_bytes": 8388608, "kernel_drops": 0}
    return row | {"answers": [[-10.0, 50], [0.0, 0], [300.0, 1500]]} | others


def kill_row(**others):
    unknown = {"waiting_bytes": None, "buffer_bytes": None, "kernel_drops": None}
    return restart_row("kill", lost_requests=60, lost_answers=60) | unknown | others


def reloads_result(**others):
    quiet = {"p50_us": 100.0, "p99_us": 200.0, "max_us": 900.0}
    found = {"sessions": 1000, "rate": 5000, "keys": 2000, "reloads": 1000, "pause_ms": 0, "reloaded": 1000.0, "seconds": 10.0}
    found |= {"reload_ms": 5.0, "reload_max_ms": 9.0, "sent": 50000, "lost": 0, "sessions_lost": 0}
    return found | {"handshakes": 0.0, "undisturbed": quiet, "p99_ratio": 1.5} | quiet | others


def cost_row(**others):
    row = {"suite": "psk-ccm8", "shape": "large", "turns": 24, "before_us": 10.0, "now_us": 10.05}
    return row | {"ratio": 1.005, "ratio_low": 0.99, "ratio_high": 1.02} | others


def continuity_result(**others):
    million = restart_row("upgrade", sessions=1000000, silence_max_ms=1900.0)
    rows = [restart_row("undisturbed"), restart_row(), kill_row(), million]
    return {
        "head": bench_result()["head"],
        "reloads": [reloads_result(), reloads_result(pause_ms=100)],
        "restarts": {"suite": "psk-ccm8", "rate": 5000, "rmem_max": 4194304, "rows": rows},
        "cost": {"before": "0123456789ab", "rows": [cost_row()]},
    } | others


# --- comparison ---


@pytest.mark.parametrize(
    "old, new, is_less_better, worse",
    [
        (10.0, 11.0, True, 0.1),
        (10.0, 9.0, True, -0.1),
        (11.0, 10.0, False, 0.1),
        (10.0, 10.0, True, 0.0),
        (0.0, 0.0, True, 0.0),
        (0.0, 1.0, True, float("inf")),
        (1.0, 0.0, False, float("inf")),
    ],
)
def test_worse_by(old, new, is_less_better, worse):
    assert figures.worse_by(old, new, is_less_better) == pytest.approx(worse)


def test_a_tenth_worse_is_a_warning():
    old, new = bench_result(), bench_result()
    new["speed"][1] = speed_row(round_trip_us=11.0, handshake_us=16.4, session_kb=7.0)
    text = figures.comparison_text(old, new)
    warnings = [line for line in text.splitlines() if "WARNING" in line]
    assert len(warnings) == 1
    assert "10% worse: 1.2 PSK-AES128-CCM-8 at 1,000 sessions: CPU us per round trip: 10 before, 11 now" in text
    assert "1 are 10% worse or more, 1 as much better" in text
    assert "of commit 0123456789ab" in text and "another" not in text


def test_what_is_to_be_more_is_worse_when_it_is_less():
    old, new = bench_result(), bench_result()
    new["offered"]["handshakes"]["psk-ccm8"][1]["done_per_s"] = 1200.0
    assert "25% worse: 1.2 PSK-AES128-CCM-8: handshakes/s at most" in figures.comparison_text(old, new)


def test_the_worst_comes_first():
    old, new = million_result(), million_result(bytes_per_session=900.0, ready_s=4.5)
    lines = figures.comparison_text(old, new).splitlines()
    warnings = [line for line in lines if "WARNING" in line]
    assert ["ready" in line for line in warnings] == [True, False]


def test_only_what_both_have_is_compared():
    new = bench_result(flood=None)
    del new["reconnect"]
    new["speed"] = [speed_row(sessions=10)]
    names = {name for name, *_ in figures.compare(bench_result(), new)}
    assert names and not any("flood" in name or "at 10 sessions:" in name for name in names)


def test_another_machine_is_said():
    old, new = bench_result(), bench_result()
    new["head"] |= {"kernel": "Linux 7", "options": dict(old["head"]["options"], workers=2)}
    text = figures.comparison_text(old, new)
    assert "another kernel, Linux 6" in text and "with workers = 1" in text
    assert "another machine" not in text and "payload" not in text


# --- bars ---


def missed(result):
    return [what for what, is_met in figures.bars(result) if not is_met]


def test_bars_are_met():
    assert missed(bench_result()) == []
    assert missed(million_result()) == []
    assert missed(continuity_result()) == []
    assert len(figures.bars(bench_result())) == 1 + 3 + 1 + 1 + 3 + 1
    assert len(figures.bars(million_result())) == 5


@pytest.mark.parametrize(
    "others, text",
    [
        ({"floor_ratio": 1.16}, "1.16 times that of relay and AEAD (9.00 us)"),
        ({"floor_ratio": 1.16, "shape": "small"}, "at 1,000 sessions, small batches: CPU per round trip"),
        ({"handshake_ratio": 1.26}, "the library's"),
        ({"handshake_us": 61.0}, "at most 60"),
        ({"sessions": 1, "p50_ratio": 1.6}, "p50 is 1.60 times"),
    ],
)
def test_bars_of_speed_are_missed(others, text):
    found = missed(bench_result(speed=[speed_row(**others)]))
    assert len(found) == 1 and text in found[0]


@pytest.mark.parametrize(
    "others, text",
    [
        ({"memory": [memory_row("psk-ccm8", 385.0)]}, "385 bytes each, at most 384"),
        ({"memory": [memory_row("tls13-psk-gcm", 449.0)]}, "449 bytes each, at most 448"),
        ({"ratio": 1.36}, "1.36 times"),
        ({"ready_s": 2.1}, "ready in 2.10 s"),
        ({"housekeeping": {"turns": 10.0, "above_1ms": 1.0}}, "1 times"),
    ],
)
def test_bars_of_the_million_are_missed(others, text):
    found = missed(million_result(**others))
    assert len(found) == 1 and text in found[0]


@pytest.mark.parametrize(
    "part, others, text",
    [
        ("reloads", {"reloaded": 999.0}, "999 have succeeded"),
        ("reloads", {"lost": 1}, "1,000 reloads, 100 ms between two: 1 datagrams lost, at most 0"),
        ("reloads", {"sessions_lost": 1}, "1,000 reloads, 100 ms between two: 1 sessions lost"),
        ("reloads", {"p99_ratio": 2.1}, "p99 is 2.10 times"),
        ("restart", {"handshakes": 1.0}, "100,000 sessions, restart: 1 handshakes, at most 0"),
        ("restart", {"lost_answers": 1}, "100,000 sessions, restart: 1 datagrams lost, at most 0"),
        ("restart", {"sessions_lost": 2}, "2 sessions lost"),
        ("restart", {"silence_max_ms": 1001.0}, "silent for 1001 ms, at most 1000"),
        ("restart", {"silence_max_ms": 2001.0, "sessions": 1000000}, "at most 2000"),
        ("kill", {"lost_requests": 69}, "100,000 sessions, kill: 129 datagrams lost, at most 128"),
        ("cost", {"ratio": 1.011}, "1.011 times"),
    ],
)
def test_bars_of_continuity_are_missed(part, others, text):
    found = continuity_result()
    if part == "reloads":
        found["reloads"][1] |= others
    elif part == "cost":
        found["cost"]["rows"] = [cost_row(**others)]
    else:
        found["restarts"]["rows"] = [(restart_row if part == "restart" else kill_row)(**others)]
    whats = missed(found)
    assert len(whats) == 1 and text in whats[0]


def test_a_kill_may_lose_the_batch_in_hand_of_each_worker():
    found = continuity_result()
    found["restarts"]["rows"] = [kill_row(lost_requests=140)]
    assert len(missed(found)) == 1
    found["head"] = found["head"] | {"options": found["head"]["options"] | {"workers": 2}}
    assert missed(found) == []


def test_more_silence_is_worse():
    new = continuity_result()
    new["restarts"]["rows"][1] = restart_row(silence_ms=300.0)
    text = figures.comparison_text(continuity_result(), new)
    assert "50% worse: 100,000 sessions, restart: ms of silence: 200 before, 300 now" in text


def test_suites_without_a_bar_are_only_stated():
    found = million_result(memory=[memory_row("psk-chacha20", 900.0)])
    assert len(figures.bars(found)) == 3
    assert "| 1.2 PSK-CHACHA20-POLY1305 | 1,000,000 | 900 | 10,000 |" in report.report(found)


# --- results that were kept before ---


@pytest.mark.parametrize(
    "old, new",
    [
        (bench_result(speed=[speed_row_before()]), bench_result()),
        (million_result_before(), million_result()),
    ],
)
def test_results_that_were_kept_before_are_compared_and_shown(old, new):
    assert report.report(old).count("|") > 0
    assert not missed(old)
    names = {name for name, *_ in figures.compare(old, new)}
    assert {"1.2 PSK-AES128-CCM-8 at 1,000 sessions: CPU us per round trip", "1,000,000 sessions: CPU us per round trip"} & names
    assert not any("small batches" in name or "CHACHA20" in name for name in names)
    assert "WARNING" not in figures.comparison_text(old, new)


def test_what_was_kept_has_no_bar_that_it_was_not_measured_for():
    assert not any("AEAD" in what for what, _ in figures.bars(bench_result(speed=[speed_row_before()])))
    assert not any("bytes each" in what for what, _ in figures.bars(million_result_before()))


def test_the_kept_results_of_the_repository_are_shown():
    for kind in results.KINDS:
        kept = results.load(results.FOLDER, kind)
        assert kept is None or len(report.report(kept)) > 100


# --- medians ---


def turn(gate_us, relay_us, aead_us, **ticks):
    run = {key: 1.0 for key in (*speed.REQUEST_FIGURES, *speed.HANDSHAKE_FIGURES, "lost", "batch")}
    run |= {"user_ticks": 1, "kernel_ticks": 3} | ticks
    gate, relay = run | {"round_trip_us": gate_us}, run | {"round_trip_us": relay_us}
    return {"gate": gate, "relay": relay, "aead_us": aead_us, "library_us": 0.5}


def test_a_ratio_is_the_median_of_the_turns_own_ones():
    turns = [turn(10.0, 8.0, 2.0), turn(24.0, 10.0, 2.0), turn(12.0, 9.0, 1.0)]
    [row] = speed.summarize({("psk-ccm8", 1000, "large"): turns})
    assert row["floor_ratio"] == pytest.approx(1.2)
    assert (row["floor_ratio_low"], row["floor_ratio_high"]) == (1.0, 2.0)
    assert (row["round_trip_us"], row["user_us"], row["kernel_us"]) == (12.0, 3.0, 9.0)
    assert row["handshake_ratio"] == 2.0


def test_small_batches_tell_nothing_of_handshakes():
    [row] = speed.summarize({("psk-ccm8", 1000, "small"): [turn(10.0, 8.0, 2.0)]})
    assert row["floor_ratio"] == 1.0 and not any("handshake" in key for key in row)


def test_the_share_of_user_time_is_of_all_turns_together():
    runs = [{"user_ticks": 0, "kernel_ticks": 1}, {"user_ticks": 3, "kernel_ticks": 0}]
    assert speed.user_share(runs) == 0.75
    assert speed.user_share([{"user_ticks": 0, "kernel_ticks": 0}]) == 0


def test_the_cost_is_the_median_of_the_turns_own_ratios():
    found = [{"before": 10.0, "now": 11.0}, {"before": 20.0, "now": 20.0}, {"before": 10.0, "now": 9.0}]
    row = cost.summarize_one("psk-ccm8", "large", found)
    assert (row["ratio"], row["before_us"], row["now_us"], row["turns"]) == (1.0, 10.0, 11.0, 3)
    assert cost.summarize_one("psk-ccm8", "large", found[:1])["ratio_high"] == 1.1


def event(**others):
    found = {"ready_ms": 1.0, "silence_ms": 1.0, "p50_us": 1.0, "p99_us": 1.0, "max_us": 1.0, "broken": 0}
    found |= {"outcomes": {}, "handshakes": 0, "lost_requests": 0, "lost_answers": 0, "answers": []}
    return found | {"waiting_bytes": None, "buffer_bytes": None, "kernel_drops": None} | others


def test_of_events_the_worst_is_told():
    events = [event(lost_requests=3, outcomes={"a": 2}), event(silence_ms=7.0, answers=[(0, 1)], waiting_bytes=5), event()]
    row = continuity.summarize_event("kill", events)
    assert (row["lost_requests"], row["silence_ms"], row["silence_max_ms"]) == (3, 1.0, 7.0)
    assert row["outcomes"] == {"a": 2}
    assert (row["answers"], row["waiting_bytes"], row["buffer_bytes"]) == ([(0, 1)], 5, None)


def test_what_the_gate_did_not_pass_on_is_told():
    change = {("dtlsgate_client_datagrams_total", "forwarded"): 9.0, ("dtlsgate_client_datagrams_total", "no_session"): 2.0}
    change |= {("dtlsgate_client_datagrams_received_total", ""): 11.0, ("dtlsgate_backend_datagrams_total", "late"): 0.0}
    outcomes = continuity.outcomes_of(change)
    assert outcomes == {"client_datagrams no_session": 2.0}
    found = continuity_result()
    assert "Not passed on" not in report.report(found)
    found["restarts"]["rows"][1]["outcomes"] = outcomes
    assert "counters: 100,000 sessions, restart: client_datagrams no_session 2." in report.report(found)


def test_answers_are_counted_from_the_event_on():
    result = {"start_ns": 1_000_000_000, "answers": [5] * 400}
    points = continuity.answers_around(result, 2_000_000_000)
    assert points[0] == (-500, 5) and points[-1] == (1500, 5) and len(points) == 201


# --- tables ---


def test_table():
    assert report.table(["a", "b"], [["x", "1"], ["y", "2"]]) == (
        "| a | b |\n|---|---:|\n| x | 1 |\n| y | 2 |"
    )


def test_report_has_a_part_for_each_measurement():
    text = report.report(bench_result())
    for part in ("commit 0123456789ab", "settings: a = 1", "Two workers", "Flood of", "reboot at once"):
        assert part in text
    assert "| 1.2 PSK-AES128-CCM-8 | 1,000 | small | 10.00 | 2.00 | 8.00 | 8.00 | 0.50 | 7.50 | 1.00 | 1.11 |" in text
    assert "Flood of" not in report.report(bench_result(flood=None))
    text += "\n" + report.report(continuity_result())
    assert "| 100,000 | kill -9, keeper | 3 | 200 | 300 | 150 | 0 | 0 | 60 | 60 | 0.10 | 0.2 | 300 |  |  |  |" in text
    assert "The most was 1,172 kB of 8,192 kB" in text and "rmem_max` of the machine: 4,194,304" in text
    assert "| 1.2 PSK-AES128-CCM-8 | large | 24 | 10.00 | 10.05 | 1.005 | 0.990 to 1.020 |" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(row.endswith("|") for row in rows)


def test_rows_are_as_wide_as_their_titles():
    assert "| all else |  |  | 188 |" in report.report(million_result())
    for result in (bench_result(), million_result(), continuity_result()):
        text = report.report(result)
        width = None
        for line in text.splitlines():
            cells = line.count("|") if line.startswith("|") else None
            assert width is None or cells is None or cells == width, line
            width = cells


# --- files and plots ---


def test_kept_results_are_small_and_the_same_again(tmp_path):
    results.keep(tmp_path, "bench", bench_result(extra=1.23456789))
    first = (tmp_path / "bench.json").read_text()
    kept = results.load(tmp_path, "bench")
    assert kept["extra"] == 1.235 and kept["speed"][0]["suite"] == "psk-ccm8"
    results.keep(tmp_path, "bench", kept)
    assert (tmp_path / "bench.json").read_text() == first
    assert results.load(tmp_path, "million") is None


def test_what_is_printed_is_what_readme_says(tmp_path):
    assert readme.text(tmp_path) is None
    result = results.rounded(bench_result())
    results.keep(tmp_path, "bench", result)
    (tmp_path / "cpu.svg").write_text("")
    text = readme.text(tmp_path)
    assert report.report(result) in text
    assert "results/cpu.svg" in text and "results/memory.svg" not in text
    top = Path(readme.__file__).resolve().parents[2]
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert (top / target).exists(), target


def test_plots_say_what_they_were_measured_on_and_no_date():
    found = {"bench": bench_result(), "million": million_result(), "continuity": continuity_result()}
    for make in plots.PLOTS.values():
        plot = make(found) | {"measured_on": plots.measured_on(found)}
        text = plots.script(plot)
        assert "0123456789ab; a machine; Linux 6" in text
        assert text == plots.script(plot)
        assert len(plot["curves"]) == len(plot["colours"]) > 0
    assert "set yrange [0:400]" in plots.script(plots.PLOTS["continuity"](found) | {"measured_on": ""})
    assert plots.quoted('a "b" \\ c') == '"a \'b\' \\\\ c"'


def test_plots_without_results():
    assert all(make({"bench": None})["curves"] == [] for make in plots.PLOTS.values())


def test_each_plot_has_a_title_in_readme():
    assert list(readme.PLOT_TITLES) == list(plots.PLOTS)


# --- time and metrics ---


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def run_turns(progress, clock, seconds, most):
    made = 0
    for _ in progress.turns(most):
        clock.now += seconds
        made += 1
    return made


def test_turns_end_when_the_share_of_the_time_is_over():
    clock = Clock()
    progress = Progress(1, ["flood", "reconnect"], io.StringIO(), clock)
    progress.begin("flood")  # 6 of 19 parts of 60 s
    assert run_turns(progress, clock, 7, 10) == 2
    progress.begin("reconnect")  # all that is left: 46 s
    assert run_turns(progress, clock, 7, 10) == 6


def test_one_turn_is_made_however_late_it_is():
    clock = Clock()
    progress = Progress(1, ["speed"], io.StringIO(), clock)
    clock.now = 100
    progress.begin("speed")
    assert run_turns(progress, clock, 1, 5) == 1


def test_progress_says_how_many_turns_there_were():
    clock, stream = Clock(), io.StringIO()
    progress = Progress(1, ["speed"], stream, clock)
    progress.begin("speed")
    run_turns(progress, clock, 25, 5)
    assert "[0:50] speed: only 2 of 5 turns" in stream.getvalue()


def test_housekeeping():
    name = "dtlsgate_housekeeping_seconds_bucket"
    counts = {"0.0001": 5.0, "0.001": 8.0, "0.01": 9.0, "+Inf": 10.0}
    metrics = {(name, le): count for le, count in counts.items()} | {("other", ""): 1.0}
    assert million.read_housekeeping(metrics) == {"turns": 10.0, "above_1ms": 2.0, "longest_ms": None}
    metrics[name, "+Inf"] = 9.0
    assert million.read_housekeeping(metrics)["longest_ms"] == 10
    assert million.read_housekeeping({("other", ""): 1.0}) is None


def test_metrics_are_told_apart_by_their_label():
    text = 'a{listener="x",outcome="y"} 1\na{listener="z",outcome="y"} 2\nb 4\nc_bucket{le="0.1"} 3\n# d 5\n'
    assert programs.parse_metrics(text) == {("a", "y"): 3, ("b", ""): 4, ("c_bucket", "0.1"): 3}
