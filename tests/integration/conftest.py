"""Fixtures: each makes things on demand and ends them, checks included, when the test is over."""

import platform
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

import records  # noqa: E402
from backend import Backend, CoapServer, echo  # noqa: E402
from clients.device import Device  # noqa: E402
from environment import DEVICE, GATE, MBEDTLS_CLIENT, own_address  # noqa: E402
from keys import Keys  # noqa: E402
from netshim import Netshim  # noqa: E402
from proxy import Proxy  # noqa: E402
from stopped_thread import StoppedThread, find_thread  # noqa: E402

# The devices of most tests.
IDENTITY, KEY = "device1", "00112233445566778899aabbccddeeff"
IDENTITY_2, KEY_2 = "device2", "ffeeddccbbaa99887766554433221100"

# The system call that ends a worker's batch, by machine.
SENDMMSG = {"x86_64": 307, "aarch64": 269}


def pytest_configure():
    missing = [str(path) for path in (GATE, DEVICE, MBEDTLS_CLIENT) if not path.exists()]
    if missing:
        raise pytest.UsageError(f"not built: {', '.join(missing)} (run: make integration)")


@pytest.fixture(scope="session")
def keys(tmp_path_factory):
    return Keys(tmp_path_factory.mktemp("keys"))


class _Closing:
    """Closes what it made, last first; the first failure of a close fails the test."""

    def __init__(self):
        self._ends = []

    def add(self, thing, end):
        self._ends.append(end)
        return thing

    def finish(self):
        failure = None
        for end in reversed(self._ends):
            try:
                end()
            except Exception as error:  # the others must be closed all the same
                failure = failure or error
        if failure:
            raise failure


@pytest.fixture
def closing():
    made = _Closing()
    yield made
    made.finish()


@pytest.fixture
def make_backend(closing):
    def make(answer=echo, address=None):
        backend = Backend(answer, address)
        return closing.add(backend, backend.close)
    return make


@pytest.fixture
def backend(make_backend):
    """A backend that echoes."""
    return make_backend()


@pytest.fixture
def silent_backend(make_backend):
    """A backend that says nothing by itself."""
    return make_backend(answer=None)


@pytest.fixture
def coap_server(tmp_path, closing):
    server = CoapServer(tmp_path)
    return closing.add(server, server.close)


@pytest.fixture
def make_proxy(tmp_path, closing):
    """make_proxy(backend, ...) writes the configuration; the arguments are those of Proxy."""
    def make(backend, *, psk=..., **settings):
        if psk is ...:
            psk = {IDENTITY: KEY, IDENTITY_2: KEY_2}
        folder = tmp_path / f"gate{len(closing._ends)}"
        folder.mkdir()
        proxy = Proxy(folder, backend, psk=psk, **settings)
        closing.add(proxy, proxy.check_log_lines)  # last of all, also if a test has ended it itself
        return closing.add(proxy, proxy.stop)
    return make


@pytest.fixture
def start_proxy(make_proxy):
    """The same, started."""
    def start(backend, **settings):
        return make_proxy(backend, **settings).start()
    return start


@pytest.fixture
def make_device(closing):
    """A device; with the key of device1 unless it is given a certificate or another key."""
    def make(address, *, psk=None, pair=None, **settings):
        if psk is None and pair is None and not settings.pop("anonymous", False):
            psk = (IDENTITY, KEY)
        device = Device(getattr(address, "address", address), psk=psk, pair=pair, **settings)
        return closing.add(device, device.quit)
    return make


@pytest.fixture
def make_shim(closing):
    """A network and a NAT in front of a gate; the arguments are those of Netshim. Whatever passes
    there is checked at the end."""
    def make(proxy, pick=None, **settings):
        shim = Netshim(proxy.address, (own_address(), 5684), pick=pick, **settings)

        def close():
            shim.close()
            bad = [s for s in shim.to_device() if records.is_forbidden_toward_device(s.data)]
            assert not bad, f"the gate sent a ClientHello or HelloRequest to a device: {bad}"
        return closing.add(shim, close)
    return make


@pytest.fixture
def stop_worker(closing):
    """stop_worker(proxy, n, device): worker n stops, with a device in the middle of its batch."""
    def stop(proxy, worker, device=None):
        tid = find_thread(proxy.process.pid, f"worker-{worker}")
        try:
            if device:
                stopped = StoppedThread(tid, within=[SENDMMSG[platform.machine()]],
                                        cause=lambda: device.send(b"hold"))
            else:
                stopped = StoppedThread(tid)
        except PermissionError as error:
            pytest.skip(f"cannot stop a thread here: {error}")
        return closing.add(stopped, stopped.resume)
    return stop


@pytest.fixture
def client(closing):
    """client(program) registers a running client program, so that it ends with the test."""
    def register(program):
        return closing.add(program, program.kill)
    return register
