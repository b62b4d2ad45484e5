"""What a drawing of a lab shows: segments, hosts with their pods, Services with those behind them. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from netns_lab.address_plan import build_address_plan
from netns_lab.cluster import PodAddresses
from netns_lab.topology import LinkSpec, PodSpec, Topology
from nodeplane.kube.objects import EndpointSlice, Object, Service

HostKind = Literal["node", "router", "client"]


class PodBox(msgspec.Struct, frozen=True):
    """A pod: `namespace/name`, its first address, and the Services that lead to it."""

    key: str
    address: str
    services: tuple[str, ...] = ()
    trouble: str = ""


class HostBox(msgspec.Struct, frozen=True):
    """A node, router or client; `zone` of a node, `segments` that it is on, the first first."""

    name: str
    kind: HostKind
    address: str
    segments: tuple[str, ...]
    zone: str = ""
    pods: tuple[PodBox, ...] = ()
    trouble: Mapping[str, str] = {}


class SegmentBar(msgspec.Struct, frozen=True):
    """A segment and its network."""

    name: str
    network: str


class ServiceChip(msgspec.Struct, frozen=True):
    """A Service, its address and ports, how many ready endpoints it has, and whose those are.

    `behind` holds pods as `namespace/name`, and nodes.
    """

    key: str
    address: str
    ports: str
    endpoints: int
    behind: tuple[str, ...]


class Picture(msgspec.Struct, frozen=True):
    """All that is drawn."""

    lab: str
    segments: tuple[SegmentBar, ...]
    hosts: tuple[HostBox, ...]
    services: tuple[ServiceChip, ...]


def build_picture(topology: Topology, addresses: PodAddresses, objects: Iterable[Object]) -> Picture:
    """Decide what is drawn; of a lab that is not up there are no addresses of pods and no endpoints."""
    plan, items = build_address_plan(topology), list(objects)
    services = _services(topology, addresses, items)
    pods = {
        node.name: tuple(_pod(pod, addresses, services) for pod in topology.pods if pod.node == node.name)
        for node in topology.nodes
    }
    hosts = [
        HostBox(
            router.name,
            "router",
            " ".join(str(place.addresses[0].ip) for place in plan.routers[router.name]),
            tuple(place.segment for place in plan.routers[router.name]),
            trouble={each.segment: text for each in router.interfaces if (text := _trouble(each.link))},
        )
        for router in topology.routers
    ]
    for node in topology.nodes:
        place = plan.nodes[node.name]
        text = _trouble(node.link)
        hosts.append(
            HostBox(
                node.name,
                "node",
                str(place.addresses[0].ip),
                (place.segment,),
                node.zone,
                pods[node.name],
                {place.segment: text} if text else {},
            )
        )
    for client in topology.clients:
        place, text = plan.clients[client.name], _trouble(client.link)
        trouble = {place.segment: text} if text else {}
        hosts.append(
            HostBox(client.name, "client", str(place.addresses[0].ip), (place.segment,), trouble=trouble)
        )
    return Picture(
        topology.name,
        tuple(SegmentBar(segment.name, segment.network) for segment in topology.all_segments),
        tuple(hosts),
        tuple(services),
    )


def _services(topology: Topology, addresses: PodAddresses, items: Sequence[Object]) -> list[ServiceChip]:
    owners = {str(address): key for key, own in addresses.items() for address in own}
    nodes = build_address_plan(topology).nodes
    owners |= {str(each.ip): name for name, place in nodes.items() for each in place.addresses}
    chips = []
    for service in (item for item in items if isinstance(item, Service)):
        key = (service.metadata.namespace, service.metadata.name)
        ends = {
            endpoint.addresses[0]
            for piece in items
            if isinstance(piece, EndpointSlice) and (piece.metadata.namespace, piece.service_name) == key
            for endpoint in piece.endpoints
            if endpoint.is_ready
        }
        ports = " ".join(f"{port.protocol}/{port.port}" for port in service.spec.ports)
        behind = tuple(sorted({owners[end] for end in ends if end in owners}))
        chips.append(ServiceChip("/".join(key), service.spec.cluster_ip, ports, len(ends), behind))
    return sorted(chips, key=lambda chip: chip.key)


def _pod(pod: PodSpec, addresses: PodAddresses, services: Iterable[ServiceChip]) -> PodBox:
    own = addresses.get(pod.key, ())
    leading = tuple(chip.key for chip in services if pod.key in chip.behind)
    return PodBox(pod.key, str(own[0]) if own else "", leading, _trouble(pod.link))


def _trouble(link: LinkSpec) -> str:
    """Say what is wrong with a link, nothing if nothing is."""
    parts = [
        f"loss {link.loss:g}%" if link.loss else "",
        f"duplicate {link.duplicate:g}%" if link.duplicate else "",
    ]
    parts += [link.rate, f"delay {link.delay}" if link.delay else "", "down" if link.down else ""]
    return ", ".join(part for part in parts if part)
