"""make install, uninstall and dist, the man pages, the completion of bash, release notes."""

import gzip
import os
import re
import shutil
import subprocess
import tarfile

import pytest

from environment import BUILD, GATE, REPOSITORY, TIME_FACTOR

PREFIX = "/opt/gate"
COMPLETION = REPOSITORY / "conf" / "dtlsgate.bash-completion"
PAGES = sorted((REPOSITORY / "docs" / "man").iterdir())
IS_REPOSITORY = (REPOSITORY / ".git").exists() and shutil.which("git")


def run(*words, cwd=REPOSITORY, **options):
    return subprocess.run(words, capture_output=True, text=True, timeout=120 * TIME_FACTOR, check=False,
                          cwd=cwd, **options)


def make(*words):
    result = run("make", "--no-print-directory", f"BUILD={BUILD.name}", *words)
    assert result.returncode == 0, result.stderr
    return result.stdout


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


# --- install ---


@pytest.fixture(name="root", scope="module")
def make_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    make("install", f"DESTDIR={root}", f"PREFIX={PREFIX}")
    return root


def test_what_install_puts_there(root):
    assert files(root / PREFIX[1:]) == [
        "bin/dtlsgate", "lib/systemd/system/dtlsgate.service", "share/bash-completion/completions/dtlsgate",
        "share/doc/dtlsgate/LICENSE", "share/doc/dtlsgate/dtlsgate.ini", "share/dtlsgate/grafana/dtlsgate.json",
        "share/dtlsgate/prometheus/rules.yml", "share/man/man5/dtlsgate.ini.5",
        "share/man/man8/dtlsgate-ctl.8", "share/man/man8/dtlsgate.8"]
    assert files(root) == [f"{PREFIX[1:]}/{name}" for name in files(root / PREFIX[1:])]
    modes = {path.stat().st_mode & 0o7777 for path in root.rglob("*") if path.is_file()}
    assert modes == {0o755, 0o644}
    unit = (root / PREFIX[1:] / "lib/systemd/system/dtlsgate.service").read_text()
    assert f"ExecStart={PREFIX}/bin/dtlsgate " in unit and f"ExecReload={PREFIX}/bin/dtlsgate " in unit


def test_uninstall_takes_away_that_and_nothing_else(tmp_path):
    make("install", f"DESTDIR={tmp_path}", f"PREFIX={PREFIX}")
    others = [tmp_path / PREFIX[1:] / name for name in ("bin/other", "share/man/man8/other.8", "etc/dtlsgate.ini")]
    for other in others:
        other.parent.mkdir(parents=True, exist_ok=True)
        other.write_text("of somebody else\n")
    make("uninstall", f"DESTDIR={tmp_path}", f"PREFIX={PREFIX}")
    assert files(tmp_path) == sorted(str(other.relative_to(tmp_path)) for other in others)
    for folder in ("share/doc/dtlsgate", "share/dtlsgate"):
        assert not (tmp_path / PREFIX[1:] / folder).exists()
    make("uninstall", f"DESTDIR={tmp_path}", f"PREFIX={PREFIX}")  # nothing is there any more


# --- man pages ---


@pytest.mark.skipif(not shutil.which("mandoc"), reason="there is no mandoc")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_man_page_is_good(page):
    """mandoc looks for what is referred to among the manuals of this machine; ours are not there."""
    lines = run("mandoc", "-T", "lint", page).stdout.splitlines()
    ours = [f"referenced manual not found: Xr {name.stem} {name.suffix[1:]}" for name in PAGES]
    assert [line for line in lines if not any(reference in line for reference in ours)] == []
    assert f".Dt {page.stem.upper()} {page.suffix[1:]}\n" in page.read_text()


@pytest.mark.skipif(not shutil.which("mandoc"), reason="there is no mandoc")
def test_the_pages_have_all_that_help_names():
    def page(name):
        text = run("mandoc", "-T", "ascii", REPOSITORY / "docs" / "man" / name).stdout
        return re.sub(r".\x08", "", text)

    for words, name in ((["--help"], "dtlsgate.8"), (["ctl", "--help"], "dtlsgate-ctl.8")):
        shown = run(GATE, *words).stdout
        options = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", shown)) - {"--help"}
        assert len(options) > 2 and not {option for option in options if option not in page(name)}
    commands = re.findall(r"(?m)^  ([a-z-]+) ", run(GATE, "ctl", "--help").stdout.split("Commands:")[1])
    assert len(commands) > 10
    for command in commands:
        assert re.search(rf"(?m)^     {command}\b", page("dtlsgate-ctl.8"))


# --- completion ---


def complete(*words, cwd=REPOSITORY):
    """What bash offers for the last word. The file is read within a function, as bash-completion does."""
    script = """
        read_it() { . "$1"; }
        read_it "$1" && shift
        COMP_WORDS=("$@")
        COMP_CWORD=$(($# - 1))
        function_of=$(complete -p dtlsgate | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        "$function_of" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        [ ${#COMPREPLY[@]} -eq 0 ] || printf '%s\\n' "${COMPREPLY[@]}"
    """
    result = run("bash", "--norc", "-uc", script, "-", COMPLETION, *words, cwd=cwd)
    assert (result.returncode, result.stderr) == (0, ""), result.stderr
    return result.stdout.split("\n")[:-1]


