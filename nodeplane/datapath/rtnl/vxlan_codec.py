"""rtnetlink messages of VXLAN links: what they are made with, to bytes and back (linux/if_link.h)."""

import struct
from ipaddress import ip_address

from nodeplane.datapath import netlink as nl
from nodeplane.datapath.rtnl.link import Fragmentation, Vxlan
from nodeplane.datapath.rtnl.link_codec import link_facts, link_kind, new_link

_PORT = struct.Struct(">H")

_ID, _LOCAL, _LEARNING, _DST_PORT, _LOCAL6, _UDP_CSUM, _ZERO_CSUM6_TX, _DF = 1, 4, 7, 15, 17, 18, 19, 29
_DFS: dict[int, Fragmentation] = {0: "unset", 1: "set", 2: "inherit"}  # enum ifla_vxlan_df
_DF_NUMBERS = {fragmentation: number for number, fragmentation in _DFS.items()}


def new_vxlan(name: str, vxlan: Vxlan, mac: str | None, mtu_bytes: int | None) -> bytes:
    """Encode a VXLAN link to be made."""
    is_ipv4 = vxlan.local.version == 4
    data = [
        nl.host_u32(_ID, vxlan.vni),
        nl.attribute(_LOCAL if is_ipv4 else _LOCAL6, vxlan.local.packed),
        nl.attribute(_LEARNING, bytes([vxlan.is_learning])),
        nl.attribute(_DST_PORT, _PORT.pack(vxlan.port)),
        # Each family has its own switch, and of IPv6 it says the opposite.
        nl.attribute(_UDP_CSUM, bytes([vxlan.has_checksum]))
        if is_ipv4
        else nl.attribute(_ZERO_CSUM6_TX, bytes([not vxlan.has_checksum])),
    ]
    if is_ipv4:
        # The kernel has none for IPv6 (drivers/net/vxlan/vxlan_core.c, vxlan_nl2conf).
        data.append(nl.attribute(_DF, bytes([_DF_NUMBERS[vxlan.fragmentation]])))
    return new_link(name, "vxlan", b"".join(data), mac=mac, mtu_bytes=mtu_bytes)


def decode_vxlan(payload: memoryview) -> Vxlan | None:
    """Decode what a VXLAN link was made with; None for another kind, or one that sends from no address."""
    kind, told = link_kind(link_facts(payload))
    if kind != "vxlan" or told is None:
        return None
    data = {number: bytes(value) for number, value in nl.attribute_map(told).items()}
    local = data.get(_LOCAL) or data.get(_LOCAL6)
    if local is None:
        return None
    has_checksum = (
        any(data.get(_UDP_CSUM, b"")) if len(local) == 4 else not any(data.get(_ZERO_CSUM6_TX, b""))
    )
    return Vxlan(
        vni=nl.read_host_u32(data[_ID]),
        port=_PORT.unpack(data[_DST_PORT])[0],
        local=ip_address(local),
        is_learning=any(data.get(_LEARNING, b"")),
        has_checksum=has_checksum,
        fragmentation=_DFS.get(data.get(_DF, b"\0")[0], "unset"),
    )
