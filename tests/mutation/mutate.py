#!/usr/bin/python3
"""Changes one thing at a time in the code that decides what may be sent to a device, and in the record layer, and
looks whether a unit test sees it. A change that none sees is a survivor. tests/MUTANTS.md has a row for each
survivor that is right to live, with the reason; any other fails the run, and so does a row that nothing needs.

  make build-tests                               first: the tests are those that were built
  tests/mutation/mutate.py                       all files whose survivors were looked at (scripts/release.d/40-mutation)
  tests/mutation/mutate.py proxy/wire/role.c     some files; others that can be asked for are in TESTS

The changed file is compiled with sanitizers, and linked in front of the library of build/release."""

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
BUILD = "build/release"
ROWS = TOP / "tests" / "MUTANTS.md"

RECORDS = ["test_record", "test_record12", "test_record13"]
ASSOCIATIONS = ["test_association", "test_association_messages", "test_association_epochs",
                "test_association_limits", "test_association_outgoing"]
RECORDS_12 = ["test_record12", "test_association", "test_association_limits", "test_association_outgoing", "test_role"]
RECORDS_13 = ["test_record13", "test_association_epochs", *ASSOCIATIONS]
# The tests that are to see a change, the likeliest first.
TESTS = {
    "proxy/wire/role.c": ["test_role"],
    "proxy/wire/record.c": RECORDS,
    "proxy/wire/record12.c": RECORDS_12,
    "proxy/wire/record13.c": RECORDS_13,
    "proxy/session/association.c": ASSOCIATIONS,
    "proxy/session/association_epochs.c": ["test_association_epochs", *ASSOCIATIONS],
    "proxy/session/association_messages.c": ["test_association_messages", *ASSOCIATIONS],
    "proxy/session/association_outgoing.c": ["test_association_outgoing", *ASSOCIATIONS],
    "proxy/session/association_rare.c": ASSOCIATIONS,
    "proxy/session/association_send.c": ASSOCIATIONS,
}

# Whose survivors were looked at, and have their rows.
JUDGED = ["proxy/wire/role.c", "proxy/wire/record.c", "proxy/wire/record12.c", "proxy/wire/record13.c"]

OPERATORS = {
    "<=": "<", ">=": ">", "==": "!=", "!=": "==", "&&": "||", "||": "&&", "<<": ">>", ">>": "<<", "++": "--",
    "+=": "-=", "-=": "+=", "|=": "&=", "&=": "|=", "^=": "|=", "<": "<=", ">": ">=", "+": "-", "-": "+",
    "&": "|", "|": "&", "^": "|", "true": "false", "false": "true",
}
# Operators stand between blanks here, which clang-format sees to; so a pointer's * and & are none.
_OPERATOR = re.compile(r"(?<= )(<=|>=|==|!=|&&|\|\||<<|>>|\+=|-=|\|=|&=|\^=|<|>|\+|-|&|\||\^)(?=[ \n])|\+\+|\b(?:true|false)\b")
_NUMBER = re.compile(r"(?<![\w.\"])(0x[0-9a-fA-F]+|[0-9]+)(?=[uUlL]*\b)")
_IF = re.compile(r"\b(?:if|while) \(")
_NOT = re.compile(r"!(?=[a-z(])")
_STATEMENT = re.compile(r"^ +(?!return|break|continue|case|default|goto|else|if|for|while|switch|static|const|struct|enum|"
                        r"bool |size_t |u?int\w* |uint8_t )[a-z*(][^;{}]*;$", re.M)
_HIDDEN = re.compile(r'/\*.*?\*/|"(?:[^"\\\n]|\\.)*"|^#.*?(?<!\\)$', re.S | re.M)


@dataclass(frozen=True)
class Mutant:
    path: str
    at: int
    end: int
    by: str
    line: int
    before: str  # the lines, as rows have them
    after: str


def closing(text, opening):
    depth = 0
    for at in range(opening, len(text)):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        if depth == 0:
            return at
    raise ValueError("a parenthesis is open")


def mutants_of(path):
    text = (TOP / path).read_text(encoding="utf-8")
    bare = _HIDDEN.sub(lambda match: re.sub(r"[^\n]", "~", match[0]), text)
    changes = []
    for match in _OPERATOR.finditer(bare):
        changes.append((match.start(), match.end(), OPERATORS[match[0]]))
    for match in _NUMBER.finditer(bare):
        changes.append((match.start(), match.end(), str(int(match[0], 0) + 1)))
    for match in _NOT.finditer(bare):
        changes.append((match.start(), match.end(), ""))
    for match in _IF.finditer(bare):
        begin = match.end() - 1
        end = closing(bare, begin) + 1
        changes.append((begin, end, f"(!{text[begin:end]})"))
    for match in _STATEMENT.finditer(bare):
        begin = match.start() + len(match[0]) - len(match[0].lstrip())
        changes.append((begin, match.end(), ";"))
    return [describe(path, text, *change) for change in sorted(changes)]


def describe(path, text, at, end, by):
    first = text.rfind("\n", 0, at) + 1
    last = text.find("\n", end)
    before, after = text[first:last], text[first:at] + by + text[end:last]
    return Mutant(path, at, end, by, text.count("\n", 0, at) + 1, " ".join(before.split()), " ".join(after.split()))


# --- compiling, linking, running ---------------------------------------------------------------------


