"""Which MTU a pod gets: the uplink's, so that no packet between pods of two nodes needs to be split."""

from ipaddress import IPv4Address

from nodeplane.datapath.rtnl import Rtnl
from nodeplane.errors import KernelError

_ETHERNET_MTU_BYTES = 1500
# An address that nothing but a default route leads to: of class E (RFC 1112), and not the broadcast address.
_BEYOND = IPv4Address("255.255.255.254")


def read_uplink_mtu(rtnl: Rtnl) -> int:
    """Return the MTU in bytes of the link that the default route uses.

    Without a default route, the smallest of the links that have an address: other nodes are behind one of
    them, and pods' links have none.
    """
    try:
        return rtnl.link(rtnl.egress_link(_BEYOND)).mtu_bytes
    except KernelError:
        # There is no route (ENETUNREACH), or one that refuses (EINVAL, EACCES, EHOSTUNREACH by its kind).
        names = rtnl.addresses_by_link().keys() - {"lo"}
        return min((rtnl.link(name).mtu_bytes for name in names), default=_ETHERNET_MTU_BYTES)
