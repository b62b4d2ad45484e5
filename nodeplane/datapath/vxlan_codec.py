"""rtnetlink messages of VXLAN links: what they are made with, to bytes and back (linux/if_link.h)."""

import struct
from ipaddress import ip_address

from nodeplane.datapath import netlink as nl
from nodeplane.datapath.rtnl import Fragmentation, Vxlan
from nodeplane.datapath.rtnl_codec import LINK_BYTES, link_head

_NUMBER = struct.Struct("=I")
_PORT = struct.Struct(">H")

_IFLA_ADDRESS, _IFLA_MTU, _IFLA_LINKINFO, _INFO_KIND, _INFO_DATA = 1, 4, 18, 1, 2
_ID, _LOCAL, _LEARNING, _DST_PORT, _LOCAL6, _UDP_CSUM, _ZERO_CSUM6_TX, _DF = 1, 4, 7, 15, 17, 18, 19, 29
_DFS: dict[int, Fragmentation] = {0: "unset", 1: "set", 2: "inherit"}  # enum ifla_vxlan_df
_DF_NUMBERS = {fragmentation: number for number, fragmentation in _DFS.items()}


def new_vxlan(name: str, vxlan: Vxlan, mac: str | None, mtu_bytes: int | None) -> bytes:
    """Encode a VXLAN link to be made."""
    is_ipv4 = vxlan.local.version == 4
    data = [
        nl.attribute(_ID, _NUMBER.pack(vxlan.vni)),
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
    parts = [link_head(name)]
    if mac is not None:
        parts.append(nl.attribute(_IFLA_ADDRESS, bytes.fromhex(mac.replace(":", ""))))
    if mtu_bytes is not None:
        parts.append(nl.attribute(_IFLA_MTU, _NUMBER.pack(mtu_bytes)))
    return b"".join(parts) + nl.nested(
        _IFLA_LINKINFO, nl.text(_INFO_KIND, "vxlan"), nl.nested(_INFO_DATA, *data)
    )


def decode_vxlan(payload: memoryview) -> Vxlan | None:
    """Decode what a VXLAN link was made with; None for another kind, or one that sends from no address."""
    facts = nl.attribute_map(payload[LINK_BYTES:])
    info = nl.attribute_map(facts[_IFLA_LINKINFO]) if _IFLA_LINKINFO in facts else {}
    if _INFO_DATA not in info or nl.read_text(info[_INFO_KIND]) != "vxlan":
        return None
    data = {kind: bytes(value) for kind, value in nl.attribute_map(info[_INFO_DATA]).items()}
    local = data.get(_LOCAL) or data.get(_LOCAL6)
    if local is None:
        return None
    has_checksum = (
        any(data.get(_UDP_CSUM, b"")) if len(local) == 4 else not any(data.get(_ZERO_CSUM6_TX, b""))
    )
    return Vxlan(
        vni=_NUMBER.unpack(data[_ID])[0],
        port=_PORT.unpack(data[_DST_PORT])[0],
        local=ip_address(local),
        is_learning=any(data.get(_LEARNING, b"")),
        has_checksum=has_checksum,
        fragmentation=_DFS.get(data.get(_DF, b"\0")[0], "unset"),
    )
