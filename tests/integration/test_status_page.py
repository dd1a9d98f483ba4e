"""The status page in a real browser: what it shows of a real gate, how it looks, and that nothing that a device
says becomes part of it. Screenshots are kept in the build folder, under status-page/."""

import http.server
import itertools
import json
import re
import signal
import threading
import time
import urllib.parse

import pytest

from browser import CHROMIUM, Browser
from clients.device import flood
from conftest import IDENTITY, IDENTITY_2, KEY, KEY_2
from environment import BUILD, own_address, wait_until

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium; scripts/install-packages browser")

HOSTILE = "<img src=x onerror=alert(1)>\"'</script><script>alert(2)</script>"
HOSTILE_KEY = "0f" * 16
STRANGER = "<svg/onload=alert(3)>"
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
SHOTS = BUILD / "status-page"

# Each text of the page with its colour and what lies behind it: the contrast of WCAG 2, at least 4.5.
CONTRASTS = """
(() => {
  const parse = (c) => { const m = c.match(/[\\d.]+/g).map(Number); return [m[0], m[1], m[2], m[3] === undefined ? 1 : m[3]]; };
  const over = (a, b) => [0, 1, 2].map((i) => a[i] * a[3] + b[i] * (1 - a[3])).concat(1);
  const light = (c) => { const f = (v) => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; };
    return .2126 * f(c[0]) + .7152 * f(c[1]) + .0722 * f(c[2]); };
  const behind = (e) => { const layers = []; for (; e; e = e.parentElement) layers.push(parse(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255, 1]); };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n = walker.nextNode(); n; n = walker.nextNode()) {
    const e = n.parentElement, style = getComputedStyle(e);
    if (!n.data.trim() || !e.checkVisibility() || ["SCRIPT", "STYLE", "NOSCRIPT"].includes(e.tagName)) continue;
    const back = behind(e), front = over(parse(style.color), back);
    const [a, b] = [light(front), light(back)].sort((x, y) => y - x);
    found.push([(a + .05) / (b + .05), n.data.trim().slice(0, 40), style.color]);
  }
  return found;
})()
"""

# What a person without a mouse or without eyes would miss.
UNLABELLED = """
(() => {
  const name = (e) => (e.getAttribute("aria-label") || (e.getAttribute("aria-labelledby") || "").split(" ").map((i) => (document.getElementById(i) || {}).textContent || "").join("") ||
    (e.labels && [...e.labels].map((l) => l.textContent).join("")) || e.textContent || "").trim();
  const bad = [];
  for (const e of document.querySelectorAll("a, button, input, [tabindex], [role]:not([role=status])")) if (!name(e)) bad.push(e.outerHTML);
  for (const e of document.querySelectorAll("section")) if (!name(e) || !e.getAttribute("aria-labelledby")) bad.push(e.outerHTML.slice(0, 100));
  for (const e of document.querySelectorAll("svg:not([aria-hidden])")) bad.push(e.outerHTML.slice(0, 100));
  for (const e of document.querySelectorAll("[aria-hidden] a, [aria-hidden] button, [aria-hidden] [tabindex]")) bad.push("hidden: " + e.outerHTML);
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  bad.push(...ids.filter((id, i) => ids.indexOf(id) !== i).map((id) => "twice: " + id));
  const heads = [...document.querySelectorAll("h1, h2, h3")].map((e) => Number(e.tagName[1]));
  heads.forEach((level, i) => { if (i > 0 && level > heads[i - 1] + 1) bad.push("heading skips a level: " + i); });
  if (heads.filter((level) => level === 1).length !== 1 || !document.documentElement.lang || !document.title) bad.push("title, language or h1");
  return bad;
})()
"""


@pytest.fixture
def browser(tmp_path, closing):
    opened = Browser(tmp_path)
    return closing.add(opened, opened.close)


def url_of(proxy):
    return "http://%s:%d/" % proxy.metrics_address


def open_page(browser, proxy, scheme="light", size="desktop"):
    browser.appear(*SIZES[size], scheme)
    browser.open(url_of(proxy))
    browser.wait("!!document.querySelector('#limits table') && /as of/.test(document.querySelector('#fresh').textContent)")


def check_nothing_odd(browser, proxy):
    assert browser.complaints == []
    assert {u for u in browser.requested if not u.startswith(("data:", url_of(proxy)))} == set()
    assert browser.run("document.querySelectorAll('img, iframe, object, embed, script[src], link[rel=stylesheet]').length") == 0


