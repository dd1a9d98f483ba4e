"""A strict reader of log lines, in both forms. It takes what every reader of logfmt and of JSON takes,
and nothing else: a line that is read here can be read anywhere.

logfmt: KEY=VALUE, one space between two. A value is printable ASCII without space, quotes, = and
backslash; or it stands in double quotes, in UTF-8, with the escapes of JSON. JSON: one object a line.
"""

import json
import re
from pathlib import Path

LEVELS = ("error", "warning", "info", "debug")

_KEY = r"[a-z][a-z0-9_]*"
_BARE = r"""[!#-&(-<>-\[\]-~]+"""
_ESCAPE = r'\\(?:["\\nrt]|u[0-9a-f]{4})'
_HIDDEN = "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"
_QUOTED = rf'"(?:[^"\\{_HIDDEN}]|{_ESCAPE})*"'
_FIELD = re.compile(rf"({_KEY})=({_QUOTED}|{_BARE})")
_TIME = re.compile(r"20\d\d-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-6]\d\.\d{3}Z")


def _read_logfmt(line):
    pairs, at = [], 0
    while True:
        field = _FIELD.match(line, at)
        assert field, f"not logfmt at {at}: {line!r}"
        key, value = field.groups()
        pairs.append((key, json.loads(value) if value.startswith('"') else value))
        at = field.end()
        if at == len(line):
            return pairs
        assert line[at] == " ", f"not logfmt at {at}: {line!r}"
        at += 1


def _no_constant(name):
    raise AssertionError(f"{name} is no JSON")


def _read_json(line):
    assert not re.search(f"[{_HIDDEN}]", line), f"a character that hides the line: {line!r}"
    pairs = json.loads(line, object_pairs_hook=lambda pairs: pairs, parse_constant=_no_constant)
    assert isinstance(pairs, list) and line[0] + line[-1] == "{}", f"no object: {line!r}"
    for key, value in pairs:
        assert re.fullmatch(_KEY, key), f"the key {key!r}: {line!r}"
        assert isinstance(value, (str, int, float)), f"{key} is neither text nor number: {line!r}"
    return pairs


def read_line(line):
    """One line, bytes or text without its end, as a dict; asserts that it is as it must be."""
    if isinstance(line, bytes):
        line = line.decode()
    pairs = _read_json(line) if line.startswith("{") else _read_logfmt(line)
    fields = dict(pairs)
    assert len(fields) == len(pairs), f"a key stands there twice: {line!r}"
    assert [key for key, _ in pairs[:3]] == ["time", "level", "event"], line
    assert _TIME.fullmatch(fields["time"]) and fields["level"] in LEVELS, line
    return fields


def split_lines(content):
    """The lines of bytes that were written: each one has an end, and only that ends it."""
    assert not content or content.endswith(b"\n"), f"no whole line: {content[-200:]!r}"
    return content.split(b"\n")[:-1]


def read_journal_line(line):
    """The same behind its priority, as it goes to the journal."""
    priority, rest = line[:3], line[3:]
    fields = read_line(rest)
    assert priority == b"<%d>" % {"error": 3, "warning": 4, "info": 6, "debug": 7}[fields["level"]], line
    return fields


def read_log(path, is_journal=False):
    """All lines of a file as dicts."""
    read = read_journal_line if is_journal else read_line
    return [read(line) for line in split_lines(Path(path).read_bytes())]


def check_lines_of(text):
    """What a program wrote to stderr beside other things: what begins as a log line is one."""
    for line in text.split("\n"):
        if line.startswith(("time=", '{"time":')):
            read_line(line)
