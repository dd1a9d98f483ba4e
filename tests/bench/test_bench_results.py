"""The parts of the benchmark that run nothing: comparison, bars, tables, plots, time. No figure is
measured here."""

import io
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import figures  # noqa: E402
import million  # noqa: E402
import plots  # noqa: E402
import programs  # noqa: E402
import readme  # noqa: E402
import report  # noqa: E402
import results  # noqa: E402
from progress import Progress  # noqa: E402


def speed_row(suite="psk-ccm8", sessions=1000, **others):
    row = {
        "suite": suite,
        "sessions": sessions,
        "turns": 5,
        "round_trip_us": 10.0,
        "relay_round_trip_us": 8.0,
        "library_round_trip_us": 1.0,
        "round_trip_ratio": 1.11,
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
    return row | others


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
        "speed": [speed_row(sessions=1), speed_row(), speed_row("tls13-gcm")],
        "offered": {
            "handshakes": {"psk-ccm8": [offered_row(1000, 1000), offered_row(2000, 1500)]},
            "requests": {"gate": [offered_row(1000, 1000)], "relay": [offered_row(1000, 1000)]},
        },
        "workers": [workers],
        "flood": flood,
        "reconnect": [reconnect],
    } | others


def million_result(**others):
    found = {
        "suite": "psk-ccm8",
        "sessions": 1000000,
        "cid": True,
        "few": {"sessions": 1000, "round_trip_us": 10.0},
        "many": {"active": 10000, "round_trip_us": 12.0, "waking_us": 20.0},
        "ratio": 1.2,
        "ready_s": 1.5,
        "handshakes_per_s": 10000.0,
        "handshake_us": 40.0,
        "parked": 990000.0,
        "base_kb": 100000,
        "resident_kb": 700000,
        "bytes_per_session": 614.0,
        "housekeeping": {"turns": 100000.0, "above_1ms": 0.0},
        "load_kb": 470000,
    }
    return {"head": bench_result()["head"], "million": found | others}


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
    assert "10% worse: 1.2 PSK-AES128-CCM-8 at 1,000: CPU us per round trip: 10 before, 11 now" in text
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
    assert names and not any("flood" in name or "at 10:" in name for name in names)


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
    assert len(figures.bars(bench_result())) == 1 + 4 + 1 + 3 + 1
    assert len(figures.bars(million_result())) == 4


@pytest.mark.parametrize(
    "others, text",
    [
        ({"round_trip_ratio": 1.21}, "of relay and library"),
        ({"handshake_ratio": 1.26}, "the library's"),
        ({"difference_us": 4.1}, "over the relay's"),
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
        ({"bytes_per_session": 641.0}, "641 bytes"),
        ({"ratio": 1.6}, "1.60 times"),
        ({"ready_s": 2.1}, "ready in 2.10 s"),
        ({"housekeeping": {"turns": 10.0, "above_1ms": 1.0}}, "1 times"),
    ],
)
def test_bars_of_the_million_are_missed(others, text):
    found = missed(million_result(**others))
    assert len(found) == 1 and text in found[0]


def test_a_gate_without_parking_has_no_bar_of_parking():
    found = million_result(parked=None, housekeeping=None, bytes_per_session=9000.0)
    assert missed(found) == []
    assert report.report(found).count("not available") == 2


# --- tables ---


def test_table():
    assert report.table(["a", "b"], [["x", "1"], ["y", "2"]]) == (
        "| a | b |\n|---|---:|\n| x | 1 |\n| y | 2 |"
    )


def test_report_has_a_part_for_each_measurement():
    text = report.report(bench_result())
    for part in ("commit 0123456789ab", "settings: a = 1", "Two workers", "Flood of", "reboot at once"):
        assert part in text
    assert "| 1.2 PSK-AES128-CCM-8 | 1,000 | 10.00 | 8.00 | 1.00 | 1.11 |" in text
    assert "Flood of" not in report.report(bench_result(flood=None))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(row.endswith("|") for row in rows)


def test_rows_are_as_wide_as_their_titles():
    for text in (report.report(bench_result()), report.report(million_result())):
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


def test_plots_say_what_they_were_measured_on_and_no_date():
    found = {"bench": bench_result(), "million": million_result()}
    for make in plots.PLOTS.values():
        plot = make(found) | {"measured_on": plots.measured_on(found)}
        text = plots.script(plot)
        assert "0123456789ab; a machine; Linux 6" in text
        assert text == plots.script(plot)
        assert len(plot["curves"]) == len(plot["colours"]) > 0
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
    assert million.read_housekeeping(metrics) == {"turns": 10.0, "above_1ms": 2.0}
    assert million.read_housekeeping({("other", ""): 1.0}) is None


def test_metrics_are_told_apart_by_their_label():
    text = 'a{listener="x",outcome="y"} 1\na{listener="z",outcome="y"} 2\nb 4\nc_bucket{le="0.1"} 3\n# d 5\n'
    assert programs.parse_metrics(text) == {("a", "y"): 3, ("b", ""): 4, ("c_bucket", "0.1"): 3}
