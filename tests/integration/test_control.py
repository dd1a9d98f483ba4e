"""The control socket of a real gate and dtlsgate ctl: what an operator asks and does."""

import grp
import json
import os
import re
import socket
import stat
import threading
import time

import pytest

from conftest import IDENTITY, IDENTITY_2, KEY, KEY_2
from environment import COUNT_DIVISOR, TIME_FACTOR, own_address, wait_until
from proxy import run_gate, write_private

CONTROL = {"control": "control.sock"}


@pytest.fixture(params=[1, 2], ids=["one worker", "two workers"])
def proxy(request, start_proxy, backend):
    return start_proxy(backend, gate={**CONTROL, "workers": request.param})


def sessions(proxy, *options):
    *lines, last = proxy.ctl("sessions", *options)
    assert last["count"] == len(lines)
    return lines


def echo(device, data=b"hello"):
    device.send(data)
    assert device.recv() == data


# --- what is told ---


def test_status(proxy, make_device):
    make_device(proxy).connect()
    proxy.wait_counter("dtlsgate_sessions")
    listener, gate, _ = proxy.ctl("status")
    assert listener == {**listener, "listener": "coaps", "listen": [proxy.text], "sessions": 1,
                        "psk_identities": 2, "draining": False}
    assert gate == {**gate, "pid": proxy.process.pid, "sessions": 1, "ready": True,
                    "workers": proxy.sections["gate"]["workers"], "draining": False}
    assert 0 <= gate["uptime_s"] < 600
    assert IDENTITY not in json.dumps([listener, gate])


def test_a_session(proxy, make_device):
    device = make_device(proxy, cid=b"").connect()
    echo(device)
    logged = proxy.wait_log("session_established")
    line, = wait_until(lambda: [s for s in sessions(proxy) if s["from_backend"] == 1], "counted")
    assert line == {
        **line, "state": "established", "session": int(logged["session"]), "listener": "coaps",
        "identity": IDENTITY, "credential": "psk", "client": logged["client"],
        "client_proved": True, "backend_source": logged["backend_source"],
        "cid": device.cid.hex(), "version": "1.2", "from_client": 1, "from_backend": 1}
    assert line["suite"] == logged["suite"]
    assert 0 <= line["last_used_s"] <= line["since_s"] < 60
    with_port = logged["backend_source"]
    for address in (with_port, with_port.split(":")[0]):
        told, _ = proxy.ctl("session", address)
        assert told["identity"] == IDENTITY
        assert len(sessions(proxy, "--backend-source", address)) == 1
    other_port = with_port.split(":")[0] + ":1"
    told = proxy.ctl("session", other_port, status=1)[0]
    assert (told["state"], told["backend_source"]) == ("nobody", other_port)
    assert sessions(proxy, "--backend-source", other_port) == []
    assert len(sessions(proxy, "--client", logged["client"])) == 1
    assert sessions(proxy, "--client", logged["client"].split(":")[0] + ":1") == []


def test_sessions_are_chosen(proxy, make_device):
    make_device(proxy).connect()
    second = make_device(proxy, psk=(IDENTITY_2, KEY_2), version="1.3").connect()
    one = wait_until(lambda: sessions(proxy, "--identity", IDENTITY), "the first")[0]
    two, = sessions(proxy, "--identity", IDENTITY_2)
    assert (one["version"], two["version"]) == ("1.2", "1.3")
    assert two["client"] == second.local_text
    host = two["client"].rpartition(":")[0]
    assert sessions(proxy, "--client", two["client"])[0]["session"] == two["session"]
    assert len(sessions(proxy, "--client", host)) >= 1
    assert len(sessions(proxy, "--client", "127.0.0.0/8")) == 2
    assert sessions(proxy, "--client", "2001:db8::/32") == []
    assert sessions(proxy, "--backend-source", one["backend_source"])[0]["identity"] == IDENTITY
    assert len(sessions(proxy, "--listener", "coaps", "--limit", "1")) == 1
    assert proxy.ctl("sessions", "--listener", "other", status=1)[-1]["error"].startswith(
        "there is no listener 'other'")


def test_a_session_that_ended_tells_why(proxy, make_device):
    device = make_device(proxy).connect()
    source = proxy.wait_log("session_established")["backend_source"]
    device.close()
    proxy.wait_closed("closed_by_client")
    told, _ = proxy.ctl("session", source)
    assert told == {**told, "state": "ended", "reason": "closed_by_client", "listener": "coaps"}
    assert told["silent_s"] + told["reserved_s"] == pytest.approx(247, abs=0.01)
    assert "identity" not in told
    nobody = proxy.ctl("session", "127.254.1.1", status=1)
    assert nobody[0]["state"] == "nobody" and "nobody" in nobody[-1]["error"]


