"""The rules that let a pod send only as itself: constant, and the same for one pod and for hundreds.

    from a link with checked sources?   no ─► on
      (prerouting, raw: before conntrack, so that a forged packet makes no entry)
            │
            ├─ link . Ethernet address . address is the pod's own ─► on
            ├─ the address is in a prefix that the pod may send from ─► on
            ├─ no address yet: DHCP (RFC 2131), detection of duplicates (RFC 4862) and what goes with it ─► on
            └─ dropped, and counted at the link: `nft list set inet nodeplane-cni source-links`

Links are those in the set and not all of a name: one without the check is not in it. ARP does not come by
here. What a forged one says stays on the pod's own link, where the node has a route to nobody but that pod,
and with `rp_filter` the kernel does not even hear it (net/ipv4/arp.c, arp_process asks for the route back).
"""

import struct
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address

from nodeplane.datapath.nft import expr
from nodeplane.datapath.nft.expr import INTERFACE_NAME_BYTES, Family
from nodeplane.datapath.nft.table import Chain, Hook, Map, Rule
from nodeplane.datapath.rtnl import Address, Network

FAMILIES: tuple[Family, ...] = ("ip", "ip6")
_ADDRESS_TYPES: dict[Family, str] = {"ip": "ipv4_addr", "ip6": "ipv6_addr"}

LINKS = "source-links"
_CHAIN, _WITHOUT = "source-check", "source-unspecified"
_PREROUTING, _RAW = 0, -300

# Where the parts of a key are: four registers of the link's name, two of its Ethernet address.
_NAME, _MAC, _ADDRESS, _SCRATCH = 0, 4, 6, 12
_UDP, _ICMP6 = 17, 58
_DHCP_CLIENT, _DHCP_SERVER = 68, 67
# What a host without an address may say: report of multicast groups (RFC 2710, 3810), search for routers
# (RFC 4861), detection of duplicates (RFC 4862).
_WITHOUT_ADDRESS = {131: "MLD report", 133: "router solicitation", 135: "DAD", 143: "MLDv2 report"}

UNSPECIFIED: tuple[Address, ...] = (IPv4Address(0), IPv6Address(0))


def own_sources(family: Family) -> str:
    """Name the set of addresses that pods have."""
    return f"sources-{family}"


def prefix_sources(family: Family) -> str:
    """Name the set of prefixes that pods may send from as well."""
    return f"source-prefixes-{family}"


CHAINS = (
    Chain(_CHAIN, "a pod sends only as itself", Hook("filter", _PREROUTING, _RAW)),
    Chain(_WITHOUT, "from a pod without an address"),
)


def build_maps() -> Iterator[Map]:
    """Yield the sets that the rules look into."""
    yield Map(LINKS, "pods' links with checked sources; counts what was dropped", ("ifname",), counted=True)
    for family in FAMILIES:
        key = ("ifname", "ether_addr", _ADDRESS_TYPES[family])
        yield Map(own_sources(family), "what pods send as", key)
        yield Map(prefix_sources(family), "what pods may send as too: first and last", key, ranges=True)


def build_rules() -> Iterator[Rule]:
    """Yield the rules of all chains."""
    name = expr.load_meta("iifname", _NAME)
    skip = name + expr.not_in_set(LINKS, _NAME) + expr.verdict("return")
    yield Rule(_CHAIN, skip, "only checked links")
    for family, nothing in zip(FAMILIES, UNSPECIFIED, strict=True):
        source = expr.of_family(family, _SCRATCH) + expr.load_address(family, "saddr", _ADDRESS)
        without = source + expr.compare("==", nothing.packed, _ADDRESS) + expr.verdict("goto", _WITHOUT)
        yield Rule(_CHAIN, without, f"{family}: without an address")
        for kind, text in ((own_sources, "its own"), (prefix_sources, "allowed")):
            yield Rule(_CHAIN, _sends_as(family, kind(family)) + expr.verdict("return"), f"{family}: {text}")
    dropped = name + expr.in_set(LINKS, _NAME) + expr.verdict("drop")
    yield Rule(_CHAIN, dropped, "all else, counted")
    ports = struct.pack(">H", _DHCP_CLIENT), struct.pack(">H", _DHCP_SERVER)
    dhcp = (
        _of_protocol(_UDP)
        + expr.load_source_port(_SCRATCH)
        + expr.compare("==", ports[0], _SCRATCH)
        + expr.load_destination_port(_SCRATCH)
        + expr.compare("==", ports[1], _SCRATCH)
    )
    yield Rule(_WITHOUT, dhcp + _sends_as("ip", own_sources("ip")) + expr.verdict("return"), "DHCP")
    for number, text in _WITHOUT_ADDRESS.items():
        message = (
            _of_protocol(_ICMP6)
            + expr.load_icmp_type(_SCRATCH)
            + expr.compare("==", bytes((number,)), _SCRATCH)
        )
        yield Rule(_WITHOUT, message + _sends_as("ip6", own_sources("ip6")) + expr.verdict("return"), text)
    yield Rule(_WITHOUT, dropped, "all else, counted")


def build_elements(
    link: str, mac: str, addresses: Iterable[Address], prefixes: Iterable[Network]
) -> dict[str, dict[bytes, bytes]]:
    """Build the elements of one pod's link.

    Args:
        link: The host's end.
        mac: Of the pod's end.
        addresses: The pod's, its link-local one among them.
        prefixes: What it may send from beside them; none is in another.
    """
    head = link.encode().ljust(INTERFACE_NAME_BYTES, b"\0")
    prefix = head + bytes.fromhex(mac.replace(":", "")) + bytes(2)
    elements: dict[str, dict[bytes, bytes]] = {LINKS: {head: b""}}
    for address in (*UNSPECIFIED, *addresses):
        elements.setdefault(own_sources(_family(address)), {})[prefix + address.packed] = b""
    for network in prefixes:
        ends = network.network_address.packed, network.broadcast_address.packed
        elements.setdefault(prefix_sources(_family(network)), {})[prefix + ends[0] + prefix + ends[1]] = b""
    return elements


def _family(value: Address | Network) -> Family:
    return "ip" if value.version == 4 else "ip6"


def _sends_as(family: Family, set_name: str) -> bytes:
    """Go on only for packets whose link and sources are in a set."""
    return (
        expr.of_family(family, _SCRATCH)
        + expr.load_meta("iifname", _NAME)
        + expr.load_link_source(_MAC)
        + expr.load_address(family, "saddr", _ADDRESS)
        + expr.in_set(set_name, _NAME)
    )


def _of_protocol(number: int) -> bytes:
    return expr.load_meta("l4proto", _SCRATCH) + expr.compare("==", bytes((number,)), _SCRATCH)
