"""Links, what is to be different about one, and what a VXLAN link is made with."""

from typing import Literal

import msgspec

from nodeplane.datapath.rtnl.address import Address

ALIAS_BYTES = 254
"""The longest alias: the kernel takes 255 bytes (net/core/rtnetlink.c: IFALIASZ - 1, as NLA_BINARY), and
the closing zero is sent as one of them."""

Fragmentation = Literal["unset", "set", "inherit"]


class Link(msgspec.Struct, frozen=True):
    """A network interface.

    `peer_index` is the interface index of a veth's other end, in whichever namespace that is.
    """

    name: str
    index: int
    kind: str
    mac: str
    mtu_bytes: int
    is_up: bool
    has_carrier: bool
    master: str | None = None
    alias: str = ""
    peer_index: int | None = None


class EgressLink(msgspec.Struct, frozen=True):
    """What can be told of a link without waiting for those who change links."""

    name: str
    mtu_bytes: int


class LinkChange(msgspec.Struct, frozen=True):
    """What is to be different about a link; None is left as it is."""

    name: str
    is_up: bool | None = None
    mtu_bytes: int | None = None
    mac: str | None = None
    alias: str | None = None


class Vxlan(msgspec.Struct, frozen=True):
    """What a VXLAN link is made with (RFC 7348): its network, its UDP port, and the address it sends from.

    That address's family is the outer header's. It knows the other ends by its forwarding entries: without
    `is_learning` none comes by itself, and what has none goes nowhere. `has_checksum` is the outer UDP's;
    `fragmentation` is what the outer header of IPv4 says of it.
    """

    vni: int
    port: int
    local: Address
    is_learning: bool = False
    has_checksum: bool = False
    fragmentation: Fragmentation = "unset"