@pytest.fixture
def scene(start_proxy, make_backend, make_device, keys):
    """A gate with sessions of all kinds, a device with a hostile name, strangers, and a server that is down."""
    from backend import echo
    backend = make_backend(echo)
    second = (own_address(), 5685)
    proxy = start_proxy(
        backend, psk={IDENTITY: KEY, IDENTITY_2: KEY_2, HOSTILE: HOSTILE_KEY},
        gate={"workers": 2, "metrics_sessions": "on", "max_sessions": 10},
        listeners={"fleet": {"listen": "%s:%d" % second, "backend": "%s:5683" % own_address(),
                             "certificate": keys.server.certificate, "private_key": keys.server.key,
                             "client_ca": keys.ca.certificate, "client_auth": "required"}})
    make_device(proxy, cid=b"").connect().exchange(b"one")
    make_device(proxy, psk=(IDENTITY_2, KEY_2), version="1.3").connect().exchange(b"two")
    make_device(proxy, psk=(HOSTILE, HOSTILE_KEY)).connect().exchange(b"three")
    make_device(second, pair=keys.client, ca=keys.ca).connect().send(b"nobody is there")
    make_device(proxy, psk=(HOSTILE, "00" * 16), version="1.3").handshake()
    make_device(proxy, psk=(STRANGER, "00" * 16)).handshake()
    leaving = make_device(proxy).connect()
    leaving.exchange(b"bye")
    source = backend.wait_for(b"bye").source
    leaving.close()
    proxy.wait_closed("closed_by_client")
    backend.send(source, b"too late")
    proxy.wait_late("closed_by_client")
    flood(proxy.address, [b"junk"], 50)
    proxy.wait_counter("dtlsgate_backend_icmp_errors_total")
    wait_until(lambda: json.loads(proxy.http("/history")[1])["client"].get("not_dtls"), "a step of the history", 30)
    wait_until(lambda: [one for one in json.loads(proxy.http("/status")[1])["listeners"]
                        if one["backend_state"] == "refuses"], "what is known of the server")
    return proxy


def text_of(browser, element):
    return browser.run(f"document.getElementById({json.dumps(element)}).innerText")


def find(browser, query):
    browser.run("document.getElementById('query').focus(), document.getElementById('query').select(), true")
    browser.type(query)
    browser.press("Enter", text="\r")
    browser.wait("!/asking/.test(document.getElementById('found').innerText) && document.getElementById('found').innerText !== ''")
    return text_of(browser, "found")


@needs_chromium
def test_what_it_shows(scene, browser):
    open_page(browser, scene)
    browser.wait("!!document.querySelector('#client table')")
    assert "is down" in text_of(browser, "problems") and "fleet" in text_of(browser, "problems")
    listeners = text_of(browser, "listeners")
    assert scene.text in listeners and "answers" in listeners and "nothing listens there since" in listeners
    kinds = [row.split("\t") for row in text_of(browser, "kinds").splitlines() if row.startswith("1.")]
    assert sorted([v, c, has_cid, int(n)] for v, c, has_cid, n, *_ in kinds) == [
        ["1.2", "certificate", "no", 1], ["1.2", "psk", "no", 1], ["1.2", "psk", "yes", 1], ["1.3", "psk", "no", 1]]
    assert "unknown_identity" in text_of(browser, "handshakes")
    assert re.search(r"not_dtls\nNot a DTLS record\.\s+50\s+50", text_of(browser, "client"))
    assert re.search(r"closed_by_client\n.*close_notify.*\s+1\s+1", text_of(browser, "late"))
    assert "max_sessions" in text_of(browser, "limits")
    assert re.search(r"fleet\s+certificate\s+.* UTC\s+36\d days", text_of(browser, "expiry"))
    assert "last reload" in text_of(browser, "process") and str(scene.process.pid) in text_of(browser, "process")
    assert browser.run("document.querySelectorAll('svg path').length") > 20
    assert browser.run("document.title") == "(1) dtlsgate"
    check_nothing_odd(browser, scene)


