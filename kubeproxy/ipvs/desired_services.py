"""What should be in the kernel in mode ipvs, kept up change by change at a flat cost (law 5)."""

from collections import ChainMap
from collections.abc import Iterable, Mapping, Sequence

from kubeproxy.desired.element_store import ElementKey, ElementStore
from kubeproxy.desired.elements import split_ranges
from kubeproxy.desired.port_book import PortBook, ServiceName
from kubeproxy.desired.probing import ProbingTable
from kubeproxy.desired.service_port import PortName, ServicePort
from kubeproxy.ipvs.layout import BALANCER_MAPS, number_of
from kubeproxy.ipvs.skeleton import TABLE_MAPS
from kubeproxy.ipvs.virtual_services import build_claims, build_options
from kubeproxy.rules.addresses import Network, PackedAddress
from kubeproxy.rules.layout import (
    CLUSTER_IPS,
    NODE_PORT_IPS,
    NODE_PORTS,
    SERVICE_CIDRS,
    SOURCE_RANGES,
    encode_service_cidr,
)
from kubeproxy.rules.pool_value import LOCAL_KINDS, PLAIN_POOL_BITS
from nodeplane.datapath.nft.expr import Family

_LINGERING = PortName("", "", "", "TCP")
"""Claims what no service port does."""


class DesiredServices:
    """The desired state of one family: of the `table`, and of the `balancer`, which is IPVS and the link.

    Args:
        family: The address family.
        scheduler: IPVS's, for Services that name none.
        node_port_everywhere: Whether node ports are served at all of the node's own addresses.
        number_bits: How many ports may have a number.
    """

    def __init__(
        self,
        family: Family,
        scheduler: str = "rr",
        *,
        node_port_everywhere: bool = True,
        number_bits: int = PLAIN_POOL_BITS - 2,
    ) -> None:
        self._family: Family = family
        self._scheduler = scheduler
        self._is_everywhere = node_port_everywhere
        self.table = ElementStore(TABLE_MAPS, {SOURCE_RANGES: split_ranges})
        self.balancer = ElementStore(BALANCER_MAPS, {})
        self._book = PortBook()
        self._places: ProbingTable[PortName] = ProbingTable(1 << number_bits, _encode_name)
        self._own_ips: frozenset[PackedAddress] = frozenset()
        self._chosen_ips: frozenset[PackedAddress] = frozenset()

    @property
    def elements(self) -> Mapping[str, Mapping[bytes, bytes]]:
        """The elements by map, those of IPVS and the link among them."""
        return ChainMap(self.table.elements, self.balancer.elements)

    @property
    def ports(self) -> Mapping[PortName, ServicePort]:
        """The service ports that are published."""
        return self._book.ports

    def set_services(self, services: Mapping[ServiceName, Sequence[ServicePort]]) -> None:
        """Put what these Services publish in place of what they published before."""
        left = set(self._numbered(services))
        gone, changed = self._book.replace(services)
        wanted = {name for name in (*left, *changed) if name in self.ports and _is_numbered(self.ports[name])}
        touched = self._places.update(wanted, left - wanted)
        keys = self._places.keys
        # Where two met, another port may have got another place.
        moved = {keys[place] for place in touched if place in keys}
        for name in gone:
            self._claim(name, {})
        for name in {*changed, *moved}:
            self._build(name)

    def set_service_cidrs(self, networks: Iterable[Network]) -> None:
        """Put the networks of Services' addresses in place of those before; they must not overlap."""
        self._set_keys(SERVICE_CIDRS, {encode_service_cidr(network) for network in networks})

    def set_node_port_ips(self, addresses: Iterable[PackedAddress]) -> None:
        """Put the addresses that nodePortAddresses chooses in place of those before."""
        chosen = frozenset(addresses)
        self._set_keys(NODE_PORT_IPS, set(chosen))
        if chosen != self._chosen_ips:
            self._chosen_ips = chosen
            self._build_all()

    def set_own_ips(self, addresses: Iterable[PackedAddress]) -> None:
        """Put the addresses of this node's other links, loopback and link-local ones apart, in place."""
        own = frozenset(addresses)
        if own != self._own_ips:
            self._own_ips = own
            self._build_all()

    def set_lingering(self, addresses: Iterable[PackedAddress]) -> None:
        """Put the addresses in place that the link has still, though no Service does."""
        self.table.claim(_LINGERING, {(CLUSTER_IPS, address): b"" for address in addresses})

    def take_touched_frontends(self) -> set[ElementKey] | None:
        """Return the frontends whose service port has changed since the last call; at first None: all."""
        return self._book.take_touched_frontends()

    def owner(self, frontend: ElementKey) -> ServicePort | None:
        """Return the service port that a frontend leads to."""
        name = self.table.owner(frontend)
        return None if name is None else self.ports[name]

    def _numbered(self, services: Iterable[ServiceName]) -> Iterable[PortName]:
        """Yield the ports of some Services that have a number."""
        return [
            name
            for service in services
            for name in self._book.names(service)
            if _is_numbered(self.ports[name])
        ]

    def _build_all(self) -> None:
        """Build anew what depends on addresses: all of it may."""
        for name in self.ports:
            self._build(name)

    def _build(self, name: PortName) -> None:
        port = self.ports[name]
        number = number_of(self._places[name], name.protocol) if _is_numbered(port) else 0
        options = build_options(port, self._family, self._scheduler)
        has_node_ports = any(each.map_name == NODE_PORTS for each in port.publications)
        node_port_ips = self._own_ips if self._is_everywhere else self._chosen_ips
        self._claim(
            name,
            build_claims(port, number, options, self._own_ips, node_port_ips if has_node_ports else ()),
        )

    def _claim(self, name: PortName, claims: Mapping[ElementKey, bytes]) -> None:
        of_balancer = {key: data for key, data in claims.items() if key[0] in BALANCER_MAPS}
        self.balancer.claim(name, of_balancer)
        self.table.claim(name, {key: data for key, data in claims.items() if key not in of_balancer})

    def _set_keys(self, map_name: str, keys: set[bytes]) -> None:
        """Put these elements in place of all of a set whose elements nobody else claims."""
        there = self.table.elements[map_name].keys()
        for key in there - keys:
            self.table.put(map_name, key, None)
        for key in keys - there:
            self.table.put(map_name, key, b"")


def _is_numbered(port: ServicePort) -> bool:
    return any(publication.kind in LOCAL_KINDS for publication in port.publications)


def _encode_name(name: PortName) -> bytes:
    return "/".join((name.namespace, name.service, name.port, name.protocol)).encode()
