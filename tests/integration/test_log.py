"""What stands in the log: strict logfmt or JSON, whatever a device says. That each line of each test is
read strictly is the business of the fixtures; here are the lines that are hard."""

import os
import socket
import subprocess

import pytest

from backend import Backend, echo
from conftest import IDENTITY, KEY
from environment import wait_until
from log_reader import read_line

FORMS = pytest.mark.parametrize("form", ["logfmt", "json"])
BEGIN = "time=2026-11-23T01:02:03.123Z level=info event=e"
JSON_BEGIN = '{"time":"2026-11-23T01:02:03.123Z","level":"info","event":"e"'

# What a device may call itself, and the field that is written of it.
FORGERY = 'x"\ntime=2026-11-23T01:02:03.123Z level=error event=forged'
IDENTITIES = {
    "plain": "urn:imei:490154203237518",
    "apostrophe": "it's",
    "quotes and backslash": 'a "b" \\ c\\',
    "equals": "a=b c=d",
    "UTF-8": "größe 水 🌡",
    "a forged line": FORGERY,
    "a forged object": 'x"}\n' + JSON_BEGIN + "}",
    "control characters": "\x01\t\r\x1b[31m\x7f",
    "of C1": "a\u0085b\u009b31m",
    "line separators": "a\u2028b\u2029c",
    "other directions": "abc\u202edcba\u2066",
    "as long as may be": "ö\x01" * 42 + "xy",
}


def test_the_reader_is_strict():
    good = [BEGIN, BEGIN + " a=1", BEGIN + ' a=""', BEGIN + ' a="ä \\" \\\\ \\u0000 \\n"', JSON_BEGIN + "}",
            JSON_BEGIN + ',"a":1.5,"b":"\\u0000"}']
    bad = ["", BEGIN + " ", BEGIN + "  a=1", BEGIN + " a", BEGIN + " a=", BEGIN + " =1", BEGIN + " a=it's",
           BEGIN + " a=b=c", BEGIN + ' a="b', BEGIN + ' a="b"c', BEGIN + ' a=b"c"', BEGIN + ' a="\\x00"',
           BEGIN + ' a="\x1b"', BEGIN + ' a="\u0085"', BEGIN + ' a="\u202e"', BEGIN + " a=\\", BEGIN + " a=ä",
           BEGIN + " a=1 a=2", BEGIN + " A=1", "level=info " + BEGIN, BEGIN.replace("info", "notice"),
           BEGIN.replace("Z", ""), JSON_BEGIN, JSON_BEGIN + "} ", JSON_BEGIN + ',"a":[1]}', JSON_BEGIN + ',"a":NaN}',
           JSON_BEGIN + ',"a":null}', JSON_BEGIN + ',"a":1,"a":2}', JSON_BEGIN + ',"a":"\u2028"}', "[1]"]
    for line in good:
        read_line(line)
    with pytest.raises(UnicodeDecodeError):
        read_line(BEGIN.encode() + b' a="\xff"')
    for line in bad:
        with pytest.raises((AssertionError, ValueError)):
            read_line(line)
            pytest.fail(f"was read: {line!r}", pytrace=False)


@FORMS
def test_what_devices_call_themselves(start_proxy, backend, make_device, form):
    """As unknown identities, which anybody can name. Each comes back as it is, and adds no line."""
    proxy = start_proxy(backend, gate={"log_format": form})
    for identity in IDENTITIES.values():
        make_device(proxy, psk=(identity, KEY)).handshake(0.1)
        proxy.wait_log("handshake_failed", identity=identity, reason="unknown_identity")
    assert len(proxy.log_lines("handshake_failed")) == len(IDENTITIES)
    assert not proxy.log_lines("forged") and not proxy.log_lines("e")


@FORMS
def test_an_identity_that_is_no_text(start_proxy, backend, make_device, form):
    proxy = start_proxy(backend, gate={"log_format": form})
    make_device(proxy, psk=("caf\udce9 \udcff", KEY)).handshake(0.1)  # as os.fsencode() has it
    line = proxy.wait_log("handshake_failed", identity_hex="636166e920ff")
    assert "identity" not in line


