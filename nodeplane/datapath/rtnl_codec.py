"""rtnetlink messages of links, addresses and routes: values to bytes and back (linux/rtnetlink.h, if_link.h).

Only bytes and names of the wire; what is sent when is `rtnl_kernel`'s.
"""

import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address, ip_interface, ip_network

from nodeplane.datapath import netlink as nl
from nodeplane.datapath.rtnl import (
    Address,
    Family,
    Interface,
    Link,
    LinkChange,
    NextHop,
    Route,
    RouteKind,
    Scope,
)

NEWLINK, DELLINK, GETLINK = 16, 17, 18
NEWADDR, DELADDR, GETADDR = 20, 21, 22
NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26

NLM_F_REPLACE = 0x100

_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix length, flags, scope, index
_ROUTE = struct.Struct(
    "=BBBBBBBBI"
)  # struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type
_NEXT_HOP = struct.Struct("=HBBi")  # struct rtnexthop: length, flags, weight less one, index
_NUMBER = struct.Struct("=I")

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER = 1, 3, 4, 5, 10
_IFLA_LINKINFO, _IFLA_IFALIAS, _IFLA_NET_NS_FD, _IFLA_EXT_MASK = 18, 20, 28, 29
_INFO_KIND, _INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFA_F_NODAD = 0x02
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC = 1, 4, 5, 6, 7
_RTA_METRICS, _RTA_MULTIPATH, _RTA_TABLE, _RTAX_MTU, _RTAX_ADVMSS = 8, 9, 15, 2, 8
_RTNH_F_ONLINK = 4
# linux/ipv6_route.h: what a route without a metric gets.
_IP6_RT_PRIO_USER = 1024

# Counters are most of what the kernel would tell of a link.
_SKIP_STATS = nl.attribute(_IFLA_EXT_MASK, _NUMBER.pack(1 << 3))

_IFF_UP, _IFF_LOWER_UP = 1 << 0, 1 << 16

# rtm_type and rt_scope_t.
_KINDS: dict[int, RouteKind] = {1: "unicast", 2: "local", 6: "blackhole"}
_KIND_NUMBERS = {kind: number for number, kind in _KINDS.items()}
_SCOPES: dict[int, Scope] = {0: "global", 253: "link", 254: "host"}
_SCOPE_NUMBERS = {scope: number for number, scope in _SCOPES.items()}
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}

LINK_BYTES = _LINK.size

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
    parts = [link_head(change.name, flags=_IFF_UP if change.is_up else 0, change=up)]
    if change.mac is not None:
        parts.append(_mac(change.mac))
    if change.mtu_bytes is not None:
        parts.append(_u32(_IFLA_MTU, change.mtu_bytes))
    if change.alias is not None:
        parts.append(nl.text(_IFLA_IFALIAS, change.alias))
    return b"".join(parts)


def link_master(name: str, master: int) -> bytes:
    """Encode a link's bridge, 0 for none."""
    return link_head(name) + _u32(_IFLA_MASTER, master)


def new_plain(name: str, kind: str) -> bytes:
    """Encode a link of a kind that needs to be told nothing: a bridge, a dummy."""
    return link_head(name) + nl.nested(_IFLA_LINKINFO, nl.text(_INFO_KIND, kind))


def new_veth(
    name: str,
    peer: str,
    peer_netns: int | None,
    mtu_bytes: int | None,
    macs: tuple[str | None, str | None],
) -> bytes:
    """Encode a veth pair to be made, its peer in the namespace of a file descriptor."""
    mac, peer_mac = macs
    mtu = b"" if mtu_bytes is None else _u32(_IFLA_MTU, mtu_bytes)
    where = b"" if peer_netns is None else _u32(_IFLA_NET_NS_FD, peer_netns)
    far = link_head(peer) + mtu + where + (b"" if peer_mac is None else _mac(peer_mac))
    data = nl.nested(_INFO_DATA, nl.attribute(_VETH_INFO_PEER, far))
    near = link_head(name) + mtu + (b"" if mac is None else _mac(mac))
    return near + nl.nested(_IFLA_LINKINFO, nl.text(_INFO_KIND, "veth"), data)


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
    return _number(facts[_IFLA_MASTER]) if _IFLA_MASTER in facts else None