@needs_chromium
def test_a_device_is_found_and_its_name_is_text(scene, browser):
    open_page(browser, scene)
    found = find(browser, HOSTILE)
    assert HOSTILE in found and "Session" in found and "wrong_key" in found
    address = re.search(r"127\.\d+\.\d+\.\d+:\d+", re.search(r"server sees\s+(\S+)", found)[1])[0]
    found = find(browser, address)
    assert HOSTILE in found and "wrong_key" in found
    found = find(browser, STRANGER)
    assert "No session has that identity" in found and "unknown_identity" in found and STRANGER in found
    check_nothing_odd(browser, scene)
    assert "no identity" in find(browser, "\\q")
    assert "Nobody has that address" in find(browser, "127.9.9.9")
    assert [one["source"] for one in browser.complaints] == ["network", "network"], "status 400 and 404"


@needs_chromium
def test_how_it_looks(scene, browser):
    SHOTS.mkdir(parents=True, exist_ok=True)
    for size, scheme in itertools.product(SIZES, ("light", "dark")):
        open_page(browser, scene, scheme, size)
        find(browser, IDENTITY)
        browser.screenshot(SHOTS / f"{size}-{scheme}.png")
        assert browser.run("document.documentElement.scrollWidth") <= SIZES[size][0], "nothing stands out at the side"
        contrasts = browser.run(CONTRASTS)
        assert len(contrasts) > 80
        assert [one for one in contrasts if one[0] < 4.5] == [], (size, scheme)
        assert browser.run(UNLABELLED) == []
    check_nothing_odd(browser, scene)


@needs_chromium
def test_the_keyboard_reaches_everything(scene, browser):
    open_page(browser, scene)
    browser.run("document.body.focus(), true")
    reached = []
    for _ in range(20):
        browser.press("Tab")
        now = browser.run("""(() => { const e = document.activeElement; if (e === document.body) return null;
            const s = getComputedStyle(e); return [e.id || e.getAttribute("aria-label") || e.textContent.trim(),
            s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2]; })()""")
        if now is None or now in reached:
            break
        reached.append(now)
    assert [name for name, _ in reached] == ["Skip to what needs attention", "Datagrams a second", "Handshakes a minute", "query",
                                             "Find", "status", "history", "metrics"]
    assert all(visible for _, visible in reached), reached
    plot = "document.querySelector('#traffic [role=slider]')"
    browser.run(f"{plot}.focus(), true")
    before = browser.run(f"{plot}.getAttribute('aria-valuetext')")
    browser.press("ArrowLeft")
    after = browser.run(f"{plot}.getAttribute('aria-valuetext')")
    assert before != after and "ago" in after
    check_nothing_odd(browser, scene)


@needs_chromium
def test_without_metrics_sessions_nobody_is_named(start_proxy, backend, make_device, browser):
    proxy = start_proxy(backend, psk={HOSTILE: HOSTILE_KEY})
    make_device(proxy, psk=(HOSTILE, HOSTILE_KEY)).connect().exchange(b"hello")
    make_device(proxy, psk=(STRANGER, "00" * 16)).handshake()
    open_page(browser, proxy)
    assert browser.run("document.getElementById('form').hidden && !document.getElementById('form').checkVisibility()")
    assert "metrics_sessions = on" in text_of(browser, "search")
    everything = browser.run("document.documentElement.outerHTML") + proxy.http("/status")[1] + proxy.http("/history")[1]
    for name in (HOSTILE, STRANGER, "onerror", "onload"):
        assert name not in everything
    check_nothing_odd(browser, proxy)
    browser.close()  # before the gate, which is to have no connection left


def happened(history, family, name, count):
    history[family][name] = {"help": "", "total": count, "steps": [0] * (history["steps"] - 1) + [count]}