def test_numbers_are_numbers(start_proxy, backend, make_device):
    proxy = start_proxy(backend, gate={"log_format": "json"})
    make_device(proxy).connect().exchange(b"x")
    line = proxy.wait_log("session_established")
    assert isinstance(line["session"], int) and isinstance(line["handshake_s"], float)
    assert line["identity"] == IDENTITY and line["resumed"] == "no" and line["client"].startswith("127.")
    proxy.stop()
    line, = proxy.log_lines("session_closed")
    assert (line["from_client"], line["from_backend"]) == (1, 1)


def test_a_reload_changes_the_form(start_proxy, backend, make_device):
    proxy = start_proxy(backend, gate={"control": "control.sock"})
    for form in ("json", "logfmt"):
        proxy.sections["gate"]["log_format"] = form
        proxy.write_config()
        proxy.ctl("reload")
        make_device(proxy).connect()
        proxy.wait_log("session_established")
        proxy.log_path.rename(proxy.folder / f"{form}.log")  # where the gate goes on writing
        text = (proxy.folder / f"{form}.log").read_bytes()
        last = text.split(b"\n")[-2]
        assert last.startswith(b"{" if form == "json" else b"time="), last
        (proxy.folder / f"{form}.log").rename(proxy.log_path)


def test_a_keeper_follows(start_proxy, backend):
    """Its lines stand among those of the gate."""
    proxy = start_proxy(backend, gate={"log_format": "json"}, keeper=True)
    os.kill(proxy.gate_pid(), 9)
    proxy.wait_log("gate_died")
    raw = next(line for line in proxy.log().split("\n") if "gate_died" in line)
    assert raw.startswith("{"), raw
    proxy.wait_ready()


@FORMS
def test_priorities_for_the_journal(make_proxy, backend, make_device, form):
    """JOURNAL_STREAM names what the gate's stderr is."""
    proxy = make_proxy(backend, gate={"log_format": form})
    proxy.log_path.touch()
    proxy.is_journal = True
    stat = proxy.log_path.stat()
    proxy.start(prefix=["env", f"JOURNAL_STREAM={stat.st_dev}:{stat.st_ino}"])
    make_device(proxy).connect()
    assert proxy.wait_log("session_established")["level"] == "info"


def test_no_priorities_elsewhere(make_proxy, backend):
    """It is inherited by a program whose stderr was sent to a file."""
    proxy = make_proxy(backend)
    proxy.log_path.touch()
    stat = proxy.log_path.stat()
    proxy.start(prefix=["env", f"JOURNAL_STREAM={stat.st_dev}:{stat.st_ino + 1}"])
    assert proxy.log_lines("ready")


# --- lines of their own ----------------------------------------------------------------------------

COAP_GET = bytes.fromhex("44011234deadbeef") + b"\xb3.well"


def _send(proxy, data):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(data, proxy.address)
        return "%s:%d" % client.getsockname()


@FORMS
def test_discarded_datagrams(start_proxy, backend, form):
    """And CoAP without DTLS is told from other junk."""
    proxy = start_proxy(backend, gate={"log_level": "debug", "log_format": form})
    _send(proxy, COAP_GET)
    _send(proxy, b"\x80 junk")
    proxy.expect_client("not_dtls", 2)
    lines = {"event": "datagram_discarded", "from": "client", "outcome": "not_dtls"}
    wait_until(lambda: len(proxy.log_lines(**lines)) == 2, "both")
    coap, junk = proxy.log_lines(**lines)
    assert coap["is"] == "plaintext_coap" and "coaps" in coap["advice"] and int(coap["bytes"]) == len(COAP_GET)
    assert "is" not in junk and int(junk["bytes"]) == 6
    assert coap["client"].startswith("127.") and coap["level"] == "debug"


