"""Is the lab in service? Facts seen from every node: routes to all pods, names answered, Services connected.

A program's READY=1 says that it has served its first snapshot. A lab that has changed since has to be asked.
"""

import secrets
import socket
import time
from collections.abc import Collection, Iterable, Iterator
from typing import TypeAlias

import msgspec

from netns_lab.cluster import DNS_PORT, PodAddresses, owner
from netns_lab.dns_query import build_query, decode_addresses
from netns_lab.names import node_namespace
from netns_lab.netlink import open_whole_rtnl
from netns_lab.topology import Topology
from nodeplane.datapath import netns
from nodeplane.datapath.rtnl import ROUTE_PROTOCOL, Address, Family, Route
from nodeplane.errors import NodeplaneError
from nodeplane.kube.objects import EndpointSlice, Object, Service

_TRY_S = 1.0
_FAMILIES: tuple[Family, ...] = (4, 6)
# rt_protos(5): whose routes lead to pods, by the pool's mode: the agent's own, or BIRD's.
_ROUTERS = (ROUTE_PROTOCOL, 12)
_PAUSE_S = 0.02


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


def await_probes(topology: Topology, probes: Iterable[Probe], limit_s: float) -> None:
    """Try the probes until all have succeeded.

    Raises:
        NodeplaneError: none of those left has for `limit_s` seconds; names the first and why.
    """
    deadline = time.monotonic() + limit_s
    pending = list(probes)
    while True:
        failures = [(probe, failure) for probe in pending if (failure := _try(topology, probe))]
        if not failures:
            return
        if len(failures) < len(pending):
            deadline = time.monotonic() + limit_s
        if time.monotonic() > deadline:
            probe, failure = failures[0]
            more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
            raise NodeplaneError(f"not in service after {limit_s:.0f} s: node {probe.node}: {failure}{more}")
        pending = [probe for probe, _ in failures]
        time.sleep(_PAUSE_S)


def uncovered(pods: Collection[Address], routes: Iterable[Route]) -> list[Address]:
    """Return the pods that none of the routes leads to, in order."""
    # By length: of a thousand pods each is looked up once in each of a few sets, not in a hundred networks.
    covered: dict[tuple[int, int], set[int]] = {}
    for network in (route.destination for route in routes if route.kind == "unicast"):
        rest = network.max_prefixlen - network.prefixlen
        covered.setdefault((network.version, rest), set()).add(int(network.network_address) >> rest)
    missing = (
        pod
        for pod in pods
        if not any(
            version == pod.version and int(pod) >> rest in prefixes
            for (version, rest), prefixes in covered.items()
        )
    )
    return sorted(missing, key=lambda pod: (pod.version, pod.packed))


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


def _try(topology: Topology, probe: Probe) -> str:
    """Try once; return why it failed, nothing if it succeeded."""
    namespace = netns.NETNS_DIR / node_namespace(topology.name, probe.node)
    match probe:
        case Routes(_, pods):
            with open_whole_rtnl(namespace) as rtnl:
                routes = [
                    route
                    for family in _FAMILIES
                    for protocol in _ROUTERS
                    for route in rtnl.routes(protocol, family=family)
                ]
            missing = uncovered(pods, routes)
            return f"no route to pod {missing[0]}" if missing else ""
        case Name(_, name, address):
            with netns.inside(namespace):
                asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with asker:
                got = _ask(asker, topology.network.cluster_dns, name)
            return "" if got == [address] else f"{name}: expected {address}, got {got or 'no answer'}"
        case Connection(_, address, port):
            with netns.inside(namespace):
                client = socket.socket(_family(address), socket.SOCK_STREAM)
            with client:
                return _connect(client, address, port)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _ask(asker: socket.socket, server: str, name: str) -> list[str] | None:
    identifier = secrets.randbits(16)
    asker.settimeout(_TRY_S)
    try:
        # Connected, so that an ICMP error (no server yet) ends the wait at once.
        asker.connect((server, DNS_PORT))
        asker.send(build_query(identifier, name))
        return decode_addresses(identifier, asker.recv(4096))
    except OSError:
        return None


def _connect(client: socket.socket, address: str, port: int) -> str:
    client.settimeout(_TRY_S)
    try:
        client.connect((address, port))
    except OSError as exc:
        return f"connect to {address}:{port}: {exc}"
    return ""