# What changes in the answers of a gate that is well, and what the page is to say of it, alone.
DAY = 24 * 3600
PROBLEMS = [
    (lambda gate, listener, history: gate.update(workers_unresponsive=[0, 2]), "bad", "Worker 0, 2 hangs."),
    (lambda gate, listener, history: gate.update(ready=False), "bad", "Not ready."),
    (lambda gate, listener, history: (gate.update(draining=True), listener.update(draining=True)), "warn", "Drained."),
    (lambda gate, listener, history: listener.update(draining=True), "warn", "Listener coaps is drained."),
    (lambda gate, listener, history: listener.update(backend_state="refuses", backend_state_s=61), "bad",
     "The server behind coaps is down: nothing listens there since "),
    (lambda gate, listener, history: listener.update(backend_state="silent", backend_state_s=61), "bad",
     "The server behind coaps does not answer since "),
    (lambda gate, listener, history: gate.update(last_reload_successful=False, reloads_failed=1), "warn", "The latest reload failed."),
    (lambda gate, listener, history: listener.update(certificate_not_after=time.time() + 5 * DAY), "warn", "certificate of coaps expires in "),
    (lambda gate, listener, history: listener.update(certificate_not_after=time.time() + 365 * DAY), None, None),
    (lambda gate, listener, history: listener.update(certificate_not_after=time.time() - 1), "bad", "certificate of coaps has expired."),
    (lambda gate, listener, history: listener.update(client_ca_not_after=time.time() - 1), "bad", "client_ca of coaps has expired."),
    (lambda gate, listener, history: listener.update(crl_next_update=time.time() - 1), "bad", "crl_file of coaps has expired."),
    (lambda gate, listener, history: gate.update(log_lines_dropped=1), "warn", "1 log line was lost."),
    (lambda gate, listener, history: happened(history, "client", "limit_handshakes", 3), "warn", "A limit bites: max_handshakes."),
    (lambda gate, listener, history: happened(history, "client", "limit_hellos_per_prefix", 1), "warn", "A limit bites: hellos_per_prefix_per_s."),
    (lambda gate, listener, history: happened(history, "kernel_drops", "hello", 2), "warn", "The kernel dropped 2 datagrams in the last hour."),
    (lambda gate, listener, history: happened(history, "closed", "evicted", 1), "warn", "1 session evicted in the last hour."),
    (lambda gate, listener, history: happened(history, "closed", "torn", 2), "warn", "2 sessions lost to a kill in the last hour."),
    (lambda gate, listener, history: happened(history, "client", "out_of_memory", 1), "bad", "A fault of the gate, or no memory."),
    (lambda gate, listener, history: happened(history, "handshakes", "wrong_key", 5), "warn", "Most handshakes fail."),
    (lambda gate, listener, history: happened(history, "handshakes", "wrong_key", 4), None, None),
    (lambda gate, listener, history: (happened(history, "handshakes", "wrong_key", 5), happened(history, "handshakes", "established", 5)), None, None),
    (lambda gate, listener, history: happened(history, "closed", "idle", 5), None, None),
]


@pytest.fixture
def serve(closing):
    """serve(files) answers with these texts by path, each with its type, and returns the port."""
    def begin(files):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                kind, body = files.get(self.path.partition("?")[0], (None, ""))
                self.send_response(200 if kind else 404)
                self.send_header("Content-Type", kind or "text/plain")
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer((own_address(), 0), Handler)
        closing.add(server, lambda: (server.shutdown(), server.server_close()))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server.server_address
    return begin


@needs_chromium
def test_every_warning(start_proxy, backend, browser, serve):
    """The page of a gate that is well, with one thing changed in what it answers."""
    proxy = start_proxy(backend)
    wait_until(lambda: json.loads(proxy.http("/history")[1])["steps"], "a step of the history", 30)
    page, status, history = (proxy.http(path)[1] for path in ("/", "/status", "/history"))
    files = {"/": ("text/html; charset=utf-8", page)}
    host, port = serve(files)
    browser.appear(*SIZES["desktop"])
    for number, (change, kind, title) in enumerate(PROBLEMS):
        changed, past = json.loads(status), json.loads(history)
        change(changed["gate"], changed["listeners"][0], past)
        files |= {"/status": ("application/json", json.dumps(changed)), "/history": ("application/json", json.dumps(past))}
        browser.open(f"http://{host}:{port}/?{number}")
        browser.wait(f"location.search === '?{number}' && /as of/.test(document.getElementById('fresh').textContent)")
        found = browser.run("[...document.querySelectorAll('#problems li')].map((e) => [e.className, e.innerText])")
        assert len(found) == (1 if kind else 0), (title, found)
        assert not kind or (found[0][0] == kind and found[0][1].startswith(title)), found
        assert kind or text_of(browser, "problems") == "All is well: every server answers, no limit bites."
    assert browser.complaints == []


@needs_chromium
def test_it_says_so_when_the_gate_is_gone(start_proxy, backend, browser):
    proxy = start_proxy(backend)
    open_page(browser, proxy)
    assert text_of(browser, "problems") == "All is well: every server answers, no limit bites."
    proxy.send_signal(signal.SIGTERM)
    browser.wait("/does not answer/.test(document.getElementById('fresh').textContent)")


# --- without a browser ---


def ask(proxy, identity):
    status, body = proxy.http("/sessions?identity=" + urllib.parse.quote(identity))
    return status, json.loads(body) if status == 200 else body


