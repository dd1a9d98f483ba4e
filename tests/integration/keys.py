"""Test keys and certificates, made afresh by the openssl command for each run."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Pair:
    certificate: Path
    key: Path


def _openssl(folder, *arguments):
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


class Keys:
    """ca signs server and client; stranger_ca signs stranger; expired is a client of ca."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.ca = self._authority("ca")
        self.stranger_ca = self._authority("stranger-ca")
        self.server = self._signed("server", self.ca, alternative="IP:127.0.0.1,DNS:localhost")
        self.client = self._signed("client", self.ca)
        self.expired = self._signed("expired", self.ca, expired=True)
        self.stranger = self._signed("stranger", self.stranger_ca)
        self.rsa_server = self._signed("rsa-server", self.ca, rsa=True)

    def _private_key(self, name, rsa=False):
        kind = ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"] if rsa else [
            "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
        _openssl(self.folder, "genpkey", *kind, "-out", f"{name}.key")
        path = self.folder / f"{name}.key"
        path.chmod(0o600)
        return path

    def _authority(self, name):
        key = self._private_key(name)
        _openssl(self.folder, "req", "-x509", "-new", "-key", str(key), "-days", "365",
                 "-subj", f"/CN={name}", "-addext", "basicConstraints=critical,CA:TRUE",
                 "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-out", f"{name}.pem")
        return Pair(self.folder / f"{name}.pem", key)

    def _signed(self, name, authority, alternative="DNS:localhost", expired=False, rsa=False):
        key = self._private_key(name, rsa)
        request, extensions = f"{name}.csr", self.folder / f"{name}.ext"
        extensions.write_text("basicConstraints=CA:FALSE\n"
                              "keyUsage=digitalSignature\n"
                              f"subjectAltName={alternative}\n")
        _openssl(self.folder, "req", "-new", "-key", str(key), "-subj", f"/CN={name}",
                 "-out", request)
        # An end date in the past: openssl x509 takes a negative number of days.
        _openssl(self.folder, "x509", "-req", "-in", request, "-CA", str(authority.certificate),
                 "-CAkey", str(authority.key), "-set_serial", str(len(name)),
                 "-days", "-1" if expired else "365", "-extfile", str(extensions),
                 "-out", f"{name}.pem")
        return Pair(self.folder / f"{name}.pem", key)
