"""`cni-agent run` on two nodes joined by a wire: real processes, routes and packets."""

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, aclosing
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import NamedTuple

import pytest

from ipam.datastore import open_datastore
from nodeplane.datapath import netns
from nodeplane.datapath.rtnl import ROUTE_PROTOCOL, Route, open_rtnl
from nodeplane.datapath.rtnl.monitor import AddressEvent, Event, RouteEvent, RtnlMonitor
from nodeplane.datapath.sysctl import KernelSysctls
from tests.cni.agent_process import AGENT, agent
from tests.cni.conftest import Node, address_of, network_config
from tests.netns_fixture import answers, eventually, namespace, run_in, veth_pair
from tests.ready_process import stop

pytestmark = pytest.mark.netns

ADDRESSES = {"n1": "192.0.2.1", "n2": "192.0.2.2"}
OTHER = {"n1": "n2", "n2": "n1"}
EVERYWHERE = IPv4Network("0.0.0.0/0")
MARKER = Route(IPv4Network("198.51.100.0/24"), kind="blackhole", protocol=4)


class Cluster(NamedTuple):
    """Two nodes on one wire without default routes, a pod's namespace for each, and what they share."""

    nodes: dict[str, Node]
    pods: dict[str, Path]
    manifests: Path
    config: Path

    def write_nodes(self, addresses: dict[str, str]) -> None:
        """Say where the nodes are, in one step as any writer of manifests should."""
        text = "---\n".join(
            f"apiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\n"
            f"status: {{addresses: [{{type: InternalIP, address: {address}}}]}}\n"
            for name, address in addresses.items()
        )
        draft = self.manifests / ".nodes.yaml"
        draft.write_text(text)
        draft.rename(self.manifests / "nodes.yaml")

    def run_agent(self, stack: ExitStack, name: str) -> "subprocess.Popen[str]":
        """Start a node's agent and wait until it is ready."""
        return stack.enter_context(agent(self.nodes[name].path, name, self.config, self.manifests))

    def add_pod(self, name: str) -> str:
        """Add a node's pod; return its address."""
        args = f"K8S_POD_NAMESPACE=default;K8S_POD_NAME=pod-{name}"
        return address_of(self.nodes[name].add(self.pods[name], container=f"c-{name}", args=args))

    def block(self, name: str) -> IPv4Network:
        """Return a node's only block."""
        with open_datastore(self.nodes[name].datastore) as datastore:
            [network] = [block.network for block in datastore.blocks() if block.node == name]
        assert isinstance(network, IPv4Network)
        return network

    def block_routes(self, name: str) -> list[str]:
        """Return a node's routes of ours that are the agent's, as `ip route` prints them."""
        return [line for line in self.nodes[name].routes() if " via " in line or line.startswith("blackhole")]

    def converge(self, *names: str) -> list[str]:
        """Wait until nodes have a route to the other's block and a blackhole for their own."""
        wanted: list[str] = []
        for name in names:
            peer = OTHER[name]
            wanted = [f"{self.block(peer)} via {ADDRESSES[peer]} dev eth0", f"blackhole {self.block(name)}"]
            self.await_routes(name, wanted)
        return wanted

    def await_routes(self, name: str, wanted: list[str]) -> None:
        """Wait until a node's block routes are exactly these."""
        eventually(lambda: self.block_routes(name), lambda routes: routes == wanted)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    config = tmp_path / "agent.yaml"
    config.write_text(f"datastore: sqlite://{tmp_path}/ipam.sqlite\n")
    with namespace("n1") as n1, namespace("n2") as n2, namespace("p1") as p1, namespace("p2") as p2:
        nodes = {
            name: Node(path, network_config(tmp_path / "ipam.sqlite", name))
            for name, path in (("n1", n1), ("n2", n2))
        }
        built = Cluster(nodes, {"n1": p1, "n2": p2}, manifests, config)
        built.write_nodes(ADDRESSES)
        with veth_pair(n1, "eth0", n2, "eth0", address_a="192.0.2.1/24", address_b="192.0.2.2/24"):
            yield built


def test_pods_of_two_nodes_reach_each_other(cluster: Cluster) -> None:
    with ExitStack() as stack:
        for name in cluster.nodes:
            cluster.run_agent(stack, name)

        one, two = cluster.add_pod("n1"), cluster.add_pod("n2")

        cluster.converge("n1", "n2")
        eventually(lambda: answers(cluster.pods["n1"], two), bool)
        eventually(lambda: answers(cluster.pods["n2"], one), bool)
        assert KernelSysctls(cluster.nodes["n1"].path).read("net.ipv4.ip_forward") == "1"


