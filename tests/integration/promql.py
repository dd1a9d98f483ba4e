"""What expressions of Prometheus ask for; and a Prometheus of our own that scrapes a gate."""

import json
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request

from environment import PROMETHEUS, TIME_FACTOR, own_address, wait_until

_GROUPING = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_RANGE = re.compile(r"\[[^\]]*\]|\boffset\s+\w+")
_SELECTOR = re.compile(r"(?<![\w$.])([a-zA-Z_:][\w:]*)\s*(\{[^}]*\})?(?!\s*\()(?![\w:])")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_KEYWORDS = {"and", "or", "unless", "bool", "by", "without", "on", "ignoring"}


class Selector:
    def __init__(self, name, braces):
        self.name = name
        self.matchers = _MATCHER.findall(braces or "")
        rest = _MATCHER.sub("", braces or "")
        assert not rest.strip("{}, \n"), f"not understood: {braces}"

    def text(self):
        return "%s{%s}" % (self.name, ",".join(f'{label}{kind}"{value}"' for label, kind, value in self.matchers))


def selectors(expression):
    """Each series that it asks for. What is neither a function nor a word of the language is one."""
    plain = _RANGE.sub("", _GROUPING.sub("", expression))
    found = [Selector(name, braces) for name, braces in _SELECTOR.findall(plain) if name not in _KEYWORDS]
    assert found, f"asks for nothing: {expression}"
    return found


def grouping_labels(expression):
    return {label.strip() for _, labels in _GROUPING.findall(expression) for label in labels.split(",") if label.strip()}


def promtool(*arguments, **options):
    return subprocess.run([PROMETHEUS / "promtool", *map(str, arguments)], capture_output=True, text=True,
                          timeout=60 * TIME_FACTOR, check=False, **options)


class Prometheus:
    """Scrapes one target each second, and evaluates the rules as often."""

    def __init__(self, folder, target, rules):
        config = folder / "prometheus.yml"
        config.write_text(json.dumps({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(rules)],
            "scrape_configs": [{"job_name": "dtlsgate", "static_configs": [{"targets": ["%s:%d" % target]}]}],
        }))
        self.address = f"{own_address()}:9090"
        with open(folder / "prometheus.log", "wb") as log:
            self.process = subprocess.Popen(
                [PROMETHEUS / "prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}",
                 f"--web.listen-address={self.address}", "--log.level=warn"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def stop(self):
        self.process.kill()
        self.process.wait()

    def _get(self, what, **parameters):
        url = f"http://{self.address}/api/v1/{what}?{urllib.parse.urlencode(parameters, doseq=True)}"
        try:
            with urllib.request.urlopen(url, timeout=10 * TIME_FACTOR) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if error.code == 503:
                raise  # it has not begun yet; an OSError, as if it did not listen
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error

    def query(self, expression):
        """The samples: [(labels, value)]."""
        return [(sample["metric"], float(sample["value"][1]))
                for sample in self._get("query", query=expression)["result"]]

    def series(self, name):
        return self._get("series", **{"match[]": [name]})

    def rules(self):
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def wait_for(self, expression):
        def asked():
            assert self.process.poll() is None, "Prometheus has ended"
            try:
                return self.query(expression)
            except OSError:
                return []  # it does not listen yet
        return wait_until(asked, expression, timeout_s=30)
