"""Services to what has to be published: which frontends lead to which endpoints, and on what terms.

Decides which Services are ours and what their fields mean (k/k pkg/proxy/serviceport.go). Which endpoints are
usable is `endpoints`' business, how it all looks in the kernel that of `elements`.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from ipaddress import ip_address, ip_network
from typing import Literal, TypeAlias

import msgspec

from kubeproxy.desired.annotations import Balancing, read_balancing
from kubeproxy.desired.endpoints import Backends, DecodedSlice, Place, Usable, merge_port, select
from kubeproxy.rules.addresses import Network, PackedAddress, collapse, pack_address, parse_network
from kubeproxy.rules.layout import PackedEndpoint, encode_frontend, encode_node_port
from kubeproxy.rules.pool_value import LOCAL_KINDS, Kind
from nodeplane.datapath.nft.expr import Family
from nodeplane.kube.objects import Service
from nodeplane.kube.objects import ServicePort as ApiPort

PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
"""A Service with this label is another proxy's (KEP-2447)."""
HEADLESS_LABEL = "service.kubernetes.io/headless"

_ADDRESS_TYPE: dict[Family, str] = {"ip": "IPv4", "ip6": "IPv6"}
_ADDRESS_BYTES: dict[Family, int] = {"ip": 4, "ip6": 16}

FrontendMap: TypeAlias = Literal["frontends", "node-ports"]


class PortName(msgspec.Struct, frozen=True, order=True, gc=False):
    """One port of one Service."""

    namespace: str
    service: str
    port: str
    protocol: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.service}" + (f":{self.port}" if self.port else "")


class Publication(msgspec.Struct, frozen=True, gc=False):
    """A place where a port is published: the map and key of its element, and its kind."""

    map_name: FrontendMap
    key: bytes
    kind: Kind


class ServicePort(msgspec.Struct, frozen=True, gc=False):
    """One published port.

    Attributes:
        usable: The endpoints; `local` of them are for policies Local.
        is_internal_local: `internalTrafficPolicy: Local`.
        hairpins: Addresses of endpoints on this node.
        cluster_ips: The addresses that are refused on all ports that nobody publishes.
        sources: The networks that restricted publications let in.
        affinity_timeout_s: 0 without session affinity.
    """

    name: PortName
    publications: tuple[Publication, ...]
    usable: Usable
    is_internal_local: bool = False
    hairpins: frozenset[PackedAddress] = frozenset()
    cluster_ips: tuple[PackedAddress, ...] = ()
    sources: tuple[Network, ...] = ()
    affinity_timeout_s: int = 0
    balancing: Balancing = Balancing()
    pods: tuple[tuple[PackedEndpoint, str], ...] = ()

    @property
    def frontends(self) -> tuple[tuple[str, bytes], ...]:
        """The maps and keys of the elements that publish it."""
        return tuple((publication.map_name, publication.key) for publication in self.publications)

    @property
    def uses_cluster(self) -> bool:
        """Whether any connection may go to endpoints of all nodes."""
        internal = not self.is_internal_local
        return any(internal or publication.kind != Kind.CLUSTER_IP for publication in self.publications)

    @property
    def uses_local(self) -> bool:
        """Whether any connection goes to this node's endpoints only."""
        kinds = {publication.kind for publication in self.publications}
        return not kinds.isdisjoint(LOCAL_KINDS) or (self.is_internal_local and Kind.CLUSTER_IP in kinds)


class FamilyView(msgspec.Struct, frozen=True, gc=False):
    """What the proxy knows beside Services: its place, its node's addresses in one family, what it may do."""

    family: Family
    place: Place
    node_ips: tuple[PackedAddress, ...] = ()
    allows_external_ips: bool = True


def is_ours(service: Service) -> bool:
    """Say whether a Service is for this proxy."""
    return PROXY_NAME_LABEL not in service.labels


