"""What one service port publishes, apart from the slots of its pools, as elements."""

from collections.abc import Mapping

from kubeproxy.desired.element_store import ElementKey
from kubeproxy.desired.pools import PoolName
from kubeproxy.desired.service_port import ServicePort
from kubeproxy.rules.layout import (
    CLUSTER_IPS,
    HAIRPINS,
    LOCAL_POOLS,
    SOURCE_RANGES,
    encode_hairpin,
    encode_source_range,
    encode_value,
)
from kubeproxy.rules.pool_value import DROP, LOCAL_KINDS, REJECT, RESTRICTED_KINDS, Kind, with_kind

_WITHOUT_LOCAL = {Kind.EXTERNAL_LOCAL: Kind.EXTERNAL, Kind.RESTRICTED_LOCAL: Kind.RESTRICTED}


def build_claims(port: ServicePort, values: Mapping[PoolName, int]) -> dict[ElementKey, bytes]:
    """Return the elements of one service port; `values` are those of its pools that have endpoints.

    The ranges of one frontend are one element here, under the frontend's key (see `split_ranges`).
    """
    cluster = values.get(PoolName(port.name, is_local=False), REJECT)
    local = values.get(PoolName(port.name, is_local=True))
    # Drop, if only this node has none: a load balancer that has not noticed yet tries again elsewhere.
    nothing_here = DROP if port.usable.cluster else REJECT
    internal = cluster if not port.is_internal_local else nothing_here if local is None else local
    claims: dict[ElementKey, bytes] = {}
    is_led_to_local = False
    for publication in port.publications:
        kind = publication.kind
        if kind == Kind.CLUSTER_IP:
            value = internal
        elif kind not in LOCAL_KINDS:
            value = with_kind(cluster, kind)
        elif cluster == REJECT:
            # Nobody has an endpoint: refuse at once, here and now.
            value = with_kind(REJECT, _WITHOUT_LOCAL[kind])
        else:
            value = with_kind(cluster, kind)
            is_led_to_local = True
        claims[publication.map_name, publication.key] = encode_value(value)
        if kind in RESTRICTED_KINDS:
            ranges = (encode_source_range(publication.key, network) for network in port.sources)
            claims[SOURCE_RANGES, publication.key] = b"".join(ranges)
    if local is not None and is_led_to_local:
        claims[LOCAL_POOLS, encode_value(cluster)] = encode_value(local)
    for address in port.cluster_ips:
        claims[CLUSTER_IPS, address] = b""
    for address in port.hairpins:
        claims[HAIRPINS, encode_hairpin(address)] = b""
    return claims


def split_ranges(frontend: bytes, joined: bytes) -> list[bytes]:
    """Return the elements of `source-ranges` that were put together as one."""
    address_bytes = len(frontend) - 8
    length = 2 * (len(frontend) + address_bytes)
    return [joined[start : start + length] for start in range(0, len(joined), length)]
