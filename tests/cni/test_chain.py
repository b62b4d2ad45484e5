"""In a chain with Debian's reference plugins, before and behind them, and with its IPAM plugins."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from nodeplane.datapath import netns
from nodeplane.datapath.rtnl import open_rtnl
from nodeplane.datapath.sysctl import KernelSysctls
from tests.cni.conftest import PLUGIN, Answer, Node
from tests.cni.dhcp_server import serving
from tests.netns_fixture import answers, eventually, namespace, run_in

pytestmark = pytest.mark.netns

PLUGINS = Path("/usr/lib/cni")
# What Debian's plugins (1.1.1) speak at most.
VERSION = "1.0.0"

Plugin = dict[str, Any]

TUNING: Plugin = {
    "type": "tuning",
    "mac": "02:00:00:00:00:77",
    "mtu": 1400,
    "sysctl": {"net.core.somaxconn": "500"},
}
BANDWIDTH: Plugin = {
    "type": "bandwidth",
    "ingressRate": 10**9,
    "ingressBurst": 10**6,
    "egressRate": 10**9,
    "egressBurst": 10**6,
}
PORTMAP: Plugin = {
    "type": "portmap",
    "snat": True,
    "runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]},
}
# As the first of a chain: it brings the loopback up, and the result that the others want.
LOOPBACK: Plugin = {"type": "loopback"}
SYSCTL: Plugin = {"type": "tuning", "sysctl": {"net.core.somaxconn": "500"}}
IDLE_BANDWIDTH: Plugin = {"type": "bandwidth"}
IDLE_PORTMAP: Plugin = {"type": "portmap"}


class Runtime(NamedTuple):
    """What a container runtime does with a list of plugins (SPEC section 3)."""

    node: Node
    ipam: dict[str, Any]

    @property
    def ours(self) -> dict[str, Any]:
        return {"type": "nodeplane-cni", "ipam": self.ipam}

    def call(self, command: str, plugin: dict[str, Any], pod: Path, container: str, **more: Any) -> Answer:
        """Run one plugin of the list."""
        config = {"cniVersion": VERSION, "name": "chained", **plugin, **more}
        program = PLUGIN if plugin["type"] == "nodeplane-cni" else str(PLUGINS / plugin["type"])
        args = f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={container}"
        environ = {
            **self.node.environ(command, pod, container, args=args),
            # iptables, which portmap runs.
            "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
            "CNI_PATH": str(PLUGINS),
        }
        done = run_in(self.node.path, program, stdin=json.dumps(config), env=environ, timeout_s=120)
        return Answer(done.returncode, json.loads(done.stdout) if done.stdout else None)

    def add(self, plugins: Sequence[dict[str, Any]], pod: Path, container: str = "c1") -> Any:
        """Run ADD of all, each with the result of the one before; return the last result."""
        result = None
        for plugin in plugins:
            more: dict[str, Any] = {} if result is None else {"prevResult": result}
            answer = self.call("ADD", plugin, pod, container, **more)
            assert answer.code == 0, (plugin["type"], answer)
            result = answer.body
        return result

    def check(self, plugins: Sequence[dict[str, Any]], pod: Path, result: Any) -> list[Answer]:
        """Run CHECK of all with the last result."""
        return [self.call("CHECK", plugin, pod, "c1", prevResult=result) for plugin in plugins]

    def delete(self, plugins: Sequence[dict[str, Any]], pod: Path, result: Any) -> list[Answer]:
        """Run DEL of all, the last first."""
        return [self.call("DEL", plugin, pod, "c1", prevResult=result) for plugin in reversed(plugins)]


@pytest.fixture
def host_local(tmp_path: Path) -> dict[str, Any]:
    return {
        "type": "host-local",
        "dataDir": str(tmp_path / "reserved"),
        "ranges": [[{"subnet": "10.9.0.0/24"}]],
    }


@pytest.fixture
def runtime(node: Node, host_local: dict[str, Any]) -> Runtime:
    return Runtime(node, host_local)


def reserved(host_local: dict[str, Any]) -> set[str]:
    """Return the addresses that host-local has given away."""
    names = os.listdir(Path(host_local["dataDir"], "chained"))
    return {name for name in names if not name.startswith(("lock", "last"))}


def test_before_tuning_bandwidth_and_portmap(runtime: Runtime, pod: Path, host_local: dict[str, Any]) -> None:
    # Another MAC than the one that we gave: nothing would get past the check of sources.
    ours = {**runtime.ours, "sourceCheck": False}
    plugins = [ours, TUNING, BANDWIDTH, PORTMAP]

    result = runtime.add(plugins, pod)

    assert [ip["address"] for ip in result["ips"]] == ["10.9.0.2/32"]
    with open_rtnl(pod) as rtnl:
        link = rtnl.link("eth0")
        assert (link.mac, link.mtu_bytes) == ("02:00:00:00:00:77", 1400)
    assert KernelSysctls(pod).read("net.core.somaxconn") == "500"
    # Not portmap's: that of 1.1.1 wants its chain in ip6tables too, where it has made none.
    assert runtime.check(plugins[:3], pod, result) == [Answer(0, None)] * 3
    eventually(lambda: answers(pod, "169.254.1.1"), bool)

    assert runtime.delete(plugins, pod, result) == [Answer(0, None)] * 4
    assert (runtime.node.links(), reserved(host_local)) == (set(), set())


def test_behind_tuning_bandwidth_and_portmap(runtime: Runtime, pod: Path, host_local: dict[str, Any]) -> None:
    plugins = [LOOPBACK, SYSCTL, IDLE_BANDWIDTH, IDLE_PORTMAP, runtime.ours]

    result = runtime.add(plugins, pod)

    assert [interface["name"] for interface in result["interfaces"]][::2] == ["lo", "eth0"]
    ours = [ip["address"] for ip in result["ips"] if ip["interface"] == 2]
    assert ours == ["10.9.0.2/32"]
    assert KernelSysctls(pod).read("net.core.somaxconn") == "500"
    eventually(lambda: answers(pod, "169.254.1.1"), bool)
    assert runtime.check([runtime.ours, SYSCTL], pod, result) == [Answer(0, None)] * 2

    assert {answer.code for answer in runtime.delete(plugins, pod, result)} == {0}
    assert (runtime.node.links(), reserved(host_local)) == (set(), set())


def test_host_local(runtime: Runtime, pod: Path, host_local: dict[str, Any]) -> None:
    """Both families, a retry that it refuses, and a range that is full."""
    ranges = [[{"subnet": "10.9.0.0/30"}], [{"subnet": "2001:db8:9::/64"}]]
    plugin = {**runtime.ours, "ipam": {**host_local, "ranges": ranges, "routes": [{"dst": "0.0.0.0/0"}]}}

    result = runtime.add([plugin], pod)

    assert [(ip["address"], ip["gateway"]) for ip in result["ips"]] == [
        ("10.9.0.2/32", "169.254.1.1"),
        ("2001:db8:9::2/128", "fe80::ecee:eeff:feee:eeee"),
    ]
    eventually(lambda: answers(runtime.node.path, "2001:db8:9::2"), bool)
    assert runtime.check([plugin], pod, result) == [Answer(0, None)]
    with namespace("other") as other:
        full = runtime.call("ADD", plugin, other, "c2")

        assert full.code == 1
        assert full.body == {
            "cniVersion": VERSION,
            "code": 999,
            "msg": "failed to allocate for range 0: no IP addresses available in range set: "
            "10.9.0.1-10.9.0.2",
        }
        with open_rtnl(other) as rtnl:
            assert rtnl.links().keys() == {"lo"}
    # What was c1's is still there.
    assert reserved(host_local) == {"10.9.0.2", "2001:db8:9::2"}
    assert runtime.check([plugin], pod, result) == [Answer(0, None)]

    assert runtime.delete([plugin], pod, result) == [Answer(0, None)]
    assert reserved(host_local) == set()


def test_static(runtime: Runtime, pod: Path) -> None:
    ipam = {
        "type": "static",
        "addresses": [{"address": "10.9.1.5/24"}, {"address": "2001:db8:9::5/64"}],
        "routes": [{"dst": "198.51.100.0/24", "gw": "10.9.1.1"}],
        "dns": {"nameservers": ["192.0.2.53"], "search": ["a.b"]},
    }
    plugin = {**runtime.ours, "ipam": ipam}

    result = runtime.add([plugin], pod)

    assert [ip["address"] for ip in result["ips"]] == ["10.9.1.5/32", "2001:db8:9::5/128"]
    assert result["routes"][-1] == {"dst": "198.51.100.0/24", "gw": "169.254.1.1"}
    assert result["dns"] == {"nameservers": ["192.0.2.53"], "search": ["a.b"]}
    assert runtime.add([plugin], pod) == result
    assert runtime.check([plugin], pod, result) == [Answer(0, None)]
    assert runtime.delete([plugin], pod, result) == [Answer(0, None)]


def test_static_with_the_capability_ips(runtime: Runtime, pod: Path) -> None:
    """It is the IPAM plugin's, which gets the whole configuration."""
    plugin = {**runtime.ours, "ipam": {"type": "static"}, "capabilities": {"ips": True}}

    answer = runtime.call("ADD", plugin, pod, "c1", runtimeConfig={"ips": ["10.9.1.9/24"]})

    assert [ip["address"] for ip in answer.body["ips"]] == ["10.9.1.9/32"]


