"""Plots of kept results, drawn by gnuplot: SVG that is the same for the same result."""

import shutil
import subprocess

from figures import MILLION, SUITES

MISSING = "gnuplot is missing: no plots; to install it: scripts/install-packages bench"
# Readable with any kind of colour vision, on the white that the plots bring with them.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
PSK_COLOUR = 0
COLOURS_OF_EVENTS = {"restart": 0, "upgrade": 1, "kill": 2}
LINE_END = "\n"


class PlotError(Exception):
    """gnuplot did not draw."""


def is_available():
    return shutil.which("gnuplot") is not None


def draw_all(folder, results):
    """Draws every plot that the results (kind -> result or None) have data for; returns their names."""
    drawn = []
    for name, make in PLOTS.items():
        plot = make(results) | {"measured_on": measured_on(results)}
        if plot["curves"]:
            path = folder / f"{name}.svg"
            path.write_text(draw(plot), encoding="utf-8")
            drawn.append(path.name)
    return drawn


def draw(plot):
    run = subprocess.run(
        ["gnuplot"], input=script(plot), capture_output=True, text=True, check=False
    )
    if run.returncode != 0 or "<svg" not in run.stdout:
        raise PlotError(f"gnuplot: {run.stderr}")
    return run.stdout


def quoted(text):
    escaped = text.replace("\\", "\\\\").replace('"', "'").replace(LINE_END, "\\n")
    return f'"{escaped}"'


def measured_on(results):
    """A line for each commit, machine and kernel."""
    lines = []
    for result in results.values():
        if result:
            head = result["head"]
            line = f"{head['commit']}; {head['machine']}; {head['kernel']}"
            lines += [] if line in lines else [line]
    return LINE_END.join(lines)


def script(plot):
    """Curves are (title, dashed or not, [(x, y)])."""
    lines = [
        "set terminal svg size 720,420 dynamic font 'sans-serif,13' background '#ffffff' noenhanced",
        f"set title {quoted(plot['title'] + LINE_END + plot['measured_on'])}",
        f"set xlabel {quoted(plot['x'])}",
        f"set ylabel {quoted(plot['y'])}",
        "set grid linecolor '#dddddd'",
        "set border linecolor '#444444'",
        "set key outside below",
        "set format '%.10g'",
        *(f"set logscale {axis}" for axis in plot.get("log", "")),
        f"set yrange [0:{plot.get('most', '*')}]" if "y" not in plot.get("log", "") else "",
    ]
    for i, (_, _, points) in enumerate(plot["curves"]):
        lines.append(f"$curve{i} << EOD")
        lines += [f"{x:.6g} {y:.6g}" for x, y in points]
        lines.append("EOD")
    curves = []
    for i, (title, is_dashed, _) in enumerate(plot["curves"]):
        style = "lines" if plot.get("is_line") else "linespoints"
        curves.append(
            f"$curve{i} with {style} title {quoted(title)} linecolor "
            f"'{COLOURS[plot['colours'][i]]}' linewidth 2 "
            + ("" if plot.get("is_line") else "pointtype 7 pointsize 0.5 ")
            + f"dashtype {2 if is_dashed else 1}"
        )
    return "\n".join(line for line in lines if line) + "\nplot " + ", ".join(curves) + "\n"


# --- what is drawn ------------------------------------------------------------------------------


def speed_rows(results, suite):
    bench = results.get("bench") or {}
    rows = [row for row in bench.get("speed") or [] if row["suite"] == suite]
    return [row for row in rows if row.get("shape", "large") == "large"]


def million_of(results):
    return (results.get("million") or {}).get("million")


def suite_curves(results, value_of):
    """Against the number of sessions, in large batches: (curves, their colours)."""
    curves, colours = [], []
    for colour, (suite, name) in enumerate(SUITES.items()):
        points = [(row["sessions"], value_of(row)) for row in speed_rows(results, suite)]
        if points:
            curves.append((name, False, points))
            colours.append(colour)
    return curves, colours


def cpu_plot(results):
    curves, colours = suite_curves(results, lambda row: row["round_trip_us"])
    relay = [(row["sessions"], row["relay_round_trip_us"]) for row in speed_rows(results, "psk-ccm8")]
    if relay:
        curves.append(("relay, without DTLS", True, relay))
        colours.append(len(SUITES))
    million = million_of(results)
    if million:
        few, many = million["few"], million["many"]
        points = [(few["sessions"], few["round_trip_us"]), (million["sessions"], many["round_trip_us"])]
        curves.append(("PSK, drawn at random", True, points))
        colours.append(PSK_COLOUR)
    return {
        "title": "CPU per round trip of 64 bytes",
        "x": "sessions",
        "y": "us",
        "log": "x",
        "curves": curves,
        "colours": colours,
    }


def memory_plot(results):
    curves, colours = suite_curves(results, lambda row: row["resident_kb"] / 1024)
    million = million_of(results)
    if million:
        points = [(million["sessions"], million["resident_kb"] / 1024)]
        curves.append(("PSK, with as many keys", True, points))
        colours.append(PSK_COLOUR)
    return {
        "title": "Resident memory of the gate",
        "x": "sessions",
        "y": "MiB",
        "log": "xy",
        "curves": curves,
        "colours": colours,
    }


def offered_of(results):
    return (results.get("bench") or {}).get("offered") or {"handshakes": {}, "requests": {}}


def handshakes_plot(results):
    found = offered_of(results)["handshakes"]
    curves, colours = [], []
    for colour, (suite, name) in enumerate(SUITES.items()):
        if suite in found:
            points = [(row["offered_per_s"], row["done_per_s"]) for row in found[suite]]
            curves.append((name, False, points))
            colours.append(colour)
    return {
        "title": "Handshakes against offered load",
        "x": "offered/s",
        "y": "done/s",
        "curves": curves,
        "colours": colours,
    }


def latency_plot(results):
    curves, colours = [], []
    for colour, (who, rows) in enumerate(offered_of(results)["requests"].items()):
        for name, key, is_dashed in (("p50", "p50_us", False), ("p99", "p99_us", True)):
            points = [(row["offered_per_s"], row[key]) for row in rows if row[key] > 0]
            curves.append((f"{who}, {name}", is_dashed, points))
            colours.append(colour)
    return {
        "title": "Latency of a round trip against load, 1,000 PSK sessions",
        "x": "requests/s",
        "y": "us",
        "log": "y",
        "curves": curves,
        "colours": colours,
    }


def continuity_plot(is_million):
    """Answers in each 10 ms around an event, in the turn with the longest silence."""

    def make(results):
        found = (results.get("continuity") or {}).get("restarts") or {"rows": []}
        rows = [row for row in found["rows"] if row["kind"] != "undisturbed"]
        rows = [row for row in rows if (row["sessions"] >= MILLION) == is_million]
        return {
            "title": f"Answers around an event, {rows[0]['sessions']:,} sessions" if rows else "",
            "x": "ms after it began",
            "y": "answers in 10 ms; what is more is cut",
            "log": "",
            # All that has waited is answered at once, which would make the rest of the curves flat.
            "most": 8 * found.get("rate", 0) // 100 or "*",
            "is_line": True,
            "curves": [(row["kind"], False, [tuple(point) for point in row["answers"]]) for row in rows],
            "colours": [COLOURS_OF_EVENTS[row["kind"]] for row in rows],
        }

    return make


PLOTS = {
    "cpu": cpu_plot,
    "memory": memory_plot,
    "handshakes": handshakes_plot,
    "latency": latency_plot,
    "continuity": continuity_plot(is_million=False),
    "continuity-million": continuity_plot(is_million=True),
}
