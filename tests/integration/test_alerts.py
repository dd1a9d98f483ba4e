"""conf/prometheus and conf/grafana: what they ask for is there in the scrape of a gate, each alert fires when it
should and is silent when all is well, and docs/alerts.md says what to do."""

import json
import re
import shutil
import signal

import pytest

from conftest import IDENTITY, KEY
from environment import PROMETHEUS, REPOSITORY
from promql import Prometheus, grouping_labels, promtool, selectors
from test_revocation import make_crl

yaml = pytest.importorskip("yaml", reason="python3-yaml is not installed")

RULES = REPOSITORY / "conf" / "prometheus" / "rules.yml"
SCENES = REPOSITORY / "tests" / "integration" / "alerts.yml"
DASHBOARD = REPOSITORY / "conf" / "grafana" / "dtlsgate.json"
RUNBOOK = REPOSITORY / "docs" / "alerts.md"

needs_prometheus = pytest.mark.skipif(
    not all((PROMETHEUS / program).exists() for program in ("prometheus", "promtool")),
    reason="prometheus or promtool is missing: scripts/fetch-prometheus")

# Labels that a scrape adds.
OF_TARGET = {"job", "instance"}
# What Grafana puts in; of the variables of the dashboard: all.
GRAFANA = {"$__rate_interval": "10s", "$job": ".*", "$instance": ".*", "$listener": ".*"}


def read_rules():
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def read_alerts():
    return {rule["alert"]: rule for rule in read_rules() if "alert" in rule}


def read_panels():
    """With those in rows that are folded."""
    panels = []
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        panels += [panel, *panel.get("panels", [])]
    return panels


def dashboard_expressions():
    """(panel's title, expression)"""
    for panel in read_panels():
        for target in panel.get("targets", []):
            expression = target["expr"]
            for variable, value in GRAFANA.items():
                expression = expression.replace(variable, value)
            assert "$" not in expression, f"{panel['title']}: a variable is not known: {expression}"
            yield panel["title"], expression


# --- rules, without a gate ---------------------------------------------------------------------


@needs_prometheus
def test_the_rules_are_sound():
    result = promtool("check", "rules", "--lint-fatal", RULES)
    assert result.returncode == 0, result.stdout + result.stderr


@needs_prometheus
def test_each_alert_in_its_scene(tmp_path):
    for file in (RULES, SCENES):
        shutil.copy(file, tmp_path)
    result = promtool("test", "rules", tmp_path / SCENES.name)
    assert result.returncode == 0, result.stdout + result.stderr


def test_each_alert_has_both_scenes():
    fires, silent = set(), set()
    for scene in yaml.safe_load(SCENES.read_text())["tests"]:
        for test in scene["alert_rule_test"]:
            (fires if test["exp_alerts"] else silent).add(test["alertname"])
    assert fires == set(read_alerts())
    assert silent == set(read_alerts())


def test_each_alert_is_to_be_acted_on():
    """A severity, and a heading in the runbook: cause, what to look at, what to do."""
    headings = re.findall(r"(?m)^### (Dtlsgate\w+)\n((?:(?!^#).*\n)*)", RUNBOOK.read_text())
    assert sorted(name for name, _ in headings) == sorted(read_alerts())
    severities = {}
    for name, text in headings:
        rule = read_alerts()[name]
        severities[name] = rule["labels"]["severity"]
        assert severities[name] in ("page", "ticket"), name
        assert rule["annotations"]["runbook"] == f"docs/alerts.md#{name.lower()}", name
        assert rule["annotations"]["summary"].endswith("."), name
        for part in ("Cause", "Look at", "Do"):
            assert f"- {part}: " in text, f"{name} has no '{part}'"
    assert sorted(name for name, _ in headings if severities[name] == "page") == re.findall(
        r"Dtlsgate\w+", re.search(r"(?m)^Pages: (.*(?:\n.+)*)", RUNBOOK.read_text())[1])


# --- the dashboard, without a gate -------------------------------------------------------------


