"""The two judges: the programs of OpenSSL and GnuTLS, asked about each chain in a process of its own, at the case's moment.

Both get the chain as the device shows it. OpenSSL takes the first certificate of a file for the one in question, and
all of it for what may help, as its TLS server does; GnuTLS sorts what it gets, as its TLS server does."""

import hashlib
import os
import re
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from certificates import pem, private_pem

FAKETIME = ("faketime/libfaketime.so.1", "libfaketime.so.1")


@dataclass(frozen=True)
class Verdict:
    is_good: bool
    words: str  # why not

    def __str__(self):
        return "accepts" if self.is_good else f"refuses ({self.words})"


def _write(path, content):
    """Whole or not at all: several threads may come for the same file."""
    if not path.exists():
        part = path.with_name(f"{path.name}.{threading.get_ident()}")
        part.write_text(content)
        os.replace(part, path)
    return path


class Files:
    """The chains in files; equal anchors are one file."""

    def __init__(self, folder):
        self.folder = Path(folder)
        for part in ("anchors", "shown", "keys", "crls"):
            (self.folder / part).mkdir(exist_ok=True)

    def _put(self, part, content):
        digest = hashlib.sha256(content.encode()).hexdigest()[:20]
        return _write(self.folder / part / f"{digest}.pem", content)

    def anchors(self, case):
        return self._put("anchors", "".join(map(pem, case.anchors)))

    def shown(self, case):
        return self._put("shown", "".join(map(pem, case.shown)))

    def crls(self, case, beside=()):
        """With certificates beside them, or without."""
        return self._put("crls", "".join([*(pem(crl, "X509 CRL") for crl in case.crls), *map(pem, beside)]))

    def key(self, case):
        return _write(self.folder / "keys" / f"{case.key[0]}-{case.key[1]}.key", private_pem(case.key))


def _faketime():
    for folder in Path("/usr/lib").glob("*-linux-gnu"):
        for part in FAKETIME:
            if (folder / part).exists():
                return str(folder / part)
    raise FileNotFoundError("libfaketime is missing: scripts/install-packages test")


def _run(moment, *command):
    when = datetime.strptime(moment, "%Y%m%d%H%M%SZ").strftime("%Y-%m-%d %H:%M:%S")
    environment = {"PATH": os.environ["PATH"], "TZ": "UTC", "LC_ALL": "C", "LD_PRELOAD": _faketime(),
                   "FAKETIME": when, "FAKETIME_DONT_FAKE_MONOTONIC": "1", "OPENSSL_CONF": "/dev/null"}
    return subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment,
                          stdin=subprocess.DEVNULL, timeout=60, check=False)


def openssl(files, case):
    shown = str(files.shown(case))
    revocation = ["-crl_check_all", "-CRLfile", str(files.crls(case))] if case.crls else []
    done = _run(case.moment, "openssl", "verify", *revocation, "-partial_chain", "-purpose", "sslclient", "-no-CApath", "-no-CAstore",
                "-CAfile", str(files.anchors(case)), "-untrusted", shown, shown)
    is_good = done.returncode == 0
    assert is_good == done.stdout.rstrip().endswith(": OK"), done
    words = re.findall(r"^error (?:\d+ at \d+ depth lookup: )?(.*)$", done.stderr, re.M)
    return Verdict(is_good, "" if is_good else "; ".join(words) or done.stderr.strip()[-200:])


def gnutls(files, case):
    done = _run(case.moment, "certtool", "--verify", "--verify-purpose=1.3.6.1.5.5.7.3.2",
                "--load-ca-certificate", str(files.anchors(case)), "--infile", str(files.shown(case)))
    is_good = done.returncode == 0
    said = re.search(r"Chain verification output: (.*)", done.stdout)
    assert not is_good or said and said[1].startswith("Verified."), done
    words = said[1].removeprefix("Not verified. The certificate is NOT trusted. ").strip() if said \
        else (done.stderr + done.stdout).strip()[-200:]
    return Verdict(is_good, "" if is_good else words)


def ask_openssl(files, cases, threads=os.cpu_count()):
    """{name of the case: Verdict of OpenSSL}"""
    with ThreadPoolExecutor(threads) as pool:
        return dict(zip((case.name for case in cases), pool.map(lambda case: openssl(files, case), cases)))


def ask(files, cases, threads=os.cpu_count()):
    """{name of the case: (Verdict of OpenSSL, Verdict of GnuTLS)}"""
    with ThreadPoolExecutor(threads) as pool:
        verdicts = pool.map(lambda case: (openssl(files, case), gnutls(files, case)), cases)
    return {case.name: verdict for case, verdict in zip(cases, verdicts)}
