"""Our own device: wolfSSL as a client, DTLS 1.2 and 1.3, driven command by command."""

import subprocess
from dataclasses import dataclass

from environment import DEVICE, TIME_FACTOR


@dataclass(frozen=True)
class Handshake:
    """The answer to a handshake: word is established, failed or timeout."""
    word: str
    fields: dict

    @property
    def established(self):
        return self.word == "established"

    @property
    def cid(self):
        """The connection ID that the gate gave it, or None if there is none."""
        text = self.fields["cid"]
        return None if text == "-" else bytes.fromhex(text)

    @property
    def alert(self):
        """The description of the alert that the gate sent, or -1."""
        return int(self.fields.get("alert", -1))


class Device:
    """address: where it sends to, the gate or a shim. cid: its own connection ID, b"" for one
    without bytes, None for none at all; .cid, after connect(): what the gate gave it. prefix: words
    before the program, such as a command that runs it elsewhere."""

    def __init__(self, address, *, psk=None, pair=None, ca=None, version="1.2", bind=None,
                 cid=None, options=(), prefix=()):
        command = [*prefix, DEVICE, "--connect", _text(address), "--version", version]
        command += ["--psk", "%s:%s" % psk] if psk else []
        command += ["--cert", pair.certificate, "--key", pair.key] if pair else []
        command += ["--ca", ca.certificate] if ca else []
        command += ["--bind", _text(bind)] if bind else []
        command += ["--cid", cid.hex() or "empty"] if cid is not None else []
        self._process = subprocess.Popen([str(w) for w in [*command, *options]],
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        word, self.local_text = self._answer().split(" ", 1)
        assert word == "ready"

    @property
    def pid(self):
        return self._process.pid

    def _answer(self):
        line = self._process.stdout.readline().decode().rstrip("\n")
        assert line, f"the device program ended with {self._process.wait()}"
        assert not line.startswith("error"), line
        return line

    def _command(self, *words):
        self._process.stdin.write(" ".join(map(str, words)).encode() + b"\n")
        self._process.stdin.flush()
        return self._answer()

    def _wait_command(self, name, timeout_s):
        return self._command(name, int(timeout_s * 1000 * TIME_FACTOR))

    def handshake(self, timeout_s=10.0):
        """A new session from the same socket; whatever was there before is forgotten."""
        return _parse_handshake(self._wait_command("handshake", timeout_s))

    def keep(self):
        """Keeps the ticket of the session; returns its size, 0 = there is none."""
        return int(self._command("keep").removeprefix("kept "))

    def resume(self, timeout_s=10.0):
        """As connect, with the ticket kept. The gate decides what comes of it."""
        result = _parse_handshake(self._wait_command("resume", timeout_s))
        assert result.established, result
        return self

    def carry_on(self, timeout_s=10.0):
        """Goes on with a handshake that timed out."""
        return _parse_handshake(self._wait_command("continue", timeout_s))

    def connect(self, timeout_s=10.0):
        """A handshake that must succeed."""
        result = self.handshake(timeout_s)
        assert result.established, result
        self.cid = result.cid
        return self

    def send(self, data):
        answer = self._command("send", data.hex())
        assert answer == f"sent {len(data)}", answer

    def burst(self, count, prefix):
        """Sends so many datagrams, as fast as it can: the prefix and a number from 0 on."""
        answer = self._command("burst", count, prefix.hex())
        assert answer == f"sent {count}", answer

    def update_keys(self):
        """Sends a KeyUpdate (1.3)."""
        assert self._command("update") == "updated"

    def rebind(self, host=None):
        """Goes on from a new port, and from another address of its own if host says so."""
        host = host or self.local_text.rpartition(":")[0]
        word, self.local_text = self._command("rebind", f"{host}:0").split(" ", 1)
        assert word == "bound"

    def recv(self, timeout_s=5.0):
        """The next application datagram, as bytes; or "timeout", "closed", "failed ..."."""
        word, _, rest = self._wait_command("recv", timeout_s).partition(" ")
        return bytes.fromhex(rest) if word == "data" else f"{word} {rest}".strip()

    def exchange(self, data, timeout_s=5.0):
        """Sends a datagram to an echoing backend and expects it back."""
        self.send(data)
        assert self.recv(timeout_s) == data

    def close(self):
        """Sends close_notify; the answer to it is read by recv()."""
        assert self._command("close") == "closing"

    def alert(self, description):
        assert self._command("alert", description) == "alerted 0"

    def forget(self):
        self._command("forget")

    def raw(self, data):
        self._command("raw", data.hex())

    def raw_recv(self, timeout_s):
        word, _, rest = self._wait_command("rawrecv", timeout_s).partition(" ")
        return bytes.fromhex(rest) if word == "data" else None

    def quit(self):
        """Ends the program without a word to the gate."""
        self._process.stdin.close()
        self._process.wait(timeout=10 * TIME_FACTOR)
        self._process.stdout.close()
        assert self._process.returncode == 0, f"device ended with {self._process.returncode}"


def _text(address):
    return address if isinstance(address, str) else "%s:%d" % address


def _parse_handshake(line):
    word, _, rest = line.partition(" ")
    fields, text = rest.split(" text=", 1) if " text=" in rest else (rest, None)
    pairs = dict(pair.split("=", 1) for pair in fields.split() if "=" in pair)
    return Handshake(word, {**pairs, **({"text": text} if text else {})})


def flood(address, datagrams, count, sources=4):
    """Sends count datagrams, the given ones in turn; returns what the program counted."""
    result = subprocess.run(
        [str(DEVICE), "--connect", _text(address), "--flood", str(count),
         "--flood-sources", str(sources)], input="".join(d.hex() + "\n" for d in datagrams),
        text=True, capture_output=True, timeout=120 * TIME_FACTOR, check=True)
    return {key: int(value) for key, value in
            (pair.split("=") for pair in result.stdout.split()[1:])}
