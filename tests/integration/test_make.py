"""What `make` builds for which goal: the library only for what is compiled with it."""

import shutil
import subprocess

import pytest

from environment import REPOSITORY, TIME_FACTOR

FETCH = """\
#!/bin/sh
touch fetched
echo "$PWD/build/wolfssl/5"
"""


@pytest.fixture
def make(tmp_path):
    """make(arguments): (its result, whether it asked for wolfSSL), in a tree that has never been built."""
    for name in ("proxy", "tests", "conf"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    (tmp_path / "scripts").mkdir()
    for script in (REPOSITORY / "scripts").iterdir():
        if script.name != "fetch-wolfssl":
            (tmp_path / "scripts" / script.name).symlink_to(script)
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    fetch = tmp_path / "scripts" / "fetch-wolfssl"
    fetch.write_text(FETCH)
    fetch.chmod(0o755)

    def run(*arguments):
        (tmp_path / "fetched").unlink(missing_ok=True)
        result = subprocess.run(["make", "-C", tmp_path, *arguments], capture_output=True, text=True,
                                timeout=60 * TIME_FACTOR, check=False)
        return result, (tmp_path / "fetched").exists()
    return run


@pytest.mark.parametrize("goals, status", [
    (["nonsense"], 2), (["instal"], 2), (["clean"], 0), (["distclean"], 0), (["help"], 0),
    (["-n"], 0), (["-n", "install"], 0), (["--dry-run", "unit"], 0),
], ids=str)
def test_no_library_for(make, goals, status):
    result, has_fetched = make(*goals)
    assert result.returncode == status, result.stdout + result.stderr
    assert not has_fetched, result.stdout
    if status:
        assert f"No rule to make target '{goals[-1]}'" in result.stderr, result.stderr


def test_what_is_compiled_has_the_library(make):
    result, has_fetched = make("build/release/flags")
    assert result.returncode == 0 and has_fetched, result.stderr
    flags = make("-n", "V=1", "build/release/proxy/base/addr.o")
    assert "-isystem build/wolfssl/5/include" in flags[0].stdout, flags
    assert not make("build/release/flags")[1], "only once"
