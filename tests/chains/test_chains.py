"""More than a thousand chains of certificates, in DTLS 1.2 and 1.3: what OpenSSL and GnuTLS say to them, and the gate."""

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

# The gate, the device and the backend of the integration tests.
sys.path[1:1] = [str(Path(__file__).resolve().parents[1] / folder) for folder in ("integration", ".")]

import disagreements  # noqa: E402
import families  # noqa: E402
import judges  # noqa: E402
import revocations  # noqa: E402
from backend import Backend  # noqa: E402
from case import case, path  # noqa: E402
from clients.device import Device  # noqa: E402
from clients.openssl import OpensslClient  # noqa: E402
from environment import COUNT_DIVISOR, GATE, IS_SANITIZED, wait_until  # noqa: E402
from gate import Gate  # noqa: E402
from keys import Pair  # noqa: E402
from proxy import Proxy  # noqa: E402

# A board without a clock starts in 1970, and knows the time later.
NO_CLOCK = "19700101000000Z"

# What wolfSSL does not take as a client's own certificate, so that only OpenSSL can show it, in DTLS 1.2.
NOT_TO_BE_SHOWN = ("serial-0@leaf", "algorithms-differ@leaf")


@pytest.fixture
def files(tmp_path):
    return judges.Files(tmp_path)


def cases_of_this_run():
    """All, or of a build with a sanitizer a sample, which is another one each sanitizer."""
    every = families.every()
    return every[COUNT_DIVISOR % 7::COUNT_DIVISOR * 2] if IS_SANITIZED else every


def _told(lines):
    """The first of many lines, for a failure that can be read."""
    return f"{len(lines)} wrong:\n" + "\n".join(lines[:60])


def test_there_are_a_thousand_chains_of_every_kind():
    every = families.every()
    assert len(every) >= 1000
    assert min(Counter(one.name.split("/")[0] for one in every).values()) >= 15


def test_every_chain(files):
    """Two runs of the gate: by threads that share its contexts, as workers do; and the other way round, with settings
    that were loaded without a clock. What one device has shown must make no difference to another."""
    cases = cases_of_this_run()
    rows = disagreements.read()
    verdicts = judges.ask(files, cases)
    wanted, needed, wrong = {}, set(), []
    for one in cases:
        openssl, gnutls = verdicts[one.name]
        wanted[one.name], rows_of_it = disagreements.expected(rows, one, (openssl.is_good, gnutls.is_good))
        needed.update(rows_of_it)
        if wanted[one.name] is None:
            wrong.append(f"{one.name} {sorted(one.tags)} needs a row: OpenSSL {openssl}, GnuTLS {gnutls}")
    gate = Gate(files)
    answers = gate.ask(cases, threads=2)
    again = gate.ask(cases[::-1], start=NO_CLOCK)
    wrong += _differences(cases, wanted, verdicts, answers)
    first = {(title, version): answer for title, version, answer in answers}
    wrong += [f"{title} {version}: {first[title, version]}, and then {answer}" for title, version, answer in again
              if answer != first[title, version]]
    assert not wrong, _told(wrong)
    assert IS_SANITIZED or not disagreements.unused(rows, needed), "rows that no chain needs"


def _differences(cases, wanted, verdicts, answers):
    tags = {one.name: one.tags for one in cases}
    for title, version, answer in answers:
        openssl, gnutls = verdicts[title]
        if answer.end == "broken" and any(tag in NOT_TO_BE_SHOWN for tag in tags[title]):
            continue  # see test_what_only_openssl_can_show
        is_told = answer.end != "refuse" or answer.result == "certificate_rejected" and answer.detail
        if answer.end == "broken" or not is_told or (answer.end == "accept") != wanted[title]:
            yield f"{title} {version}: {answer}; OpenSSL {openssl}, GnuTLS {gnutls}"
        elif answer.end == "accept" and not answer.identity:
            yield f"{title} {version}: a device without an identity"


# --- what one shows helps no other -----------------------------------------------------------------

def _sequence():
    """Chains that have to do with the one in question, and the one in question, which lacks a certificate that the
    others had."""
    own, issuing, upper, root = path(2)
    other = families.device(issuing, 30)
    needy = {"lacks-issuing": [own], "lacks-upper": [own, issuing], "with-root": [own, root]}
    before = {"good": [other, issuing, upper], "the-same-good": [own, issuing, upper],
              "failed-own": [replace(other, end="20220101000000Z"), issuing, upper],
              "failed-signature": [replace(other, damage="signature"), issuing, upper],
              "failed-issuer": [replace(other, issuer=families.STRANGER), issuing, upper]}
    for lacking, shown in needy.items():
        for title, earlier in before.items():
            yield (case(f"after/{title}/{lacking}/before", [root], shown=earlier),
                   case(f"after/{title}/{lacking}", [root], shown=shown), "failed" not in title)


