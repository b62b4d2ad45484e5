"""Neighbours, and forwarding entries of VXLAN links: where what goes to an address is sent."""

import msgspec

from nodeplane.datapath.rtnl.address import Address


class Neighbour(msgspec.Struct, frozen=True, order=True):
    """A permanent neighbour: the Ethernet address that a link's packets to an address go to."""

    link: str
    address: Address
    mac: str

    def __str__(self) -> str:
        return f"neighbour {self.address} lladdr {self.mac} dev {self.link}"


class FdbEntry(msgspec.Struct, frozen=True, order=True):
    """A permanent forwarding entry of a VXLAN link: the node behind which an Ethernet address is."""

    link: str
    mac: str
    destination: Address

    def __str__(self) -> str:
        return f"forwarding entry {self.mac} dst {self.destination} dev {self.link}"
