"""conf/examples: each is checked, started and asked, on a host of its own with the addresses and paths it names."""

import os
import re
import shutil
import subprocess

import pytest

from environment import GATE, REPOSITORY, TIME_FACTOR, wait_until
from spare_host import SpareHost
from unit_player import UNIT

EXAMPLES = REPOSITORY / "conf" / "examples"
DROP_INS = sorted((EXAMPLES / "systemd").glob("*.conf"))
INI = "/etc/dtlsgate/dtlsgate.ini"
KEY = "0123456789abcdef"
SETTINGS = ["one-server", "two-policies", "fleet", "compose"]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a host of its own needs root")


@pytest.fixture
def host(tmp_path, closing):
    return closing.add(made := SpareHost(tmp_path), made.close)


def load_yaml(path):
    yaml = pytest.importorskip("yaml", reason="python3-yaml is not installed")
    return list(yaml.safe_load_all(path.read_text()))


def psk_line(identity, key=KEY):
    return f"{identity}:{key.encode().hex()}\n"


def start_gate(host, *words, **environment):
    """Returns the gate, once it serves; before that --check-config must be content."""
    check = host.call(GATE, "-c", INI, "--check-config")
    assert check.returncode == 0, check.stdout + check.stderr
    gate = host.start(GATE, *(words or ("-c", INI)), **environment)
    gate.expect("event=ready")
    return gate


def start_server(host, port=5683, *words):
    host.start(*(words or ("coap-server-notls", "-A", "127.0.0.1", "-p", port)))
    wait_until(lambda: f":{port}" in host.call("ss", "-Hlun").stdout, "the CoAP server")


def ask(host, *credentials, port=5684, patience_s=10):
    result = host.call("coap-client-openssl", "-v", "4", "-B", patience_s, "-m", "get", *credentials,
                       f"coaps://127.0.0.1:{port}/", timeout_s=30 * TIME_FACTOR)
    return result.stdout + result.stderr


def ask_with_key(host, identity, **options):
    return ask(host, "-u", identity, "-k", KEY, **options)


def is_answer(output):
    return "test server" in output


def ctl(host, *words):
    result = host.call(GATE, "ctl", *words)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_each_is_in_the_list():
    text = (EXAMPLES / "README.md").read_text()
    folders = {path.name for path in EXAMPLES.iterdir() if path.is_dir()}
    assert set(re.findall(r"^\| \[([a-z-]+)\]", text, flags=re.M)) == folders
    assert folders == {*SETTINGS, "kubernetes", "systemd"}, "each has a test here"


def test_the_image_names_the_version():
    version = re.search(r"^VERSION := (\S+)$", (REPOSITORY / "Makefile").read_text(), flags=re.M)[1]
    assert f"\nARG VERSION={version}\n" in (REPOSITORY / "Dockerfile").read_text()
    assert f"image: registry.example.org/dtlsgate:{version}\n" in (EXAMPLES / "kubernetes/dtlsgate.yaml").read_text()


@needs_root
def test_one_server(host):
    shutil.copy(EXAMPLES / "one-server/dtlsgate.ini", host.etc)
    host.write("devices.psk", psk_line("test-device"))
    start_server(host)
    start_gate(host)
    assert is_answer(ask_with_key(host, "test-device"))
    assert not is_answer(ask_with_key(host, "stranger", patience_s=2))
    assert "stranger" in ctl(host, "failures")
    answer = host.call("curl", "--silent", "http://127.0.0.1:9684/sessions/127.3.17.6")
    assert '"nobody"' in answer.stdout, answer.stdout


@needs_root
def test_two_policies(host):
    shutil.copy(EXAMPLES / "two-policies/dtlsgate.ini", host.etc)
    fleet = make_fleet(host.etc.parent / "fleet", "gateway-1")
    for name in ("server.pem", "server.key", "ca.pem", "crl.pem"):
        shutil.copy(fleet / "gate" / name, host.etc)
    host.write("sensors.psk", psk_line("sensor-1"))
    start_server(host)
    start_server(host, 5783)
    start_gate(host)
    certificate = ["-c", fleet / "devices/gateway-1.pem", "-j", fleet / "devices/gateway-1.key", "-C", fleet / "ca.pem"]
    assert is_answer(ask_with_key(host, "sensor-1"))
    assert is_answer(ask(host, *certificate, port=5685))
    assert not is_answer(ask_with_key(host, "sensor-1", port=5685, patience_s=2)), "keys are for sensors"
    assert not is_answer(ask(host, *certificate, patience_s=2)), "certificates are for gateways"


