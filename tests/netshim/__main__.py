"""python3 tests/netshim: the middlebox as a program. See README.md."""

import argparse
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from netshim import TO_DEVICE, TO_GATE, Impairments, Netshim  # noqa: E402

# option, its unit, what it does; each takes N, or N/M: toward the gate / toward the device
NETWORK = (
    ("loss", "percent", "datagrams that vanish"),
    ("duplicate", "percent", "datagrams that come twice"),
    ("reorder", "percent", "datagrams that come after the next one"),
    ("corrupt", "percent", "datagrams with one bit turned"),
    ("delay", "ms", "time on the way"),
    ("jitter", "ms", "up to so much more of it"),
    ("mtu", "bytes", "longest UDP payload that comes through"),
)
FIELD_OF = {"delay": "delay_ms", "jitter": "jitter_ms", "mtu": "mtu_bytes"}
COMMANDS = "commands on stdin: rebind [HOST], stats, quit"


def read_address(text):
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def read_pair(text):
    """"30" is (30, 30), "30/0" is (30, 0)."""
    gate, _, device = text.partition("/")
    return float(gate), float(device or gate)


def parse(arguments):
    parser = argparse.ArgumentParser(
        prog="netshim", epilog=COMMANDS,
        description="A bad network and a NAT between DTLS devices and the gate.")
    parser.add_argument("--listen", type=read_address, default=("127.0.0.1", 5690),
                        metavar="ADDR:PORT", help="where devices send to (127.0.0.1:5690)")
    parser.add_argument("--gate", type=read_address, default=("127.0.0.1", 5684),
                        metavar="ADDR:PORT", help="where the gate listens (127.0.0.1:5684)")
    for name, unit, what in NETWORK:
        parser.add_argument(f"--{name}", type=read_pair, metavar="N[/M]", help=f"{what}, {unit}")
    parser.add_argument("--nat-timeout", type=float, metavar="SECONDS",
                        help="silence after which the NAT forgets a device")
    parser.add_argument("--seed", type=int, help="the same chances as another run")
    return parser.parse_args(arguments)


def impairments(options, way):
    given = {FIELD_OF.get(name, name): getattr(options, name)[way]
             for name, _, _ in NETWORK if getattr(options, name) is not None}
    return Impairments(**given)


def print_counts(shim):
    for way in (TO_GATE, TO_DEVICE):
        datagrams = [seen for seen in shim.seen if seen.direction == way]
        counts = Counter(what for seen in datagrams for what in seen.happened)
        print(f"{way}: {len(datagrams)} datagrams",
              *(f"{name}={count}" for name, count in sorted(counts.items())), flush=True)


def obey(shim, line):
    words = line.split()
    if not words:
        return
    if words[0] == "rebind" and len(words) <= 2:
        for device in sorted({seen.device for seen in shim.seen}):
            try:
                print("rebound", device, "to", shim.rebind(device, *words[1:]), flush=True)
            except OSError as error:
                print(error, file=sys.stderr)
    elif words == ["stats"]:
        print_counts(shim)
    else:
        print(COMMANDS, file=sys.stderr)


def main():
    options = parse(sys.argv[1:])
    shim = Netshim(options.gate, options.listen, to_gate=impairments(options, 0),
                   to_device=impairments(options, 1), nat_timeout_s=options.nat_timeout,
                   seed=options.seed)
    print(f"devices may send to {shim.text}, seed {shim.seed}; {COMMANDS}", flush=True)
    try:
        for line in sys.stdin:
            if line.strip() == "quit":
                break
            obey(shim, line)
    except KeyboardInterrupt:
        pass
    print_counts(shim)
    shim.close()


if __name__ == "__main__":
    main()