def decode_link(payload: memoryview, names: Names, facts: Facts | None = None) -> Link:
    """Decode a link; `names` has that of its master, `facts` its attributes where they are at hand."""
    _, _, index, flags, _ = _LINK.unpack_from(payload)
    facts = link_facts(payload) if facts is None else facts
    info = nl.attribute_map(facts[_IFLA_LINKINFO]) if _IFLA_LINKINFO in facts else {}
    kind = nl.read_text(info[_INFO_KIND]) if _INFO_KIND in info else ""
    has_peer = kind == "veth" and _IFLA_LINK in facts
    return Link(
        name=nl.read_text(facts[_IFLA_IFNAME]),
        index=index,
        kind=kind,
        mac=bytes(facts[_IFLA_ADDRESS]).hex(":") if _IFLA_ADDRESS in facts else "",
        mtu_bytes=_number(facts[_IFLA_MTU]),
        is_up=bool(flags & _IFF_UP),
        has_carrier=bool(flags & _IFF_LOWER_UP),
        master=names.get(_number(facts[_IFLA_MASTER])) if _IFLA_MASTER in facts else None,
        alias=nl.read_text(facts[_IFLA_IFALIAS]) if _IFLA_IFALIAS in facts else "",
        peer_index=_number(facts[_IFLA_LINK]) if has_peer else None,
    )


def address_query(family: Family, index: int = 0) -> bytes:
    """Encode the question for the addresses of a family, of one link or of all."""
    return _ADDRESS.pack(_FAMILIES[family], 0, 0, 0, index)


def address(index: int, value: Interface, scope: Scope | None = None) -> bytes:
    """Encode an address of a link; one of IPv6 is not first asked for in the neighbourhood."""
    number = 0 if scope is None else _SCOPE_NUMBERS[scope]
    flags = _IFA_F_NODAD if value.version == 6 else 0
    head = _ADDRESS.pack(_FAMILIES[value.version], value.network.prefixlen, flags, number, index)
    packed = value.ip.packed
    return head + nl.attribute(_IFA_LOCAL, packed) + nl.attribute(_IFA_ADDRESS, packed)


def decode_address(payload: memoryview) -> tuple[int, Interface]:
    """Decode an address and the index of its link."""
    _, prefix_bits, _, _, index = _ADDRESS.unpack_from(payload)
    facts = nl.attribute_map(payload[_ADDRESS.size :])
    # On a point-to-point link IFA_ADDRESS is the other side's (rtnetlink(7)); IPv6 has no IFA_LOCAL else.
    local = facts.get(_IFA_LOCAL, facts.get(_IFA_ADDRESS))
    return index, ip_interface((bytes(local or b""), prefix_bits))


