"""The dummy link whose addresses are the services', so that packets to them are for this node."""

import errno
from collections.abc import Collection
from ipaddress import ip_address, ip_interface

from kubeproxy.ipvs.layout import LINK
from kubeproxy.rules.addresses import PackedAddress
from nodeplane.datapath import rtnl
from nodeplane.datapath.nft.expr import Family
from nodeplane.errors import KernelError

_VERSIONS: dict[Family, rtnl.Family] = {"ip": 4, "ip6": 6}
_LINK_LOCAL_6 = b"\xfe\x80"


class AddressLink:
    """What the link has of one family; the link itself is of both."""

    def __init__(self, family: Family, edge: rtnl.Rtnl) -> None:
        self._version = _VERSIONS[family]
        self._rtnl = edge
        self.addresses: set[PackedAddress] = set()
        self.is_there = False

    def read(self) -> None:
        """Read what there is."""
        self.is_there = self._rtnl.find_link(LINK) is not None
        found = self._rtnl.addresses(LINK, self._version) if self.is_there else set()
        # The kernel's own of IPv6 is no service's.
        packed = {interface.ip.packed for interface in found}
        self.addresses = {address for address in packed if not address.startswith(_LINK_LOCAL_6)}

    def make(self) -> None:
        """Make the link if it is not there; by it another mode sees that this one was here."""
        if self.is_there:
            return
        if self._rtnl.find_link(LINK) is None:
            self._rtnl.add_dummy(LINK)
        self.is_there = True

    def add(self, addresses: Collection[PackedAddress]) -> list[KernelError]:
        """Give the link addresses; return what the kernel refused."""
        if not addresses:
            return []
        self.make()
        refused = self._rtnl.apply([rtnl.AddressAddition(LINK, _interface(each)) for each in addresses])
        self.addresses.update(addresses)
        return [error for error in refused.values() if error.errno != errno.EEXIST]

    def remove(self, addresses: Collection[PackedAddress]) -> list[KernelError]:
        """Take addresses from the link; return what the kernel refused."""
        refused = self._rtnl.apply([rtnl.AddressDeletion(LINK, _interface(each)) for each in addresses])
        self.addresses.difference_update(addresses)
        return [error for error in refused.values() if error.errno != errno.EADDRNOTAVAIL]

    def delete(self) -> bool:
        """Delete the link; say whether it was there."""
        if self._rtnl.find_link(LINK) is None:
            return False
        self._rtnl.delete_link(LINK)
        self.addresses.clear()
        self.is_there = False
        return True


def _interface(address: PackedAddress) -> rtnl.Interface:
    found = ip_address(address)
    return ip_interface((found.packed, found.max_prefixlen))
