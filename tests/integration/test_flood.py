"""A flood of ClientHellos from strangers, while established sessions go on."""

import threading

import records
from clients.device import flood


def test_sessions_lose_nothing_in_a_flood(make_proxy, backend, make_device):
    proxy = make_proxy(backend).start()
    device = make_device(proxy).connect()
    over = threading.Event()

    def strangers():
        while not over.is_set():
            flood(proxy.address, [records.client_hello(), records.client_hello_13()], 50_000,
                  sources=16)
    thread = threading.Thread(target=strangers)
    thread.start()
    try:
        for number in range(200):
            device.exchange(b"request %d" % number)
    finally:
        over.set()
        thread.join()
    assert proxy.counter("dtlsgate_client_kernel_drops_total") == 0
    proxy.wait_outcome("cookie_sent", 1000)
    make_device(proxy).connect().exchange(b"a new one")
