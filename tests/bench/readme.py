"""The part of the documentation that shows kept results; scripts/gen-docs puts it there. Links are from the
top of the repository."""

import report
import results as kept

INTRODUCTION = """`make bench` measures this on your machine, in less than ten minutes; `make bench-million` the part
with a million sessions; `make bench-continuity` what reloads, restarts and crashes cost.
[tests/bench/README.md](tests/bench/README.md) says how. The *relay* does what the gate does
without DTLS: same sockets, same source addresses, same batches. The generator shares the CPUs with the
gate, so CPU time is the figure to compare, not requests/s."""
PLOT_TITLES = {
    "cpu": "CPU per round trip against sessions",
    "memory": "Resident memory against sessions",
    "handshakes": "Handshakes against offered load",
    "latency": "Latency against load",
    "continuity": "Answers around a restart, an upgrade and a crash, 100,000 sessions",
    "continuity-million": "The same with 1,000,000 sessions",
}


def text(folder=kept.FOLDER):
    """None if no result is kept."""
    found = {kind: kept.load(folder, kind) for kind in kept.KINDS}
    if not any(found.values()):
        return None
    images = [
        f"![{title}](tests/bench/results/{name}.svg)"
        for name, title in PLOT_TITLES.items()
        if (folder / f"{name}.svg").exists()
    ]
    reports = [report.report(result) for result in found.values() if result]
    return report.paragraphs(INTRODUCTION, *images, *reports)
