"""Boundaries, bytes, sizes, and the address by which the backend knows a session."""

import ipaddress
import os

import pytest

from environment import wait_until

BIG = ["--mtu", "16384"]  # lets the device send records larger than an Ethernet frame
RECORD_MAX_BYTES = 16384  # plaintext of one record, RFC 5246 section 6.2.1


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_bytes_and_boundaries_are_kept(start_proxy, backend, make_device, version):
    proxy = start_proxy(backend)
    device = make_device(proxy, version=version, options=BIG).connect()
    for size in (1, 2, 15, 16, 17, 1024, 1151, 1152, 1153, 1280, 1500, 4096, 9000, 16000):
        data = os.urandom(size)
        device.exchange(data)
        assert backend.received()[-1] == data
    device.exchange(bytes(100))
    device.exchange(bytes(range(256)))
    proxy.expect_client("forwarded", 16)
    proxy.expect_backend("forwarded", 16)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_datagrams_in_a_burst_stay_apart(start_proxy, silent_backend, make_device, version):
    proxy = start_proxy(silent_backend)
    device = make_device(proxy, version=version).connect()
    burst = [bytes([number]) * (number + 1) for number in range(100)]
    for data in burst:
        device.send(data)
    wait_until(lambda: len(silent_backend.arrivals) == 100, "100 datagrams at the backend")
    assert silent_backend.received() == burst
    (source,) = silent_backend.sources()
    for data in burst:
        silent_backend.send(source, data)
    assert [device.recv() for _ in burst] == burst


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_what_does_not_fit_is_counted_and_never_cut(start_proxy, silent_backend, make_device,
                                                    version):
    """The largest datagram that fits arrives whole; one that does not leaves no trace of itself."""
    proxy = start_proxy(silent_backend)
    device = make_device(proxy, version=version, options=BIG).connect()
    device.send(b"here")
    source = silent_backend.wait_for(b"here").source
    fits, too_large = None, 0
    for size in (65507, 40000, 16385, 16384, 16383, 16350, 16330, 16300):
        data = os.urandom(size)
        silent_backend.send(source, data)
        silent_backend.send(source, b"after it")
        got = device.recv()
        if got == data:
            assert size <= RECORD_MAX_BYTES
            fits = fits or size
            got = device.recv()
        else:
            assert fits is None, f"{fits} bytes fitted, {size} did not"
            too_large += 1
        assert got == b"after it"
        proxy.expect_backend("too_large", too_large)
    assert fits and fits >= 16300, "nearly the whole record can be used"
    assert any("too_large" in str(line) for line in proxy.log_lines()), "and it is logged"


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_device_that_takes_small_records_only(start_proxy, silent_backend, make_device, version):
    """max_fragment_length (RFC 6066 section 4) bounds the plaintext of a record both ways."""
    proxy = start_proxy(silent_backend)
    device = make_device(proxy, version=version, options=["--max-fragment", "512"]).connect()
    device.send(bytes(512))
    source = silent_backend.wait_for(bytes(512)).source
    for size in (513, 1152):
        silent_backend.send(source, bytes(size))
    silent_backend.send(source, bytes(512))
    assert device.recv() == bytes(512)
    proxy.expect_backend("too_large", 2)
    proxy.expect_backend("forwarded", 1)


def test_an_empty_backend_datagram_passes(start_proxy, silent_backend, make_device):
    """wolfSSL takes a record without data, and does not tell its application."""
    proxy = start_proxy(silent_backend)
    device = make_device(proxy).connect()
    device.send(b"here")
    source = silent_backend.wait_for(b"here").source
    silent_backend.send(source, b"")
    silent_backend.send(source, b"after it")
    assert device.recv() == b"after it"
    proxy.expect_backend("forwarded", 2)


