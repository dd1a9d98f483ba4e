"""scripts/check-includes finds each kind of violation in a small tree, and nothing in a good one."""

import os
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "check-includes"

GOOD = {
    "main.c": '#include "run/run.h"\nint main(void) { return run(); }\n',
    "run/run.h": "int run(void);\n",
    "run/run.c": '#include "run/run.h"\n#include "creds/creds.h"\nint run(void) { return creds() + creds_part(); }\n',
    "creds/creds.h": "int creds(void);\nint creds_part(void);\n",
    "creds/creds.c": '#include "creds/creds.h"\n#include "base/slab.h"\nint creds(void) { return slab; }\n',
    "creds/part.c": "int creds_part(void) { return 1; }\n",
    "base/slab.h": "extern int slab;\n",
    "base/slab.c": '#include "base/slab.h"\nint slab = 1;\n',
}


def unseen(header):
    """A line that the script reads and the compiler does not."""
    return f"#if 0\n#include <{header}>\n#endif\n"


@pytest.fixture
def check(tmp_path, monkeypatch, capsys):
    """check(files) adds the files to GOOD, compiles and checks all; returns what the script said: "" if
    nothing is wrong. exceptions and parts take the place of the script's own."""
    def run(files, exceptions=(), parts=(), age_s=0):
        sources, objects = tmp_path / "proxy", tmp_path / "objects"
        for name, text in {**GOOD, **files}.items():
            (sources / name).parent.mkdir(parents=True, exist_ok=True)
            (sources / name).write_text(text)
        for source in sources.rglob("*.c"):
            made = (objects / source.relative_to(sources)).with_suffix(".o")
            made.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cc", "-c", f"-I{sources}", "-o", made, source], check=True)
            if age_s:
                os.utime(made, (source.stat().st_mtime - age_s,) * 2)
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        loader = SourceFileLoader("check_includes", str(SCRIPT))
        script = module_from_spec(spec_from_loader("check_includes", loader))
        loader.exec_module(script)
        script.EXCEPTIONS = {edge: "why" for edge in exceptions}
        script.PARTS = {part: (whole, "why") for part, whole in parts}
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(sources), str(objects)])
        capsys.readouterr()
        try:
            script.main()
        except SystemExit as end:
            return capsys.readouterr().err + str(end.code)
        return ""
    return run


def test_a_good_tree_is_good(check):
    assert check({}) == ""


