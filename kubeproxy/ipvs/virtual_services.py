"""What one service port publishes in mode ipvs: virtual services, addresses, elements of the table."""

from collections.abc import Collection, Iterator, Sequence

from kubeproxy.desired.element_store import ElementKey
from kubeproxy.desired.pools import read_weights
from kubeproxy.desired.service_port import Publication, ServicePort
from kubeproxy.ipvs.layout import (
    LINK_ADDRESSES,
    SPARE,
    VIRTUAL_SERVICES,
    as_server,
    encode_mark,
    encode_service,
)
from kubeproxy.rules.addresses import PackedAddress
from kubeproxy.rules.layout import (
    CLUSTER_IPS,
    FRONTENDS,
    HAIRPINS,
    LOCAL_POOLS,
    SOURCE_RANGES,
    PackedEndpoint,
    encode_hairpin,
    encode_source_range,
    encode_value,
)
from kubeproxy.rules.pool_value import (
    DROP,
    LOCAL_KINDS,
    REJECT,
    RESTRICTED_KINDS,
    Kind,
    plain_value,
    with_kind,
)
from nodeplane.datapath.ipvs.service import WHOLE_ADDRESS, ServiceFlags, ServiceOptions
from nodeplane.datapath.nft.expr import Family

SERVED = 0
"""The value of a frontend whose connections IPVS leads to endpoints."""

_WITHOUT_LOCAL = {Kind.EXTERNAL_LOCAL: Kind.EXTERNAL, Kind.RESTRICTED_LOCAL: Kind.RESTRICTED}
_WEIGHTED = {"rr": "wrr", "lc": "wlc"}
"""Schedulers that take no notice of weights, and the same that do."""
_HASHING = {"sh", "mh"}

Members = list[tuple[PackedEndpoint, int]]


def build_options(port: ServicePort, family: Family, default_scheduler: str) -> ServiceOptions:
    """Say how a port's virtual services choose."""
    balancing = port.balancing
    flags = 0
    scheduler: str = default_scheduler
    if balancing.scheduler is not None:
        scheduler = balancing.scheduler
    elif balancing.method != "random":
        scheduler = "mh"
        flags |= ServiceFlags.BY_PORT if balancing.method == "maglev" else 0
    elif balancing.weights:
        scheduler = _WEIGHTED.get(scheduler, scheduler)
    if scheduler in _HASHING:
        # Else a client whose hash meets a real server that drains is refused.
        flags |= ServiceFlags.FALLBACK
    if port.affinity_timeout_s:
        flags |= ServiceFlags.PERSISTENT
    return ServiceOptions(scheduler, flags, port.affinity_timeout_s, WHOLE_ADDRESS[family])


def build_claims(
    port: ServicePort,
    number: int,
    options: ServiceOptions,
    own_ips: Collection[PackedAddress],
    node_port_ips: Collection[PackedAddress],
) -> dict[ElementKey, bytes]:
    """Return what one service port wants, of the table, of IPVS and of the link.

    Args:
        port: The port.
        number: Its own number, if it has frontends of policy Local.
        options: How its virtual services choose.
        own_ips: Addresses of this node's other links, which the link of ours must not take from them.
        node_port_ips: Where node ports are served.
    """
    cluster = _Choice(port, port.usable.cluster, port.usable.spare, options)
    local = _Choice(port, port.usable.local, port.usable.local_spare, options)
    claims: dict[ElementKey, bytes] = {}
    for publication in port.publications:
        is_inner_local = publication.kind == Kind.CLUSTER_IP and port.is_internal_local
        chosen = local if is_inner_local or publication.kind in LOCAL_KINDS else cluster
        claims[publication.map_name, publication.key] = encode_value(
            _value(port, publication, number, cluster=cluster.is_any, local=local.is_any)
        )
        for key in _service_keys(publication, node_port_ips):
            claims[VIRTUAL_SERVICES, key] = chosen.data
        if publication.kind in RESTRICTED_KINDS:
            ranges = (encode_source_range(publication.key, network) for network in port.sources)
            claims[SOURCE_RANGES, publication.key] = b"".join(ranges)
        if publication.map_name == FRONTENDS and publication.key[:-8] not in own_ips:
            # What no port of it publishes must not reach this node's own sockets: the address is its own.
            claims[CLUSTER_IPS, publication.key[:-8]] = b""
            claims[LINK_ADDRESSES, publication.key[:-8]] = b""
    if number and cluster.is_any:
        claims[VIRTUAL_SERVICES, encode_mark(number)] = cluster.data
        if local.is_any:
            claims[LOCAL_POOLS, encode_value(plain_value(0, number))] = encode_value(SERVED)
    for address in port.cluster_ips:
        claims[CLUSTER_IPS, address] = b""
    for address in port.hairpins:
        claims[HAIRPINS, encode_hairpin(address)] = b""
    return claims


class _Choice:
    """The endpoints that share some connections, as a virtual service has them."""

    def __init__(
        self,
        port: ServicePort,
        endpoints: Sequence[PackedEndpoint],
        spare: Sequence[PackedEndpoint],
        options: ServiceOptions,
    ) -> None:
        members = read_weights(port, endpoints)
        self.is_any = any(weight for _, weight in members)
        members += [(endpoint, SPARE) for endpoint in spare]
        self.data = encode_service(options, [(as_server(end), weight) for end, weight in sorted(members)])


def _value(port: ServicePort, publication: Publication, number: int, *, cluster: bool, local: bool) -> int:
    """Return what the table says of a frontend; see `desired.elements` for the same of mode nftables."""
    kind = publication.kind
    # Drop, if only this node has none: a load balancer that has not noticed yet tries again elsewhere.
    nothing_here = DROP if port.usable.cluster else REJECT
    if kind == Kind.CLUSTER_IP:
        if port.is_internal_local:
            return SERVED if local else nothing_here
        return SERVED if cluster else REJECT
    if not cluster:
        return with_kind(REJECT, _WITHOUT_LOCAL.get(kind, kind))
    return with_kind(plain_value(0, number) if kind in LOCAL_KINDS else SERVED, kind)


def _service_keys(publication: Publication, node_port_ips: Collection[PackedAddress]) -> Iterator[bytes]:
    """Yield the keys of a frontend's virtual services: of a node port one for each address."""
    if publication.map_name == FRONTENDS:
        yield publication.key
    else:
        for address in node_port_ips:
            yield address + publication.key