def test_failures(proxy, make_device):
    assert proxy.ctl("failures")[-1]["count"] == 0
    make_device(proxy, psk=("stranger \\ \N{SNOWMAN}", KEY)).handshake()
    proxy.wait_log("handshake_failed")
    failure, last = proxy.ctl("failures")
    assert last["count"] == 1
    assert failure == {**failure, "identity": "stranger \\ \N{SNOWMAN}",
                       "reason": "unknown_identity", "listener": "coaps", "version": "1.2"}
    assert 0 <= failure["ago_s"] < 60
    assert len(proxy.ctl("failures", "--identity", "stranger \\\\ \N{SNOWMAN}")) == 2
    assert len(proxy.ctl("failures", "--identity", "stranger")) == 1


@pytest.mark.parametrize(("identity", "member", "cell"), [
    (b"urn:imei:1", {"identity": "urn:imei:1"}, "urn:imei:1"),
    ("Zähler ☃".encode(), {"identity": "Zähler ☃"}, "Zähler ☃"),
    (rb"a\b", {"identity": "a\\b"}, r"a\\b"),
    (b"caf\xe9", {"identity_hex": "636166e9"}, r"\x63\x61\x66\xe9"),
    (b"\x1b[2J\xc2\x9b\n", {"identity": "\x1b[2J\x9b\n"}, r"\u001b[2J\u009b\n"),
    ("\u202e".encode(), {"identity": "\u202e"}, r"\u202e"),
])
def test_an_identity_is_told_as_it_is(proxy, make_device, identity, member, cell):
    """To programs; the cell that people see is what --identity takes, and nothing that a terminal follows."""
    make_device(proxy, psk=(os.fsdecode(identity), KEY)).handshake()
    proxy.wait_log("handshake_failed")
    failure, _ = proxy.ctl("failures")
    assert {key: value for key, value in failure.items() if key.startswith("identity")} == member
    row = proxy.run_ctl("failures").stdout.splitlines()[1]
    assert f" {cell} " in row and row.isprintable()
    assert len(proxy.ctl("failures", "--identity", cell)) == 2
    assert len(proxy.ctl("failures", "--identity", cell + "x")) == 1


def test_nothing_to_show_is_said(proxy):
    for command, text in (("sessions", "no sessions\n"), ("failures", "no failed handshakes\n")):
        told = proxy.run_ctl(command)
        assert (told.returncode, told.stdout) == (0, text)


def test_text_for_people(proxy, make_device):
    device = make_device(proxy).connect()
    proxy.wait_log("session_established")
    header, row = proxy.run_ctl("sessions").stdout.splitlines()
    assert header.split() == ["SESSION", "LISTENER", "IDENTITY", "CLIENT", "BACKEND-SOURCE", "DTLS",
                              "SUITE", "SINCE", "USED", "IN", "OUT", "CID"]
    assert row.split()[1:4] == ["coaps", IDENTITY, device.local_text]
    status = proxy.run_ctl("status").stdout
    assert re.search(r"^uptime: +[\d.]+s$", status, re.M)
    assert re.search(r"^sessions_by: +1\.2 psk 1$", status, re.M)
    closed = proxy.run_ctl("close", "--identity", IDENTITY)
    assert (closed.returncode, closed.stdout) == (0, "1 session closed\n")


# --- what is done ---


def test_close(proxy, make_device):
    first = make_device(proxy).connect()
    second = make_device(proxy, psk=(IDENTITY_2, KEY_2)).connect()
    wait_until(lambda: len(sessions(proxy)) == 2, "two sessions")
    assert proxy.ctl("close", "--identity", IDENTITY)[-1]["count"] == 1
    assert first.recv() == "closed"
    echo(second)
    proxy.wait_log("session_closed", reason="closed_by_operator")
    left, = sessions(proxy)
    assert proxy.ctl("close", "--session", left["session"], "--listener", "coaps")[-1]["count"] == 1
    assert second.recv() == "closed"
    assert proxy.closed("closed_by_operator") == 2
    assert "there is no such session" in proxy.ctl("close", "--session", left["session"],
                                                   status=1)[-1]["error"]
    told, _ = proxy.ctl("session", left["backend_source"])
    assert told["reason"] == "closed_by_operator"


def test_close_a_listener(proxy, make_device):
    devices = [make_device(proxy).connect() for _ in range(5)]
    wait_until(lambda: len(sessions(proxy)) == 5, "five sessions")
    assert proxy.ctl("close", "--listener", "coaps")[-1]["count"] == 5
    assert [device.recv() for device in devices] == ["closed"] * 5
    assert proxy.sessions() == 0


