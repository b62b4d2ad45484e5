"""What routing needs to know of a node: by which addresses others reach it, and which subnets it names."""

from contextlib import suppress
from ipaddress import ip_address, ip_interface

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
    """Read a Node; what is no address in it is left out."""
    addresses: list[Address] = []
    for text in node.internal_ips:
        with suppress(ValueError):
            addresses.append(ip_address(text))
    subnets: list[Interface] = []
    for name in _SUBNET_ANNOTATIONS:
        with suppress(ValueError):
            subnets.append(ip_interface((node.metadata.annotations or {}).get(name, "")))
    return Peer(tuple(addresses), tuple(subnets))