def test_what_one_shows_helps_no_other(files):
    """In both versions, each after the other."""
    gate = Gate(files)
    for versions in (("1.2", "1.3"), ("1.3", "1.2")):
        for before, needy, is_good in _sequence():
            shown = gate.ask([before, needy, before, needy], versions)
            ends = [(title, answer.end) for title, _, answer in shown]
            good = "accept" if is_good else "refuse"
            assert ends == 2 * [*2 * [(before.name, good)], *2 * [(needy.name, "refuse")]], shown


def test_what_has_expired_since_helps_no_other(files):
    """An intermediate that was good when it was first shown."""
    own, issuing, root = path(1)
    short = replace(issuing, end="20310101000000Z")
    then = case("expiry/then", [root], shown=[own, short])
    later = replace(then, name="expiry/later", moment="20320101000000Z")
    alone = replace(case("expiry/alone", [root], shown=[own]), moment="20320101000000Z")
    renewed = case("expiry/renewed", [root], shown=[own, issuing], moment="20320101000000Z")
    ends = [answer.end for _, _, answer in Gate(files).ask([then, later, alone, renewed])]
    assert ends == 2 * ["accept"] + 4 * ["refuse"] + 2 * ["accept"]


# --- the real program, over UDP --------------------------------------------------------------------

