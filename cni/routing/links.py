"""This node's links as routing sees them: where its own addresses are, and its VXLAN links."""

from collections.abc import Iterable, Mapping
from ipaddress import ip_network

import msgspec

from cni.routing.peers import Peer
from cni.routing.vxlan import FAMILIES, LINK_NAMES, VxlanLink
from nodeplane.datapath.rtnl import Address, Family, Interface, Link, LinkChange, Network, Rtnl
from nodeplane.datapath.sysctl import Sysctls
from nodeplane.errors import KernelNotFoundError

_Held = tuple[str, Interface]
"""An address of this node's, and the name of its link."""


class LinkFacts(msgspec.Struct, frozen=True):
    """What of a link decides over routes."""

    has_carrier: bool
    mtu_bytes: int


class Own(msgspec.Struct, frozen=True):
    """This node as its kernel has it.

    Attributes:
        subnets: The networks around its own addresses.
        uplinks: The links of its own addresses, by index; None when one of them is on none, or not read.
        underlays: The address of each family that others send tunnelled packets to, and its link's MTU.
        vxlan_links: Its VXLAN links of ours, by index.
        subnet_links: The links with the addresses that the networks are around.
        facts: What `uplinks` and `vxlan_links` are like, by index.
    """

    subnets: frozenset[Network] = frozenset()
    uplinks: frozenset[int] | None = None
    underlays: Mapping[int, tuple[Address, int]] = {}
    vxlan_links: Mapping[int, str] = {}
    subnet_links: Mapping[Network, str] = {}
    facts: Mapping[int, LinkFacts] = {}


def read_own(rtnl: Rtnl, peer: Peer) -> Own:
    """Read where a node's own addresses are.

    Raises:
        KernelError: the links can't be read.
    """
    held = {
        interface.ip: (name, interface)
        for family in FAMILIES
        for name, interfaces in rtnl.addresses_by_link(family).items()
        for interface in interfaces
        if name not in LINK_NAMES.values()
    }
    found = {address: held[address] for address in peer.addresses if address in held}
    names = dict.fromkeys((*(name for name, _ in found.values()), *LINK_NAMES.values()))
    links = {name: link for name in names if (link := rtnl.find_link(name)) is not None}
    underlays: dict[int, tuple[Address, int]] = {
        family: (address, links[found[address][0]].mtu_bytes)
        for family in FAMILIES
        if (address := peer.address(family)) in found and found[address][0] in links
    }
    near = [(name, interface) for name, interface in found.values() if name in links]
    subnets = _subnets(peer, _reachable(near, links))
    own = {link.index for name, link in links.items() if name not in LINK_NAMES.values()}
    return Own(
        subnets=frozenset(subnets),
        subnet_links={subnet: name for subnet, name in subnets.items() if name},
        uplinks=frozenset(own) if len(found) == len(peer.addresses) else None,
        underlays=underlays,
        vxlan_links={link.index: name for name, link in links.items() if name in LINK_NAMES.values()},
        facts={link.index: LinkFacts(link.has_carrier, link.mtu_bytes) for link in links.values()},
    )


def _reachable(near: Iterable[_Held], links: Mapping[str, Link]) -> list[_Held]:
    """Leave out what is on a link without a carrier, but of a family that has no other.

    The kernel sends on by a next hop whose link has lost its carrier (sysctl ignore_routes_with_linkdown).
    """
    all_near = list(near)
    alive = [item for item in all_near if links[item[0]].has_carrier]
    families = {interface.version for _, interface in alive}
    return [item for item in all_near if item in alive or item[1].version not in families]


def _subnets(peer: Peer, near: Iterable[_Held]) -> dict[Network, str]:
    """Return the networks around addresses, and their links.

    Of a family that the Node has an annotation for, it is that one's; on which link that is, nobody says.
    """
    told = {interface.version for interface in peer.subnets}
    subnets = {ip_network(interface.network): "" for interface in peer.subnets}
    for name, interface in near:
        if interface.version not in told:
            # Of two links in one network, that of the address that the Node says first.
            subnets.setdefault(ip_network(interface.network), name)
    return subnets


def sync_link(rtnl: Rtnl, sysctls: Sysctls, wanted: VxlanLink) -> bool:
    """Bring a VXLAN link to what is wanted; say whether something had to be done.

    What it was made with can't be changed (a port) or would change under packets: then it is made anew.

    Raises:
        KernelError: the kernel refused.
    """
    link = rtnl.find_link(wanted.name)
    if link is not None and rtnl.find_vxlan(wanted.name) != wanted.vxlan:
        rtnl.delete_link(wanted.name)
        link = None
    is_new = link is None
    if link is None:
        rtnl.add_vxlan(wanted.name, wanted.vxlan, mac=wanted.mac, mtu_bytes=wanted.mtu_bytes)
        link = rtnl.link(wanted.name)
    _write_settings(sysctls, wanted)
    change = LinkChange(
        wanted.name,
        is_up=None if link.is_up else True,
        mtu_bytes=None if link.mtu_bytes == wanted.mtu_bytes else wanted.mtu_bytes,
        # The kernel forgets all neighbours, also when the address is the same.
        mac=None if link.mac == wanted.mac else wanted.mac,
    )
    is_changed = change != LinkChange(wanted.name)
    if is_changed:
        for error in rtnl.apply([change]).values():
            raise error
    return _sync_address(rtnl, wanted) or is_changed or is_new


def _write_settings(sysctls: Sysctls, wanted: VxlanLink) -> None:
    name = wanted.name
    settings = {
        # Loose: a packet of a host comes from the host's address, and the way back to that is direct.
        f"net/ipv4/conf/{name}/rp_filter": "2",
        # Nothing of IPv6 is to be said into a tunnel for IPv4; and no router is to be found in either.
        f"net/ipv6/conf/{name}/disable_ipv6": "1" if wanted.vxlan.local.version == 4 else "0",
        f"net/ipv6/conf/{name}/accept_ra": "0",
        f"net/ipv6/conf/{name}/addr_gen_mode": "1",
    }
    if wanted.vxlan.local.version == 4:
        # What the way to a peer has no room for must come back to the pod that sent it. Of IPv4 the kernel
        # forwards without regard to what it has learned of a path, unless told (ip_dst_mtu_maybe_forward).
        settings["net/ipv4/ip_forward_use_pmtu"] = "1"
    for setting, value in settings.items():
        try:
            if sysctls.read(setting) != value:
                sysctls.write(setting, value)
        except KernelNotFoundError:
            # A kernel without IPv6.
            continue


def _sync_address(rtnl: Rtnl, wanted: VxlanLink) -> bool:
    """Give a link its address, and take from it all others of the family but the kernel's own."""
    family: Family = 4 if wanted.address.version == 4 else 6
    held = rtnl.addresses(wanted.name, family)
    gone = [address for address in held - {wanted.address} if not address.ip.is_link_local]
    if wanted.address not in held:
        rtnl.add_address(wanted.name, wanted.address)
    for address in gone:
        rtnl.delete_address(wanted.name, address)
    return wanted.address not in held or bool(gone)
