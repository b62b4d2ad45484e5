"""Services and their slices to what has to be published: which frontends lead to which endpoints.

Decides which Services are ours and which endpoints are usable (k/k pkg/proxy, KEP-1669 for terminating
ones). How that looks in the kernel is `elements`' business.
"""

from collections.abc import Iterable
from ipaddress import ip_address

import msgspec

from kubeproxy.layout import Address, Endpoint, Frontend, family_of
from nodeplane.datapath.nft.expr import Family
from nodeplane.kube.objects import Endpoint as SliceEndpoint
from nodeplane.kube.objects import EndpointSlice, Service

PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
"""A Service with this label is another proxy's (KEP-2447)."""
HEADLESS_LABEL = "service.kubernetes.io/headless"

_ADDRESS_TYPE: dict[Family, str] = {"ip": "IPv4", "ip6": "IPv6"}


class PoolName(msgspec.Struct, frozen=True, order=True):
    """What a pool belongs to: one port of one Service."""

    namespace: str
    service: str
    port: str
    protocol: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.service}" + (f":{self.port}" if self.port else "")


class ServicePort(msgspec.Struct, frozen=True):
    """One published port: endpoints are sorted and each there once; `local` are those on this node."""

    name: PoolName
    frontends: tuple[Frontend, ...]
    endpoints: tuple[Endpoint, ...]
    local: frozenset[Address]


def build_service_ports(
    service: Service | None, slices: Iterable[EndpointSlice], node_name: str, family: Family
) -> tuple[ServicePort, ...]:
    """Say what one Service publishes in one address family; nothing for one that is gone or not ours."""
    if service is None or PROXY_NAME_LABEL in service.labels:
        return ()
    addresses = [
        address for address in map(ip_address, service.spec.cluster_ips) if family_of(address) == family
    ]
    if not addresses:
        return ()
    backing = [
        piece
        for piece in slices
        if piece.address_type == _ADDRESS_TYPE[family] and HEADLESS_LABEL not in piece.labels
    ]
    ports = []
    for port in service.spec.ports:
        candidates = _candidates(backing, port.name, port.protocol)
        usable = _usable(candidates)
        ports.append(
            ServicePort(
                name=PoolName(service.metadata.namespace, service.metadata.name, port.name, port.protocol),
                frontends=tuple(Frontend(address, port.protocol, port.port) for address in addresses),
                endpoints=tuple(sorted(usable)),
                # Without a node's name nobody knows; an endpoint too many costs nothing.
                local=frozenset(
                    endpoint.address
                    for endpoint, behind in usable.items()
                    if behind.node_name in {None, node_name}
                ),
            )
        )
    return tuple(ports)


def _candidates(
    slices: Iterable[EndpointSlice], port_name: str, protocol: str
) -> dict[Endpoint, SliceEndpoint]:
    """Collect the endpoints of a port; of two entries for one address one that is not terminating wins."""
    found: dict[Endpoint, SliceEndpoint] = {}
    for piece in slices:
        for port in piece.ports:
            if (port.name or "") != port_name or port.protocol != protocol or port.port is None:
                continue
            for entry in piece.endpoints:
                endpoint = Endpoint(ip_address(entry.addresses[0]), port.port)
                known = found.get(endpoint)
                if known is None or (known.is_terminating and not entry.is_terminating):
                    found[endpoint] = entry
    return found


def _usable(candidates: dict[Endpoint, SliceEndpoint]) -> dict[Endpoint, SliceEndpoint]:
    """Keep the ready endpoints; if there is none, those that still serve while they terminate."""
    ready = {endpoint: entry for endpoint, entry in candidates.items() if entry.is_ready}
    return ready or {
        endpoint: entry for endpoint, entry in candidates.items() if entry.is_serving and entry.is_terminating
    }