def _sample(cases, each=3):
    """Some of each family that needs no moment of its own, of few sets of anchors: a gate is started for each."""
    chosen, anchors = [], set()
    for family in dict.fromkeys(one.name.split("/")[0] for one in cases if not one.name.startswith("moment/")):
        usable = [one for one in cases if one.name.split("/")[0] == family]
        known = [one for one in usable if one.anchors in anchors]
        some = (known or usable)[::max(1, len(known or usable) // each)][:each]
        chosen += some
        anchors.update(one.anchors for one in some)
    return chosen


class _Daemon:
    """A gate with the anchors of some cases, and devices that show it their chains."""

    def __init__(self, tmp_path, files, anchors_of):
        self.files = files
        self.folder = tmp_path / f"gate-{files.anchors(anchors_of).stem}"
        self.folder.mkdir(exist_ok=True)
        Gate(files)  # writes the server's certificate
        self.backend = Backend()
        self.proxy = Proxy(self.folder, self.backend, listener={
            "certificate": files.folder / "server.pem", "private_key": files.folder / "server.key",
            "client_ca": files.anchors(anchors_of)})

    def __enter__(self):
        self.proxy.start()
        return self

    def __exit__(self, *failure):
        self.proxy.stop()
        self.backend.close()

    def _counts(self):
        results = ("established", "certificate_rejected", "protocol_error", "no_common_suite", "client_alert", "timeout")
        return {result: self.proxy.handshakes(result) for result in results}

    def verdict(self, show):
        """What the gate has counted after show()."""
        before = self._counts()
        show()
        after = wait_until(lambda: (now := self._counts()) != before and now, "the end of a handshake", 10)
        return [result for result, count in after.items() for _ in range(int(count - before[result]))]

    def show_1_2(self, one):
        """OpenSSL shows what it is given, in this order."""
        shown, clients = self.files.shown(one), []
        try:
            return self.verdict(lambda: clients.append(OpensslClient(
                self.proxy.address, "-cert", shown, *_rest(shown), "-key", self.files.key(one), "-cipher",
                "ALL:@SECLEVEL=0")))
        finally:
            for client in clients:
                client.kill()

    def show_1_3(self, one):
        device = Device(self.proxy.address, pair=Pair(self.files.shown(one), self.files.key(one)), version="1.3")
        try:
            return self.verdict(device.handshake)
        finally:
            device.quit()


def _rest(shown):
    """The option for all but the first certificate of a file."""
    mark = "-----END CERTIFICATE-----\n"
    rest = shown.with_suffix(".rest")
    rest.write_text(shown.read_text().split(mark, 1)[1])
    return ["-cert_chain", rest] if rest.stat().st_size else []


def test_the_program_says_the_same(tmp_path, files):
    """A few of each family against the daemon: OpenSSL's client in 1.2, the device in 1.3."""
    cases = _sample(cases_of_this_run(), 1 if IS_SANITIZED else 3)
    answers = {(title, version): answer for title, version, answer in Gate(files).ask(cases)}
    wrong = []
    for anchors in dict.fromkeys(one.anchors for one in cases):
        together = [one for one in cases if one.anchors == anchors]
        if answers[together[0].name, "1.2"].end == "config":
            check = subprocess.run([str(GATE), "--check-config", "-c", str(Gate(files).config(together[0]))],
                                   capture_output=True, check=False)
            assert check.returncode != 0, together[0].name
            continue
        with _Daemon(tmp_path, files, together[0]) as daemon:
            for one in together:
                for version, show in (("1.2", daemon.show_1_2), ("1.3", daemon.show_1_3)):
                    answer = answers[one.name, version]
                    if answer.end == "broken":
                        continue
                    results = show(one)
                    if results != ["established" if answer.end == "accept" else answer.result]:
                        wrong.append(f"{one.name} {version}: {results} over UDP, in memory {answer}")
    assert not wrong, _told(wrong)


def test_what_only_openssl_can_show(tmp_path, files):
    rows = disagreements.read()
    suspects = [one for one in families.every() if one.tags & set(NOT_TO_BE_SHOWN)]
    ends = {title: answer.end for title, _, answer in Gate(files).ask(suspects)}
    cases = [one for one in suspects if ends[one.name] == "broken"]
    assert {tag for one in cases for tag in one.tags} >= set(NOT_TO_BE_SHOWN), "the library takes them now"
    verdicts = judges.ask(files, cases)
    for anchors in dict.fromkeys(one.anchors for one in cases):
        together = [one for one in cases if one.anchors == anchors]
        with _Daemon(tmp_path, files, together[0]) as daemon:
            for one in together:
                wanted, _ = disagreements.expected(rows, one, tuple(v.is_good for v in verdicts[one.name]))
                assert daemon.show_1_2(one) == ["established" if wanted else "certificate_rejected"], one.name


# --- the table -------------------------------------------------------------------------------------

_TABLE = "| `sha1@leaf` | accepts | refuses | refuses | Because of this. |\n" \
         "| `extra-*` | accepts | refuses | accepts | Because of that. |\n"


@pytest.mark.parametrize("tags, judged, gate", [
    (["sha1@leaf"], (True, False), False), (["sha1@leaf"], (True, True), True), (["sha1@leaf"], (False, False), False),
    (["extra-x"], (True, False), True), (["extra-x", "sha1@leaf"], (True, False), False),
    (["sha1@ca"], (True, False), None), (["sha1@leaf"], (False, True), None)])
def test_the_table_is_read_as_it_says(tags, judged, gate):
    rows = disagreements.read(_TABLE)
    assert disagreements.expected(rows, case("a/b", path(1), *tags), judged)[0] is gate


def test_a_row_that_no_chain_needs_is_noticed():
    rows = disagreements.read(_TABLE)
    _, needed = disagreements.expected(rows, case("a/b", path(1), "sha1@leaf"), (True, False))
    assert disagreements.unused(rows, needed) == ["extra-*"]


# --- CRLs ------------------------------------------------------------------------------------------

def test_every_crl(files):
    """OpenSSL is the judge, asked with -crl_check_all; where the gate says otherwise revocations.py says why."""
    every = revocations.every()
    cases = every[COUNT_DIVISOR % 7::COUNT_DIVISOR * 2] if IS_SANITIZED else every
    openssl = judges.ask_openssl(files, cases)
    needed, wrong, ends = set(), [], Counter()
    for title, version, answer in Gate(files).ask(cases, threads=2):
        verdict = openssl[title]
        wanted, row = revocations.expected(next(one for one in cases if one.name == title), verdict.is_good)
        needed.add(row)
        ends[answer.end, answer.result] += 1
        if answer.end == "broken" or (answer.end == "accept") != wanted:
            wrong.append(f"{title} {version}: {answer}; OpenSSL {verdict}")
    assert not wrong, _told(wrong)
    if not IS_SANITIZED:
        assert len(cases) >= 300 and min(ends["accept", "-"], ends["refuse", "revoked"]) > 100, ends
        assert ends["refuse", "crl_expired"] > 10, ends
        unused = [row for row in revocations.STRICTER + revocations.MILDER if row not in needed]
        assert not unused, f"rows that no CRL needs: {unused}"