def search(proxy, identity):
    """As docs/control.md says: again as long as `over` is false."""
    return wait_until(lambda: [one for one in [ask(proxy, identity)] if one[0] != 200 or one[1]["over"]], "the whole search")[0]


def test_headers(start_proxy, backend):
    proxy = start_proxy(backend)
    status, page, headers = proxy.http_with_headers("/")
    assert status == 200 and headers["Content-Type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'" and policy["connect-src"] == "'self'" and policy["frame-ancestors"] == "'none'"
    for kind in ("script-src", "style-src"):
        assert re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", policy[kind])
    assert len(page) < 64 * 1024
    assert proxy.http("/", "HEAD") == (200, "") and proxy.http("/", "POST")[0] == 405
    assert proxy.http_with_headers("/", headers={"If-None-Match": headers["ETag"]})[0] == 304
    for path in ("/", "/status", "/history", "/metrics", "/nothing"):
        assert proxy.http_with_headers(path)[2]["X-Content-Type-Options"] == "nosniff"


def test_search(start_proxy, backend, make_device):
    proxy = start_proxy(backend, gate={"metrics_sessions": "on", "workers": 2})
    for _ in range(3):
        make_device(proxy).connect()
    make_device(proxy, psk=(IDENTITY_2, KEY_2)).connect()
    make_device(proxy, psk=(IDENTITY, "00" * 16), version="1.3").handshake()
    status, found = search(proxy, IDENTITY)
    assert status == 200 and found["complete"]
    assert [one["identity"] for one in found["sessions"]] == [IDENTITY] * 3
    assert [one["reason"] for one in found["failures"]] == ["wrong_key"]
    assert search(proxy, "nobody") == (200, {"sessions": [], "failures": [], "over": True, "complete": True})
    for path in ("/sessions", "/sessions?identity=", "/sessions?identity=%5Cq", "/sessions?identity=" + "x" * 200):
        assert proxy.http(path)[0] == 400, path
    for _ in range(21):
        make_device(proxy, psk=(IDENTITY_2, KEY_2)).connect()
    status, found = search(proxy, IDENTITY_2)
    assert (len(found["sessions"]), found["complete"]) == (20, False)


def test_a_search_goes_on_where_it_was(start_proxy, backend, make_device, stop_worker):
    """A worker that answers late keeps nobody waiting; meanwhile another search is told to come later."""
    proxy = start_proxy(backend, gate={"metrics_sessions": "on", "workers": 1})
    make_device(proxy).connect()
    stopped = stop_worker(proxy, 0)
    assert ask(proxy, IDENTITY) == (200, {"sessions": [], "failures": [], "over": False, "complete": False})
    status, text = ask(proxy, IDENTITY_2)
    assert status == 503 and "another" in text
    stopped.resume()
    status, found = search(proxy, IDENTITY)
    assert status == 200 and found["complete"] and len(found["sessions"]) == 1
    assert search(proxy, IDENTITY_2) == (200, {"sessions": [], "failures": [], "over": True, "complete": True})


def test_search_is_off_with_metrics_sessions(start_proxy, backend, make_device):
    proxy = start_proxy(backend)
    make_device(proxy).connect()
    status, body = search(proxy, IDENTITY)
    assert status == 404 and "metrics_sessions" in body


@pytest.mark.parametrize("host, told", [
    ("127.0.0.1", True), ("127.0.0.1:9684", True), ("[::1]:9684", True), ("localhost:9684", True), ("LOCALHOST", True),
    ("attacker.example", False), ("attacker.example:9684", False), ("127.0.0.1.attacker.example", False), ("", False),
    ("localhost.attacker.example", False), ("[::1].attacker.example", False), ("127.0.0.1@attacker.example", False)])
def test_no_page_of_another_site_reads_it(start_proxy, backend, host, told):
    """One that has its own name point to the gate, DNS rebinding, comes with that name as Host. Scrapers and probes may."""
    proxy = start_proxy(backend, gate={"metrics_sessions": "on"})
    for path, status in (("/", 200), ("/status", 200), ("/history", 200), ("/sessions?identity=x", 200),
                         ("/sessions/127.1.2.3", 404), ("/nothing", 404)):
        answer = proxy.http_with_headers(path, headers={"Host": host})
        assert answer[0] == (status if told else 421), path
        assert told or "http://127.0.0.1:9684/" in answer[1] and "Host" in answer[1]
    for path in ("/metrics", "/healthz", "/readyz"):
        assert proxy.http_with_headers(path, headers={"Host": host})[0] == 200, path