def test_drain(start_proxy, backend, make_device):
    other = (own_address(), 5684)
    proxy = start_proxy(backend, gate={**CONTROL, "workers": 2}, listeners={
        "other": {"listen": "%s:%d" % other, "backend": backend.text, "psk_file": "devices.psk"}})
    device = make_device(proxy).connect()
    proxy.ctl("drain", "coaps")
    assert make_device(proxy).handshake(1.0).word == "timeout"
    echo(device)
    make_device(other).connect()
    assert proxy.http("/readyz")[0] == 200
    assert [line["draining"] for line in proxy.ctl("status")[:3]] == [True, False, False]
    proxy.ctl("drain")
    assert make_device(other).handshake(1.0).word == "timeout"
    assert proxy.http("/readyz")[0] == 503
    assert proxy.http("/healthz")[0] == 200
    assert proxy.client_outcome("draining") >= 2
    echo(device)
    proxy.ctl("undrain", "coaps")
    make_device(proxy).connect()
    assert proxy.http("/readyz")[0] == 200
    proxy.ctl("undrain")
    make_device(other).connect()


def test_a_drain_ends_with_its_listener(start_proxy, backend, make_device):
    other = (own_address(), 5684)
    proxy = start_proxy(backend, gate={**CONTROL, "workers": 2}, listeners={
        "other": {"listen": "%s:%d" % other, "backend": backend.text, "psk_file": "devices.psk"}})
    proxy.ctl("drain", "other")
    assert make_device(other).handshake(1.0).word == "timeout"
    settings = proxy.sections.pop("listener other")
    proxy.write_config()
    proxy.ctl("reload")
    proxy.sections["listener other"] = settings
    proxy.write_config()
    proxy.ctl("reload")
    assert [line["draining"] for line in proxy.ctl("status")[:3]] == [False, False, False]
    make_device(other).connect()


def test_log_level(proxy, make_device):
    proxy.ctl("log-level", "error")
    make_device(proxy).connect()
    proxy.wait_counter("dtlsgate_sessions")
    assert not proxy.log_lines("session_established")
    proxy.ctl("log-level", "info")
    make_device(proxy).connect()
    proxy.wait_log("session_established")


def test_trace(proxy, make_device):
    watched, other = make_device(proxy).connect(), make_device(proxy, psk=(IDENTITY_2, KEY_2))
    other.connect()
    proxy.ctl("trace", "--identity", IDENTITY)
    echo(watched, b"12345")
    echo(other)
    session = proxy.wait_log("session_established", identity=IDENTITY)["session"]
    back = proxy.wait_log("trace_datagram", **{"from": "backend"})
    assert back == {**back, "session": session, "bytes": "5", "outcome": "forwarded",
                    "record": "1:1"}
    there, = proxy.log_lines("trace_datagram", **{"from": "client"})
    assert there["outcome"] == "forwarded" and there["session"] == session
    record, = proxy.log_lines("trace_record")
    assert record == {**record, "record": "1:1", "is": "data", "plaintext_bytes": "5"}
    watched.handshake()
    assert proxy.wait_log("trace_handshake")["result"] == "established"
    proxy.ctl("trace", "--seconds", "0")
    echo(watched)
    assert len(proxy.log_lines("trace_record")) == 1


def test_what_is_changed_is_logged(proxy):
    proxy.ctl("status")
    proxy.ctl("drain", "nobody", status=1)
    line, = proxy.log_lines("control")
    assert line["command"] == "drain nobody" and line["uid"] == str(os.getuid())


def test_stop(start_proxy, backend, make_device):
    proxy = start_proxy(backend, gate=CONTROL)
    device = make_device(proxy).connect()
    assert proxy.run_ctl("stop", "--farewell").returncode == 0
    assert device.recv() == "closed"
    assert proxy.process.wait(timeout=10 * TIME_FACTOR) == 0
    assert not proxy.control_path.exists()
    assert proxy.run_ctl("status").returncode == 3


# --- exit status and help ---


@pytest.mark.parametrize("words", [
    [], ["nonsense"], ["sessions", "--limit", "x"], ["close"], ["--nonsense", "status"],
    ["--socket"], ["drain", "a\nb"], ["-c", "a", "--socket", "b", "status"],
    ["-c", "/nowhere/gate.ini", "status"], ["sessions", "--identity", "\\z"],
])
def test_wrong_usage(words):
    result = run_gate("ctl", *words)
    assert result.returncode == 2 and result.stderr.startswith("dtlsgate ctl: "), result