def test_the_dashboard_is_sound():
    dashboard = json.loads(DASHBOARD.read_text())
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    assert variables == {"datasource", "job", "instance", "listener"}
    panels = read_panels()
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        mine = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not mine & cells, f"{panel['title']} lies over another panel"
        assert place["x"] + place["w"] <= 24, panel["title"]
        cells |= mine
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}", panel["title"]
            assert panel["description"].endswith("."), panel["title"]
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
            assert panel["targets"], panel["title"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            assert "dtlsgate_" in variable["query"]["query"]


# --- with a gate -------------------------------------------------------------------------------


@pytest.fixture(name="gate")
def make_gate(start_proxy, backend, make_device, keys, tmp_path):
    """One that has of everything that there is a series for."""
    proxy = start_proxy(backend, psk={IDENTITY: KEY}, listener={
        "certificate": keys.server.certificate, "private_key": keys.server.key, "client_ca": keys.ca.certificate,
        "crl_file": make_crl(tmp_path, keys.ca, end=30 * 86400), "handshakes_per_s": 1000,
        "hellos_per_prefix_per_s": 1000, "sessions_per_identity": 5})
    make_device(proxy).connect().exchange(b"something to count")
    return proxy


@needs_prometheus
def test_a_scrape_is_as_prometheus_likes_it(gate):
    result = promtool("check", "metrics", input=gate.http("/metrics")[1])
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def _values_of(matcher):
    """Those that a matcher names; none if it is a pattern of other kinds."""
    _, kind, value = matcher
    if kind in ("=", "!="):
        return [value]
    return value.split("|") if re.fullmatch(r"[\w|]+", value) else []


def complaints_about(prometheus, expression):
    """What it asks for and the gate has not: names, labels, and values of labels."""
    labels = set(OF_TARGET)
    for selector in selectors(expression):
        series = prometheus.series(selector.name)
        if not series:
            yield f"there is no {selector.name}"
            continue
        there = {label for one in series for label in one}
        labels |= there
        for matcher in selector.matchers:
            if matcher[0] not in there:
                yield f"{selector.name} has no label {matcher[0]}"
            values = {one.get(matcher[0]) for one in series}
            for value in _values_of(matcher):
                if value not in values:
                    yield f"{selector.name} has no {matcher[0]}={value}"
        if not prometheus.query(f"count({selector.text()})"):
            yield f"there is no {selector.text()}"
    for label in grouping_labels(expression) - labels:
        yield f"nothing has a label {label}"


@pytest.fixture(name="prometheus")
def make_prometheus(gate, tmp_path, closing):
    prometheus = Prometheus(tmp_path, gate.metrics_address, RULES)
    closing.add(prometheus, prometheus.stop)
    prometheus.wait_for("instance:dtlsgate_loop_turn_seconds:p99_5m")
    prometheus.wait_for("listener_result:dtlsgate_handshakes:rate5m")
    return prometheus


@needs_prometheus
def test_what_is_asked_for_is_there(prometheus):
    found = []
    expressions = [(rule.get("alert") or rule["record"], rule["expr"]) for rule in read_rules()]
    for name, expression in [*expressions, *dashboard_expressions()]:
        found += [f"{name}: {complaint}" for complaint in complaints_about(prometheus, expression)]
    assert found == []
    # And what is not there is seen.
    assert list(complaints_about(prometheus, "rate(dtlsgate_session[5m])")) == ["there is no dtlsgate_session"]
    for wrong, complaint in {
            'sum by (listner) (dtlsgate_sessions)': "nothing has a label listner",
            'dtlsgate_sessions{name!="x"}': "dtlsgate_sessions has no label name",
            'dtlsgate_handshakes_total{result!~"established|superceded"}':
                "dtlsgate_handshakes_total has no result=superceded"}.items():
        assert complaint in complaints_about(prometheus, wrong)


@needs_prometheus
def test_each_panel_shows_something(prometheus):
    empty = [title for title, expression in dashboard_expressions() if not prometheus.query(expression)]
    assert empty == []


@needs_prometheus
def test_a_gate_that_is_well_is_not_reported(prometheus):
    prometheus.wait_for("dtlsgate_sessions > 0")
    rules = prometheus.rules()
    assert {rule["health"] for rule in rules} == {"ok"}, [rule.get("lastError") for rule in rules]
    assert [rule["name"] for rule in rules if rule.get("alerts")] == []


@needs_prometheus
def test_a_reload_that_fails_is_seen(gate, prometheus):
    """From the gate to the alert, which waits for a while before it fires."""
    gate.config_path.write_text("[gate]\nnonsense = 1\n")
    gate.send_signal(signal.SIGHUP)
    prometheus.wait_for('ALERTS{alertname="DtlsgateReloadFailed",severity="ticket"}')
