"""A node with an outside client and two pods of both families, made by the plugin.

outside 192.0.2.2, 2001:db8:ff::2 ── node 192.0.2.1, .3, 2001:db8:ff::1 ─┬─ c1
                                                                         └─ c2
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, NamedTuple

from cni.features.node_table import NAME, NODE_TABLE
from nodeplane.datapath import netns
from nodeplane.datapath.nft.kernel import KernelTable
from nodeplane.datapath.nft.table import TableState
from tests.cni.conftest import Answer, Node
from tests.cni.echo_pod import echoing
from tests.netns_fixture import add_default_route, namespace, run_in, veth_pair

ANY4 = str(IPv4Address(0))
NODE = {4: "192.0.2.1", 6: "2001:db8:ff::1"}
SECOND = {4: "192.0.2.3", 6: "2001:db8:ff::3"}
OUTSIDE = {4: "192.0.2.2", 6: "2001:db8:ff::2"}
POOLS = (
    {"name": "default", "cidr": "10.244.0.0/16", "blockSize": 26},
    {"name": "default6", "cidr": "fd00:10:244::/64"},
)


class World(NamedTuple):
    """The namespaces, and the pods' addresses by version."""

    node: Node
    outside: Path
    pods: Mapping[str, Path]
    addresses: dict[str, dict[int, str]]

    def call(self, command: str, container: str, *mappings: dict[str, Any], **config: Any) -> Answer:
        """Call the plugin for a pod with port mappings."""
        runtime = {"runtimeConfig": {"portMappings": list(mappings)}} if mappings else {}
        answer = self.node.call(
            command,
            self.pods[container],
            container=container,
            args=f"K8S_POD_NAMESPACE=default;K8S_POD_NAME={container}",
            config={"ipam": {**self.node.config["ipam"], "pools": list(POOLS)}, **runtime, **config},
        )
        if command == "ADD" and answer.code == 0:
            self.addresses[container] = {
                6 if ":" in ip["address"] else 4: ip["address"].partition("/")[0] for ip in answer.body["ips"]
            }
        return answer

    def add(self, container: str, *mappings: dict[str, Any], **config: Any) -> Any:
        """Add a pod, which must succeed."""
        answer = self.call("ADD", container, *mappings, **config)
        assert answer.code == 0, answer
        return answer.body

    def table(self) -> TableState | None:
        """Return what the node's table holds."""
        with netns.inside(self.node.path), KernelTable("inet", NAME) as table:
            return table.read(NODE_TABLE)

    def host_ports(self) -> dict[str, int]:
        """Return how many elements of host ports there are, by map; those that are empty are left out."""
        state = self.table()
        elements = {} if state is None else state.elements
        return {name: len(part) for name, part in elements.items() if name.startswith("host-port") and part}


def tcp(host_port: int, container_port: int = 8080, **more: Any) -> dict[str, Any]:
    """Return a port mapping as a runtime writes it."""
    return {"hostPort": host_port, "containerPort": container_port, "protocol": "tcp", **more}


@contextmanager
def world(node: Node) -> Iterator[World]:
    with ExitStack() as stack:
        outside = stack.enter_context(namespace("outside"))
        stack.enter_context(veth_pair(node.path, "eth0", outside, "eth0"))
        for path, addresses in ((node.path, (NODE, SECOND)), (outside, (OUTSIDE,))):
            for each in addresses:
                run(path, f"ip address add {each[4]}/24 dev eth0")
                run(path, f"ip address add {each[6]}/64 dev eth0 nodad")
        run(node.path, "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
        add_default_route(outside, NODE[4])
        add_default_route(outside, NODE[6])
        pods = {name: stack.enter_context(namespace(name)) for name in ("c1", "c2")}
        for name, path in pods.items():
            stack.enter_context(echoing(path, name))
        yield World(node, outside, pods, {})


def run(ns: Path, command: str) -> None:
    """Run a command that must succeed."""
    done = run_in(ns, *command.split())
    assert done.returncode == 0, (command, done.stderr)
