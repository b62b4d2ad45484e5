"""Where a frontend leads: the endpoints that a connection to it may have, by where its client is."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from ipaddress import ip_address

import msgspec

from kubeproxy.desired.element_store import ElementKey
from kubeproxy.desired.service_port import ServicePort
from kubeproxy.rules.addresses import Network, PackedAddress
from kubeproxy.rules.layout import (
    FRONTENDS,
    LOCAL_POOLS,
    MEMBER_ADDRESSES,
    MEMBERS,
    NODE_PORTS,
    SLOTS,
    PackedEndpoint,
    decode_value,
    encode_value,
)
from kubeproxy.rules.pool_value import LOCAL_KINDS, RESTRICTED_KINDS, WITHOUT_KIND, Kind

Elements = Mapping[str, Mapping[bytes, bytes]]


class Reach(msgspec.Struct, frozen=True):
    """The endpoints of one frontend.

    Attributes:
        inside: Those that pods of this node and its own processes may have.
        outside: Those that clients from elsewhere may have; the same, but for `externalTrafficPolicy: Local`.
        known: All that there are, those included that only connections made before are left with.
        sources: The networks whose clients are let in; None for everybody.
    """

    inside: frozenset[PackedEndpoint]
    outside: frozenset[PackedEndpoint]
    known: frozenset[PackedEndpoint]
    sources: tuple[Network, ...] | None = None

    def lets_in(self, client: PackedAddress) -> bool:
        """Say whether a client may use the frontend at all."""
        if self.sources is None:
            return True
        address = ip_address(client)
        return any(address in network for network in self.sources)


def build_reach(port: ServicePort, frontend: ElementKey) -> Reach:
    """Say where one frontend of a service port leads.

    An endpoint of weight 0, one that hints mean for other places, or one that terminates beside ready ones
    gets no new connections and serves those that it has (k/k pkg/proxy/conntrack: what counts is `serving`).
    """
    usable = port.usable
    cluster = frozenset(usable.cluster + usable.spare)
    local = frozenset(usable.local + usable.local_spare)
    kind = next(each.kind for each in port.publications if (each.map_name, each.key) == frontend)
    inside = local if kind == Kind.CLUSTER_IP and port.is_internal_local else cluster
    return Reach(
        inside=inside,
        outside=local if kind in LOCAL_KINDS else inside,
        known=cluster.union(local, usable.idle),
        sources=port.sources if kind in RESTRICTED_KINDS else None,
    )


def find_frontends(elements: Elements, protocols: Collection[int]) -> Iterator[ElementKey]:
    """Yield the frontends of some protocols among a table's elements."""
    for map_name in (FRONTENDS, NODE_PORTS):
        for key in elements.get(map_name, {}):
            # Keys of both maps end alike: see `layout.encode_frontend`.
            if key[-8] in protocols:
                yield map_name, key


def read_reaches(elements: Elements, protocols: Collection[int]) -> dict[ElementKey, Reach]:
    """Say where the frontends of a table lead, as far as its elements tell."""
    values = {
        frontend: encode_value(decode_value(elements[frontend[0]][frontend[1]]) & WITHOUT_KIND)
        for frontend in find_frontends(elements, protocols)
    }
    local_values = {
        value: elements[LOCAL_POOLS][value]
        for value in set(values.values())
        if value in elements.get(LOCAL_POOLS, {})
    }
    pools = _read_pools(elements, {*values.values(), *local_values.values()})
    reaches = {}
    for frontend, value in values.items():
        inside = pools[value]
        # Which of them a client from outside could have is in the kind; here it only matters whose they were.
        everyone = inside | pools[local_values[value]] if value in local_values else inside
        reaches[frontend] = Reach(everyone, everyone, everyone)
    return reaches


def _read_pools(elements: Elements, values: set[bytes]) -> Mapping[bytes, frozenset[PackedEndpoint]]:
    found: defaultdict[bytes, set[PackedEndpoint]] = defaultdict(set)
    for slot, endpoint in elements.get(SLOTS, {}).items():
        if slot[:4] in values:
            found[slot[:4]].add(endpoint)
    addresses = elements.get(MEMBER_ADDRESSES, {})
    for slot, member in elements.get(MEMBERS, {}).items():
        if slot[:4] in values and member in addresses:
            found[slot[:4]].add(addresses[member])
    return defaultdict(frozenset, {value: frozenset(endpoints) for value, endpoints in found.items()})
