"""Names that docs/stability.md promises to keep: promised.txt has them, one a line, as they were at a release. One that
goes before the next MAJOR is a broken promise. At a release those that are new join:

    python3 tests/integration/test_promises.py >tests/integration/promised.txt
"""

import importlib.machinery
import importlib.util
import re
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CONTROL = REPOSITORY / "docs" / "control.md"
PROMISED = Path(__file__).with_name("promised.txt")


def gen_docs():
    loader = importlib.machinery.SourceFileLoader("gen_docs", str(REPOSITORY / "scripts" / "gen-docs"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("gen_docs", loader))
    loader.exec_module(module)
    return module


def names_now():
    docs = gen_docs()
    names = set()
    for section, settings in docs.read_settings().items():
        names |= {f"setting [{section}] {key}" for key, *_ in settings}
    names |= {f"setting [{section}] {key}" for key, section, _ in docs.removed_settings()}  # still known, with a warning
    # The table of metrics has each with its labels, and below it the values of labels.
    for block in re.split(r"\n\n(?=Values of )", docs.counters_block()):
        title = re.match(r"Values of `(\w+)`", block)
        kind = f"value of {title.group(1)}:" if title else "metric"
        names |= {f"{kind} {cell}" for cell in re.findall(r"(?m)^\| `([^`]+)` \|", block)}
    options, commands = docs.read_commands()
    for name, argument, members, _, _ in commands:
        words = " ".join([name, *([argument] if argument else [])])
        names |= {f"command {words}", *(f"command {name} {options[member][0]}" for member in members)}
    for program, source in (("dtlsgate", docs.MAIN), ("dtlsgate ctl", docs.CTL)):
        names |= {f"option {program} {flag}" for flags, _, _ in docs.options_of(source) for flag in flags}
    names |= {f"event {name}" for name in docs.first_cells(docs.EVENTS.read_text(), "### Events")}
    for heading in ("## What a session's answer says", "## What a failed handshake's answer says", "## What the gate says of itself"):
        section = CONTROL.read_text().split(f"\n{heading}\n")[1].split("\n## ")[0]
        cells = re.findall(r"(?m)^\| (`[^|]+) \|", section)
        names |= {f"member {name}" for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    return names


def test_what_was_promised_is_there():
    promised = set(PROMISED.read_text().splitlines())
    assert len(promised) > 200
    assert sorted(promised - names_now()) == []


def test_each_member_of_an_answer_is_explained():
    """In docs/control.md; the answer as a whole is made of the two that are left out."""
    code = (REPOSITORY / "proxy" / "run" / "report_json.c").read_text()
    set_in_code = set(re.findall(r'json_build_set\w*\([^;"]*"(\w+)"', code)) | set(re.findall(r'set_\w+\(&?object, "(\w+)"', code))
    explained = {name.removeprefix("member ") for name in names_now() if name.startswith("member ")}
    assert len(set_in_code) > 40
    assert sorted(set_in_code - explained) == ["gate", "listeners"]


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    print("\n".join(sorted(names_now())))
