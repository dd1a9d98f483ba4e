"""Open loop: what becomes of handshakes and of requests that begin at a given rate, whether the ones
before have ended or not. The gate has the first CPU for itself, the devices have the others. What has not
ended when the time is over is not done; of handshakes it has failed, even if it ends later."""

from programs import BenchError, metrics_change, one_and_others, run_phase, stop_load
from storms import count_limited

SECONDS = 2
# Devices that shake hands: so many that the next turn of one comes long after the last.
HANDSHAKE_DEVICES = {"psk-ccm8": 10000, "ecdhe-gcm": 3000}
REQUEST_SESSIONS = 1000
REQUEST_SUITE = "psk-ccm8"
# Of what a closed loop does.
HANDSHAKE_SHARES = (0.25, 0.5, 0.75, 0.9, 1.0, 1.2, 1.5)
REQUEST_SHARES = (0.1, 0.25, 0.5, 0.7, 0.85, 1.0, 1.2)


def run_all(bench, progress):
    """{"handshakes": {suite: rows}, "requests": {"gate": rows, "relay": rows}}"""
    bench.place(*one_and_others(bench.cpus, min))
    found = {"handshakes": {}, "requests": {}}
    for suite in HANDSHAKE_DEVICES:
        if suite in bench.options.suites:
            found["handshakes"][suite] = run_handshakes(bench, suite, progress)
    if REQUEST_SUITE in bench.options.suites:
        gate = run_requests(bench, REQUEST_SUITE, None, progress)
        rates = [row["rate"] for row in gate]
        found["requests"] = {"gate": gate, "relay": run_requests(bench, "plain", rates, progress)}
    return found


def with_load(bench, suite, devices, concurrent, measure):
    """What measure(server, load) says of gate, or relay for the suite plain, and devices."""
    try:
        with bench.start_relay() if suite == "plain" else bench.start_gate() as server:
            with bench.start_load(server.port, devices, suite, concurrent) as load:
                rows = measure(server, load)
                stop_load(load)
            server.stop()
            return rows
    except BenchError as error:
        raise BenchError(f"offered load, {suite}: {error}") from None


def row_of(rate, result):
    return {
        "rate": rate,
        "offered_per_s": (result["offered"] - result["skipped"]) / result["seconds"],
        "done_per_s": result["per_s"],
        "p50_us": result["p50_us"],
        "p99_us": result["p99_us"],
        "lost": result["lost"],
        "failed": result["failed"],
        "busy": result["busy"],
        "load_busy": result["load_busy"],
    }


def run_handshakes(bench, suite, progress):
    def measure(gate, load):
        sustained = run_phase(gate, load, "handshakes", may_lose=True)["per_s"]
        rows = []
        for share in HANDSHAKE_SHARES:
            rate = max(1, round(sustained * share))
            progress.show(f"{suite}, {rate:,} handshakes/s")
            phase = f"handshakes-at:{rate}:{SECONDS}"
            before = gate.metrics()
            rows.append(row_of(rate, run_phase(gate, load, phase, may_lose=True)))
            rows[-1]["limited"] = count_limited(metrics_change(before, gate.metrics()))
        return rows

    return with_load(bench, suite, HANDSHAKE_DEVICES[suite], 256, measure)


def run_requests(bench, suite, rates, progress):
    """At these rates, or if there are none, at shares of what a closed loop does."""

    def measure(server, load):
        run_phase(server, load, "handshakes")
        sustained = run_phase(server, load, "requests:1s", may_lose=True)["per_s"]
        rows = []
        for rate in rates or [max(1, round(sustained * share)) for share in REQUEST_SHARES]:
            progress.show(f"{suite}, {rate:,} requests/s")
            phase = f"requests-at:{rate}:{SECONDS}"
            rows.append(row_of(rate, run_phase(server, load, phase, may_lose=True)))
        return rows

    return with_load(bench, suite, REQUEST_SESSIONS, 64, measure)