def test_three_records_in_one_datagram(start_proxy, silent_backend, make_shim, make_device):
    """They are three datagrams for the backend."""
    held = []

    def join(direction, _, data):
        if direction != "to gate" or data[0] != 23:
            return [data]
        held.append(data)
        return [b"".join(held)] if len(held) == 3 else []
    proxy = start_proxy(silent_backend)
    device = make_device(make_shim(proxy, join)).connect()
    for data in (b"one", b"two", b"three"):
        device.send(data)
    wait_until(lambda: len(silent_backend.arrivals) == 3, "three datagrams")
    assert silent_backend.received() == [b"one", b"two", b"three"]
    proxy.expect_client("forwarded", 1)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_replayed_record_reaches_the_backend_once(start_proxy, silent_backend, make_shim,
                                                    make_device, version):
    proxy = start_proxy(silent_backend)
    shim = make_shim(proxy)
    device = make_device(shim, version=version).connect()
    device.send(b"only once")
    silent_backend.wait_for(b"only once")
    shim.settle()
    replayed = shim.to_gate()[-1].data
    for _ in range(5):
        shim.send_to_gate(replayed)
    proxy.wait_outcome("record_discarded", 5)
    device.send(b"and on")
    silent_backend.wait_for(b"and on")
    assert silent_backend.received() == [b"only once", b"and on"]


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_forged_record_changes_nothing(start_proxy, silent_backend, make_shim, make_device,
                                         version):
    proxy = start_proxy(silent_backend)
    shim = make_shim(proxy)
    device = make_device(shim, version=version).connect()
    device.send(b"first")
    silent_backend.wait_for(b"first")
    shim.settle()
    real = shim.to_gate()[-1].data
    sent = len(shim.to_device())
    for position in (10, 20, len(real) - 1):  # sequence number, ciphertext, tag
        forged = bytearray(real)
        forged[position] ^= 0x40
        shim.send_to_gate(bytes(forged))
    proxy.wait_outcome("record_discarded", 3)
    shim.settle()
    assert len(shim.to_device()) == sent, "a forged record is not answered"
    device.send(b"second")
    silent_backend.wait_for(b"second")
    assert silent_backend.received() == [b"first", b"second"]


def test_records_out_of_order_all_arrive(start_proxy, silent_backend, make_shim, make_device):
    held = []

    def swap(direction, _, data):
        if direction == "to gate" and data[0] == 23:
            held.append(data)
            return held[::-1] if len(held) == 4 else []
        return [data]
    proxy = start_proxy(silent_backend)
    device = make_device(make_shim(proxy, swap)).connect()
    for data in (b"a", b"b", b"c", b"d"):
        device.send(data)
    wait_until(lambda: len(silent_backend.arrivals) == 4, "four datagrams")
    assert silent_backend.received() == [b"d", b"c", b"b", b"a"]


def test_a_burst_arrives_whole_and_in_order(start_proxy, silent_backend, make_device):
    proxy = start_proxy(silent_backend)
    devices = [make_device(proxy, version=version).connect() for version in ("1.2", "1.3")]
    for device, prefix in zip(devices, (b"old ", b"new "), strict=True):
        device.burst(100, prefix)
        silent_backend.wait_for(prefix + b"99")
    assert silent_backend.received() == [
        prefix + b"%d" % number for prefix in (b"old ", b"new ") for number in range(100)]


def test_a_device_that_changes_its_keys(start_proxy, backend, make_shim, make_device):
    """DTLS 1.3. Each KeyUpdate is acknowledged, or the device would send no other, and answered by
    one, since the device asks for it."""
    proxy = start_proxy(backend)
    shim = make_shim(proxy)
    device = make_device(shim, version="1.3").connect()
    for number in range(5):
        device.update_keys()
        device.exchange(b"with keys %d" % number)
        device.exchange(b"and again")
    shim.settle()
    # The first byte of a ciphertext ends in two bits of its epoch (RFC 9147 section 4); 3 is that
    # of the first data.
    for datagrams in (shim.to_gate(), shim.to_device()):
        epochs = [s.data[0] & 3 for s in datagrams if s.data[0] >> 5 == 1]
        changes = [epoch for epoch, before in zip(epochs, [None, *epochs]) if epoch != before]
        assert changes[changes.index(3):] == [3, 0, 1, 2, 3, 0]
    assert proxy.handshakes("established") == 1 and proxy.sessions() == 1


def test_each_session_has_a_source_address_of_its_own(start_proxy, backend, make_device):
    proxy = start_proxy(backend)
    devices = [make_device(proxy).connect() for _ in range(10)]
    for turn in range(3):
        for number, device in enumerate(devices):
            device.exchange(b"turn %d of device %d" % (turn, number))
    sources = backend.sources()
    hosts = {ipaddress.ip_address(host) for host, _ in sources}
    assert len(sources) == 10 == len(hosts), "one address for each session, and always the same"
    assert all(host in ipaddress.ip_network("127.0.0.0/8") for host in hosts)
    assert not any(host in ipaddress.ip_network("127.0.0.0/16") for host in hosts)


def test_a_source_address_is_not_used_again_soon(start_proxy, backend, make_device):
    proxy = start_proxy(backend)
    device = make_device(proxy)
    for turn in range(20):
        device.connect().exchange(b"turn %d" % turn)
        device.close()
        assert device.recv() == "closed"
    assert len({host for host, _ in backend.sources()}) == 20
