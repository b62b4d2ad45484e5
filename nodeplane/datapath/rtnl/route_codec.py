"""rtnetlink messages of routes: values to bytes and back (linux/rtnetlink.h, struct rtmsg)."""

import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address, ip_network

from nodeplane.datapath import netlink as nl
from nodeplane.datapath.rtnl.address import Address, Family
from nodeplane.datapath.rtnl.address_codec import FAMILIES, SCOPE_NUMBERS, SCOPES
from nodeplane.datapath.rtnl.route import NextHop, Route, RouteKind

NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26

_ROUTE = struct.Struct(
    "=BBBBBBBBI"
)  # struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type
_NEXT_HOP = struct.Struct("=HBBi")  # struct rtnexthop: length, flags, weight less one, index
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC = 1, 4, 5, 6, 7
_RTA_METRICS, _RTA_MULTIPATH, _RTA_TABLE, _RTAX_MTU, _RTAX_ADVMSS = 8, 9, 15, 2, 8
_RTNH_F_ONLINK = 4
# linux/ipv6_route.h: what a route without a metric gets.
_IP6_RT_PRIO_USER = 1024

# rtm_type
_KINDS: dict[int, RouteKind] = {1: "unicast", 2: "local", 6: "blackhole"}
_KIND_NUMBERS = {kind: number for number, kind in _KINDS.items()}


def route_query(destination: Address) -> bytes:
    """Encode the question for the way to one address."""
    head = _ROUTE.pack(FAMILIES[destination.version], destination.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    return head + nl.attribute(_RTA_DST, destination.packed)


def routes_query(family: Family, table: int, protocol: int | None, link: int | None) -> bytes:
    """Encode the question for a table's routes; a strict socket lets the kernel pick them."""
    head = _ROUTE.pack(FAMILIES[family], 0, 0, 0, 0, protocol or 0, 0, 0, 0)
    return head + nl.host_u32(_RTA_TABLE, table) + (b"" if link is None else nl.host_u32(_RTA_OIF, link))


def route(value: Route, link: int | None, hop_links: Sequence[int | None] = ()) -> bytes:
    """Encode a route through the link of that index, or several; a hop's may be left to the kernel."""
    destination = value.destination
    head = _ROUTE.pack(
        FAMILIES[destination.version],
        destination.prefixlen,
        0,
        0,
        # RT_TABLE_COMPAT: the attribute says it.
        value.table if value.table < 256 else 252,
        value.protocol,
        SCOPE_NUMBERS[value.scope],
        _KIND_NUMBERS[value.kind],
        _RTNH_F_ONLINK if value.is_onlink else 0,
    )
    parts = [head, nl.host_u32(_RTA_TABLE, value.table)]
    if destination.prefixlen:
        parts.append(nl.attribute(_RTA_DST, destination.network_address.packed))
    if link is not None:
        parts.append(nl.host_u32(_RTA_OIF, link))
    if value.gateway is not None:
        parts.append(nl.attribute(_RTA_GATEWAY, value.gateway.packed))
    if value.next_hops:
        hops = zip(value.next_hops, hop_links, strict=True)
        parts.append(nl.attribute(_RTA_MULTIPATH, b"".join(_next_hop(*hop) for hop in hops)))
    if value.source is not None:
        parts.append(nl.attribute(_RTA_PREFSRC, value.source.packed))
    if value.metric:
        parts.append(nl.host_u32(_RTA_PRIORITY, value.metric))
    metrics = ((_RTAX_MTU, value.mtu_bytes), (_RTAX_ADVMSS, value.advmss_bytes))
    if any(number for _, number in metrics):
        parts.append(
            nl.nested(_RTA_METRICS, *(nl.host_u32(kind, number) for kind, number in metrics if number))
        )
    return b"".join(parts)


def route_links(payload: memoryview) -> list[int]:
    """Decode the links that a route leads through."""
    facts = nl.attribute_map(payload[_ROUTE.size :])
    if _RTA_MULTIPATH in facts:
        return [index for index, _ in _next_hops(facts[_RTA_MULTIPATH])]
    return [nl.read_host_u32(facts[_RTA_OIF])] if _RTA_OIF in facts else []


def route_is_local(payload: memoryview) -> bool:
    """Say whether a route leads to this namespace itself."""
    return _KINDS.get(_ROUTE.unpack_from(payload)[7]) == "local"


def route_is_known(payload: memoryview) -> bool:
    """Say whether a route is of a kind that `Route` has."""
    return _ROUTE.unpack_from(payload)[7] in _KINDS


def decode_route(payload: memoryview, names: Mapping[int, str]) -> Route:
    """Decode a route; `names` has that of its link."""
    family, prefix_bits, _, _, table, protocol, scope, kind, flags = _ROUTE.unpack_from(payload)
    is_ipv4 = family == socket.AF_INET
    facts = nl.attribute_map(payload[_ROUTE.size :])
    metrics = nl.attribute_map(facts[_RTA_METRICS]) if _RTA_METRICS in facts else {}
    metric = _read(facts, _RTA_PRIORITY)
    return Route(
        destination=ip_network((bytes(facts.get(_RTA_DST, bytes(4 if is_ipv4 else 16))), prefix_bits)),
        gateway=ip_address(bytes(facts[_RTA_GATEWAY])) if _RTA_GATEWAY in facts else None,
        link=names.get(nl.read_host_u32(facts[_RTA_OIF])) if _RTA_OIF in facts else None,
        kind=_KINDS[kind],
        protocol=protocol,
        scope=SCOPES.get(scope, "global") if is_ipv4 else "global",
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


def _read(facts: Mapping[int, memoryview], kind: int) -> int:
    return nl.read_host_u32(facts[kind]) if kind in facts else 0