def test_an_address_that_no_pod_has_ends_at_its_node(cluster: Cluster) -> None:
    """Without the blackhole the default route would send the packet straight back."""
    with ExitStack() as stack:
        for name in cluster.nodes:
            cluster.run_agent(stack, name)
            cluster.add_pod(name)
        cluster.converge("n1", "n2")
        for name, node in cluster.nodes.items():
            with open_rtnl(node.path) as rtnl:
                rtnl.add_route(Route(EVERYWHERE, gateway=IPv4Address(ADDRESSES[OTHER[name]]), protocol=4))
        before = forwarded(cluster.nodes["n2"])

        assert not answers(cluster.pods["n1"], str(cluster.block("n2")[17]), within_s=0.5)
        assert forwarded(cluster.nodes["n2"]) == before


def forwarded(node: Node) -> int:
    """Return how many packets a node has forwarded (RFC 4293, ipSystemStatsOutForwDatagrams)."""
    names, values = run_in(node.path, "grep", "^Ip:", "/proc/self/net/snmp").stdout.splitlines()
    return int(values.split()[names.split().index("ForwDatagrams")])


def test_wiped_routes_return_and_foreign_ones_are_left(cluster: Cluster) -> None:
    with ExitStack() as stack:
        for name in cluster.nodes:
            cluster.add_pod(name)
        cluster.run_agent(stack, "n1")
        rtnl = stack.enter_context(open_rtnl(cluster.nodes["n1"].path))
        rtnl.add_route(MARKER)
        wanted = cluster.converge("n1")

        run_in(cluster.nodes["n1"].path, "ip", "route", "flush", "proto", str(ROUTE_PROTOCOL))

        cluster.await_routes("n1", wanted)
        assert rtnl.routes(4) == [MARKER]


def test_a_foreign_route_in_the_way_is_left_until_it_goes(cluster: Cluster) -> None:
    with ExitStack() as stack:
        for name in cluster.nodes:
            cluster.add_pod(name)
        running = cluster.run_agent(stack, "n1")
        rtnl = stack.enter_context(open_rtnl(cluster.nodes["n1"].path))
        wanted = cluster.converge("n1")
        foreign = Route(cluster.block("n2"), kind="blackhole", protocol=4)

        rtnl.replace_route(foreign)
        # Something else to do, so that we know it has looked.
        run_in(cluster.nodes["n1"].path, "ip", "route", "del", "blackhole", str(cluster.block("n1")))
        cluster.await_routes("n1", wanted[1:])
        assert rtnl.routes(4) == [foreign]
        rtnl.delete_route(foreign)

        cluster.await_routes("n1", wanted)
        code, log = stop(running)
        assert code == 0
        assert "route refused, the others are in force error='add route" in log


def test_a_wrong_node_name_sweeps_nothing(cluster: Cluster) -> None:
    """One line, no readiness, and all that an agent with the right name left stays."""
    with ExitStack() as stack:
        for name in cluster.nodes:
            cluster.add_pod(name)
        stop(cluster.run_agent(stack, "n1"))
        wanted = cluster.converge("n1")
        inputs = ("--config", str(cluster.config), "--manifests", str(cluster.manifests))
        with netns.inside(cluster.nodes["n1"].path):
            wrong = subprocess.Popen(
                [AGENT, "run", "--node-name", "nobody", *inputs], stderr=subprocess.PIPE, text=True
            )
        stack.callback(wrong.kill)
        assert wrong.stderr is not None
        told = next(line for line in wrong.stderr if " ERROR " in line)
        # Something for it to put right, if it thought that it could.
        run_in(cluster.nodes["n1"].path, "ip", "link", "set", "eth0", "mtu", "1400")
        cluster.write_nodes({"n2": ADDRESSES["n2"]})

        code, log = stop(wrong)

        assert "no Node has this --node-name, all stays as it is until one has node=nobody" in told
        assert (code, "routes synced" in log) == (0, False)
        cluster.await_routes("n1", wanted)