def test_no_gate(tmp_path):
    missing = run_gate("ctl", "--socket", tmp_path / "none", "status")
    assert missing.returncode == 3 and "no gate answers" in missing.stderr
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "stale"))
    assert run_gate("ctl", "--socket", tmp_path / "stale", "status").returncode == 3
    assert run_gate("ctl", "--socket", tmp_path / ("x" * 200), "status").returncode == 3


def test_a_gate_that_goes_away_amid_an_answer(tmp_path):
    with socket.socket(socket.AF_UNIX) as gate:
        gate.bind(str(tmp_path / "c"))
        gate.listen()
        for answer in (b"", b'{"listener":"a"}\n', b"not JSON\n", b"[]\n"):
            def converse():
                peer, _ = gate.accept()
                with peer:
                    peer.recv(1000)
                    peer.sendall(answer)
            thread = threading.Thread(target=converse)
            thread.start()
            assert run_gate("ctl", "--socket", tmp_path / "c", "status").returncode == 3
            thread.join()


def test_help():
    names = re.findall(r"^  ([a-z-]+) .*\.$", run_gate("ctl", "--help").stdout, re.M)
    assert {"status", "sessions", "session", "close", "drain", "undrain", "reload", "upgrade", "stop",
            "log-level", "trace", "failures"} <= set(names)
    for name in names:
        result = run_gate("ctl", name, "--help")
        assert result.returncode == 0 and f"] {name}" in result.stdout
        assert "Exit status: 0" in result.stdout and "Answer with --json" in result.stdout
    assert "dtlsgate ctl" in run_gate("--help").stdout


# --- the file ---


def test_mode_and_group(start_proxy, backend):
    group = grp.getgrgid(os.getgid()).gr_name
    proxy = start_proxy(backend, gate={**CONTROL, "control_mode": "0600", "control_group": group})
    status = os.lstat(proxy.control_path)
    assert stat.S_IMODE(status.st_mode) == 0o600 and status.st_gid == os.getgid()
    proxy.stop()
    assert not proxy.control_path.exists()


def test_a_stale_socket_is_replaced(make_proxy, backend):
    proxy = make_proxy(backend, gate=CONTROL)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(proxy.control_path))
    proxy.start()
    proxy.ctl("status")


@pytest.mark.parametrize("what", ["another gate", "a file", "no folder", "no group"])
def test_where_no_socket_can_be(make_proxy, start_proxy, backend, tmp_path, what):
    path = str(tmp_path / "c.sock")
    gate = {"control": path}
    words = {"another gate": "another gate answers there", "a file": "something else than a socket",
             "no folder": "its folder must be there", "no group": "no such group"}[what]
    if what == "another gate":
        start_proxy(backend, gate=gate)
    elif what == "a file":
        write_private(path, "precious")
    elif what == "no folder":
        gate["control"] = str(tmp_path / "none" / "c.sock")
    else:
        gate["control_group"] = "no-such-group"
    proxy = make_proxy(backend, gate=gate)
    proxy.launch()
    assert proxy.process.wait(timeout=20 * TIME_FACTOR) in (1, 2)
    assert words in proxy.log_lines("start_failed")[-1]["text"]
    proxy.process = None
    if what == "a file":
        assert open(path).read() == "precious"


# --- clients that mean harm ---


def connect(proxy):
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(proxy.control_path))  # waits while many others do
    client.settimeout(10 * TIME_FACTOR)
    return client


def read_all(client):
    data = b""
    while chunk := client.recv(65536):
        data += chunk
    return data


@pytest.mark.parametrize("line", [
    b"\n", b"\0\n", b"\xff\xfe\n", b"status\0\n", b"{\"command\":\"status\"}\n", b"sessions --identity \"\n",
    b"x" * 1024 + b"\n", b"a " * 500 + b"\n", b"status --help\n", b"\x1b[2J\n"], ids=repr)
def test_garbage_is_refused_and_the_next_line_is_heard(proxy, line):
    with connect(proxy) as client:
        client.sendall(line + b"status\n")
        client.shutdown(socket.SHUT_WR)
        objects = [json.loads(text) for text in read_all(client).splitlines()]
    ends = [line for line in objects if "done" in line]
    assert [end["ok"] for end in ends] == [False, True]
    assert ends[0]["error"]


@pytest.mark.parametrize("data", [b"x" * 1025, b"x" * 100000, b"\0" * 5000])
def test_a_line_without_end(proxy, data):
    with connect(proxy) as client:
        try:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it has been sent away already
        try:
            answer = read_all(client)
        except ConnectionResetError:
            answer = b""
    assert answer == b"" or not json.loads(answer.splitlines()[-1])["ok"]
    proxy.ctl("status")


