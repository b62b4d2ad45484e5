"""The kernel's own word that links, addresses, routes or neighbours of a namespace changed, as typed events.

Reads notifications and says what they are about; whether one matters, the caller decides. The kernel says
nothing when it drops IPv4 routes because their link went down or their source address went (kernel:
fib_sync_down_dev), so a caller that guards routes must heed link and address events too. Of IPv6 it tells all
of them, as deleted by port 0 (net/ipv6/route.c: rt6_sync_down_dev).
"""

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator, Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from types import TracebackType

import msgspec

from nodeplane.datapath import netlink as nl
from nodeplane.datapath import netns
from nodeplane.datapath.netlink_listener import NetlinkListener
from nodeplane.datapath.rtnl import neighbour_codec as neighbours
from nodeplane.datapath.rtnl.address import Address
from nodeplane.datapath.rtnl.address_codec import DELADDR, FAMILIES, NEWADDR
from nodeplane.datapath.rtnl.link_codec import DELLINK, NEWLINK
from nodeplane.datapath.rtnl.neighbour import FdbEntry, Neighbour
from nodeplane.datapath.rtnl.route_codec import DELROUTE, NEWROUTE
from nodeplane.datapath.socket_filter import PORT_OFFSET, Rule

# linux/rtnetlink.h: multicast groups as bits, attributes.
_NEWNETCONF = 80
# RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV6_ROUTE,
# RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_NETCONF
_GROUPS = 1 << 0 | 1 << 4 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 23 | 1 << 24
_NEIGHBOURS = 1 << 2  # RTNLGRP_NEIGH
_RTA_DST, _IFLA_IFNAME, _IFLA_MTU = 1, 3, 4
# RTA_GATEWAY, RTA_MULTIPATH, RTA_VIA
_NEXT_HOPS = frozenset({5, 9, 18})
_UNICAST, _LOCAL = 1, 2  # RTN_UNICAST, RTN_LOCAL
_SCOPE_LINK = 253
# A pod's start brings a dozen; what comes meanwhile is read at once, without a turn of the loop for each.
_REST_S = 0.01
# linux/netconf.h: attributes; a setting of all links together, `conf.all`.
_NETCONFA_IFINDEX, _NETCONFA_FORWARDING = 1, 2
_ALL_LINKS = (1 << 32) - 1
_IFF_UP, _IFF_LOWER_UP = 1, 1 << 16
_ALL_FLAGS = (1 << 32) - 1
_RTM_F_CLONED = 0x200

_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_ROUTE = struct.Struct("=BBBBBBBBI")  # struct rtmsg: family, dst_len, …, table, protocol, scope, type, flags
_ADDRESS = struct.Struct("=BxxxI")  # struct ifaddrmsg: family, prefix length, flags, scope, index
# Behind struct nlmsghdr; struct ndmsg: family, two paddings, index.
_NEIGHBOUR_LINK_OFFSET = nl.NLMSG.size + 4
# struct netconfmsg, padded, and the header of the first attribute, the index (inet_netconf_fill_devconf).
_NETCONF_BYTES = 4
_NETCONF_LINK_OFFSET = nl.NLMSG.size + _NETCONF_BYTES + 4
_VERSIONS = {number: version for version, number in FAMILIES.items()}


class RouteEvent(msgspec.Struct, frozen=True):
    """A route was added, replaced or deleted.

    `port` is the netlink port of who did it, 0 for the kernel itself; `is_on_link` says that the route has no
    gateway and is none that only refuses (blackhole and the like).
    """

    destination: IPv4Network | IPv6Network
    protocol: int
    is_on_link: bool
    is_deleted: bool
    port: int


class LinkEvent(msgspec.Struct, frozen=True):
    """A link was set up or down, or deleted."""

    name: str
    is_up: bool


class LinkState(msgspec.Struct, frozen=True):
    """What a link is like, told because something about it is another thing now: what, is not said."""

    index: int
    has_carrier: bool
    mtu_bytes: int


