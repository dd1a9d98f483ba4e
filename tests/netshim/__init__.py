"""A UDP middlebox for tests: a bad network and a NAT between devices and the gate. See README.md."""

from .impairments import Impairments
from .shim import TO_DEVICE, TO_GATE, Netshim

__all__ = ["Impairments", "Netshim", "TO_DEVICE", "TO_GATE"]
