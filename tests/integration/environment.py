"""Where the programs under test are, and how much slower and smaller a run is under a sanitizer."""

import os
import random
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
BUILD = (REPOSITORY / os.environ.get("DTLSGATE_BUILD", "build/release")).resolve()
GATE = BUILD / "dtlsgate"
DEVICE = BUILD / "tests" / "device"
MBEDTLS_CLIENT = REPOSITORY / os.environ.get("DTLSGATE_MBEDTLS", "build/mbedtls") / "bin" / "ssl_client2"
PROMETHEUS = REPOSITORY / (os.environ.get("DTLSGATE_PROMETHEUS") or "build/prometheus")

# A sanitizer build runs the same tests with more patience and fewer repetitions.
TIME_FACTOR = {"asan": 3, "tsan": 5}.get(BUILD.name, 1)
COUNT_DIVISOR = {"asan": 10, "tsan": 20}.get(BUILD.name, 1)
IS_SANITIZED = BUILD.name in ("asan", "tsan")

# Every gate, backend and netshim has a loopback address of its own, so that tests can run side by
# side; random, because other test runs on the machine draw theirs from the same net.
_random = random.SystemRandom()


def own_address():
    """A fresh address in 127.0.0.0/8, never in 127.0.0.0/16."""
    return f"127.{_random.randrange(1, 255)}.{_random.randrange(256)}.{_random.randrange(1, 255)}"


def wait_until(condition, what, timeout_s=5.0):
    """Asks condition() until it is true and returns its value; fails after timeout_s."""
    deadline = time.monotonic() + timeout_s * TIME_FACTOR
    pause_s = 0.002
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s * TIME_FACTOR:.0f} s in vain: {what}")
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, 0.05)