# what is wrong: (files, words that must be said)
WRONG = {
    "an include upward": (
        {"base/slab.c": '#include "run/run.h"\nint slab = 1;\n'},
        ['base/slab.c:1 includes "run/run.h": base/slab uses run/run, which is no lower floor']),
    "a call upward": (
        {"base/slab.c": "int run(void);\nint slab = 1;\nint up(void);\nint up(void) { return run(); }\n"},
        ["base/slab.c calls run of run/run.c: base/slab uses run/run, which is no lower floor"]),
    "a table of a higher floor": (
        {"base/slab.c": "extern int table;\nint slab = 1;\nint up(void);\nint up(void) { return table; }\n",
         "wire/table.c": "int table = 1;\n"},
        ["base/slab.c calls table of wire/table.c"]),
    "folders of one floor": (
        {"backend/backend.c": '#include "creds/creds.h"\nint backend = 1;\n'},
        ["backend/backend uses creds/creds, which is no lower floor"]),
    "a circle of includes": (
        {"wire/a.h": '#ifndef A\n#define A\n#include "wire/b.h"\n#endif\n',
         "wire/b.h": '#ifndef B\n#define B\n#include "wire/a.h"\n#endif\n'},
        ["a circle of wire/a, wire/b:", 'wire/a.h:3 includes "wire/b.h"', 'wire/b.h:3 includes "wire/a.h"']),
    "a circle of calls": (
        {"wire/a.c": "int b(void);\nint a(void);\nint a(void) { return b(); }\n",
         "wire/b.c": "int c(void);\nint b(void);\nint b(void) { return c(); }\n",
         "wire/c.c": "int a(void);\nint c(void);\nint c(void) { return a(); }\n"},
        ["a circle of wire/a, wire/b, wire/c:", "wire/a.c calls b of wire/b.c",
         "wire/b.c calls c of wire/c.c", "wire/c.c calls a of wire/a.c"]),
    "a circle of an include and a call": (
        {"wire/a.h": "enum { A = 1 };\n",
         "wire/a.c": "int b(void);\nint a(void);\nint a(void) { return b(); }\n",
         "wire/b.c": '#include "wire/a.h"\nint b(void);\nint b(void) { return A; }\n'},
        ["a circle of wire/a, wire/b:", "wire/a.c calls b", 'wire/b.c:1 includes "wire/a.h"']),
    "an unknown folder": ({"attic/old.c": "int old = 1;\n"}, ["attic/old.c: its folder is not in the table"]),
    "TLS in the records": ({"wire/a.c": unseen("wolfssl/ssl.h") + "int a = 1;\n"},
                           ["wire/a.c:2: <wolfssl/ssl.h> may appear in creds/, handshake/ only"]),
    "the library's inside in a session": (
        {"session/session.c": unseen("wolfssl/internal.h") + "int a = 1;\n"},
        ["session/session.c:2: <wolfssl/internal.h> may appear in creds/, handshake/ only"]),
    "AEAD in a handshake": (
        {"handshake/flight.c": unseen("wolfssl/wolfcrypt/aes.h") + "int a = 1;\n"},
        ["handshake/flight.c:2: <wolfssl/wolfcrypt/aes.h> may appear in handshake/ticket, wire/ only"]),
    "cryptography that nobody owns": (
        {"wire/a.c": unseen("wolfssl/wolfcrypt/des3.h") + "int a = 1;\n"},
        ["<wolfssl/wolfcrypt/des3.h> may appear in no file only"]),
    "the library in a header": ({"creds/creds.h": GOOD["creds/creds.h"] + unseen("wolfssl/ssl.h")},
                                ["creds/creds.h:4: <wolfssl/ssl.h> may not appear in a header"]),
    "another library": ({"creds/creds.c": GOOD["creds/creds.c"] + unseen("ev.h")},
                        ["libev's header may appear in run/control, run/gate, run/main_loop, run/signals, run/upgrade, run/upgrade_check, worker/ only"]),
    "batches of datagrams": ({"base/slab.h": GOOD["base/slab.h"] + "struct mmsghdr;\n"},
                             ["base/slab.h:2: struct mmsghdr may appear in net/udp only"]),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_violation(check, what):
    files, words = WRONG[what]
    said = check(files)
    assert all(word in said for word in words), said
    assert said.endswith("check-includes: 1 violations"), said


@pytest.mark.parametrize("library", ["wolfssl/ssl.h", "wolfssl/options.h", "wolfssl/wolfcrypt/asn.h"])
def test_an_owner_may_include_it(check, library):
    assert check({"creds/creds.c": GOOD["creds/creds.c"] + unseen(library)}) == ""


def test_what_a_comment_says_is_no_include(check):
    assert check({"base/slab.c": '/*\n#include "run/run.h"\n*/\nint slab = 1;\n'}) == ""


def test_a_known_exception(check):
    upward = {"base/slab.c": '#include "run/run.h"\nint slab = 1;\n'}
    circle = {"wire/a.c": "int b(void);\nint a(void);\nint a(void) { return b(); }\n",
              "wire/b.c": "int a(void);\nint b(void);\nint b(void) { return a(); }\n"}
    assert check(upward, exceptions=[("base/slab", "run/run")]) == ""
    assert "no lower floor" in check(upward, exceptions=[("base/slab", "main")])
    assert check(circle, exceptions=[("wire/*", "wire/*")]) == ""
    assert check(circle, exceptions=[("wire/b", "wire/a")]) == ""


def test_an_exception_that_nothing_needs(check):
    assert "the exception main -> run/run is not needed" in check({}, exceptions=[("main", "run/run")])
    assert "the exception wire/* -> wire/* is not needed" in check({}, exceptions=[("wire/*", "wire/*")])


def test_parts_of_one_module(check):
    """They may include each other's headers, but not call in a circle."""
    circle = {"wire/a.h": "enum { A = 1 };\n",
              "wire/a.c": "int b(void);\nint a(void);\nint a(void) { return b(); }\n",
              "wire/a_part.c": '#include "wire/a.h"\nint b(void);\nint b(void) { return A; }\n'}
    assert "a circle of wire/a, wire/a_part" in check(circle)
    assert check(circle, parts=[("wire/a_part", "wire/a")]) == ""
    assert check(circle, parts=[("wire/a_*", "wire/a")]) == ""
    assert "creds/part need not be a part of creds/creds" in check(
        circle, parts=[("wire/a_*", "wire/a"), ("creds/part", "creds/creds")])
    circle["wire/a_part.c"] = "int a(void);\nint b(void);\nint b(void) { return a(); }\n"
    said = check(circle, parts=[("wire/a_*", "wire/a")])
    assert "a circle of wire/a, wire/a_part:" in said and "wire/a_part.c calls a of wire/a.c" in said
    upward = {"wire/a_part.c": "int b(void);\nint run(void);\nint b(void) { return run(); }\n"}
    assert "wire/a uses run/run" in check({**circle, **upward}, parts=[("wire/a_*", "wire/a")])


def test_objects_that_are_old_prove_nothing(check):
    assert "is missing or older than" in check({}, age_s=10)
