"""Which addresses the fabric, the nodes and the routers of a lab have on which segment. Pure.

On each segment, in each of its families: the fabric's own address, where there are nodes, then those of the
routers, of the nodes and of the external clients that name none, in file order, each the lowest that is free.
A segment's gateway is its first router; without one it is the fabric, which leads nowhere else.
"""

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, ip_address, ip_interface

import msgspec

from netns_lab.names import UPLINK
from netns_lab.topology import Topology, split_ranges
from nodeplane.datapath.rtnl import Address, Interface, Network


class Place(msgspec.Struct, frozen=True):
    """A link to a segment, of a node, a router or an external client."""

    segment: str
    link: str
    addresses: tuple[Interface, ...]
    mtu_bytes: int


class AddressPlan(msgspec.Struct, frozen=True):
    """All addresses of a lab but those of pods.

    Attributes:
        fabric: The fabric's own on the segments that have nodes, by segment; the API server's is the first.
        nodes: Each node's uplink.
        routers: Each router's links, in file order.
        clients: Each external client's uplink.
        gateways: Whom a segment's nodes ask for the way elsewhere, by segment, one of each family.
    """

    fabric: dict[str, tuple[Interface, ...]]
    nodes: dict[str, Place]
    routers: dict[str, tuple[Place, ...]]
    clients: dict[str, Place]
    gateways: dict[str, tuple[Address, ...]]

    @property
    def server(self) -> IPv4Address:
        """The address that the API server is reached by from every node."""
        every = (interface.ip for addresses in self.fabric.values() for interface in addresses)
        return next(address for address in every if isinstance(address, IPv4Address))

    def node_addresses(self, node: str) -> tuple[Address, ...]:
        """Return a node's addresses, IPv4 first."""
        return tuple(interface.ip for interface in self.nodes[node].addresses)


def build_address_plan(topology: Topology) -> AddressPlan:
    """Give everything its addresses.

    The topology must be valid: `netns_lab.segment_validation` says when a segment is too small.
    """
    networks = {segment.name: split_ranges(segment.network) for segment in topology.all_segments}
    mtus = {segment.name: segment.mtu for segment in topology.all_segments}
    with_nodes = {topology.segment_of(node) for node in topology.nodes}
    taken = _given_addresses(topology)
    fabric: dict[str, tuple[Interface, ...]] = {}
    for name, ranges in networks.items():
        if name in with_nodes:
            fabric[name] = tuple(_interface(next(_free(name, each, set())), each) for each in ranges)
            taken |= {(name, interface.ip) for interface in fabric[name]}
    free = {
        (name, network.version): _free(name, network, taken)
        for name, ranges in networks.items()
        for network in ranges
    }

    def place(segment: str, link: str, written: str | None) -> Place:
        given = {address.version: address for address in split_addresses(written)}
        addresses = (
            _interface(given.get(network.version) or next(free[segment, network.version]), network)
            for network in networks[segment]
        )
        return Place(segment, link, tuple(addresses), mtus[segment])

    routers = {
        router.name: tuple(place(each.segment, each.segment, each.address) for each in router.interfaces)
        for router in topology.routers
    }
    nodes = {node.name: place(topology.segment_of(node), UPLINK, node.address) for node in topology.nodes}
    clients = {
        client.name: place(topology.segment_of(client), UPLINK, client.address) for client in topology.clients
    }
    return AddressPlan(fabric, nodes, routers, clients, _gateways(fabric, routers))


def split_addresses(text: str | None) -> tuple[Address, ...]:
    """Return the addresses that are written, one or two with a comma between them.

    Raises:
        ValueError: one of them is no address.
    """
    return tuple(ip_address(part) for part in text.split(",")) if text else ()


def _given_addresses(topology: Topology) -> set[tuple[str, Address]]:
    """Return the addresses that the file gives, each with its segment."""
    written = [(topology.segment_of(host), host.address) for host in topology.hosts]
    written += [(each.segment, each.address) for router in topology.routers for each in router.interfaces]
    return {(segment, address) for segment, text in written for address in split_addresses(text)}


def _interface(address: Address, network: Network) -> Interface:
    return ip_interface((address, network.prefixlen))


def _free(segment: str, network: Network, taken: set[tuple[str, Address]]) -> Iterator[Address]:
    hosts: Iterator[Address] = iter(network.hosts())
    return (address for address in hosts if (segment, address) not in taken)


def _gateways(
    fabric: Mapping[str, tuple[Interface, ...]], routers: Mapping[str, tuple[Place, ...]]
) -> dict[str, tuple[Address, ...]]:
    gateways: dict[str, tuple[Address, ...]] = {}
    for places in routers.values():
        for place in places:
            gateways.setdefault(place.segment, tuple(interface.ip for interface in place.addresses))
    for segment, interfaces in fabric.items():
        gateways.setdefault(segment, tuple(interface.ip for interface in interfaces))
    return gateways
