"""Three nodes and a router for tests of the agent: n1 and n2 on one subnet, n3 on another, in both families.

    n1 192.0.2.1 ──┐
    n2 192.0.2.2 ──┴─ bridge of the router 192.0.2.254 ── 198.51.100.254 ── 198.51.100.3 n3

A node's `pod` is an address of its own block on its loopback: enough for packets to be routed to.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Any

from cni.routing.vxlan import build_gateway
from ipam.allocator import Allocator
from ipam.datastore import open_datastore
from ipam.model import Block, Handle, Mode, PodRef, Pool, Request, Use
from ipam.pool_record import put_pool
from nodeplane.datapath.rtnl import Address, Network, Route, Rtnl, open_rtnl
from nodeplane.datapath.sysctl import KernelSysctls
from tests.cni.agent_process import agent
from tests.netns_fixture import add_default_route, eventually, namespace, veth_pair

ADDRESSES = {
    "n1": ("192.0.2.1", "2001:db8:1::1"),
    "n2": ("192.0.2.2", "2001:db8:1::2"),
    "n3": ("198.51.100.3", "2001:db8:2::3"),
}
POOLS = {4: ("default", "10.244.0.0/16", 26), 6: ("default-ipv6", "fd00:10:244::/64", 122)}


class Racks:
    """The nodes, and what they share."""

    def __init__(self, paths: dict[str, Path], directory: Path, stack: ExitStack) -> None:
        self.paths = paths
        self.manifests = directory / "manifests"
        self.url = f"sqlite://{directory}/ipam.sqlite"
        self._directory = directory
        self._stack = stack
        self._rtnls = {name: stack.enter_context(open_rtnl(path)) for name, path in paths.items()}
        self.manifests.mkdir()
        self.write_nodes(ADDRESSES)

    def write_nodes(self, addresses: Mapping[str, tuple[str, ...]]) -> None:
        """Say where the nodes are, in one step."""
        nodes = [
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": name},
                "status": {"addresses": [{"type": "InternalIP", "address": each} for each in held]},
            }
            for name, held in addresses.items()
        ]
        draft = self.manifests / ".nodes.yaml"
        draft.write_text("---\n".join(json.dumps(node) + "\n" for node in nodes))
        draft.rename(self.manifests / "nodes.yaml")

    def rtnl(self, node: str) -> Rtnl:
        """Return a node's rtnetlink."""
        return self._rtnls[node]

    def set_mode(self, mode: Mode, *versions: int) -> None:
        """Give the pools of some families (both) a mode."""
        with open_datastore(self.url) as datastore:
            for version in versions or (4, 6):
                name, cidr, size = POOLS[version]
                pool = Pool(name, ip_network(cidr), size, mode=mode)
                datastore.transact(lambda ledger, pool=pool: put_pool(ledger, pool))  # type: ignore[misc]

    def assign(self, node: str, number: int = 0) -> tuple[Address, ...]:
        """Give a pod of a node its addresses, and put them where packets find them; return them."""
        request = Request(Handle(f"c{number}-{node}", "eth0", node), PodRef(), node, "", 1, families=(4, 6))
        with open_datastore(self.url) as datastore:
            given = Allocator(datastore, ()).assign(request)
        for item in given.ips:
            self.rtnl(node).add_address("lo", ip_interface(item.address.ip))
        return tuple(item.address.ip for item in given.ips)

    def blocks(self, node: str) -> list[Block]:
        """Return a node's blocks, IPv4 first."""
        with open_datastore(self.url) as datastore:
            return [block for block in datastore.blocks() if block.node == node]

    def tunnels(self, use: Use = "tunnel") -> dict[tuple[str, int], Address]:
        """Return the nodes' own addresses in pools."""
        with open_datastore(self.url) as datastore:
            held = datastore.read(lambda ledger: ledger.allocations())
        return {(item.node, item.address.version): item.address for item in held if item.use == use}

    def run_agent(self, node: str, **config: Any) -> Any:
        """Start a node's agent and wait until it is ready."""
        file = self._directory / f"{node}.yaml"
        file.write_text(
            json.dumps(
                {"datastore": self.url, "socket": "", "metricsBindAddress": "", "gcInterval": "0", **config}
            )
        )
        return self._stack.enter_context(agent(self.paths[node], node, file, self.manifests))

    def routes(self, node: str) -> dict[Network, Route]:
        """Return a node's routes of ours that are the agent's."""
        rtnl = self.rtnl(node)
        return {
            route.destination: route
            for family in (4, 6)
            for route in rtnl.routes(110, family=family)
            if route.gateway is not None or route.kind == "blackhole" or route.next_hops
        }

    def ways(self, node: str) -> dict[str, str]:
        """Return where a node's routes lead, by destination, as text."""
        return {
            str(key): "blackhole" if route.kind == "blackhole" else f"{route.gateway} {route.link}"
            for key, route in self.routes(node).items()
        }

    def wanted(self, node: str, mode: Mode) -> dict[str, str]:
        """Return what `ways` must be in a mode, by the datastore."""
        tunnels = self.tunnels()
        found: dict[str, str] = {}
        for peer in ADDRESSES:
            for block in self.blocks(peer):
                version = block.network.version
                direct = f"{ADDRESSES[peer][version == 6]} eth0"
                is_near = {node, peer} <= {"n1", "n2"}
                if peer == node:
                    found[str(block.network)] = "blackhole"
                elif mode == "direct" or (mode == "cross-subnet" and is_near):
                    found[str(block.network)] = direct
                elif (peer, version) in tunnels:
                    gateway = build_gateway(peer, tunnels[peer, version])
                    found[str(block.network)] = f"{gateway} np-vxlan{version}"
        return found

    def converge(self, mode: Mode, *nodes: str) -> None:
        """Wait until nodes have the routes of a mode."""
        for node in nodes:
            eventually(
                lambda node=node: (self.ways(node), self.wanted(node, mode)),  # type: ignore[misc]
                lambda both: both[0] == both[1] and len(both[1]) >= 2,
            )


@contextmanager
def racks(directory: Path) -> Iterator[Racks]:
    """Build them; without agents, and without pools."""
    with ExitStack() as stack:
        paths = {name: stack.enter_context(namespace(name)) for name in ("r", *ADDRESSES)}
        router = stack.enter_context(open_rtnl(paths["r"]))
        router.add_bridge("br0")
        router.set_up("br0")
        for node, (address, address_6) in ADDRESSES.items():
            stack.enter_context(veth_pair(paths["r"], node, paths[node], "eth0"))
            here = "br0" if node != "n3" else node
            if node != "n3":
                router.set_master(node, "br0")
            with open_rtnl(paths[node]) as rtnl:
                for text, bits in ((address, 24), (address_6, 64)):
                    rtnl.add_address("eth0", ip_interface(f"{text}/{bits}"))
                    gateway = ip_interface(f"{text}/{bits}").network[254]
                    if node != "n2":
                        router.add_address(here, ip_interface(f"{gateway}/{bits}"))
                    add_default_route(paths[node], str(gateway))
        for setting in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            KernelSysctls(paths["r"]).write(setting, 1)
        yield Racks({name: path for name, path in paths.items() if name != "r"}, directory, stack)
