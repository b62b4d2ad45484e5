"""rtnetlink messages of links' addresses: values to bytes and back (linux/if_addr.h)."""

import socket
import struct
from ipaddress import ip_interface

from nodeplane.datapath import netlink as nl
from nodeplane.datapath.rtnl.address import Family, Interface, Scope

NEWADDR, DELADDR, GETADDR = 20, 21, 22

FAMILIES = {4: int(socket.AF_INET), 6: int(socket.AF_INET6)}
SCOPES: dict[int, Scope] = {0: "global", 253: "link", 254: "host"}  # rt_scope_t
SCOPE_NUMBERS = {scope: number for number, scope in SCOPES.items()}

_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix length, flags, scope, index
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFA_F_NODAD = 0x02


def address_query(family: Family, index: int = 0) -> bytes:
    """Encode the question for the addresses of a family, of one link or of all."""
    return _ADDRESS.pack(FAMILIES[family], 0, 0, 0, index)


def address(index: int, value: Interface, scope: Scope | None = None) -> bytes:
    """Encode an address of a link; one of IPv6 is not first asked for in the neighbourhood."""
    number = 0 if scope is None else SCOPE_NUMBERS[scope]
    flags = _IFA_F_NODAD if value.version == 6 else 0
    head = _ADDRESS.pack(FAMILIES[value.version], value.network.prefixlen, flags, number, index)
    packed = value.ip.packed
    return head + nl.attribute(_IFA_LOCAL, packed) + nl.attribute(_IFA_ADDRESS, packed)


def decode_address(payload: memoryview) -> tuple[int, Interface]:
    """Decode an address and the index of its link."""
    _, prefix_bits, _, _, index = _ADDRESS.unpack_from(payload)
    facts = nl.attribute_map(payload[_ADDRESS.size :])
    # On a point-to-point link IFA_ADDRESS is the other side's (rtnetlink(7)); IPv6 has no IFA_LOCAL else.
    local = facts.get(_IFA_LOCAL, facts.get(_IFA_ADDRESS))
    return index, ip_interface((bytes(local or b""), prefix_bits))