def test_bash_completes_options_and_commands(tmp_path):
    assert complete("dtlsgate", "c") == ["ctl"]
    assert complete("dtlsgate", "--che") == ["--check-config"]
    assert complete("dtlsgate", "-t", "--as", "roo") == ["root"]
    assert complete("dtlsgate", "ctl", "se") == ["sessions", "session"]
    assert complete("dtlsgate", "ctl", "--j") == ["--json"]
    assert complete("dtlsgate", "ctl", "--json", "dr") == ["drain"]
    assert complete("dtlsgate", "ctl", "sessions", "--b") == ["--backend-source"]
    assert complete("dtlsgate", "ctl", "stop", "--f") == ["--farewell"]
    assert complete("dtlsgate", "ctl", "status", "--f") == [], "that command has no such option"
    assert complete("dtlsgate", "ctl", "--socket", "drain", "unk") == [], "drain was a path there"
    assert complete("dtlsgate", "ctl", "log-level", "w") == ["warning"]
    (tmp_path / "a file.ini").write_text("")
    assert complete("dtlsgate", "-c", "a", cwd=tmp_path) == ["a file.ini"]
    assert complete("dtlsgate", "ctl", "-c", "a", cwd=tmp_path) == ["a file.ini"]


def test_what_bash_offers_is_what_the_program_takes():
    for option in complete("dtlsgate", "--"):
        result = run(GATE, option, "value", "--help")
        assert "unknown option" not in result.stderr, option
    for command in complete("dtlsgate", "ctl", ""):
        text = run(GATE, "ctl", command, "--help").stdout
        assert text.startswith("Usage: dtlsgate ctl")
        offered = set(complete("dtlsgate", "ctl", command, "--"))
        assert offered == {*re.findall(r"(?m)^  (--[a-z-]+)", text), "--help"}, command


def test_bash_completes_the_listeners_of_a_running_gate(start_proxy, backend, tmp_path):
    socket = start_proxy(backend, gate={"control": "control.sock"}).control_path
    for words in (["drain"], ["sessions", "--listener"]):
        assert complete(str(GATE), "ctl", "--socket", str(socket), *words, "") == ["coaps"]
    assert complete(str(GATE), "ctl", "--socket", str(tmp_path / "none"), "drain", "") == []


# --- source archive, release notes ---


@pytest.mark.skipif(not IS_REPOSITORY, reason="this is no git repository")
def test_a_source_archive_has_the_same_bytes_each_time(tmp_path):
    """Of a clone, in another folder and at another time: a commit is all that it depends on."""
    contents = []
    for name in ("one", "two"):
        clone = tmp_path / name
        assert run("git", "clone", "-q", "--no-local", "--depth=1", f"file://{REPOSITORY}", clone).returncode == 0
        (clone / "not-committed").write_text(name)
        result = run(clone / "scripts" / "make-dist", "7.8.9", cwd="/", env={**os.environ, "TZ": f"UTC-{len(contents)}"})
        assert result.returncode == 0, result.stderr
        archive = clone / result.stdout.strip()
        assert archive.name == "dtlsgate-7.8.9.tar.gz"
        contents.append(archive.read_bytes())
    assert contents[0] == contents[1]
    assert gzip.decompress(contents[0])
    with tarfile.open(tmp_path / "one/build/dist/dtlsgate-7.8.9.tar.gz") as archive:
        names = archive.getnames()
        assert {"dtlsgate-7.8.9/Makefile", "dtlsgate-7.8.9/scripts/fetch-wolfssl", "dtlsgate-7.8.9/LICENSE"} <= {*names}
        assert not [name for name in names if not name.startswith("dtlsgate-7.8.9") or "not-committed" in name]
        assert len({member.mtime for member in archive}) == 1
        archive.extractall(tmp_path)
    # Without git: the list of goals, and no archive of an archive.
    unpacked = tmp_path / "dtlsgate-7.8.9"
    assert "make install" in run("make", "help", cwd=unpacked).stdout
    refused = run(unpacked / "scripts" / "make-dist", "7.8.9")
    assert refused.returncode == 1 and "no git repository" in refused.stderr


def test_release_notes_are_those_of_the_version():
    text = (REPOSITORY / "CHANGELOG.md").read_text()
    versions = re.findall(r"(?m)^## (\S+)", text)
    notes = run(REPOSITORY / "scripts" / "release-notes", versions[0].strip("[]"))
    assert notes.returncode == 0 and notes.stdout.strip() == text.split(f"## {versions[0]}")[1].split("\n", 1)[1].split(
        "\n## ")[0].strip()
    older = run(REPOSITORY / "scripts" / "release-notes", versions[-1].strip("[]"))
    assert older.returncode == 0 and "\n## " not in older.stdout
    assert run(REPOSITORY / "scripts" / "release-notes", "99").returncode == 1
