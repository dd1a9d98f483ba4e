"""scripts/gen-docs --check finds documents that are stale, too long or lead nowhere: it is run on a copy of
what it reads, in which one thing is wrong."""

import re
import shutil
import subprocess

import pytest

from environment import REPOSITORY, TIME_FACTOR

READ = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "docs", "conf", "proxy", "scripts/gen-docs", "scripts/man_pages.py", "tests/bench",
        "tests/lwm2m", "tests/MUTANTS.md", "CHANGELOG.md", "LICENSE")


@pytest.fixture(name="copy")
def make_copy(tmp_path):
    for name in READ:
        there = tmp_path / name
        there.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (REPOSITORY / name).is_dir() else shutil.copy)(REPOSITORY / name, there)
    return tmp_path


def check(copy):
    return subprocess.run([copy / "scripts" / "gen-docs", "--check"], capture_output=True, text=True,
                          timeout=60 * TIME_FACTOR, check=False)


def test_the_documents_are_good(copy):
    result = check(copy)
    assert (result.returncode, result.stderr) == (0, "")


def replace(old, new):
    def change(text):
        assert old in text
        return text.replace(old, new, 1)
    return change


BROKEN = {
    "a table that was changed by hand": (
        "docs/configuration.md", replace("Threads; auto", "Threads, auto"), "tables are stale"),
    "a man page that was changed by hand": (
        "docs/man/dtlsgate.ini.5", replace("Threads; auto", "Threads, auto"), "dtlsgate.ini.5: the tables are stale"),
    "an option of the program that is not completed": (
        "proxy/main.c", replace("  -V, --version ", "  -V, --revision"), "dtlsgate.bash-completion: the tables are stale"),
    "a counter without its row": (
        "proxy/count/counters.def", lambda text: text + 'COUNTER(odd, "odd ones")\n', "tables are stale"),
    "a long README": (
        "README.md", lambda text: text + "more\n" * 200, "more than 200"),
    "a link to no file": (
        "docs/limits.md", replace("](behaviour.md#", "](behavior.md#"), "leads to no file"),
    "a link to no heading": (
        "docs/behaviour.md", replace("\n## Tombstones\n", "\n## Gravestones\n"), "#tombstones leads to no heading"),
    "a file that has gone": (
        "docs/architecture.md", replace("`wire/role.c`", "`wire/roll.c`"), "there is no proxy/wire/roll.c"),
    "an event that is not explained": (
        "docs/operations.md", lambda text: re.sub(r"\| `wrong_sender` \| warning.*\n", "", text),
        "event wrong_sender is not explained"),
    "an event that there is not": (
        "docs/operations.md", replace("| `single_worker` |", "| `lone_worker` |"), "there is no event lone_worker"),
    "a flaw that is not explained": (
        "docs/troubleshooting.md", replace("`it has expired`", "it has expired"),
        "flaw it has expired is not explained"),
    "a default that is another one": (
        "conf/dtlsgate.ini", replace(";mtu = 1280", ";mtu = 1281"), "the default of mtu is '1280'"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_fault_is_found(copy, what):
    name, change, complaint = BROKEN[what]
    file = copy / name
    file.write_text(change(file.read_text()))
    result = check(copy)
    assert result.returncode == 1
    assert complaint in result.stderr