def make_fleet(folder, *devices):
    script = EXAMPLES / "fleet/make-fleet"
    commands = [("init", folder, "127.0.0.1"), *(("device", folder, name) for name in devices)]
    for command in commands:
        subprocess.run([script, *command], check=True, capture_output=True)
    return folder


@needs_root
def test_a_fleet_with_certificates(host):
    shutil.copy(EXAMPLES / "fleet/dtlsgate.ini", host.etc)
    fleet = make_fleet(host.etc.parent / "fleet", "kept", "revoked", "denied")
    shutil.copytree(fleet / "gate", host.etc, dirs_exist_ok=True)
    start_server(host)
    start_gate(host)

    def ask_as(name, **options):
        return ask(host, "-c", fleet / f"devices/{name}.pem", "-j", fleet / f"devices/{name}.key",
                   "-C", fleet / "ca.pem", **options)
    for name in ("kept", "revoked", "denied"):
        assert is_answer(ask_as(name)), name
    subprocess.run([EXAMPLES / "fleet/make-fleet", "revoke", fleet, "revoked"], check=True)
    shutil.copy(fleet / "gate/crl.pem", host.etc)
    host.write("denied", (fleet / "gate/denied").read_text() + "denied\n")
    ctl(host, "reload")
    assert is_answer(ask_as("kept"))
    for name in ("revoked", "denied"):
        assert not is_answer(ask_as(name, patience_s=2)), name
    assert ctl(host, "--json", "failures").replace(" ", "").count('"reason":"revoked"') == 2


@needs_root
def test_compose(host):
    """What an engine would start, and where it would put the files; the engine itself is not run."""
    [compose] = load_yaml(EXAMPLES / "compose/compose.yaml")
    services = compose["services"]
    server, gate = services["coap"], services["gate"]
    assert services["namespace"]["ports"] == ["5684:5684/udp"], "the gate's, and not the server's"
    assert services["namespace"]["command"] == ["sleep", "infinity"], "what starts again is in the same namespace"
    for one in (server, gate):
        assert one["network_mode"] == "service:namespace" and "ports" not in one
    assert (EXAMPLES / "compose" / gate["build"] / "Dockerfile").exists()
    inside = dict(volume.split(":")[:2] for volume in gate["volumes"])
    assert inside == {"./etc": "/etc/dtlsgate"}, "a folder: files in it may be replaced by others"
    assert gate["tmpfs"][0].startswith("/run/dtlsgate:uid=10001,")
    shutil.copytree(EXAMPLES / "compose/etc", host.etc, dirs_exist_ok=True)
    host.write("devices.psk", psk_line("test-device"))
    start_server(host, 5683, *server["command"])
    start_gate(host, "--keeper", "-c", INI)
    assert is_answer(ask_with_key(host, "test-device"))
    host.write("devices.psk", psk_line("test-device") + psk_line("second"))
    assert not is_answer(ask_with_key(host, "second", patience_s=2))
    ctl(host, "reload")
    assert is_answer(ask_with_key(host, "second"))


class Pod:
    """The parts of the manifest, and its files as the kubelet puts them there."""

    def __init__(self, folder):
        self.parts = {part["kind"]: part for part in load_yaml(EXAMPLES / "kubernetes/dtlsgate.yaml")}
        self.spec = self.parts["Deployment"]["spec"]["template"]["spec"]
        self.containers = {each["name"]: each for each in self.spec["containers"]}
        self.files = {**self.parts["ConfigMap"]["data"], "devices.psk": psk_line("test-device")}
        self._folder = folder
        self._versions = 0

    def put_files(self):
        """A folder for each version, ..data that links to it, and links by way of that."""
        self._versions += 1
        version = self._folder / f"..version{self._versions}"
        version.mkdir()
        for name, text in self.files.items():
            (version / name).write_text(text)
            (version / name).chmod(self.volume("settings")["projected"]["defaultMode"])
            if not (self._folder / name).is_symlink():
                (self._folder / name).symlink_to(f"..data/{name}")
        (self._folder / "..new").symlink_to(version.name)
        (self._folder / "..new").rename(self._folder / "..data")

    def volume(self, name):
        return next(each for each in self.spec["volumes"] if each["name"] == name)


