"""Keys of many devices, and identities that are not plain words."""

import resource

import pytest

from environment import COUNT_DIVISOR, IS_SANITIZED, TIME_FACTOR
from proxy import run_gate, write_private

KEY = "5f" * 16


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("identity", [
    "x", "a" * 128, "urn:imei:490154203237518", "with space", "semi;colon = [x] # y", 'quo"te\\',
    "größe-日本", "%s%n", "tab\tinside", "-c",
], ids=ascii)
def test_odd_identities(start_proxy, backend, make_device, identity, version):
    proxy = start_proxy(backend, psk={"first": KEY, identity: KEY, "last": KEY})
    make_device(proxy, psk=(identity, KEY), version=version).connect().exchange(b"me")
    logged = proxy.wait_log("session_established")["identity"]
    assert logged == identity, "the log tells it as it is"


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("key", ["ab", "00" * 16, "c0ffee" * 10, "5a" * 64],
                         ids=["1 byte", "zeros", "30 bytes", "64 bytes"])
def test_keys_of_all_sizes(start_proxy, backend, make_device, key, version):
    proxy = start_proxy(backend, psk={"device1": key})
    make_device(proxy, psk=("device1", key), version=version).connect().exchange(b"me")


def test_an_identity_is_compared_whole(start_proxy, backend, make_device):
    proxy = start_proxy(backend, psk={"device": KEY})
    for near in ("devic", "device1", "Device", "device ", " device"):
        assert not make_device(proxy, psk=(near, KEY)).handshake(0.2).established, near
    make_device(proxy, psk=("device", KEY)).connect().exchange(b"me")


def test_a_million_devices(make_proxy, backend, make_device):
    """Loading is fast enough that a restart is not an outage; first, middle and last get in."""
    count = 1_000_000 // COUNT_DIVISOR
    proxy = make_proxy(backend)
    write_private(proxy.folder / "devices.psk",
                  "".join(f"urn:dev:{n:08d}:{n:032x}\n" for n in range(1, count + 1)))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = proxy.check_config()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # CPU time: how long it takes is a matter of what else the machine does.
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert result.returncode == 0, result.stderr
    print(f"{count} keys loaded and checked in {seconds:.2f} s of CPU time")
    assert seconds < 6 * TIME_FACTOR, "the promise is 2 s on a quiet machine"
    proxy.start()
    for number in (1, count // 2, count):
        who = (f"urn:dev:{number:08d}", f"{number:032x}")
        make_device(proxy, psk=who).connect().exchange(b"device %d" % number)
    assert not make_device(proxy, psk=("urn:dev:00000000", KEY)).handshake(0.5).established
    if not IS_SANITIZED:
        per_device = proxy.resident_bytes() / count
        print(f"{per_device:.0f} bytes of resident memory for each device")
        assert per_device < 150


def test_a_bad_line_among_a_million(make_proxy, backend):
    count = 1_000_000 // COUNT_DIVISOR
    lines = [f"urn:dev:{n:08d}:{n:032x}" for n in range(1, count + 1)]
    lines[count - 2] = "urn:dev:broken:0g"
    proxy = make_proxy(backend)
    write_private(proxy.folder / "devices.psk", "\n".join(lines))
    result = run_gate("-c", proxy.config_path)
    assert result.returncode == 1
    assert f"devices.psk:{count - 1}:" in result.stderr