def build_service_ports(
    service: Service | None, slices: Iterable[DecodedSlice], view: FamilyView
) -> tuple[ServicePort, ...]:
    """Say what one Service publishes in one address family; nothing for one that is gone or not ours."""
    if service is None or not is_ours(service):
        return ()
    spec = service.spec
    length = _ADDRESS_BYTES[view.family]
    cluster_ips = _of_length(spec.cluster_ips, length)
    if not cluster_ips:
        return ()
    external_ips = _of_length(spec.raw_external_ips or (), length) if view.allows_external_ips else ()
    balancer_ips = _balancer_ips(service, length)
    sources = _sources(spec.load_balancer_source_ranges or (), balancer_ips, view)
    is_external_local = spec.external_traffic_policy == "Local"
    backing = [piece for piece in slices if piece.address_type == _ADDRESS_TYPE[view.family]]
    is_placed = all(piece.is_placed for piece in backing)
    balancing = read_balancing(service.metadata.annotations)
    ports = []
    for port in spec.ports:
        name = PortName(service.metadata.namespace, service.metadata.name, port.name, port.protocol)
        backends = merge_port(backing, port.name, port.protocol)
        usable = select(backends, view.place)
        # An endpoint without a node may be on this one.
        nowhere = () if is_placed else _find_nowhere(backends, usable)
        ports.append(
            ServicePort(
                name=name,
                publications=tuple(
                    _publications(
                        port,
                        cluster_ips,
                        external_ips,
                        balancer_ips,
                        is_local=is_external_local,
                        is_restricted=sources is not None,
                    )
                ),
                usable=usable,
                is_internal_local=spec.internal_traffic_policy == "Local",
                hairpins=frozenset(endpoint[:length] for endpoint in (*usable.local, *nowhere)),
                cluster_ips=cluster_ips,
                sources=sources or (),
                affinity_timeout_s=spec.affinity_timeout_s,
                balancing=balancing,
                # Weights may name pods.
                pods=tuple((end, backend.pod) for end, backend in backends.items())
                if balancing.weights
                else (),
            )
        )
    return tuple(ports)


def _find_nowhere(backends: Backends, usable: Usable) -> Collection[PackedEndpoint]:
    return {end for end, backend in backends.items() if backend.node is None}.intersection(usable.cluster)


def _publications(
    port: ApiPort,
    cluster_ips: Sequence[PackedAddress],
    external_ips: Sequence[PackedAddress],
    balancer_ips: Sequence[PackedAddress],
    *,
    is_local: bool,
    is_restricted: bool,
) -> Iterator[Publication]:
    """Yield where a port is published; an address that is listed twice counts as what is named first.

    A load balancer's address comes before an external one: its ranges hold also where both are the same.
    """
    external = Kind.EXTERNAL_LOCAL if is_local else Kind.EXTERNAL
    restricted = Kind.RESTRICTED_LOCAL if is_local else Kind.RESTRICTED
    seen: set[PackedAddress] = set()
    for addresses, kind in (
        (cluster_ips, Kind.CLUSTER_IP),
        (balancer_ips, restricted if is_restricted else external),
        (external_ips, external),
    ):
        for address in addresses:
            if address not in seen:
                seen.add(address)
                yield Publication("frontends", encode_frontend(address, port.protocol, port.port), kind)
    if port.node_port:
        yield Publication("node-ports", encode_node_port(port.protocol, port.node_port), external)


def _of_length(addresses: Iterable[str], length: int) -> tuple[PackedAddress, ...]:
    is_ipv6 = length == _ADDRESS_BYTES["ip6"]
    return tuple(pack_address(address) for address in addresses if (":" in address) is is_ipv6)


def _balancer_ips(service: Service, length: int) -> tuple[PackedAddress, ...]:
    """Return the load balancer's addresses whose packets come to this node as they are (KEP-1860)."""
    if service.spec.type != "LoadBalancer":
        return ()
    ingress = service.status.load_balancer.ingress or ()
    return _of_length((entry.ip for entry in ingress if entry.ip and entry.ip_mode != "Proxy"), length)


def _sources(
    ranges: Sequence[str], balancer_ips: Sequence[PackedAddress], view: FamilyView
) -> tuple[Network, ...] | None:
    """Return who may use the load balancer's addresses: None for everybody, empty for nobody.

    Ranges of one family alone close the other one: who restricts a service does not mean to leave its other
    address open (upstream does). But who writes 0.0.0.0/0 and nothing of the other family means everybody.
    A node that may come in may come from the load balancer's own addresses as well, which its packets carry
    when it reaches the service through itself.
    """
    networks = [parse_network(text) for text in ranges if text.strip()]
    mine: list[Network] = [
        network for network in networks if len(network.network_address.packed) == _ADDRESS_BYTES[view.family]
    ]
    if not networks or any(network.prefixlen == 0 for network in mine or networks):
        return None
    if any(ip_address(address) in network for address in view.node_ips for network in mine):
        mine += [ip_network(ip_address(address)) for address in balancer_ips]
    return collapse(mine)
