"""The VXLAN links of a node: what they are, and which neighbours and forwarding entries lead to the others.

    packet to 10.244.7.70 ── route: 10.244.7.64/26 via 10.244.7.64 dev np-vxlan4 onlink
                          ── neighbour: 10.244.7.64 is 0a:…  (from the peer's name: nobody has to tell it)
                          ── forwarding entry: 0a:… is behind 192.0.2.7
                          ── UDP 4789 to 192.0.2.7

10.244.7.64 is the peer's own address in the pool, its end of the tunnel; with IPv6, a link-local one stands
for it. Each family has a link, as with Calico (vxlan.calico, vxlan-v6.calico); it learns nothing and floods
nothing (docs/adr/0011).
"""

from collections.abc import Iterator, Mapping
from hashlib import sha256
from ipaddress import IPv6Address, ip_interface

import msgspec

from nodeplane.datapath.rtnl import Address, Family, FdbEntry, Interface, Neighbour, Vxlan

FAMILIES: tuple[Family, Family] = (4, 6)
LINK_NAMES: Mapping[int, str] = {4: "np-vxlan4", 6: "np-vxlan6"}
# The outer header, UDP's, VXLAN's and the inner Ethernet's (RFC 7348, section 5): 20 or 40, 8, 8, 14.
OVERHEAD_BYTES: Mapping[int, int] = {4: 50, 6: 70}


class VxlanConfig(msgspec.Struct, frozen=True):
    """What an operator decides about the links; `mtu_bytes` 0 is what the uplink has room for.

    The network and the port are Calico's: a firewall that lets its packets through lets ours.
    """

    vni: int = 4096
    port: int = 4789
    mtu_bytes: int = 0


class VxlanLink(msgspec.Struct, frozen=True):
    """A link as it should be."""

    name: str
    vxlan: Vxlan
    mac: str
    mtu_bytes: int
    address: Interface


Entry = Neighbour | FdbEntry
EntryKey = tuple[str, Address | str]


def entry_key(entry: Entry) -> EntryKey:
    """Return what the kernel tells entries apart by."""
    return entry.link, entry.address if isinstance(entry, Neighbour) else entry.mac


def build_mac(node: str) -> str:
    """Return the Ethernet address of a node's VXLAN links.

    46 bits of a hash: two of 5,000 nodes have the same with a probability of 1 in 5 million.
    """
    digest = sha256(f"nodeplane vxlan {node}".encode()).digest()[:6]
    # Locally administered, of one station (IEEE 802, section 8.2.2).
    return bytes([digest[0] & 0xFC | 0x02, *digest[1:]]).hex(":")


def build_link(
    node: str, config: VxlanConfig, underlay: Address, underlay_mtu_bytes: int, tunnel: Address
) -> VxlanLink:
    """Build a family's link of this node.

    Args:
        node: This node's name.
        config: The operator's decisions.
        underlay: The address that other nodes send to.
        underlay_mtu_bytes: The MTU of its link.
        tunnel: This node's own address in a pool.
    """
    version = underlay.version
    vxlan = Vxlan(
        vni=config.vni,
        port=config.port,
        local=underlay,
        # RFC 7348, section 5: the outer checksum should be zero. Over IPv6 it must not be, unless both ends
        # were told so (RFC 6935).
        has_checksum=version == 6,
        # A packet that must not be cut is not cut on the way either: its sender hears of the path's MTU.
        fragmentation="inherit" if version == 4 else "unset",
    )
    mtu_bytes = config.mtu_bytes or underlay_mtu_bytes - OVERHEAD_BYTES[version]
    return VxlanLink(LINK_NAMES[version], vxlan, build_mac(node), mtu_bytes, ip_interface(tunnel))


def build_gateway(node: str, tunnel: Address) -> Address:
    """Return the address by which a peer is on the link: of IPv6 a link-local one, from its MAC (EUI-64).

    The kernel refuses a gateway of IPv6 that a route leads to through another link (net/ipv6/route.c,
    ip6_route_check_nh_onlink): a block's route could not be moved here from the uplink in one step.
    """
    if tunnel.version == 4:
        return tunnel
    octets = bytes.fromhex(build_mac(node).replace(":", ""))
    identifier = bytes([octets[0] ^ 2, *octets[1:3], 0xFF, 0xFE, *octets[3:]])
    return IPv6Address(b"\xfe\x80" + bytes(6) + identifier)


def build_entries(node: str, underlay: Address, tunnel: Address) -> Iterator[Entry]:
    """Yield what leads to another node: of the family of its address."""
    link, mac = LINK_NAMES[underlay.version], build_mac(node)
    yield FdbEntry(link, mac, underlay)
    yield Neighbour(link, build_gateway(node, tunnel), mac)
