"""Which MTU a pod gets: the uplink's less the encapsulation, so that no packet between nodes is split."""

from ipaddress import ip_address

from cni.attachment import HOST_LINK_PREFIX
from cni.network_config import Encapsulation
from nodeplane.datapath.rtnl import Address, Family, Interface, Rtnl
from nodeplane.errors import KernelError

_ETHERNET_MTU_BYTES = 1500
_FAMILIES: tuple[Family, Family] = (4, 6)
# Addresses that nothing but a default route leads to: of class E (RFC 1112), not the broadcast address; and
# the end of the documentation prefix (RFC 9637).
_BEYOND: dict[Family, Address] = {
    4: ip_address("255.255.255.254"),
    6: ip_address("3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"),
}
# What is put before a pod's packet, over nodes that speak IPv4 and IPv6: the outer header (20 or 40); VXLAN's
# with UDP's and the inner Ethernet's (8 + 8 + 14, RFC 7348); WireGuard's with UDP's and the tag (8 + 16 + 16)
_OVERHEAD_BYTES: dict[Encapsulation, dict[Family, int]] = {
    "none": {4: 0, 6: 0},
    "ipip": {4: 20, 6: 40},
    "vxlan": {4: 50, 6: 70},
    "wireguard": {4: 60, 6: 80},
}


def read_pod_mtu(rtnl: Rtnl, encapsulation: Encapsulation = "none") -> int:
    """Return the MTU in bytes that pods' packets between nodes have room for.

    It is that of the link of the default route, of two (IPv4's and IPv6's) the smaller. Without one, the
    smallest of the links that have an address: other nodes are behind one of them.
    """
    overhead = _OVERHEAD_BYTES[encapsulation]
    found = [mtu - overhead[family] for family in _FAMILIES if (mtu := _default_link_mtu(rtnl, family))]
    for family in _FAMILIES if not found else ():
        found = [mtu - overhead[family] for mtu in _link_mtus(rtnl, family)]
        if found:
            break
    return min(found, default=_ETHERNET_MTU_BYTES - overhead[4])


def _default_link_mtu(rtnl: Rtnl, family: Family) -> int | None:
    try:
        return rtnl.egress_link(_BEYOND[family]).mtu_bytes
    except KernelError:
        # There is no route (ENETUNREACH), or one that refuses (EINVAL, EACCES, EHOSTUNREACH by its kind).
        return None


def _link_mtus(rtnl: Rtnl, family: Family) -> list[int]:
    held = rtnl.addresses_by_link(family)
    # Every link has a link-local address of IPv6; those of pods are told by their names.
    names = {
        name
        for name, addresses in held.items()
        if name != "lo" and not name.startswith(HOST_LINK_PREFIX) and not _is_link_local_only(addresses)
    }
    return [rtnl.link(name).mtu_bytes for name in names]


def _is_link_local_only(addresses: set[Interface]) -> bool:
    return all(address.version == 6 and address.ip.is_link_local for address in addresses)