class AddressEvent(msgspec.Struct, frozen=True):
    """An address was added to a link or deleted; `version` is that of IP."""

    version: int
    link_index: int
    is_deleted: bool


class NeighbourEvent(msgspec.Struct, frozen=True):
    """A neighbour, or a forwarding entry of a link, is another now or gone.

    `key` is the neighbour's address or the forwarding entry's MAC. `item` is what there is now, if that is
    permanent; its link's name is left empty. Who did it the kernel does not tell reliably.
    """

    link_index: int
    key: Address | str
    item: Neighbour | FdbEntry | None


class ForwardingEvent(msgspec.Struct, frozen=True):
    """Somebody made the node a router of a family, or none (`ip_forward`, `conf.all.forwarding`)."""

    version: int
    is_on: bool


class Overrun(msgspec.Struct, frozen=True):
    """Events were lost (ENOBUFS): whatever there is must be read again."""


Event = RouteEvent | LinkEvent | LinkState | AddressEvent | NeighbourEvent | ForwardingEvent | Overrun


class RtnlMonitor:
    """A socket that hears of changes from when it is opened; a context manager that closes it.

    Args:
        namespace: Whose changes; None for those of the calling thread's namespace.
        has_neighbours: Whether to hear of neighbours and forwarding entries too, of which there is much talk.
        receive_buffer_bytes: How much the kernel keeps for a reader that is slow.

    Raises:
        KernelError: the socket can't be had.
    """

    def __init__(
        self,
        namespace: Path | None = None,
        *,
        has_neighbours: bool = False,
        receive_buffer_bytes: int = 1 << 20,
    ) -> None:
        groups = _GROUPS | (_NEIGHBOURS if has_neighbours else 0)
        with netns.inside(namespace):
            self._listener = NetlinkListener(
                "the rtnetlink monitor", nl.NETLINK_ROUTE, groups, receive_buffer_bytes
            )

    def __enter__(self) -> "RtnlMonitor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()

    def narrow(self, own_port: int, neighbour_links: Iterable[int]) -> None:
        """Hear no more of routes that this netlink port writes, nor of neighbours on other links than these.

        Of settings only what holds for all links is heard: each new link is told of with all of its own.

        Raises:
            KernelError: the kernel refused.
        """
        own_routes = Rule((NEWROUTE, DELROUTE), PORT_OFFSET, (own_port,), is_let_in=False)
        kinds = (neighbours.NEWNEIGH, neighbours.DELNEIGH)
        near = Rule(kinds, _NEIGHBOUR_LINK_OFFSET, tuple(neighbour_links), is_let_in=True)
        for_all = Rule((_NEWNETCONF,), _NETCONF_LINK_OFFSET, (_ALL_LINKS,), is_let_in=True)
        self._listener.narrow((own_routes, near, for_all))

    async def events(self) -> AsyncGenerator[Event, None]:
        """Yield each event, for as long as it is read.

        Raises:
            KernelError: the socket failed.
        """
        while True:
            data = await self._listener.receive()
            while data != b"":
                if data is None:
                    yield Overrun()
                else:
                    for event in decode_events(data):
                        yield event
                data = self._listener.receive_more()
            await asyncio.sleep(_REST_S)


def decode_events(data: bytes) -> Iterator[Event]:
    """Decode a datagram of rtnetlink notifications; what no event stands for is left out."""
    for kind, port, body in nl.notifications(data):
        if kind in {NEWROUTE, DELROUTE}:
            yield from _decode_route(body, port, is_deleted=kind == DELROUTE)
        elif kind in {NEWLINK, DELLINK}:
            yield from _decode_link(body, is_deleted=kind == DELLINK)
        elif kind in {NEWADDR, DELADDR}:
            yield from _decode_address(body, is_deleted=kind == DELADDR)
        elif kind in {neighbours.NEWNEIGH, neighbours.DELNEIGH}:
            yield from _decode_neighbour(body, is_deleted=kind == neighbours.DELNEIGH)
        elif kind == _NEWNETCONF:
            yield from _decode_settings(body)


