"""Which routes are the agent's, and when what the kernel has must be looked at again.

Who owns which of the routes with our protocol number follows from their shape, so that the agent and the pod
wiring (`cni.wiring.plan`), which share the number, never undo one another's:

    through a gateway, or several, or blackhole    the agent's: what it does not want, it deletes
    on link (no gateway), or local                 the wiring's: a pod's host route, the pods' gateway

VXLAN links are the agent's whole: by their names, with their neighbours and forwarding entries.
"""

from collections.abc import Collection, Container, Mapping

import msgspec

from cni.attachment import HOST_LINK_PREFIX
from cni.features.bandwidth import IFB_PREFIX
from cni.routing.links import LinkFacts
from cni.routing.vxlan import Entry, EntryKey
from nodeplane.datapath.rtnl import ROUTE_PROTOCOL, FdbEntry, Neighbour, Network, Route
from nodeplane.datapath.rtnl.monitor import (
    AddressEvent,
    Event,
    ForwardingEvent,
    LinkEvent,
    LinkState,
    NeighbourEvent,
    Overrun,
    RouteEvent,
)


def is_agents(route: Route) -> bool:
    """Say whether a route with our protocol number is the agent's and not the pod wiring's."""
    return route.kind == "blackhole" or route.gateway is not None or bool(route.next_hops)


class Watched(msgspec.Struct, frozen=True):
    """What the agent looks after.

    Attributes:
        routes: Destinations that must have a route of ours.
        leftovers: Destinations at which one stands until another's has come.
        entries: Neighbours and forwarding entries that must be there.
        links: The names of our VXLAN links, by index.
        uplinks: The links of this node's own addresses; None when one of them is on none.
        port: Netlink port of the agent's own writes.
        facts: What uplinks and our VXLAN links were like when they were read, by index.
    """

    routes: Container[Network]
    leftovers: Container[Network]
    entries: Mapping[EntryKey, Entry]
    links: Mapping[int, str]
    uplinks: Collection[int] | None
    port: int
    facts: Mapping[int, LinkFacts] = {}


def concerns_agent(event: Event, watched: Watched) -> bool:
    """Say whether what somebody did calls for reading the kernel again."""
    match event:
        case RouteEvent():
            return event.port != watched.port and _is_ours(event, watched)
        case LinkEvent():
            # A link that goes down takes routes along in silence, one that comes up may lead to a next hop.
            # Pods' links, and what shapes their traffic, lead to none.
            return not event.name.startswith((HOST_LINK_PREFIX, IFB_PREFIX))
        case LinkState(index, has_carrier, mtu_bytes):
            facts = LinkFacts(has_carrier, mtu_bytes)
            return watched.facts.get(index, facts) != facts
        case AddressEvent(version, index):
            # The kernel drops no IPv6 route in silence, and each pod has a gateway of IPv6 come and go.
            is_near = watched.uplinks is None or index in watched.uplinks or index in watched.links
            return version == 4 or is_near
        case NeighbourEvent(index):
            return index in watched.links and _is_damage(event, watched.entries, watched.links[index])
        case Overrun() | ForwardingEvent():
            return isinstance(event, Overrun) or not event.is_on


def _is_ours(event: RouteEvent, watched: Watched) -> bool:
    is_like_ours = event.protocol == ROUTE_PROTOCOL and not event.is_on_link
    return is_like_ours or event.destination in watched.routes or event.destination in watched.leftovers


def _is_damage(event: NeighbourEvent, entries: Mapping[EntryKey, Entry], link: str) -> bool:
    """Say whether an entry is not as it should be; of who did it the kernel tells too little."""
    wanted = entries.get((link, event.key))
    match event.item:
        case Neighbour(_, address, mac):
            return wanted != Neighbour(link, address, mac)
        case FdbEntry(_, mac, destination):
            return wanted != FdbEntry(link, mac, destination)
        case None:
            return wanted is not None
