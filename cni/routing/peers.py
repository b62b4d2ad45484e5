"""What routing needs to know of a node: by which addresses others reach it, and which subnets it names."""

from contextlib import suppress
from ipaddress import IPv6Address, ip_address, ip_interface

import msgspec

from nodeplane.datapath.rtnl import Address, Interface
from nodeplane.kube.objects import Node

# Where Calico's node agent writes its node's address with the prefix length of its subnet.
_SUBNET_ANNOTATIONS = ("projectcalico.org/IPv4Address", "projectcalico.org/IPv6Address")


class Peer(msgspec.Struct, frozen=True):
    """A node: its InternalIPs in their order, and the subnets that its annotations name."""

    addresses: tuple[Address, ...] = ()
    subnets: tuple[Interface, ...] = ()

    def address(self, version: int) -> Address | None:
        """Return the first address of a family: where tunnels end."""
        return next((address for address in self.addresses if address.version == version), None)


def read_peer(node: Node) -> Peer:
    """Read a Node; what is no address by which others can reach it is left out.

    A node writes its own status: what it says reaches the kernel and the BIRD of every other.
    """
    addresses: list[Address] = []
    for text in node.internal_ips:
        with suppress(ValueError):
            address = ip_address(text)
            if _is_reachable(address):
                addresses.append(address)
    subnets: list[Interface] = []
    for name in _SUBNET_ANNOTATIONS:
        with suppress(ValueError):
            subnet = ip_interface((node.metadata.annotations or {}).get(name, ""))
            if _is_reachable(subnet):
                subnets.append(subnet)
    return Peer(tuple(addresses), tuple(subnets))


def _is_reachable(address: Address) -> bool:
    """Say whether an address means the same on every node; one with a scope (`fe80::1%eth0`) does not."""
    if isinstance(address, IPv6Address) and (address.scope_id is not None or address.ipv4_mapped is not None):
        return False
    return not (
        address.is_link_local or address.is_loopback or address.is_multicast or address.is_unspecified
    )
