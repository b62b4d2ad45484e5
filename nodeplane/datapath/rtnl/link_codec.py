"""rtnetlink messages of links: values to bytes and back (linux/if_link.h)."""

import socket
import struct
from collections.abc import Mapping

from nodeplane.datapath import netlink as nl
from nodeplane.datapath.rtnl.link import Link, LinkChange

NEWLINK, DELLINK, GETLINK = 16, 17, 18

_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER = 1, 3, 4, 5, 10
_IFLA_LINKINFO, _IFLA_IFALIAS, _IFLA_NET_NS_FD, _IFLA_EXT_MASK = 18, 20, 28, 29
_IFLA_NUM_TX_QUEUES, _IFLA_NUM_RX_QUEUES = 31, 32
_INFO_KIND, _INFO_DATA, _VETH_INFO_PEER = 1, 2, 1

# Counters are most of what the kernel would tell of a link.
_SKIP_STATS = nl.host_u32(_IFLA_EXT_MASK, 1 << 3)
_ONE_QUEUE = nl.host_u32(_IFLA_NUM_TX_QUEUES, 1) + nl.host_u32(_IFLA_NUM_RX_QUEUES, 1)

_IFF_UP, _IFF_LOWER_UP = 1 << 0, 1 << 16

Names = Mapping[int, str]
Facts = Mapping[int, memoryview]


def link_head(name: str = "", index: int = 0, *, flags: int = 0, change: int = 0) -> bytes:
    """Encode which link a message is about, by name or by index."""
    head = _LINK.pack(socket.AF_UNSPEC, 0, index, flags, change)
    return head + nl.text(_IFLA_IFNAME, name) if not index else head


def link_query(name: str = "", index: int = 0) -> bytes:
    """Encode the question for one link, or for all with neither."""
    head = link_head(name, index) if name or index else _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    return head + _SKIP_STATS


def link_change(change: LinkChange) -> bytes:
    """Encode what is to be different about a link."""
    up = 0 if change.is_up is None else _IFF_UP
    head = link_head(change.name, flags=_IFF_UP if change.is_up else 0, change=up)
    alias = b"" if change.alias is None else nl.text(_IFLA_IFALIAS, change.alias)
    return head + _properties(change.mac, change.mtu_bytes) + alias


def link_master(name: str, master: int) -> bytes:
    """Encode a link's bridge, 0 for none."""
    return link_head(name) + nl.host_u32(_IFLA_MASTER, master)


def new_link(
    name: str,
    kind: str,
    data: bytes = b"",
    *,
    mac: str | None = None,
    mtu_bytes: int | None = None,
    is_up: bool = False,
) -> bytes:
    """Encode a link to be made; `data` is what its kind is to be told, of most nothing."""
    up = _IFF_UP if is_up else 0
    told = nl.attribute(_INFO_DATA, data) if data else b""
    info = nl.nested(_IFLA_LINKINFO, nl.text(_INFO_KIND, kind), told)
    return link_head(name, flags=up, change=up) + _properties(mac, mtu_bytes) + info


def new_veth(
    name: str,
    peer: str,
    peer_netns: int | None,
    mtu_bytes: int | None,
    macs: tuple[str | None, str | None],
) -> bytes:
    """Encode a veth pair to be made, its peer in the namespace of a file descriptor.

    Both ends have one queue. Not asked for, the kernel makes one for each processor, takes all but one out of
    use, and waits twice for whoever may still look at those (drivers/net/veth.c, veth_init_queues;
    net/core/dev.c, netif_set_real_num_tx_queues), and with it wait all who want the lock of rtnetlink.
    """
    mac, peer_mac = macs
    where = b"" if peer_netns is None else nl.host_u32(_IFLA_NET_NS_FD, peer_netns)
    far = link_head(peer) + _ONE_QUEUE + _properties(peer_mac, mtu_bytes) + where
    near = new_link(name, "veth", nl.attribute(_VETH_INFO_PEER, far), mac=mac, mtu_bytes=mtu_bytes)
    return near + _ONE_QUEUE


def link_index(payload: memoryview) -> int:
    """Decode which link a message of a link is about."""
    index: int = _LINK.unpack_from(payload)[2]
    return index


def link_label(payload: memoryview) -> str:
    """Decode the name in a message of a link."""
    # The kernel writes it first (net/core/rtnetlink.c, rtnl_fill_ifinfo), before forty others.
    found = (value for kind, value in nl.attributes(payload[_LINK.size :]) if kind == _IFLA_IFNAME)
    return nl.read_text(next(found))


def link_facts(payload: memoryview) -> Facts:
    """Return the attributes in a message of a link."""
    return nl.attribute_map(payload[_LINK.size :])


def link_master_index(facts: Facts) -> int | None:
    """Decode the bridge that a link is a port of."""
    return nl.read_host_u32(facts[_IFLA_MASTER]) if _IFLA_MASTER in facts else None


def link_kind(facts: Facts) -> tuple[str, memoryview | None]:
    """Decode a link's kind, "" for none, and what the kernel tells of that kind alone."""
    info = nl.attribute_map(facts[_IFLA_LINKINFO]) if _IFLA_LINKINFO in facts else {}
    return nl.read_text(info[_INFO_KIND]) if _INFO_KIND in info else "", info.get(_INFO_DATA)


def decode_link(payload: memoryview, names: Names, facts: Facts | None = None) -> Link:
    """Decode a link; `names` has that of its master, `facts` its attributes where they are at hand."""
    _, _, index, flags, _ = _LINK.unpack_from(payload)
    facts = link_facts(payload) if facts is None else facts
    kind, _ = link_kind(facts)
    has_peer = kind == "veth" and _IFLA_LINK in facts
    return Link(
        name=nl.read_text(facts[_IFLA_IFNAME]),
        index=index,
        kind=kind,
        mac=bytes(facts[_IFLA_ADDRESS]).hex(":") if _IFLA_ADDRESS in facts else "",
        mtu_bytes=nl.read_host_u32(facts[_IFLA_MTU]),
        is_up=bool(flags & _IFF_UP),
        has_carrier=bool(flags & _IFF_LOWER_UP),
        master=names.get(nl.read_host_u32(facts[_IFLA_MASTER])) if _IFLA_MASTER in facts else None,
        alias=nl.read_text(facts[_IFLA_IFALIAS]) if _IFLA_IFALIAS in facts else "",
        peer_index=nl.read_host_u32(facts[_IFLA_LINK]) if has_peer else None,
    )


def _properties(mac: str | None, mtu_bytes: int | None) -> bytes:
    address = b"" if mac is None else nl.attribute(_IFLA_ADDRESS, bytes.fromhex(mac.replace(":", "")))
    return address + (b"" if mtu_bytes is None else nl.host_u32(_IFLA_MTU, mtu_bytes))