def route_query(destination: Address) -> bytes:
    """Encode the question for the way to one address."""
    head = _ROUTE.pack(_FAMILIES[destination.version], destination.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    return head + nl.attribute(_RTA_DST, destination.packed)


def routes_query(family: Family, table: int, protocol: int | None, link: int | None) -> bytes:
    """Encode the question for a table's routes; a strict socket lets the kernel pick them."""
    head = _ROUTE.pack(_FAMILIES[family], 0, 0, 0, 0, protocol or 0, 0, 0, 0)
    return head + _u32(_RTA_TABLE, table) + (b"" if link is None else _u32(_RTA_OIF, link))


def route(value: Route, link: int | None, hop_links: Sequence[int | None] = ()) -> bytes:
    """Encode a route through the link of that index, or several; a hop's may be left to the kernel."""
    destination = value.destination
    head = _ROUTE.pack(
        _FAMILIES[destination.version],
        destination.prefixlen,
        0,
        0,
        # RT_TABLE_COMPAT: the attribute says it.
        value.table if value.table < 256 else 252,
        value.protocol,
        _SCOPE_NUMBERS[value.scope],
        _KIND_NUMBERS[value.kind],
        _RTNH_F_ONLINK if value.is_onlink else 0,
    )
    parts = [head, _u32(_RTA_TABLE, value.table)]
    if destination.prefixlen:
        parts.append(nl.attribute(_RTA_DST, destination.network_address.packed))
    if link is not None:
        parts.append(_u32(_RTA_OIF, link))
    if value.gateway is not None:
        parts.append(nl.attribute(_RTA_GATEWAY, value.gateway.packed))
    if value.next_hops:
        hops = zip(value.next_hops, hop_links, strict=True)
        parts.append(nl.attribute(_RTA_MULTIPATH, b"".join(_next_hop(*hop) for hop in hops)))
    if value.source is not None:
        parts.append(nl.attribute(_RTA_PREFSRC, value.source.packed))
    if value.metric:
        parts.append(_u32(_RTA_PRIORITY, value.metric))
    metrics = ((_RTAX_MTU, value.mtu_bytes), (_RTAX_ADVMSS, value.advmss_bytes))
    if any(number for _, number in metrics):
        parts.append(nl.nested(_RTA_METRICS, *(_u32(kind, number) for kind, number in metrics if number)))
    return b"".join(parts)


def route_links(payload: memoryview) -> list[int]:
    """Decode the links that a route leads through."""
    facts = nl.attribute_map(payload[_ROUTE.size :])
    if _RTA_MULTIPATH in facts:
        return [index for index, _ in _next_hops(facts[_RTA_MULTIPATH])]
    return [_number(facts[_RTA_OIF])] if _RTA_OIF in facts else []


def route_is_local(payload: memoryview) -> bool:
    """Say whether a route leads to this namespace itself."""
    return _KINDS.get(_ROUTE.unpack_from(payload)[7]) == "local"


def route_is_known(payload: memoryview) -> bool:
    """Say whether a route is of a kind that `Route` has."""
    return _ROUTE.unpack_from(payload)[7] in _KINDS


def decode_route(payload: memoryview, names: Names) -> Route:
    """Decode a route; `names` has that of its link."""
    family, prefix_bits, _, _, table, protocol, scope, kind, flags = _ROUTE.unpack_from(payload)
    is_ipv4 = family == socket.AF_INET
    facts = nl.attribute_map(payload[_ROUTE.size :])
    metrics = nl.attribute_map(facts[_RTA_METRICS]) if _RTA_METRICS in facts else {}
    metric = _read(facts, _RTA_PRIORITY)
    return Route(
        destination=ip_network((bytes(facts.get(_RTA_DST, bytes(4 if is_ipv4 else 16))), prefix_bits)),
        gateway=ip_address(bytes(facts[_RTA_GATEWAY])) if _RTA_GATEWAY in facts else None,
        link=names.get(_number(facts[_RTA_OIF])) if _RTA_OIF in facts else None,
        kind=_KINDS[kind],
        protocol=protocol,
        scope=_SCOPES.get(scope, "global") if is_ipv4 else "global",
        table=_read(facts, _RTA_TABLE) or table,
        source=ip_address(bytes(facts[_RTA_PREFSRC])) if _RTA_PREFSRC in facts else None,
        metric=0 if metric == _IP6_RT_PRIO_USER and not is_ipv4 else metric,
        mtu_bytes=_read(metrics, _RTAX_MTU),
        advmss_bytes=_read(metrics, _RTAX_ADVMSS),
        is_onlink=bool(flags & _RTNH_F_ONLINK),
        next_hops=tuple(
            NextHop(gateway, names.get(index))
            for index, gateway in _next_hops(facts.get(_RTA_MULTIPATH, memoryview(b"")))
            if gateway is not None
        ),
    )


def _next_hop(hop: NextHop, link: int | None) -> bytes:
    gateway = nl.attribute(_RTA_GATEWAY, hop.gateway.packed)
    return _NEXT_HOP.pack(_NEXT_HOP.size + len(gateway), 0, 0, link or 0) + gateway


def _next_hops(payload: memoryview) -> Iterator[tuple[int, Address | None]]:
    """Yield the link's index and the gateway of each of a route's several ways."""
    while len(payload) >= _NEXT_HOP.size:
        length, _, _, index = _NEXT_HOP.unpack_from(payload)
        if length < _NEXT_HOP.size:
            return
        facts = nl.attribute_map(payload[_NEXT_HOP.size : length])
        yield index, ip_address(bytes(facts[_RTA_GATEWAY])) if _RTA_GATEWAY in facts else None
        payload = payload[length + 3 & ~3 :]


def _mac(mac: str) -> bytes:
    return nl.attribute(_IFLA_ADDRESS, bytes.fromhex(mac.replace(":", "")))


def _u32(kind: int, value: int) -> bytes:
    # Host order: netfilter's integers are the network-endian ones.
    return nl.attribute(kind, _NUMBER.pack(value))


def _read(facts: Mapping[int, memoryview], kind: int) -> int:
    return _number(facts[kind]) if kind in facts else 0


def _number(payload: memoryview) -> int:
    number: int = _NUMBER.unpack_from(payload)[0]
    return number
