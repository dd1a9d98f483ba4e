"""Devices whose address changes while their session goes on: NATs that forget, roaming, sleep."""

import pytest

from environment import own_address

VERSIONS = pytest.mark.parametrize("version", ["1.2", "1.3"])


@VERSIONS
def test_a_device_that_moves_by_itself(start_proxy, backend, make_device, version):
    """To another port, then to another address; the backend does not notice."""
    proxy = start_proxy(backend)
    device = make_device(proxy, version=version, cid=b"").connect()
    device.exchange(b"from home")
    for host in (None, own_address()):
        device.rebind(host)
        device.exchange(b"from elsewhere")
        backend.send(backend.sources()[0], b"unasked for")
        assert device.recv() == b"unasked for"
    assert len(backend.sources()) == 1
    assert proxy.counter("dtlsgate_address_changes_total") == 2
    device.close()
    assert device.recv() == "closed"


@VERSIONS
def test_a_device_without_a_connection_id_has_no_session_elsewhere(
        start_proxy, silent_backend, make_device, version):
    proxy = start_proxy(silent_backend)
    device = make_device(proxy, version=version).connect()
    assert device.cid is None
    device.rebind()
    device.send(b"who is this")
    proxy.expect_client("no_session", 1)
    assert silent_backend.received() == []
    device.connect().send(b"begun anew")
    silent_backend.wait_for(b"begun anew")
