"""What a bad network does to a datagram. Pure: chance is the only thing it asks."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Copy:
    """A datagram that leaves the network: after delay_s; if overtaken, behind the next one."""
    data: bytes
    delay_s: float = 0.0
    overtaken: bool = False


@dataclass(frozen=True)
class Impairments:
    """One direction. loss, duplicate, reorder and corrupt are chances in percent, each datagram's own."""
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0  # comes after the datagram that was sent next
    corrupt: float = 0.0  # one bit is turned
    delay_ms: float = 0.0
    jitter_ms: float = 0.0  # up to so much is added to the delay, each time another amount
    mtu_bytes: int | None = None  # longer datagrams (UDP payload) vanish without a word

    def __post_init__(self):
        for name in ("loss", "duplicate", "reorder", "corrupt"):
            if not 0 <= getattr(self, name) <= 100:
                raise ValueError(f"{name} is a chance from 0 to 100 percent")
        if self.delay_ms < 0 or self.jitter_ms < 0:
            raise ValueError("a delay is 0 ms or more")

    def apply(self, data, chance):
        """(what happened, [Copy, ...]) for one datagram; chance: a random.Random.

        Each datagram draws the same number of times, whatever the settings: with one seed the
        same datagrams are lost, however much the network delays.
        """
        lost, doubled, overtaken, damaged = (100 * chance.random() < percent for percent in (
            self.loss, self.duplicate, self.reorder, self.corrupt))
        bit = chance.randrange(1 << 20)
        delays = [(self.delay_ms + self.jitter_ms * chance.random()) / 1000 for _ in range(2)]
        if self.mtu_bytes is not None and len(data) > self.mtu_bytes:
            return ["too_large"], []
        if lost:
            return ["lost"], []
        happened = []
        if damaged and data:
            happened.append("corrupted")
            data = _turn_bit(data, bit % (8 * len(data)))
        if overtaken:
            happened.append("reordered")
        copies = [Copy(data, delays[0], overtaken)]
        if doubled:
            happened.append("duplicated")
            copies.append(Copy(data, delays[1]))
        return happened, copies


def _turn_bit(data, bit):
    turned = bytearray(data)
    turned[bit // 8] ^= 1 << bit % 8
    return bytes(turned)
