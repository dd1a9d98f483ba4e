"""What stands in the log: strict logfmt or JSON, whatever a device says. That each line of each test is
read strictly is the business of the fixtures; here are the lines that are hard."""

import os

import pytest

from conftest import IDENTITY, KEY
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