def test_the_parts_of_the_manifest_fit(tmp_path):
    pod = Pod(tmp_path)
    assert set(pod.parts) == {"ConfigMap", "Deployment", "Service", "NetworkPolicy"}
    assert pod.volume("settings")["projected"]["sources"] == [
        {"configMap": {"name": pod.parts["ConfigMap"]["metadata"]["name"]}},
        {"secret": {"name": "dtlsgate-keys"}}]
    head = (EXAMPLES / "kubernetes/dtlsgate.yaml").read_text().partition("apiVersion")[0]
    assert "kubectl create secret generic dtlsgate-keys --from-literal=devices.psk=" in head
    assert pod.volume("settings")["projected"]["defaultMode"] == 0o440
    gate, reload = pod.containers["gate"], pod.containers["reload"]
    for container in (gate, reload):
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        assert mounts == {"/etc/dtlsgate": "settings", "/run/dtlsgate": "control"}
        assert not any("subPath" in mount for mount in container["volumeMounts"])
    assert gate["image"] == reload["image"]
    for container in pod.containers.values():
        assert container["securityContext"]["readOnlyRootFilesystem"]
    labels = pod.parts["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert labels == pod.parts["Deployment"]["spec"]["selector"]["matchLabels"]
    assert labels == pod.parts["Service"]["spec"]["selector"]
    assert labels == pod.parts["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"]
    ports = {(port["containerPort"], port["protocol"]) for port in gate["ports"]}
    assert ports == {(5684, "UDP"), (9684, "TCP")}
    ingress = pod.parts["NetworkPolicy"]["spec"]["ingress"]
    assert {(port["port"], port["protocol"]) for rule in ingress for port in rule["ports"]} == ports
    assert "from" not in ingress[0] and ingress[1]["from"], "metrics are not for everybody"


@pytest.fixture(scope="session")
def reload_on_change(tmp_path_factory):
    program = tmp_path_factory.mktemp("helper") / "dtlsgate-reload-on-change"
    subprocess.run(["gcc", "-Wall", "-Wextra", "-Werror", "-o", program, REPOSITORY / "scripts/reload-on-change.c"],
                   check=True)
    return program


@needs_root
def test_kubernetes(host, reload_on_change):
    """The pod without the engine; a changed Secret is reloaded by the third container."""
    pod = Pod(host.etc)
    gate, reload = pod.containers["gate"], pod.containers["reload"]
    pod.put_files()
    start_server(host, 5683, *pod.containers["server"]["command"])
    running = start_gate(host, "--keeper", *gate["args"])
    for probe in ("livenessProbe", "readinessProbe"):
        path = gate[probe]["httpGet"]["path"]
        assert host.call("curl", "--silent", "--fail", f"http://127.0.0.1:9684{path}").returncode == 0, path
    assert is_answer(ask_with_key(host, "test-device"))
    assert not is_answer(ask_with_key(host, "new-device", patience_s=2))

    assert reload["command"] == [f"/usr/bin/{reload_on_change.name}"]
    reloading = host.start(reload_on_change, *reload["args"], DTLSGATE_INTERVAL_S=1)
    reloading.expect('"ok":true')  # at its start, once
    pod.files["devices.psk"] += psk_line("new-device")
    pod.put_files()
    wait_until(lambda: running.output.count(b"event=reloaded") == 2, "the reload", 15)
    assert is_answer(ask_with_key(host, "new-device"))

    pod.files["devices.psk"] += "no key\n"
    pod.put_files()
    reloading.expect('"ok":false', timeout_s=15)
    assert is_answer(ask_with_key(host, "new-device")), "the old ones stay"
    wait_until(lambda: running.output.count(b"event=reload_failed") == 1, "a line about it")


# --- systemd ------------------------------------------------------------------------------------------------

SYSTEMD_ANALYZE = shutil.which("systemd-analyze")


def verify_with(folder, drop_in):
    unit = folder / "dtlsgate.service"
    unit.write_text(UNIT.read_text().replace("/usr/local/bin/dtlsgate", str(GATE)))
    (folder / "dtlsgate.service.d").mkdir()
    (folder / "dtlsgate.service.d/example.conf").write_text(drop_in)
    (folder / "leshan.service").write_text("[Service]\nExecStart=/bin/true\n")
    return subprocess.run([SYSTEMD_ANALYZE, "verify", "--man=no", unit], capture_output=True, text=True,
                          timeout=60, check=False)


@pytest.mark.skipif(not SYSTEMD_ANALYZE, reason="there is no systemd-analyze")
@pytest.mark.parametrize("drop_in", DROP_INS, ids=lambda path: path.stem)
def test_what_systemd_says_to_a_drop_in(drop_in, tmp_path):
    verified = verify_with(tmp_path, drop_in.read_text())
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")


@pytest.mark.skipif(not SYSTEMD_ANALYZE, reason="there is no systemd-analyze")
def test_systemd_would_say_something(tmp_path):
    verified = verify_with(tmp_path, "[Service]\nMemoryMaximum=1G\n")
    assert "MemoryMaximum" in verified.stderr
