"""Which routes a node needs to reach the pods of all others, and when what it has must be looked at again.

    block of another node    →  via that node's address
    address borrowed from a block by another node   →  via the borrower's address: the more specific wins
    block of this node       →  blackhole: an address in it that no pod has must not leave for the default
                                route, whose next hop would send it straight back

Who owns which of the routes with our protocol number follows from their shape, so that the agent and the pod
wiring (`cni.wiring`), which share the number, never undo one another's:

    through a gateway, or blackhole       the agent's: what it does not want, it deletes
    on link (no gateway), or local        the wiring's: a pod's host route, the pods' gateway 169.254.1.1

Issue 7's routes over VXLAN have a gateway as well. The more specific pod routes win over the blackhole.
"""

from collections.abc import Container, Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network

from cni.attachment import HOST_LINK_PREFIX
from ipam.model import Block
from nodeplane.datapath.rtnl import ROUTE_PROTOCOL, Route
from nodeplane.datapath.rtnl_monitor import AddressEvent, Event, LinkEvent, Overrun, RouteEvent
from nodeplane.kube.objects import Node


def find_next_hops(nodes: Iterable[Node]) -> dict[str, IPv4Address]:
    """Return the address by which each node is reached: the first IPv4 among its InternalIPs."""
    hops: dict[str, IPv4Address] = {}
    for node in nodes:
        for address in node.internal_ips:
            if ":" not in address:
                hops.setdefault(node.metadata.name, IPv4Address(address))
    return hops


def build_routes(
    node_name: str, next_hops: Mapping[str, IPv4Address], blocks: Iterable[Block]
) -> dict[IPv4Network, Route]:
    """Build the routes that a node needs, by destination; a block of a node without address has none."""
    routes: dict[IPv4Network, Route] = {}
    for block in blocks:
        network = block.network
        if not isinstance(network, IPv4Network):
            continue
        if block.node == node_name:
            routes[network] = Route(network, kind="blackhole")
        elif block.node in next_hops:
            routes[network] = Route(network, gateway=next_hops[block.node])
        for item in block.lent:
            # Where the pod is, its wiring has the route.
            if item.node != node_name and item.node in next_hops:
                borrowed = IPv4Network(network[item.ordinal])
                routes[borrowed] = Route(borrowed, gateway=next_hops[item.node])
    return routes


def is_agents(route: Route) -> bool:
    """Say whether a route with our protocol number is the agent's and not the pod wiring's."""
    return route.kind == "blackhole" or route.gateway is not None


def concerns_agent(event: Event, desired: Container[IPv4Network], own_port: int) -> bool:
    """Say whether what somebody did calls for reading the routes again.

    Args:
        event: What the kernel told.
        desired: Destinations that must have a route of ours.
        own_port: Netlink port of the agent's own writes.
    """
    match event:
        case RouteEvent(port=port) if port == own_port:
            return False
        case RouteEvent():
            is_like_ours = event.protocol == ROUTE_PROTOCOL and not event.is_on_link
            return is_like_ours or event.destination in desired
        case LinkEvent():
            # A link that goes down takes routes along in silence, one that comes up may lead to a next hop.
            # Pods' links lead to none.
            return not event.name.startswith(HOST_LINK_PREFIX)
        case AddressEvent() | Overrun():
            return True