def test_a_link_that_flaps_gets_its_routes_back(cluster: Cluster) -> None:
    with ExitStack() as stack:
        for name in cluster.nodes:
            cluster.add_pod(name)
        cluster.run_agent(stack, "n1")
        wanted = cluster.converge("n1")
        rtnl = stack.enter_context(open_rtnl(cluster.nodes["n1"].path))

        rtnl.set_down("eth0")
        cluster.await_routes("n1", wanted[1:])
        rtnl.set_up("eth0")

        cluster.await_routes("n1", wanted)


def test_what_changes_in_the_cluster_changes_the_routes(cluster: Cluster) -> None:
    with ExitStack() as stack:
        cluster.run_agent(stack, "n1")
        assert cluster.block_routes("n1") == []

        cluster.add_pod("n2")
        cluster.await_routes("n1", [f"{cluster.block('n2')} via 192.0.2.2 dev eth0"])

        cluster.write_nodes({**ADDRESSES, "n2": "192.0.2.22"})
        cluster.await_routes("n1", [f"{cluster.block('n2')} via 192.0.2.22 dev eth0"])

        cluster.write_nodes({"n1": ADDRESSES["n1"]})
        cluster.await_routes("n1", [])


@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_a_restart_writes_nothing(cluster: Cluster, end: str) -> None:
    with ExitStack() as stack:
        for name in cluster.nodes:
            cluster.add_pod(name)
        running = cluster.run_agent(stack, "n1")
        cluster.converge("n1")
        rtnl = stack.enter_context(open_rtnl(cluster.nodes["n1"].path))
        before = rtnl.routes()
        monitor = stack.enter_context(RtnlMonitor(cluster.nodes["n1"].path))

        if end == "terminate":
            assert stop(running)[0] == 0
        else:
            running.kill()
            running.wait()
        assert rtnl.routes() == before
        cluster.run_agent(stack, "n1")

        rtnl.add_route(MARKER)
        assert asyncio.run(until_marker(monitor)) == []
        rtnl.delete_route(MARKER)
        assert rtnl.routes() == before


async def until_marker(monitor: RtnlMonitor) -> list[Event]:
    """Return what somebody did before the marker was written."""
    seen: list[Event] = []
    async with aclosing(monitor.events()) as events, asyncio.timeout(30):
        async for event in events:
            if isinstance(event, RouteEvent) and event.destination == MARKER.destination:
                break
            # The lab's links get their IPv6 addresses about now, from the kernel itself.
            is_kernels = isinstance(event, AddressEvent) and event.version == 6
            if not is_kernels and not (isinstance(event, RouteEvent) and event.port == 0):
                seen.append(event)
    return seen


def test_stale_routes_are_swept_and_the_pods_are_not(cluster: Cluster) -> None:
    with ExitStack() as stack:
        rtnl = stack.enter_context(open_rtnl(cluster.nodes["n1"].path))
        rtnl.add_route(Route(IPv4Network("10.244.77.0/26"), gateway=IPv4Address(ADDRESSES["n2"])))
        address = cluster.add_pod("n1")

        cluster.run_agent(stack, "n1")

        block = cluster.block("n1")
        assert cluster.block_routes("n1") == [f"blackhole {block}"]
        # The pod wiring's routes have the same protocol number, but are not the agent's.
        destinations = {str(route.destination) for route in rtnl.routes(ROUTE_PROTOCOL)}
        assert destinations == {str(block), f"{address}/32", "169.254.1.1/32"}


def test_without_a_source_there_are_own_routes_alone(cluster: Cluster) -> None:
    for name in cluster.nodes:
        cluster.add_pod(name)

    with agent(cluster.nodes["n1"].path, "n1", cluster.config, None):
        assert cluster.block_routes("n1") == [f"blackhole {cluster.block('n1')}"]


def test_a_bad_manifest_at_the_start_is_one_line_and_changes_nothing(cluster: Cluster) -> None:
    (cluster.manifests / "bad.yaml").write_text("apiVersion: v1\nkind: Node\nmetadata: {}\n")
    node = cluster.nodes["n1"].path
    with open_rtnl(node) as rtnl:
        rtnl.add_route(Route(IPv4Network("10.244.77.0/26"), kind="blackhole"))
        before = rtnl.routes()

        inputs = ("--config", str(cluster.config), "--manifests", str(cluster.manifests))
        done = run_in(node, AGENT, "run", "--node-name", "n1", *inputs)

        assert done.returncode == 2
        assert done.stderr.startswith(f"cni-agent: {cluster.manifests}/bad.yaml:3: metadata")
        assert done.stderr.count("\n") == 1
        assert rtnl.routes() == before