def test_a_version_that_the_ipam_plugin_lacks(runtime: Runtime, pod: Path) -> None:
    answer = runtime.call("ADD", {**runtime.ours, "cniVersion": "1.1.0"}, pod, "c1")

    assert (answer.code, answer.body["code"], answer.body["msg"]) == (1, 1, "incompatible CNI versions")
    assert runtime.node.links() == set()


def test_dhcp_without_its_daemon(runtime: Runtime, pod: Path, tmp_path: Path) -> None:
    path = tmp_path / "dhcp.sock"

    answer = runtime.call(
        "ADD", {**runtime.ours, "ipam": {"type": "dhcp", "daemonSocketPath": str(path)}}, pod, "c1"
    )

    assert answer.code == 1
    assert answer.body == {
        "cniVersion": VERSION,
        "code": 999,
        "msg": f"error dialing DHCP daemon: dial unix {path}: connect: no such file or directory",
    }
    assert runtime.node.links() == set()


@contextmanager
def dhcp_daemon(node: Path, socket_path: Path) -> Iterator[None]:
    """Run Debian's daemon, which asks from inside the pod's namespace."""
    command = [str(PLUGINS / "dhcp"), "daemon", "-socketpath", str(socket_path)]
    with netns.inside(node):
        daemon = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually(socket_path.exists, bool)
        yield
    finally:
        daemon.kill()
        daemon.wait()


def test_dhcp(runtime: Runtime, pod: Path) -> None:
    """It asks through the pod's interface, which has to be there and up before there is an address."""
    with (
        tempfile.TemporaryDirectory(prefix="npt-") as folder,
        dhcp_daemon(runtime.node.path, Path(folder, "dhcp.sock")),
        serving(runtime.node.path, "10.9.2.5", "10.9.2.1") as seen,
    ):
        ipam = {"type": "dhcp", "daemonSocketPath": f"{folder}/dhcp.sock"}
        plugin = {**runtime.ours, "ipam": ipam}

        result = runtime.add([plugin], pod)

        assert [ip["address"] for ip in result["ips"]] == ["10.9.2.5/32"]
        assert seen == ["discover", "request"]
        eventually(lambda: answers(pod, "169.254.1.1"), bool)
        assert runtime.check([plugin], pod, result) == [Answer(0, None)]
        assert runtime.delete([plugin], pod, result) == [Answer(0, None)]
    assert runtime.node.links() == set()
