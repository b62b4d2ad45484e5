"""When is a lab in service? By facts seen from each node: routes to all pods, names, connections to Services.

A program's READY=1 says that it has served its first snapshot. A lab that has changed since has to be asked.
Pure; they are asked for by `netns_lab.probing`.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import TypeAlias

import msgspec

from netns_lab.cluster import PodAddresses, owner
from netns_lab.topology import Topology
from nodeplane.datapath.rtnl import Address
from nodeplane.kube.objects import EndpointSlice, Object, Service


class Routes(msgspec.Struct, frozen=True):
    """The node has routes to these pods of other nodes."""

    node: str
    pods: frozenset[Address]


class Name(msgspec.Struct, frozen=True):
    """The node, asking the cluster DNS, gets this address for this name."""

    node: str
    name: str
    address: str


class Connection(msgspec.Struct, frozen=True):
    """The node can connect to this TCP port of a Service."""

    node: str
    address: str
    port: int


Probe: TypeAlias = Routes | Name | Connection


def build_probes(topology: Topology, addresses: PodAddresses, objects: Iterable[Object]) -> tuple[Probe, ...]:
    """Return what must hold in a lab that is in service; `objects` is all that its API server holds.

    Only the lab's own Services count, not what a person has made beside them. They are connected to where
    only echo servers stand behind them; whether another program listens is its author's matter.
    """
    items = list(objects)
    services = [
        item
        for item in items
        if isinstance(item, Service)
        and owner(topology.name, item.key).items() <= (item.metadata.annotations or {}).items()
        and item.spec.cluster_ips
    ]
    slices = [item for item in items if isinstance(item, EndpointSlice)]
    echoes = {
        str(address) for pod in topology.pods if not pod.command for address in addresses.get(pod.key, ())
    }
    doors = {door for service in services for door in _served_ports(service, slices, echoes)}
    domain = topology.network.cluster_domain
    probes: list[Probe] = []
    for node in topology.nodes:
        far = {
            address
            for pod in topology.pods
            if pod.node != node.name
            for address in addresses.get(pod.key, ())
        }
        probes.append(Routes(node.name, frozenset(far)))
        for service in services:
            name = f"{service.metadata.name}.{service.metadata.namespace}.svc.{domain}"
            # The question is for an address of IPv4 (RFC 1035, type A).
            own = (address for address in service.spec.cluster_ips if ":" not in address)
            probes += [Name(node.name, name, address) for address in own]
        probes += [Connection(node.name, address, port) for address, port in sorted(doors)]
    return tuple(probes)


def split_probes(probes: Iterable[Probe]) -> tuple[list[Probe], list[Probe]]:
    """Return what nodes' programs alone make true, and what needs workloads as well."""
    every = list(probes)
    return (
        [probe for probe in every if not isinstance(probe, Connection)],
        [probe for probe in every if isinstance(probe, Connection)],
    )


def _served_ports(
    service: Service, slices: Iterable[EndpointSlice], echoes: Collection[str]
) -> Iterator[tuple[str, int]]:
    """Yield the address and number of the TCP ports behind which there are echo servers and nothing else."""
    key = (service.metadata.namespace, service.metadata.name)
    own = [piece for piece in slices if (piece.metadata.namespace, piece.service_name) == key]
    for port in service.spec.ports:
        pieces = [piece for piece in own if port.name in {entry.name or "" for entry in piece.ports}]
        backends = {
            endpoint.addresses[0] for piece in pieces for endpoint in piece.endpoints if endpoint.is_ready
        }
        if port.protocol == "TCP" and backends and backends <= set(echoes):
            yield from ((address, port.port) for address in service.spec.cluster_ips)