def test_many_commands_at_once(proxy):
    with connect(proxy) as client:
        client.sendall(b"session 127.1.2.3\r\nfailures\n" * 200)
        client.shutdown(socket.SHUT_WR)
        ends = [line for line in map(json.loads, read_all(client).splitlines()) if "done" in line]
    assert [end["ok"] for end in ends] == [False, True] * 200


def test_who_never_reads_holds_up_nobody(proxy, make_device):
    device = make_device(proxy).connect()
    before = proxy.resident_bytes()
    with connect(proxy) as client:
        client.setblocking(False)
        sent = 0
        try:
            while sent < 50_000_000 // COUNT_DIVISOR:
                sent += client.send(b"status\n" * 1000)
        except BlockingIOError:
            pass
        time.sleep(0.2)
        echo(device)
        proxy.ctl("status")
        assert proxy.resident_bytes() - before < 8_000_000 * TIME_FACTOR
    proxy.ctl("status")


def test_thousands_of_connections(proxy, make_device):
    device = make_device(proxy).connect()
    clients = []
    for _ in range(2000 // COUNT_DIVISOR):
        clients.append(connect(proxy))
        if len(clients) > 300:
            clients.pop(0).close()
    echo(device)
    proxy.ctl("status")
    assert proxy.descriptors() < 100
    for client in clients:
        client.close()
    proxy.ctl("status")


def test_who_goes_away_amid_an_answer(proxy, make_device):
    for _ in range(5):
        make_device(proxy).connect()
    for _ in range(200 // COUNT_DIVISOR):
        with connect(proxy) as client:
            client.sendall(b"sessions\nfailures\nsessions\n")
    assert len(sessions(proxy)) == 5


# --- over HTTP ---


def test_status_over_http(start_proxy, backend, make_device):
    proxy = start_proxy(backend, gate={"workers": 2})
    make_device(proxy).connect()
    proxy.wait_counter("dtlsgate_sessions")
    status, body, headers = proxy.http_with_headers("/status")
    told = json.loads(body)
    assert status == 200 and headers["Content-Type"] == "application/json"
    assert headers["Cache-Control"] == "no-store"
    assert told["gate"]["sessions"] == 1 and told["listeners"][0]["listener"] == "coaps"
    assert IDENTITY not in body
    assert proxy.http("/sessions/127.1.2.3") == (
        404, "who has a session is not told here: metrics_sessions is off\n")


def test_whose_address_over_http(start_proxy, backend, make_device):
    proxy = start_proxy(backend, gate={"workers": 2, "metrics_sessions": "on", "tombstone": "100s"})
    device = make_device(proxy).connect()
    echo(device)
    source = proxy.wait_log("session_established")["backend_source"].split(":")[0]
    path = f"/sessions/{source}"
    status, body, headers = proxy.http_with_headers(path)
    told = json.loads(body)
    assert status == 200 and told["identity"] == IDENTITY and told["state"] == "established"
    assert headers["Cache-Control"] == "max-age=100"
    assert proxy.http(path + ":1")[0] == 404, "the server sees it at another port"
    etag = headers["ETag"]
    status, body, again = proxy.http_with_headers(path, headers={"If-None-Match": etag})
    assert (status, body, again["ETag"]) == (304, "", etag)
    device.close()
    proxy.wait_closed("closed_by_client")
    status, body, headers = proxy.http_with_headers(path, headers={"If-None-Match": etag})
    told = json.loads(body)
    assert status == 200 and told["state"] == "ended" and told["reason"] == "closed_by_client"
    assert 80 <= int(headers["Cache-Control"].removeprefix("max-age=")) <= 100
    assert headers["ETag"] not in (etag, "")
    ended = headers["ETag"]
    assert proxy.http_with_headers(path, headers={"If-None-Match": ended})[0] == 304


@pytest.mark.parametrize("path, status", [
    ("127.254.1.1", 404), ("127.254.1.1:5683", 404), ("", 400), ("192.0.2.1", 400),
    ("127.1.0.0/16", 400), ("::1", 400), ("127.1.2.3/", 400), ("%00", 400), ("x" * 500, 400)])
def test_other_addresses_over_http(start_proxy, backend, path, status):
    proxy = start_proxy(backend, gate={"metrics_sessions": "on"})
    got, body, headers = proxy.http_with_headers(f"/sessions/{path}")
    assert got == status, body
    assert headers["Cache-Control"] == "no-store"
