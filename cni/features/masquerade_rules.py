"""Masquerade of what pods send out of the cluster (Calico's `natOutgoing`): rules, and sets of pools.

As Calico's: a source in a pool that says `natOutgoing`, and a destination in no pool. Not to this node's own
addresses, and not to link-local or multicast ones, which never leave the link.
"""

import struct
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network

from cni.features.host_port_rules import ADDRESS_TYPES, FAMILIES
from ipam.model import Network, Pool
from nodeplane.datapath.nft import expr
from nodeplane.datapath.nft.expr import Family
from nodeplane.datapath.nft.table import Chain, ElementChange, Elements, Hook, Map, Rule

_POSTROUTING, _BEHIND_SRCNAT = 4, 101
# RFC 3927, RFC 5771, RFC 919; RFC 4291.
_NEAR: dict[Family, tuple[Network, ...]] = {
    "ip": tuple(map(ip_network, ("169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32"))),
    "ip6": tuple(map(ip_network, ("fe80::/10", "ff00::/8"))),
}


def pools_of(family: Family) -> str:
    """Name the set of all pools' addresses."""
    return f"pools-{family}"


def masqueraded(family: Family) -> str:
    """Name the set of the addresses that are masqueraded outside of all pools."""
    return f"masqueraded-{family}"


MAP_NAMES = frozenset(name(family) for name in (pools_of, masqueraded) for family in FAMILIES)

CHAINS = (
    Chain("pods-out", "connections that pods open", Hook("nat", _POSTROUTING, _BEHIND_SRCNAT)),
    *(Chain(f"leaving-{family}", "masqueraded where it leaves the cluster") for family in FAMILIES),
)


def build_maps() -> Iterator[Map]:
    """Yield the sets that the rules look into."""
    for family in FAMILIES:
        yield Map(
            pools_of(family), "addresses of pods, here and elsewhere", (ADDRESS_TYPES[family],), ranges=True
        )
        yield Map(masqueraded(family), "those of natOutgoing", (ADDRESS_TYPES[family],), ranges=True)


def build_rules() -> Iterator[Rule]:
    """Yield the rules of all chains."""
    for family in FAMILIES:
        yield Rule(
            "pods-out",
            expr.of_family(family)
            + expr.load_address(family, "saddr", 0)
            + expr.in_set(masqueraded(family), 0)
            + expr.verdict("jump", f"leaving-{family}"),
            "from a pool of natOutgoing",
        )
    for family in FAMILIES:
        stays = expr.verdict("return")
        to = expr.of_family(family) + expr.load_address(family, "daddr", 0)
        chain = f"leaving-{family}"
        yield Rule(chain, to + expr.in_set(pools_of(family), 0) + stays, "to a pod")
        for network in _NEAR[family]:
            yield Rule(chain, to + expr.in_network(network, 0) + stays, "to the link")
        is_local = expr.load_address_type("daddr", 0) + expr.compare("==", struct.pack("=I", expr.LOCAL), 0)
        yield Rule(chain, is_local + stays, "to the node itself")
        yield Rule(chain, expr.masquerade(), "out of the cluster")


def build_pool_elements(pools: Iterable[Pool]) -> Elements:
    """Build what the sets must hold for these pools."""
    known = tuple(pools)
    elements: dict[str, dict[bytes, bytes]] = {}
    for family, version in (("ip", 4), ("ip6", 6)):
        mine = [pool for pool in known if pool.network.version == version]
        chosen = [pool for pool in mine if pool.nat_outgoing]
        for name, some in ((f"pools-{family}", mine), (f"masqueraded-{family}", chosen)):
            elements[name] = {_encode(network): b"" for network in _collapse(pool.network for pool in some)}
    return elements


def widen(there: Iterable[bytes], wanted: Iterable[bytes]) -> ElementChange:
    """Say how ranges come to cover others as well; none of them covers less afterwards."""
    before = set(there)
    ranges = sorted({*before, *wanted}, key=_borders)
    after: list[bytes] = []
    for each in ranges:
        first, last = _borders(each)
        if after and first <= _borders(after[-1])[1]:
            start, end = _borders(after[-1])
            half = len(each) // 2
            after[-1] = start.to_bytes(half, "big") + max(end, last).to_bytes(half, "big")
        else:
            after.append(each)
    return ElementChange(
        remove=sorted(before.difference(after)), add={key: b"" for key in after if key not in before}
    )


def _borders(key: bytes) -> tuple[int, int]:
    half = len(key) // 2
    return int.from_bytes(key[:half], "big"), int.from_bytes(key[half:], "big")


def _encode(network: Network) -> bytes:
    """Encode a network as a range's first and last address together."""
    return network.network_address.packed + network.broadcast_address.packed


def _collapse(networks: Iterable[Network]) -> tuple[Network, ...]:
    """Return the same addresses without overlaps, which the kernel refuses."""
    given = tuple(networks)
    return (
        *collapse_addresses(item for item in given if isinstance(item, IPv4Network)),
        *collapse_addresses(item for item in given if isinstance(item, IPv6Network)),
    )
