"""A real LwM2M server and device on libcoap (tests/lwm2m/), and the trace that began this project: the device
deregisters and closes at once, and the server answers the deregistration later."""

import pytest

from clients.program import Program
from conftest import IDENTITY
from environment import BUILD, TIME_FACTOR, own_address
from netshim import TO_DEVICE, TO_GATE
from records import ALERT, split

SERVER, DEVICE = BUILD / "tests" / "lwm2m-server", BUILD / "tests" / "lwm2m-device"
KEY_TEXT = "0123456789abcdef"
DELAY_MS = 300 * TIME_FACTOR

pytestmark = pytest.mark.skipif(not SERVER.exists() or not DEVICE.exists(),
                                reason="not built: libcoap3-dev is not installed (scripts/install-packages lwm2m)")


class Lwm2mServer(Program):
    READY = "listening"

    def __init__(self):
        self.host = own_address()
        self.text = f"{self.host}:5683"
        super().__init__([SERVER, self.host, 5683, DELAY_MS])


class Lwm2mDevice(Program):
    def __init__(self, address):
        super().__init__([DEVICE, *address, IDENTITY, KEY_TEXT])


@pytest.fixture
def server(client):
    return client(Lwm2mServer()).wait_ready()


@pytest.fixture
def proxy(start_proxy, server):
    return start_proxy(server, psk={IDENTITY: KEY_TEXT.encode().hex()})


def lines_in_order(output, *wanted):
    """Whether these beginnings of lines are in the output in this order, others between them."""
    lines = iter(output.splitlines())
    return all(any(line.startswith(begin) for line in lines) for begin in wanted)


def test_a_device_registers_deregisters_and_closes_at_once(proxy, server, client, make_shim):
    shim = make_shim(proxy)
    device = client(Lwm2mDevice(shim.address))
    status, output = device.wait_end(30)
    assert status == 0, output
    assert lines_in_order(output, "registered /rd/1", "notifies /3303/0/5700 21.5",
                          "notifies /3303/0/5700 22.5", "updated /rd/1",
                          "deregistered /rd/1, and closed at once"), output
    assert "read /3/0/0\n" in output and "observed /3303/0/5700 20.5\n" in output, output

    server.expect("deregistered /rd/1, answering after", timeout_s=10)
    proxy.wait_late("closed_by_client")
    shim.settle()
    assert proxy.closed("closed_by_client") == 1 and proxy.sessions() == 0
    assert proxy.late_total() == proxy.late("closed_by_client") == proxy.backend_outcome("late")
    seen = server.output.decode()
    assert lines_in_order(seen, "registered /rd/1 from 127.", "updated /rd/1 lt=600", "deregistered /rd/1"), seen
    assert lines_in_order(seen, "read /3/0/0 2.05 Example Maker"), seen
    assert lines_in_order(seen, *(f"notified /3303/0/5700 2.05 2{n}.5" for n in range(3))), seen

    # After the device's close_notify: the gate's, and nothing else.
    passed = [(each.direction, split(each.data)[-1].kind) for each in shim.seen]
    assert passed[-2:] == [(TO_GATE, ALERT), (TO_DEVICE, ALERT)], passed
    assert [kind for _, kind in passed].count(ALERT) == 2, passed
