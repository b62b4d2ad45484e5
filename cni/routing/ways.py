"""By which way a node reaches another one, in each mode, and what follows for a block: pure functions.

    direct         via the peer's address, which must be on a link of ours; via several if it has one in each
                   of several subnets of ours
    vxlan          via the peer's end of the tunnel, through our VXLAN link
    cross-subnet   direct where the peer has an address in one of our subnets, vxlan where not
    bgp            none of ours: the routes are BIRD's

and for a block:

    of another node   →  its way
    borrowed from a block by another node   →  the borrower's way: the more specific wins
    of this node      →  blackhole: an address in it that no pod has must not leave for the default route,
                         whose next hop would send it straight back; none for a block of one address, where
                         the pod's route stands
"""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_network

import msgspec

from cni.routing.peers import Peer
from cni.routing.vxlan import LINK_NAMES, build_gateway
from ipam.model import Block, Mode
from nodeplane.datapath.rtnl import Address, Network, NextHop, Route


class Surroundings(msgspec.Struct, frozen=True):
    """What ways depend on, beside the modes.

    Attributes:
        node: This node's name.
        peers: All nodes.
        tunnels: Their own addresses in pools, by node and family.
        subnets: The networks around this node's own addresses.
        vxlan_versions: The families in which this node has a VXLAN link.
        subnet_links: The links that lead into those subnets that the kernel knows.
    """

    node: str
    peers: Mapping[str, Peer] = {}
    tunnels: Mapping[tuple[str, int], Address] = {}
    subnets: frozenset[Network] = frozenset()
    vxlan_versions: frozenset[int] = frozenset()
    subnet_links: Mapping[Network, str] = {}

    def addresses(self, node: str, version: int) -> list[Address]:
        """Return a node's addresses of a family; none that is this node's own."""
        own, peer = self.peers.get(self.node, Peer()), self.peers.get(node, Peer())
        taken = () if node == self.node else own.addresses
        return [each for each in peer.addresses if each.version == version and each not in taken]


class Way(msgspec.Struct, frozen=True):
    """The next hop of routes to a node's pods, or several; through a tunnel it `is_onlink`."""

    gateway: Address | None = None
    link: str | None = None
    is_onlink: bool = False
    next_hops: tuple[NextHop, ...] = ()

    def route(self, destination: Network) -> Route:
        """Return the route to a destination."""
        return Route(
            destination,
            gateway=self.gateway,
            link=self.link,
            is_onlink=self.is_onlink,
            next_hops=self.next_hops,
        )


class BlockRoutes(msgspec.Struct, frozen=True):
    """What a block asks for.

    Attributes:
        routes: The routes that this node must have, by destination.
        held: Destinations whose way is not known yet, or not ours to write: what there is stays.
        announced: What this node tells others by BGP.
    """

    routes: Mapping[Network, Route] = {}
    held: frozenset[Network] = frozenset()
    announced: frozenset[Network] = frozenset()


def find_way(around: Surroundings, node: str, mode: Mode, version: int) -> Way | None:
    """Return the way to a node's pods of a family; None if there is none, or none yet."""
    peer = around.peers.get(node)
    if peer is None or mode == "bgp":
        return None
    addresses = around.addresses(node, version)
    near = [NextHop(address, link) for address, link in _in_subnets(addresses, around)]
    if mode == "vxlan" or (mode == "cross-subnet" and not near):
        return _tunnel_way(around, node, version) if addresses else None
    if len(near) > 1:
        return Way(next_hops=tuple(sorted(near)))
    if near:
        return Way(near[0].gateway, near[0].link)
    # With no address in our subnets the kernel decides; it refuses what it can't reach.
    return Way(gateway=addresses[0]) if addresses else None


def build_block_routes(around: Surroundings, block: Block, mode: Mode) -> BlockRoutes:
    """Build what a block of a pool in that mode asks for."""
    version, own = block.network.version, around.node
    routes: dict[Network, Route] = {}
    held: set[Network] = set()
    announced: set[Network] = set()

    def lead(destination: Network, node: str) -> None:
        way = find_way(around, node, mode, version)
        if way is not None:
            routes[destination] = way.route(destination)
        elif node in around.peers:
            held.add(destination)

    if block.node == own:
        # A block of one address has the pod's own route in that place, or is nobody's.
        if block.network.num_addresses > 1:
            routes[block.network] = Route(block.network, kind="blackhole")
        announced.add(block.network)
    elif block.node:
        lead(block.network, block.node)
    for item in block.lent:
        destination = ip_network(block.network[item.ordinal])
        # Of a block of one address that is all of it: what was said of its node does not hold.
        routes.pop(destination, None)
        held.discard(destination)
        announced.discard(destination)
        if item.node == own:
            # Where the pod is, its wiring has the route.
            announced.add(destination)
        else:
            lead(destination, item.node)
    return BlockRoutes(routes, frozenset(held), frozenset(announced) if mode == "bgp" else frozenset())


def _tunnel_way(around: Surroundings, node: str, version: int) -> Way | None:
    tunnel = around.tunnels.get((node, version))
    if tunnel is None or version not in around.vxlan_versions:
        return None
    return Way(build_gateway(node, tunnel), LINK_NAMES[version], is_onlink=True)


def _in_subnets(addresses: Iterable[Address], around: Surroundings) -> Iterator[tuple[Address, str | None]]:
    """Yield the first address in each subnet that has one, and the link that leads there."""
    left = set(around.subnets)
    for address in addresses:
        found = {subnet for subnet in left if address in subnet}
        if found:
            left -= found
            narrow = max(found, key=lambda subnet: subnet.prefixlen)
            yield address, around.subnet_links.get(narrow)
