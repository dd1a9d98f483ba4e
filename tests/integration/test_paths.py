"""A path between the gate and a device that takes less than the gate's own network does, with and
without the router's word that something was too big. In network namespaces: the gate in that of
the test's own thread, a router and a device in others."""

import ctypes
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backend import Backend
from clients.device import Device
from conftest import IDENTITY, KEY
from environment import own_address, wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

CLONE_NEWNET = 0x40000000
GATE = {"v4": "10.9.1.1", "v6": "fd09:1::1"}
NARROW = 1280
SIZES = (1152, 1300, 1400, 4000)

LINKS = """
ip link set lo up
ip link add toward-router type veth peer name toward-gate
ip link set toward-gate netns {router}
ip addr add 10.9.1.1/24 dev toward-router
ip addr add fd09:1::1/64 dev toward-router nodad
ip link set toward-router up
"""
ROUTER = """
ip link add toward-device mtu {mtu} type veth peer name toward-router mtu {mtu}
ip link set toward-router netns {device}
ip addr add 10.9.1.2/24 dev toward-gate
ip addr add fd09:1::2/64 dev toward-gate nodad
ip addr add 10.9.2.2/24 dev toward-device
ip addr add fd09:2::2/64 dev toward-device nodad
ip link set toward-gate up
ip link set toward-device up
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
"""
# What the router itself has to say finds no way: no ICMP.
SILENCE = """
ip rule add iif lo blackhole
ip -6 rule add iif lo blackhole
"""
DEVICE = """
ip addr add 10.9.2.1/24 dev toward-router
ip addr add fd09:2::1/64 dev toward-router nodad
ip link set toward-router up
ip route add default via 10.9.2.2
ip -6 route add default via fd09:2::2
"""
GATE_ROUTES = """
ip route add 10.9.2.0/24 via 10.9.1.2
ip -6 route add fd09:2::/64 via fd09:1::2
"""


class Namespace:
    """One that lasts as long as a process in it."""

    def __init__(self):
        self._process = subprocess.Popen(["unshare", "--net", "sleep", "600"])
        self.pid = self._process.pid
        here = os.readlink("/proc/thread-self/ns/net")
        wait_until(lambda: os.readlink(f"/proc/{self.pid}/ns/net") != here, "a namespace")
        self.prefix = ["nsenter", f"--net=/proc/{self.pid}/ns/net"]

    def run(self, script):
        subprocess.run([*self.prefix, "sh", "-ec", script], check=True)

    def end(self):
        self._process.kill()
        self._process.wait()


def fragments_made():
    """By the kernel of this namespace, of datagrams that it sent itself; IPv4 and IPv6."""
    lines = [line.split() for line in Path("/proc/thread-self/net/snmp").read_text().splitlines()]
    four = dict(zip(lines[0], lines[1]))["FragCreates"]
    six = dict(line.split() for line in Path("/proc/thread-self/net/snmp6").read_text().splitlines())
    return int(four), int(six["Ip6FragCreates"])


def in_namespaces(body, has_icmp):
    """Runs body(device namespace) in a thread that is in the gate's."""
    def run():
        assert ctypes.CDLL(None).unshare(CLONE_NEWNET) == 0
        router, device = Namespace(), Namespace()
        try:
            subprocess.run(["sh", "-ec", LINKS.format(router=router.pid)], check=True)
            router.run(ROUTER.format(device=device.pid, mtu=NARROW))
            device.run(DEVICE)
            subprocess.run(["sh", "-ec", GATE_ROUTES], check=True)
            if not has_icmp:
                router.run(SILENCE)
            body(device)
        finally:
            router.end()
            device.end()
    with ThreadPoolExecutor(1) as elsewhere:
        elsewhere.submit(run).result()


def start(make_proxy, **listener):
    backend = Backend(lambda request: bytes(int(request)), (own_address(), 5683))
    listen = "%s:5684, [%s]:5684" % (GATE["v4"], GATE["v6"])
    return make_proxy(backend, listener={"listen": listen, **listener}).start(), backend


def address_of(family):
    return ("[%s]:5684" if family == "v6" else "%s:5684") % GATE[family]


@pytest.fixture
def device_options():
    return {"psk": (IDENTITY, KEY), "options": ["--mtu", "16384"]}


def receive_all(device, sizes, may_lose=0):
    """The server answers with each of these lengths, twice."""
    for size in sizes * 2:
        for attempt in range(may_lose, -1, -1):
            device.send(b"%d" % size)
            answer = device.recv(5 if attempt == 0 else 0.5)
            if answer == bytes(size):
                break
        assert answer == bytes(size), f"{size} bytes"


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("has_icmp", [True, False], ids=["icmp", "no-icmp"])
def test_answers_over_ipv4(make_proxy, device_options, has_icmp, version):
    """Their length is the server's choice, and each arrives."""
    def body(namespace):
        proxy, backend = start(make_proxy)
        try:
            device = Device(address_of("v4"), version=version, prefix=namespace.prefix,
                            **device_options).connect()
            receive_all(device, SIZES)
            device.quit()
        finally:
            proxy.stop()
            backend.close()
    in_namespaces(body, has_icmp)


@pytest.mark.parametrize("has_icmp", [True, False], ids=["icmp", "no-icmp"])
def test_answers_over_ipv6(make_proxy, device_options, has_icmp):
    """Only the sender makes fragments, when it knows that it must: it loses one datagram to learn it
    by ICMP. Without, it knows by the mtu of the route, and of what its own link does not take."""
    def body(namespace):
        proxy, backend = start(make_proxy)
        try:
            device = Device(address_of("v6"), prefix=namespace.prefix, **device_options).connect()
            if has_icmp:
                receive_all(device, (1300,), may_lose=1)
            else:
                receive_all(device, (1152, 4000))
                subprocess.run(["sh", "-ec", "ip -6 route change fd09:2::/64 via fd09:1::2 mtu 1280"],
                               check=True)
            receive_all(device, SIZES)
            device.quit()
        finally:
            proxy.stop()
            backend.close()
    in_namespaces(body, has_icmp)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_flights_over_ipv6_are_whole(make_proxy, keys, version):
    """They never need fragments, whatever `mtu` says, and so none is lost."""
    def body(namespace):
        proxy, backend = start(make_proxy, certificate=keys.rsa_server.certificate, mtu=16384,
                               private_key=keys.rsa_server.key, client_ca=keys.ca.certificate)
        try:
            before = fragments_made()
            device = Device(address_of("v6"), pair=keys.client, version=version,
                            prefix=namespace.prefix)
            assert device.handshake().established
            assert fragments_made() == before
            assert proxy.counter("dtlsgate_handshake_seconds_sum") < 1.5, "nothing was repeated"
            device.quit()
        finally:
            proxy.stop()
            backend.close()
    in_namespaces(body, has_icmp=False)