class Build:
    def __init__(self, folder):
        self.folder = folder
        words = shlex.split((TOP / BUILD / "flags").read_text(encoding="utf-8"))
        self.compile = [words[0]] + [w for w in words[1:] if not w.startswith(("-W", "-O", "-g", "-fstack", "-D_FORTIFY"))]
        self.compile += ["-w", "-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover"]
        self.wolfssl = words[words.index("-isystem") + 1].removesuffix("/include")
        self.helpers = {path.with_suffix(".h"): TOP / BUILD / path.with_suffix(".o")
                        for path in (p.relative_to(TOP) for p in sorted(TOP.glob("tests/unit/*/*.c")))
                        if not path.name.startswith("test_")}
        makefile = (TOP / "Makefile").read_text(encoding="utf-8")
        calls = re.search(r"^NONCE_WATCH_CALLS := (.*?[^\\])$", makefile, re.S | re.M)[1].replace("\\\n", " ")
        libraries = re.search(r"^LIBS = \$\(WOLFSSL\)/(.*)$", makefile, re.M)[1].split()
        self.libraries = [f"{self.wolfssl}/{libraries[0]}", *libraries[1:], "-lcmocka"]
        self.wraps = [f"-Wl,--wrap={call}" for call in calls.split()]

    def link(self, test, mutant_object, program):
        [source] = TOP.glob(f"tests/unit/*/{test}.c")
        stem = TOP / BUILD / source.relative_to(TOP).with_suffix("")
        needs = set(stem.with_suffix(".d").read_text(encoding="utf-8").split())
        included = [str(found) for header, found in self.helpers.items() if str(header) in needs]
        wraps = self.wraps if any(one.endswith("/nonce_watch.o") for one in included) else []
        libraries = [f"{BUILD}/libdtlsgate.a", f"{BUILD}/libunit.a", f"{BUILD}/libdtlsgate.a"]
        return run_quietly([*self.compile, "-pie", "-o", program, stem.with_suffix(".o"), *included, mutant_object,
                            *libraries, *self.libraries, *wraps], 300)

    def fate(self, path, text, tests, limit_s, number):
        """killed by which test, "no program", or None: it lives."""
        source, built = self.folder / f"{number}.c", self.folder / f"{number}.o"
        program = self.folder / f"{number}"
        source.write_text(text, encoding="utf-8")
        try:
            if not run_quietly([*self.compile, f"-I{Path(path).parent}", "-c", "-o", built, source], 300):
                return "no program"
            for test in tests:
                if not self.link(test, built, program):
                    return "no program"
                if not run_quietly([program], limit_s):
                    return test
            return None
        finally:
            for made in (source, built, program):
                made.unlink(missing_ok=True)


def run_quietly(command, limit_s):
    try:
        return subprocess.run([str(word) for word in command], cwd=TOP, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              stdin=subprocess.DEVNULL, timeout=limit_s, check=False,
                              env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}).returncode == 0
    except subprocess.TimeoutExpired:
        return False


# --- the table -----------------------------------------------------------------------------------------


def rows():
    """{(file, before, after): reason}"""
    found, path = {}, None
    for line in ROWS.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            path = line[3:].strip()
        match = re.fullmatch(r"- `` (.*) `` -> `` (.*) ``: (.+)", line)
        if match:
            found[path, match[1], match[2]] = match[3]
        elif line.startswith("- "):
            raise SystemExit(f"mutate: a row of tests/MUTANTS.md cannot be read: {line}")
    return found


def key(mutant):
    return mutant.path, mutant.before, mutant.after


def row(mutant):
    return f"- `` {mutant.before} `` -> `` {mutant.after} ``"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", default=JUDGED, metavar="FILE")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--limit-s", type=float, default=60, help="a test that takes longer has seen the change")
    options = parser.parse_args()
    if unknown := set(options.files) - set(TESTS):
        parser.error(f"there are: {' '.join(TESTS)}; not {' '.join(unknown)}")
    known = rows()
    survivors, fates = [], Counter()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder, ThreadPoolExecutor(options.jobs) as pool:
        build = Build(Path(folder))
        for path in options.files:
            text, tests = (TOP / path).read_text(encoding="utf-8"), list(dict.fromkeys(TESTS[path]))
            if build.fate(path, text, tests, options.limit_s, "unchanged") is not None:
                raise SystemExit(f"mutate: {path} as it is does not pass {' '.join(tests)}")
            began, mutants, count = time.monotonic(), mutants_of(path), Counter()
            jobs = [pool.submit(build.fate, path, text[:m.at] + m.by + text[m.end:], tests, options.limit_s, number)
                    for number, m in enumerate(mutants)]
            for mutant, job in zip(mutants, jobs):
                fate = job.result()
                count["lives" if fate is None else "no program" if fate == "no program" else "seen"] += 1
                if fate is None:
                    survivors.append(mutant)
                    if key(mutant) not in known:
                        print(f"mutate: nobody sees {path}:{mutant.line}\n{row(mutant)}: ", file=sys.stderr, flush=True)
            fates += count
            print(f"  {path:40} {len(mutants):4} changes: {count['seen']} seen, {count['no program']} no program, "
                  f"{count['lives']} live; {time.monotonic() - began:.0f} s", flush=True)
    new = [m for m in survivors if key(m) not in known]
    idle = [one for one in known if one[0] in options.files and one not in {key(m) for m in survivors}]
    for path, before, after in idle:
        print(f"mutate: a test sees it now, its row can go: {path}: {before} -> {after}", file=sys.stderr)
    print(f"mutation: {fates['seen']} of {fates['seen'] + fates['lives']} changes are seen, {len(survivors) - len(new)} live "
          f"for a reason, {len(new)} without one")
    return 1 if new or idle else 0


if __name__ == "__main__":
    sys.exit(main())
