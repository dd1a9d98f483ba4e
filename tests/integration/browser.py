"""A headless Chromium, driven over two pipes with its DevTools protocol: nothing else is needed for it."""

import base64
import json
import os
import select
import shutil
import subprocess
import time

from environment import TIME_FACTOR

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

# Nothing but what a page asks for goes to any network, and no name is resolved.
_OPTIONS = [
    "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--disable-default-apps", "--no-first-run", "--no-default-browser-check", "--mute-audio", "--hide-scrollbars",
    "--proxy-server=direct://", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.*", "--force-color-profile=srgb",
]


class Browser:
    """One page. What a browser complains about is in .complaints: errors and warnings of the console, exceptions,
    violations of the page's policy. .requested has each URL that was asked for."""

    def __init__(self, folder):
        from_us, to_browser = os.pipe()
        from_browser, to_us = os.pipe()
        self._out, self._in = to_browser, from_browser
        self._number, self._left, self._session = 0, b"", None
        self.complaints, self.requested = [], []
        kept = [os.dup2(from_us, 100, inheritable=True), os.dup2(to_us, 101, inheritable=True)]
        with open(folder / "chromium.log", "wb") as log:
            self._process = subprocess.Popen(
                ["bash", "-c", 'exec 3<&100 4>&101 100<&- 101>&-; exec "$@"', "bash", CHROMIUM, *_OPTIONS,
                 f"--user-data-dir={folder / 'profile'}", "about:blank"],
                pass_fds=kept, stdout=log, stderr=log, env={**os.environ, "HOME": str(folder)})
        for fd in (*kept, from_us, to_us):
            os.close(fd)
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def close(self):
        """Harmless if it is closed."""
        if self._out is None:
            return
        os.close(self._out)  # it ends when nobody holds the pipe any more
        try:
            self._process.wait(timeout=10 * TIME_FACTOR)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        self._out = None

    # --- the protocol: JSON, each message with a NUL behind it ---

    def _read(self, deadline):
        while b"\0" not in self._left:
            ready, _, _ = select.select([self._in], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "the browser does not answer"
            data = os.read(self._in, 1 << 20)
            assert data, "the browser has ended"
            self._left += data
        message, _, self._left = self._left.partition(b"\0")
        return json.loads(message)

    def _note(self, message):
        method, params = message.get("method"), message.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requested.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(params["exceptionDetails"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.complaints.append(params["args"])
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(params["entry"])

    def _call(self, method, **params):
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + 30 * TIME_FACTOR
        while True:
            answer = self._read(deadline)
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self._note(answer)

    # --- what tests do with it ---

    def appear(self, width, height, scheme="light"):
        """The size of the window, and whether its owner prefers light or dark."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                   mobile=width < 600)
        self._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def open(self, url):
        self._call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, expression):
        """The value of an expression of JavaScript in the page, or of its promise."""
        result = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, expression, timeout_s=15.0):
        deadline = time.monotonic() + timeout_s * TIME_FACTOR
        while not (value := self.run(expression)):
            assert time.monotonic() < deadline, f"waited in vain for {expression}\n{self.run('document.body.innerText')}"
            time.sleep(0.05)
        return value

    def press(self, key, code=None, text=None):
        """A key as its name, such as Tab; text: what it types."""
        fields = {"key": key, "code": code or key, "windowsVirtualKeyCode": {"Tab": 9, "Enter": 13, "ArrowLeft": 37}.get(key, 0)}
        self._call("Input.dispatchKeyEvent", type="keyDown", **fields, **({"text": text} if text else {}))
        self._call("Input.dispatchKeyEvent", type="keyUp", **fields)

    def type(self, text):
        self._call("Input.insertText", text=text)

    def screenshot(self, path, whole=True):
        """A PNG, of the whole page or of the window."""
        clip = {}
        if whole:
            size = self._call("Page.getLayoutMetrics")["cssContentSize"]
            clip = {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}
        data = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **clip)["data"]
        path.write_bytes(base64.b64decode(data))
