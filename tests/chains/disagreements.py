"""DISAGREEMENTS.md as rows, and what they mean for a case."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

TABLE = Path(__file__).resolve().parent / "DISAGREEMENTS.md"
WORDS = {"accepts": True, "refuses": False}


@dataclass(frozen=True)
class Row:
    chain: str
    judges: tuple  # of bool: OpenSSL, GnuTLS
    gate: bool
    why: str

    def fits(self, case):
        return any(fnmatchcase(what, self.chain) for what in (case.name, *case.tags))


def read(text=None):
    rows = []
    for line in (TABLE.read_text() if text is None else text).splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("| `"):
            assert len(cells) == 5, f"not five cells: {line}"
            assert len(cells[4].split()) >= 2, f"does not say why: {line}"
            rows.append(Row(cells[0].strip("`"), (WORDS[cells[1]], WORDS[cells[2]]), WORDS[cells[3]], cells[4]))
    keys = [(row.chain, row.judges) for row in rows]
    assert len(set(keys)) == len(keys), "a row stands twice"
    return rows


def expected(rows, case, judges):
    """(what the gate must say, rows that are needed for it); what the gate must say is None if a row is missing.

    judges: the verdicts as two bools. A chain may have several things of which the table speaks; where they meet, one
    that makes the gate refuse is enough."""
    fitting = [row for row in rows if row.fits(case)]
    needed = [row for row in fitting if row.judges == judges]
    if needed:
        return all(row.gate for row in fitting), needed
    return (judges[0] if judges[0] == judges[1] else None), []


def unused(rows, needed):
    return [row.chain for row in rows if row not in needed]
