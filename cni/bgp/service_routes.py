"""Which service addresses a node announces.

    a configured range                          all nodes: any of them leads to the service
    an address of a Service with policy Local   only nodes with a ready endpoint, as /32 or /128, which is
                                                more specific than the range

externalTrafficPolicy counts for all of a Service's addresses, as in Calico; internalTrafficPolicy for its
ClusterIPs, which a node without endpoints would not serve.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from ipaddress import ip_address, ip_network

from cni.bgp.config import ServiceRanges
from ipam.model import Network
from nodeplane.kube.objects import EndpointSlice, Service
from nodeplane.kube.source import Batch
from nodeplane.kube.store import Store

EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"
"""The label of a node that is not to attract services' traffic (well-known, KEP-1143)."""


class ServiceRoutes:
    """The addresses with policy Local that this node announces; a change costs what it touches."""

    def __init__(self, node_name: str, ranges: ServiceRanges) -> None:
        self._node_name = node_name
        self._ranges = ranges
        self._store = Store()
        self._routes: dict[tuple[str, str], frozenset[Network]] = {}
        self.is_complete = False

    def apply(self, batch: Batch) -> bool:
        """Take a batch of Services and EndpointSlices in; say whether what is announced may have changed."""
        has_changed = not self.is_complete
        self.is_complete = True
        for key in self._store.apply(batch):
            service = self._store.service(*key)
            routes = frozenset[Network]()
            if service is not None:
                slices = self._store.slices(*key)
                routes = frozenset(build_local_routes(self._ranges, service, slices, self._node_name))
            if routes != self._routes.get(key, frozenset()):
                has_changed = True
            if routes:
                self._routes[key] = routes
            else:
                self._routes.pop(key, None)
        return has_changed

    @property
    def local(self) -> frozenset[Network]:
        """All of them."""
        return frozenset().union(*self._routes.values())


def build_local_routes(
    ranges: ServiceRanges, service: Service, slices: Sequence[EndpointSlice], node_name: str
) -> Iterator[Network]:
    """Yield the addresses of one Service that this node announces by themselves."""
    spec = service.spec
    is_external_local = spec.external_traffic_policy == "Local"
    if not is_external_local and spec.internal_traffic_policy != "Local":
        return
    if not _has_ready_endpoint(slices, node_name):
        return
    yield from _inside(ranges.cluster_ips, service.spec.cluster_ips)
    if is_external_local:
        yield from _inside(ranges.external_ips, spec.raw_external_ips or ())
        ingress = service.status.load_balancer.ingress or ()
        # With ipMode Proxy the load balancer keeps its address to itself (KEP-1860).
        addresses = (item.ip for item in ingress if item.ip and item.ip_mode != "Proxy")
        yield from _inside(ranges.load_balancer_ips, addresses)


def _has_ready_endpoint(slices: Iterable[EndpointSlice], node_name: str) -> bool:
    return any(
        endpoint.is_ready and endpoint.node_name == node_name
        for piece in slices
        for endpoint in piece.endpoints
    )


def _inside(ranges: Sequence[Network], addresses: Iterable[str]) -> Iterator[Network]:
    for text in addresses:
        # Whoever may write a Service writes them, and an API server takes forms that we don't ("010.0.0.1").
        with suppress(ValueError):
            address = ip_address(text)
            if any(address in network for network in ranges):
                yield ip_network(address)
