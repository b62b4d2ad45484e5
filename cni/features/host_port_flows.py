"""UDP flows that host ports have made wrong: conntrack would lead them on as long as somebody sends.

A client that keeps sending from one port never opens a new flow. So flows to a port that has just become a
pod's, and still lead elsewhere, are removed; and those that lead to a pod whose ports are given up.
"""

from collections.abc import Iterable
from typing import Protocol

from cni.features.host_port import Claim, Place, find_places
from nodeplane.datapath.conntrack.flow import UDP, Flow, FlowFilter
from nodeplane.datapath.conntrack.table import Conntrack, KernelConntrack
from nodeplane.datapath.routing import LOCAL, KernelRouting, Routing


class _Judge(Protocol):
    def __call__(self, place: Place, flow: Flow, /) -> bool: ...


def remove_misled_flows(claims: Iterable[Claim]) -> None:
    """Remove flows to ports that lead to these pods now, and whose answers come from elsewhere."""
    places = _of_udp(claims)
    if places:
        with KernelConntrack() as conntrack, KernelRouting() as routing:
            find_and_delete(conntrack, places, lambda _, flow: is_misled(flow, routing))


def remove_flows_to(claims: Iterable[Claim]) -> None:
    """Remove flows that came by these ports to these pods."""
    places = _of_udp(claims)
    if places:
        with KernelConntrack() as conntrack:
            find_and_delete(conntrack, places, leads_to)


def find_and_delete(conntrack: Conntrack, places: Iterable[Place], is_stale: _Judge) -> None:
    """Delete the flows to places that a judge finds stale."""
    for place in places:
        wanted = FlowFilter(
            "ip" if place.version == 4 else "ip6",
            UDP,
            destination=None if place.address is None else place.address.packed,
            destination_port=place.port,
        )
        stale = [flow for flows in conntrack.find(wanted) for flow in flows if is_stale(place, flow)]
        conntrack.delete(stale)


def leads_to(place: Place, flow: Flow) -> bool:
    """Say whether a flow's answers come from the pod."""
    return (flow.reply_source, flow.reply_source_port) == (place.pod.packed, place.pod_port)


def is_misled(flow: Flow, routing: Routing) -> bool:
    """Say whether a flow, which must be to an address of the node itself, leads past the pod.

    One that was translated already is another's: a Service's node port goes before a host port.
    """
    if flow.is_translated:
        return False
    found = routing.find(flow.destination)
    return found is not None and found.kind == LOCAL


def _of_udp(claims: Iterable[Claim]) -> list[Place]:
    return [place for claim in claims for place in find_places(claim) if place.protocol == "udp"]
