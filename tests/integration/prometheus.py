"""Reads the Prometheus text format, strictly: what a scraper would refuse fails the test."""

import re

_SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"(?:,|$)')
_HISTOGRAM_SUFFIXES = ("_bucket", "_sum", "_count")


class Counters:
    """The samples of one scrape: {(name, ((label, value), ...)): number}."""

    def __init__(self, text):
        self.text = text
        self.samples = {}
        self.types = {}
        self.helped = set()
        for line in text.splitlines():
            self._read_line(line)

    def _read_line(self, line):
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ", 3)
            assert name not in self.types, f"two TYPE lines for {name}"
            self.types[name] = kind
        elif line.startswith("# HELP "):
            self.helped.add(line.split(" ", 3)[2])
        elif line and not line.startswith("#"):
            match = _SAMPLE.match(line)
            assert match, f"not a Prometheus sample: {line!r}"
            labels = _LABEL.findall(match[2] or "")
            rebuilt = ",".join(f'{name}="{value}"' for name, value in labels)
            assert rebuilt == (match[2] or ""), f"bad labels: {line!r}"
            key = (match[1], tuple(sorted(labels)))
            assert key not in self.samples, f"sample twice: {line!r}"
            self.samples[key] = float(match[3])
            assert self.family(match[1]) in self.types, f"no TYPE line before {line!r}"

    def family(self, name):
        for suffix in _HISTOGRAM_SUFFIXES:
            base = name.removesuffix(suffix)
            if name.endswith(suffix) and self.types.get(base) == "histogram":
                return base
        return name

    def select(self, name, /, **labels):
        """All samples of a name whose labels include the given ones: {labels dict as tuple: n}."""
        wanted = set(labels.items())
        return {key: value for (sample, key), value in self.samples.items()
                if sample == name and wanted <= set(key)}

    def get(self, name, /, **labels):
        """The sum of the samples of a name with these labels; 0 if there is none."""
        return sum(self.select(name, **labels).values())

    def has(self, name, /, **labels):
        return bool(self.select(name, **labels))


# Which counter says how many datagrams came in, and which must add up to it.
_ACCOUNTS = (
    ("dtlsgate_client_datagrams_received_total", "dtlsgate_client_datagrams_total"),
    ("dtlsgate_backend_datagrams_received_total", "dtlsgate_backend_datagrams_total"),
)


def check_accounts(counters):
    """Received datagrams = sum of outcomes: on the whole, and for each listener if told apart."""
    for received, outcomes in _ACCOUNTS:
        assert counters.has(received), f"no {received}"
        assert counters.get(received) == counters.get(outcomes), (
            f"{received} is {counters.get(received)}, its outcomes {counters.get(outcomes)}:\n"
            + "\n".join(f"{k} {v}" for k, v in counters.select(outcomes).items() if v))
        for labels, value in counters.select(received).items():
            if labels:
                assert value == counters.get(outcomes, **dict(labels)), f"{received}{labels}"
