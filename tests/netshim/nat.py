"""The NAT: which outer address stands for which device, and when that is forgotten."""

import socket
from collections import deque
from dataclasses import dataclass

# Forgotten mappings keep their sockets for a while, so that what the gate still sends there is seen
# and nobody else gets the port.
FORGOTTEN_KEPT = 256


class Mapping:
    """A device's address outside: a socket of its own, connected to the gate."""

    def __init__(self, device, outer, now):
        self.device = device
        self.socket = outer
        self.address = outer.getsockname()[:2]
        self.used_at = now
        self.is_live = True


@dataclass(frozen=True)
class Move:
    """A device got another outer address. why: "rebound" on command, or "expired"."""
    at: float
    device: tuple
    old: tuple
    why: str


class Nat:
    """clock: seconds. on_open, on_close: told about each mapping's socket. The caller is one thread."""

    def __init__(self, gate, host, timeout_s, clock, on_open, on_close):
        self._gate = gate
        self._host = host
        self.timeout_s = timeout_s
        self._clock = clock
        self._on_open = on_open
        self._on_close = on_close
        self._mapping_of = {}
        self._host_of = {}  # devices that were given an outer host of their own
        self._forgotten = deque()
        self.moves = []

    def outward(self, device):
        """The mapping for a datagram of the device: the one it has, or a new one."""
        mapping = self._current(device)
        if mapping is None:
            mapping = self._open(device)
        mapping.used_at = self._clock()
        return mapping

    def inward(self, mapping):
        """Whether a datagram that came to a mapping's socket is let through to the device."""
        if self._current(mapping.device) is not mapping:
            return False
        mapping.used_at = self._clock()
        return True

    def rebind(self, device, host=None):
        """Another port for the device, and another outer host if one is given; the new mapping."""
        if host is not None:
            self._host_of[device] = host
        if device in self._mapping_of:
            self._forget(device, "rebound")
        return self._open(device)

    def devices(self):
        return list(self._mapping_of)

    def mapping(self, device):
        """The device's latest mapping, live or not."""
        return self._mapping_of[device]

    def close(self):
        for mapping in [*self._mapping_of.values(), *self._forgotten]:
            self._close(mapping)

    def _current(self, device):
        mapping = self._mapping_of.get(device)
        if mapping is None or not mapping.is_live:
            return None
        if self.timeout_s is not None and self._clock() - mapping.used_at >= self.timeout_s:
            self._forget(device, "expired")
            return None
        return mapping

    def _forget(self, device, why):
        mapping = self._mapping_of[device]
        if mapping.is_live:
            mapping.is_live = False
            self.moves.append(Move(self._clock(), device, mapping.address, why))

    def _open(self, device):
        family = socket.AF_INET6 if ":" in self._gate[0] else socket.AF_INET
        outer = socket.socket(family, socket.SOCK_DGRAM)
        outer.bind((self._host_of.get(device, self._host), 0))
        outer.connect(self._gate)
        old = self._mapping_of.get(device)
        if old is not None:
            self._forgotten.append(old)
        while len(self._forgotten) > FORGOTTEN_KEPT:
            self._close(self._forgotten.popleft())
        mapping = self._mapping_of[device] = Mapping(device, outer, self._clock())
        self._on_open(mapping)
        return mapping

    def _close(self, mapping):
        self._on_close(mapping)
        mapping.socket.close()
