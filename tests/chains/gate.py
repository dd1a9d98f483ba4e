"""The gate's verdicts: build/.../tests/show-chains asks its code, in whole handshakes."""

import os
import subprocess
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from certificates import Spec, make, name, pem, private_pem

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / os.environ.get("DTLSGATE_BUILD", "build/release")
PROGRAM = BUILD / "tests" / "show-chains"
VERSIONS = ("1.2", "1.3")


@dataclass(frozen=True)
class Answer:
    end: str       # accept, refuse, config (the gate does not start) or broken (the test cannot be made)
    result: str    # the handshake's, as in the log
    alert: int     # that the device got; -1: none
    identity: str  # in hex
    detail: str    # the log's words

    def __str__(self):
        alert = "" if self.alert < 0 else f", alert {self.alert}"
        return self.end if self.end == "accept" else f"{self.end} {self.result}{alert}: {self.detail}"


def seconds(moment):
    return int(datetime.strptime(moment, "%Y%m%d%H%M%SZ").replace(tzinfo=timezone.utc).timestamp())


class Gate:
    """files: those of the judges."""

    def __init__(self, files):
        self.files = files
        server = Spec(subject=name(CN="gate"), key=("p256", 90), issuer=name(CN="gate"), signer=("p256", 90))
        (files.folder / "server.pem").write_text(pem(make(server)))
        key = files.folder / "server.key"
        key.write_text(private_pem(server.key))
        key.chmod(0o600)

    def config(self, case):
        anchors = self.files.anchors(case)
        config, crls = anchors.with_suffix(".ini"), ""
        if case.crls:
            file = self.files.crls(case, case.beside)
            config = anchors.with_name(f"{anchors.stem}-{file.stem}.ini")
            crls = f"crl_file = ../crls/{file.name}\n"
        if not config.exists():
            config.write_text(
                "[gate]\nmetrics =\n[listener coaps]\nlisten = 127.0.0.1:5684\nbackend = 127.0.0.1:5683\n"
                f"certificate = ../server.pem\nprivate_key = ../server.key\nclient_ca = {anchors.name}\n{crls}")
        return config

    def ask(self, cases, versions=VERSIONS, threads=1, start=None):
        """[(name, version, Answer), ...] in the order of the cases, whatever the number of threads. start: the moment
        at which the settings are loaded."""
        lines = [f"{case.name} {version} {seconds(case.moment)} {self.config(case)} {self.files.shown(case)} "
                 f"{self.files.key(case)}\n" for case in cases for version in versions]
        options = [str(threads)] if start is None else [str(threads), str(seconds(start))]
        prefix = ["setarch", "-R"] if BUILD.name == "tsan" else []
        done = subprocess.run([*prefix, str(PROGRAM), *options], input="".join(lines), capture_output=True, text=True,
                              errors="replace", timeout=280, check=False)
        assert done.returncode == 0, f"{PROGRAM} ended with {done.returncode}:\n{done.stderr[-6000:]}"
        answers = []
        for line in done.stdout.splitlines():
            title, version, end, result, alert, identity, detail = line.split("\t")
            answers.append((title, version, Answer(end, result, int(alert), identity, detail)))
        assert len(answers) == len(lines), done.stderr[-6000:]
        return answers


