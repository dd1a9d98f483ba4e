"""Hellos that are legal are served, others are refused, as OpenSSL and GnuTLS have it."""

from fnmatch import fnmatchcase

import pytest

from conftest import IDENTITY, KEY
from environment import COUNT_DIVISOR
from hellos import generator
from hellos.differences import DIFFERENCES
from hellos.exchange import Exchange, is_served
from hellos.judges import GnuTLS, OpenSSL
from proxy import write_private


@pytest.fixture
def gate(silent_backend, keys, start_proxy):
    return start_proxy(silent_backend, listener={
        "certificate": keys.server.certificate, "private_key": keys.server.key,
        "client_ca": keys.ca.certificate, "max_handshakes": 100000, "handshake_timeout": "1h",
        "ciphers": None})


@pytest.fixture
def judges(keys, tmp_path):
    psk_file = write_private(tmp_path / "judge.psk", f"{IDENTITY}:{KEY}\n")
    return [OpenSSL(keys.server), GnuTLS(keys.server, psk_file)]


def row_of(name):
    """Index of the first row of the table that fits; None if none does."""
    return next((i for i, row in enumerate(DIFFERENCES) if fnmatchcase(name, row[0])), None)


def test_hellos_are_judged_as_by_others(gate, judges):
    hellos = list(generator.all_hellos())
    names = [hello.name for hello in hellos]
    assert len(set(names)) == len(names) > 1000
    hellos = hellos[::COUNT_DIVISOR]
    verdicts = Exchange(gate.address).verdicts(hellos)
    wrong, needed = [], set()
    for hello in hellos:
        said = [judge.verdict(hello) for judge in judges]
        ours, theirs = verdicts[hello.name], {is_served(answer) for answer in said}
        what = f"{hello.name}: gate {ours}, " + ", ".join(
            f"{judge.name} {answer}" for judge, answer in zip(judges, said))
        row = row_of(hello.name)
        if row is None:
            if theirs != {is_served(ours)}:
                wrong.append(what)
            continue
        if theirs != {is_served(ours)}:
            needed.add(row)
        if is_served(ours) != DIFFERENCES[row][1]:
            wrong.append(f"{what}; but row {DIFFERENCES[row][0]!r}")
    assert not wrong, "\n".join([f"{len(wrong)} of {len(hellos)}:", *wrong])
    if COUNT_DIVISOR == 1:
        useless = [row[0] for i, row in enumerate(DIFFERENCES) if i not in needed]
        assert not useless, f"rows that no hello needs: {useless}"