def _decode_route(body: memoryview, port: int, *, is_deleted: bool) -> Iterator[RouteEvent]:
    if len(body) < _ROUTE.size:
        return
    family, dst_bits, _, _, _, protocol, scope, kind, flags = _ROUTE.unpack_from(body)
    attributes = nl.attribute_map(body[_ROUTE.size :])
    destination = _read_network(family, attributes.get(_RTA_DST), dst_bits)
    if destination is None or flags & _RTM_F_CLONED:
        return
    if destination.version == 4:
        is_on_link = scope >= _SCOPE_LINK
    else:
        # IPv6 has no scopes: all say "universe".
        is_on_link = kind in {_UNICAST, _LOCAL} and not attributes.keys() & _NEXT_HOPS
    yield RouteEvent(
        destination=destination, protocol=protocol, is_on_link=is_on_link, is_deleted=is_deleted, port=port
    )


def _read_network(family: int, address: memoryview | None, bits: int) -> IPv4Network | IPv6Network | None:
    """Return a destination, which a default route leaves out; None for one that is of neither family."""
    version = _VERSIONS.get(family)
    width = 4 if version == 4 else 16
    packed = bytes(width) if address is None else bytes(address)
    if version is None or len(packed) != width or bits > width * 8:
        return None
    if version == 4:
        return IPv4Network((packed, bits), strict=False)
    return IPv6Network((packed, bits), strict=False)


def _decode_address(body: memoryview, *, is_deleted: bool) -> Iterator[AddressEvent]:
    if len(body) < _ADDRESS.size:
        return
    family, link_index = _ADDRESS.unpack_from(body)
    if family in _VERSIONS:
        yield AddressEvent(_VERSIONS[family], link_index, is_deleted)


def _decode_link(body: memoryview, *, is_deleted: bool) -> Iterator[LinkEvent | LinkState]:
    if len(body) < _LINK.size:
        return
    family, _, index, flags, change = _LINK.unpack_from(body)
    # One that has just been made (net/core/rtnetlink.c, rtnl_configure_link) is down, and was not set so.
    if not is_deleted and change == _ALL_FLAGS and not flags & _IFF_UP:
        return
    facts = nl.attribute_map(body[_LINK.size :])
    # Statistics, a carrier, an MTU or a bridge's port state come as the same message. Of a carrier the kernel
    # does not say that it is that which has changed (net/core/link_watch.c: netdev_state_change).
    if not is_deleted and not change & _IFF_UP:
        if family == socket.AF_UNSPEC and len(facts.get(_IFLA_MTU, b"")) >= 4:
            yield LinkState(index, bool(flags & _IFF_LOWER_UP), nl.read_host_u32(facts[_IFLA_MTU]))
        return
    name = nl.read_text(facts.get(_IFLA_IFNAME, memoryview(b"")))
    yield LinkEvent(name, is_up=bool(flags & _IFF_UP) and not is_deleted)


def _decode_neighbour(body: memoryview, *, is_deleted: bool) -> Iterator[NeighbourEvent]:
    key = neighbours.decode_key(body)
    if key is not None:
        item = None if is_deleted else neighbours.decode(body, "")
        yield NeighbourEvent(neighbours.decode_index(body), key, item)


def _decode_settings(body: memoryview) -> Iterator[ForwardingEvent]:
    facts = nl.attribute_map(body[_NETCONF_BYTES:])
    index, forwarding = facts.get(_NETCONFA_IFINDEX, b""), facts.get(_NETCONFA_FORWARDING, b"")
    if len(body) < _NETCONF_BYTES or len(index) < 4 or len(forwarding) < 4:
        return
    if body[0] in _VERSIONS and nl.read_host_u32(index) == _ALL_LINKS:
        yield ForwardingEvent(_VERSIONS[body[0]], is_on=bool(nl.read_host_u32(forwarding)))
