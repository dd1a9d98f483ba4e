"""Plaintext servers behind the gate: one that a test drives by hand, and a real CoAP server."""

import select
import socket
import subprocess
import threading
import time
from dataclasses import dataclass

from environment import own_address, wait_until


@dataclass(frozen=True)
class Arrival:
    at: float
    source: tuple
    data: bytes


class Backend:
    """A UDP socket that records what comes and says what a test tells it to.

    answer: None, or a function of the datagram that returns the bytes to send back (or None).
    """

    def __init__(self, answer=None, address=None):
        self.answer = answer
        self.arrivals = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._socket.bind(address or (own_address(), 5683))
        self._socket.settimeout(0.02)
        self.address = self._socket.getsockname()
        self.text = "%s:%d" % self.address
        self._stopping = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._stopping:
            try:
                data, source = self._socket.recvfrom(65535)
            except TimeoutError:
                continue
            except ConnectionRefusedError:
                continue
            except OSError:
                return
            self.arrivals.append(Arrival(time.monotonic(), source, data))
            reply = self.answer(data) if self.answer else None
            if reply is not None:
                self.send(source, reply)

    def send(self, to, data):
        self._socket.sendto(data, to)

    def received(self):
        return [arrival.data for arrival in self.arrivals]

    def sources(self):
        """The distinct source addresses in the order of their first datagram."""
        return list(dict.fromkeys(arrival.source for arrival in self.arrivals))

    def wait_for(self, data, timeout_s=5.0):
        """Waits until a datagram with exactly these bytes came; returns its latest arrival."""
        def found():
            return next((a for a in reversed(self.arrivals) if a.data == data), None)
        return wait_until(found, f"datagram {data[:40]!r} at the backend", timeout_s)

    def wait_arrival(self, number, timeout_s=5.0):
        """Waits until that many datagrams came, and returns the last of them."""
        wait_until(lambda: len(self.arrivals) >= number, f"{number} datagrams at the backend",
                   timeout_s)
        return self.arrivals[number - 1]

    def close(self):
        self._stopping = True
        self._thread.join()
        self._socket.close()


def echo(data):
    return data


class CoapServer:
    """libcoap's server without DTLS. options: more words of its command line."""

    def __init__(self, folder, *options):
        self.host = own_address()
        self.text = f"{self.host}:5683"
        self._log = open(folder / "coap-server.log", "wb")
        self._process = subprocess.Popen(
            ["coap-server-notls", "-A", self.host, "-p", "5683", "-d", "10", "-v", "7",
             *options],
            stdout=self._log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        wait_until(self._answers_ping, "an answer of coap-server-notls")

    def _answers_ping(self):
        assert self._process.poll() is None, "coap-server-notls ended"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((self.host, 5683))
            try:
                probe.send(b"\x40\x00\x12\x34")  # an empty confirmable message asks for a reset
                readable, _, _ = select.select([probe], [], [], 0.1)
                return bool(readable) and probe.recv(64)[:2] == b"\x70\x00"
            except ConnectionRefusedError:
                return False

    def close(self):
        self._process.terminate()
        self._process.wait(timeout=5)
        self._log.close()
