"""rtnetlink messages of neighbours and of forwarding entries of VXLAN links: values to bytes and back.

The kernel has one message for both (linux/neighbour.h, struct ndmsg); the family tells them apart. Only
permanent ones are values here: what the kernel found out by itself, it may forget.
"""

import struct
from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from nodeplane.datapath import netlink as nl
from nodeplane.datapath.rtnl.address import Address, Family
from nodeplane.datapath.rtnl.address_codec import FAMILIES
from nodeplane.datapath.rtnl.neighbour import FdbEntry, Neighbour

NEWNEIGH, DELNEIGH, GETNEIGH = 28, 29, 30

_HEAD = struct.Struct("=BxxxiHBB")  # struct ndmsg: family, index, state, flags, type
_DST, _LLADDR, _IFINDEX = 1, 2, 8
_PERMANENT = 0x80
_SELF = 0x02
_BRIDGE = 7  # AF_BRIDGE


def neighbours_query(family: Family, index: int) -> bytes:
    """Encode the question for the neighbours of a link; a strict socket lets the kernel pick them."""
    return _HEAD.pack(FAMILIES[family], 0, 0, 0, 0) + nl.host_u32(_IFINDEX, index)


def fdb_query(index: int) -> bytes:
    """Encode the question for the forwarding entries of a link."""
    return _HEAD.pack(_BRIDGE, index, 0, 0, 0)


def encode(item: Neighbour | FdbEntry, index: int, *, is_deleted: bool = False) -> bytes:
    """Encode an entry of the link of that index, or its deletion."""
    mac = nl.attribute(_LLADDR, bytes.fromhex(item.mac.replace(":", "")))
    if isinstance(item, Neighbour):
        head = _HEAD.pack(FAMILIES[item.address.version], index, _PERMANENT, 0, 0)
        return head + nl.attribute(_DST, item.address.packed) + mac
    # The link's own table, not that of a bridge that it may be a port of (bridge(8), `self`).
    head = _HEAD.pack(_BRIDGE, index, _PERMANENT, _SELF, 0)
    # With a destination that it does not have, the kernel says that it deleted it and does not
    # (drivers/net/vxlan/vxlan_core.c, __vxlan_fdb_delete).
    return head + mac + (b"" if is_deleted else nl.attribute(_DST, item.destination.packed))


def decode_neighbours(answers: Iterable[memoryview], link: str) -> Iterator[Neighbour]:
    """Decode the permanent ones among a link's neighbours."""
    for answer in answers:
        found = decode(answer, link)
        if isinstance(found, Neighbour):
            yield found


def decode_fdb(answers: Iterable[memoryview], link: str) -> Iterator[FdbEntry]:
    """Decode the permanent ones among a link's forwarding entries."""
    for answer in answers:
        found = decode(answer, link)
        if isinstance(found, FdbEntry):
            yield found


def decode_index(payload: memoryview) -> int:
    """Decode the link's index of an entry of either kind."""
    index: int = _HEAD.unpack_from(payload)[1]
    return index


def decode_key(payload: memoryview) -> Address | str | None:
    """Decode a neighbour's address, or a forwarding entry's MAC; None for what is neither."""
    if len(payload) < _HEAD.size:
        return None
    family = payload[0]
    facts = nl.attribute_map(payload[_HEAD.size :])
    if family == _BRIDGE:
        mac = bytes(facts.get(_LLADDR, b""))
        return mac.hex(":") if len(mac) == 6 else None
    address = bytes(facts.get(_DST, b""))
    return ip_address(address) if family in FAMILIES.values() and len(address) in {4, 16} else None


def decode(payload: memoryview, link: str) -> Neighbour | FdbEntry | None:
    """Decode an entry of a link; None for one that is not permanent, or that leads to no node's address."""
    if len(payload) < _HEAD.size:
        return None
    family, _, state, _, _ = _HEAD.unpack_from(payload)
    facts = nl.attribute_map(payload[_HEAD.size :])
    address, mac = bytes(facts.get(_DST, b"")), bytes(facts.get(_LLADDR, b""))
    if not state & _PERMANENT or len(address) not in {4, 16} or len(mac) != 6:
        return None
    if family == _BRIDGE:
        return FdbEntry(link, mac.hex(":"), ip_address(address))
    return Neighbour(link, ip_address(address), mac.hex(":")) if family in FAMILIES.values() else None