def test_discarded_answers(start_proxy, silent_backend, make_device):
    proxy = start_proxy(silent_backend, gate={"log_level": "debug"})
    device = make_device(proxy).connect()
    device.send(b"deregister")
    source = silent_backend.wait_arrival(1).source
    device.close()
    proxy.wait_closed("closed_by_client")
    silent_backend.send(source, b"late")
    proxy.wait_late("closed_by_client")
    line = proxy.wait_log("datagram_discarded", **{"from": "backend"})
    assert (line["outcome"], line["reason"], line["bytes"]) == ("late", "closed_by_client", "4")
    assert line["backend_source"] == "%s:%d" % source and line["backend"] == silent_backend.text


def test_discarded_datagrams_are_bounded(start_proxy, backend):
    proxy = start_proxy(backend, gate={"log_level": "debug"})
    for _ in range(200):
        _send(proxy, b"junk")
    proxy.expect_client("not_dtls", 200)

    def held_back():
        return sum(int(line["lines"]) for line in proxy.log_lines("log_suppressed"))
    wait_until(lambda: len(proxy.log_lines("datagram_discarded")) + held_back() == 200, "all of them")
    seconds = {line["time"].split(".")[0] for line in proxy.log_lines("datagram_discarded")}
    assert held_back() > 0 and len(proxy.log_lines("datagram_discarded")) <= 20 * (len(seconds) + 1)


def test_nothing_of_them_at_info(start_proxy, backend):
    proxy = start_proxy(backend)
    _send(proxy, COAP_GET)
    proxy.expect_client("not_dtls", 1)
    proxy.stop()
    assert not proxy.log_lines("datagram_discarded")


def test_listening_names_the_certificate(start_proxy, backend, keys):
    proxy = start_proxy(backend, listener={"certificate": keys.server.certificate, "private_key": keys.server.key,
                                           "client_ca": keys.ca.certificate})
    line, = proxy.log_lines("listening")
    assert line["certificate"] == str(keys.server.certificate)
    end = subprocess.run(["openssl", "x509", "-in", keys.server.certificate, "-noout", "-enddate", "-dateopt",
                          "iso_8601"], capture_output=True, text=True, check=True).stdout.strip()
    assert end == "notAfter=" + line["not_after"].replace("T", " ")


def test_listening_without_one(start_proxy, backend):
    line, = start_proxy(backend).log_lines("listening")
    assert "certificate" not in line and "not_after" not in line


def test_max_sessions_is_reached(start_proxy, backend, make_device):
    proxy = start_proxy(backend, gate={"max_sessions": 2}, psk={f"d{i}": KEY for i in range(8)})
    for i in range(2):
        make_device(proxy, psk=(f"d{i}", KEY)).connect()
    assert not proxy.log_lines("limit_reached")
    for i in range(2, 8):
        make_device(proxy, psk=(f"d{i}", KEY)).connect()
    line = proxy.wait_log("limit_reached", limit="max_sessions", level="warning")
    assert line["listener"] == "coaps"
    assert len(proxy.log_lines("session_closed", reason="evicted")) == 6

    def told():
        return len(proxy.log_lines("limit_reached")) + sum(
            int(line["lines"]) for line in proxy.log_lines("log_suppressed"))
    wait_until(lambda: told() == 6, "each of the six")


def test_a_backend_that_answers_again(start_proxy, make_backend, make_device, closing):
    backend = make_backend()
    proxy = start_proxy(backend)
    device = make_device(proxy).connect()
    device.exchange(b"before")
    assert not proxy.log_lines("backend_answers")
    backend.close()
    device.send(b"into the void")
    proxy.wait_log("backend_error")
    second = Backend(echo, address=backend.address)
    closing.add(second, second.close)
    device.exchange(b"after")
    line = proxy.wait_log("backend_answers")
    assert line["backend"] == backend.text and float(line["after_s"]) < 60
    device.exchange(b"and on")
    assert len(proxy.log_lines("backend_answers")) == 1, "once for each time that it was down"
