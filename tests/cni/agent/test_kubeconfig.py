"""`cni-agent run` on an API server: real processes in a node's namespace, and its routes."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network
from pathlib import Path
from typing import NamedTuple

import pytest

from ipam.datastore import open_datastore
from nodeplane.datapath import netns
from nodeplane.datapath.rtnl import Route, open_rtnl
from tests.cni.agent_process import AGENT, agent
from tests.cni.conftest import Node, network_config
from tests.netns_fixture import eventually, namespace, veth_pair
from tests.netns_lab.apiserver.in_namespace import LIMIT_S, ServerInNamespace
from tests.ready_process import stop

pytestmark = pytest.mark.netns

NODES = "/api/v1/nodes"
STALE = Route(IPv4Network("10.244.77.0/26"), kind="blackhole")
# Nobody else is in the namespace.
PORT = 6443


class World(NamedTuple):
    """A node with an uplink and a server on its loopback; a block that belongs to another node."""

    node: Node
    server: ServerInNamespace
    config: Path
    block: IPv4Network

    def write_node(self, address: str) -> None:
        """Say where the other node is."""
        addresses = [{"type": "InternalIP", "address": address}]
        value = {"metadata": {"name": "n2"}, "status": {"addresses": addresses}}
        self.server.write(NODES, value)
        self.server.write_status(NODES, value)

    def await_routes(self, *gateways: str) -> None:
        """Wait until the routes are one to the other node's block by each gateway, and no other."""
        wanted = [f"{self.block} via {gateway} dev eth0" for gateway in gateways]
        eventually(self.node.routes, lambda routes: routes == wanted, within_s=LIMIT_S)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    config = tmp_path / "agent.yaml"
    config.write_text(f"datastore: sqlite://{tmp_path}/ipam.sqlite\n")
    with namespace("n1") as n1, namespace("n2") as n2, namespace("p2") as pod:
        other = Node(n2, network_config(tmp_path / "ipam.sqlite", "n2"))
        other.add(pod)
        with open_datastore(other.datastore) as datastore:
            [block] = [each.network for each in datastore.blocks()]
        assert isinstance(block, IPv4Network)
        node = Node(n1, network_config(tmp_path / "ipam.sqlite", "n1"))
        server = ServerInNamespace(n1, tmp_path / "server", PORT)
        server.start()
        server.write(NODES, {"metadata": {"name": "n1"}})
        try:
            with veth_pair(n1, "eth0", n2, "eth0", address_a="192.0.2.1/24", address_b="192.0.2.2/24"):
                yield World(node, server, config, block)
        finally:
            server.kill()


def test_routes_follow_the_nodes_of_the_server(world: World) -> None:
    """They appear, change and vanish with the Node; a lost server takes none away."""
    with agent(world.node.path, "n1", world.config, None, world.server.kubeconfig) as process:
        assert world.node.routes() == []

        world.write_node("192.0.2.2")
        world.await_routes("192.0.2.2")
        world.write_node("192.0.2.22")
        world.await_routes("192.0.2.22")

        world.server.kill()
        await_line(process, "cluster state lost, last state in force kind=Node")
        world.await_routes("192.0.2.22")
        world.server.start()
        world.server.delete(f"{NODES}/n2")
        world.await_routes()

        assert stop(process)[0] == 0


def test_nothing_is_written_before_the_server_has_answered(world: World) -> None:
    """A node that boots before its API server keeps the routes that it has, and the log says why."""
    world.write_node("192.0.2.2")
    world.server.kill()
    with open_rtnl(world.node.path) as rtnl:
        rtnl.add_route(STALE)
    with started_in(world.node.path, world.config, world.server.kubeconfig) as process:
        await_line(process, "no cluster state yet kind=Node reason=connection")
        assert world.node.routes() == [f"blackhole {STALE.destination}"]

        world.server.start()
        world.await_routes("192.0.2.2")


@contextmanager
def started_in(node: Path, config: Path, kubeconfig: Path) -> Iterator["subprocess.Popen[str]"]:
    """Start an agent that need not get ready; killed at the end."""
    inputs = ("--config", str(config), "--kubeconfig", str(kubeconfig))
    with netns.inside(node):
        process = subprocess.Popen(
            [AGENT, "run", "--node-name", "n1", *inputs], stderr=subprocess.PIPE, text=True
        )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def await_line(process: "subprocess.Popen[str]", words: str) -> None:
    """Read an agent's log until it says something; its end is an error."""
    assert process.stderr is not None
    assert any(words in line for line in process.stderr)
