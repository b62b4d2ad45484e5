"""Debian's bridge, ptp and macvlan with nodeplane-ipam in place of host-local: real pods, real packets."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ipam.datastore import open_datastore
from ipam.ledger import LedgerReader
from nodeplane.datapath.sysctl import KernelSysctls
from tests.netns_fixture import answers, eventually, namespace, run_in, veth_pair

pytestmark = pytest.mark.netns

PLUGINS = Path("/usr/lib/cni")
ROOT = Path(__file__).parents[2]
EVERYWHERE = [{"dst": "0.0.0.0/0"}]
SUBNET = {"ranges": [[{"subnet": "10.22.0.0/24"}]], "routes": EVERYWHERE}
OLD_FORM = {
    "subnet": "10.22.0.0/24",
    "rangeStart": "10.22.0.70",
    "rangeEnd": "10.22.0.80",
    "routes": EVERYWHERE,
}
POOL = {
    "pools": [{"name": "link", "cidr": "10.23.0.0/24", "gateway": "10.23.0.1", "onLink": True}],
    "routes": EVERYWHERE,
}
BRIDGE = {"type": "bridge", "bridge": "cni0", "isGateway": True}


class Node(NamedTuple):
    """A node's namespace, a directory of our own, and where the runtime finds plugins."""

    path: Path
    directory: Path

    @property
    def datastore(self) -> str:
        return f"sqlite://{self.directory}/ipam.sqlite"

    def call(self, command: str, plugin: dict[str, Any], pod: Path, number: int) -> Any:
        """Run a reference plugin as a runtime does; return its result."""
        ipam = {"type": "nodeplane-ipam", "datastore": self.datastore, **plugin["ipam"]}
        config = {"cniVersion": "1.0.0", "name": "net", "nodeName": "n1", **plugin, "ipam": ipam}
        environ = {
            "PATH": os.environ["PATH"],
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": f"c{number}",
            "CNI_NETNS": str(pod),
            "CNI_IFNAME": "eth0",
            "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-{number}",
            "CNI_PATH": f"{self.directory}/bin:{PLUGINS}",
        }
        done = run_in(self.path, str(PLUGINS / plugin["type"]), stdin=json.dumps(config), env=environ)
        assert done.returncode == 0, (done.stdout, done.stderr)
        return json.loads(done.stdout) if done.stdout else None

    def held(self) -> set[str]:
        """Return the addresses in use."""
        with open_datastore(self.datastore) as datastore:
            return {str(item.address) for item in datastore.read(LedgerReader.allocations)}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    # The tree under test, whatever the installed script leads to.
    script = tmp_path / "bin" / "nodeplane-ipam"
    script.parent.mkdir()
    script.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from ipam.plugin import main\nsys.exit(main())\n"
    )
    script.chmod(0o755)
    with namespace("node") as path:
        KernelSysctls(path).write("net.ipv4.ip_forward", 1)
        yield Node(path, tmp_path)


@pytest.mark.parametrize(
    ("plugin", "length", "gateway"),
    [
        pytest.param({**BRIDGE, "ipam": SUBNET}, "24", "10.22.0.1", id="bridge, a subnet"),
        pytest.param({**BRIDGE, "ipam": OLD_FORM}, "24", "10.22.0.1", id="bridge, the old form"),
        pytest.param({"type": "ptp", "ipam": SUBNET}, "24", "10.22.0.1", id="ptp, a subnet"),
        pytest.param({"type": "ptp", "ipam": POOL}, "24", "10.23.0.1", id="ptp, a pool"),
        pytest.param(
            {"type": "macvlan", "master": "uplink", "ipam": SUBNET}, "24", "10.22.0.1", id="macvlan, a subnet"
        ),
    ],
)
def test_pods_reach_each_other(node: Node, plugin: dict[str, Any], length: str, gateway: str) -> None:
    with ExitStack() as stack:
        wire = stack.enter_context(namespace("wire"))
        stack.enter_context(veth_pair(node.path, "uplink", wire, "far"))
        pods = [stack.enter_context(namespace(f"p{number}")) for number in range(2)]

        results = [node.call("ADD", plugin, pod, number) for number, pod in enumerate(pods)]

        [[one], [two]] = [result["ips"] for result in results]
        addresses = [ip["address"].partition("/")[0] for ip in (one, two)]
        assert {ip["address"].partition("/")[2] for ip in (one, two)} == {length}
        assert {ip["gateway"] for ip in (one, two)} == {gateway}
        assert node.held() == set(addresses)
        eventually(lambda: answers(pods[0], addresses[1]), bool)
        eventually(lambda: answers(pods[1], addresses[0]), bool)
        if plugin["type"] != "macvlan":
            # Of a macvlan the node itself is no part.
            assert answers(pods[0], gateway)

        for number, pod in enumerate(pods):
            node.call("CHECK", {**plugin, "prevResult": results[number]}, pod, number)
            node.call("DEL", plugin, pod, number)
            node.call("DEL", plugin, pod, number)
        assert node.held() == set()


def test_a_pod_that_can_not_be_wired_leaves_no_address(node: Node) -> None:
    """The plugin asks for an address first; when it then fails it calls us with DEL."""
    plugin = {"type": "ptp", "ipam": SUBNET, "mtu": 10}
    with namespace("p1") as pod, pytest.raises(AssertionError):
        node.call("ADD", plugin, pod, 1)

    assert node.held() == set()
