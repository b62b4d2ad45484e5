"""The kernel's own word that links, addresses and routes of a namespace changed, as typed events.

Reads notifications and says what they are about; whether one matters, the caller decides. The kernel says
nothing when it drops IPv4 routes because their link went down or their source address went (kernel:
fib_sync_down_dev), so a caller that guards routes must heed link and address events too.
"""

import socket
import struct
from collections.abc import AsyncGenerator, Iterator
from ipaddress import IPv4Network
from pathlib import Path
from types import TracebackType

import msgspec

from nodeplane.datapath import netlink as nl
from nodeplane.datapath import netns
from nodeplane.datapath.netlink_listener import NetlinkListener

# linux/rtnetlink.h: message types, multicast groups as bits, attributes.
_NEWLINK, _DELLINK, _NEWADDR, _DELADDR, _NEWROUTE, _DELROUTE = 16, 17, 20, 21, 24, 25
_GROUPS = 1 << 0 | 1 << 4 | 1 << 6  # RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE
_RTA_DST, _IFLA_IFNAME = 1, 3
_IFF_UP = 1
_RTM_F_CLONED = 0x200

_LINK = struct.Struct("=xxHiII")  # struct ifinfomsg: family, type, index, flags, change
_ROUTE = struct.Struct("=BBBBBBBBI")  # struct rtmsg: family, dst_len, …, table, protocol, scope, type, flags


class RouteEvent(msgspec.Struct, frozen=True):
    """An IPv4 route was added, replaced or deleted.

    `port` is the netlink port of who did it, 0 for the kernel itself; `is_on_link` says that the route has no
    gateway (scope link or host).
    """

    destination: IPv4Network
    protocol: int
    is_on_link: bool
    is_deleted: bool
    port: int


class LinkEvent(msgspec.Struct, frozen=True):
    """A link was set up or down, or deleted."""

    name: str
    is_up: bool


class AddressEvent(msgspec.Struct, frozen=True):
    """An IPv4 address was added or deleted."""


class Overrun(msgspec.Struct, frozen=True):
    """Events were lost (ENOBUFS): whatever there is must be read again."""


Event = RouteEvent | LinkEvent | AddressEvent | Overrun


class RtnlMonitor:
    """A socket that hears of changes from when it is opened; a context manager that closes it.

    Args:
        namespace: Whose changes; None for those of the calling thread's namespace.
        receive_buffer_bytes: How much the kernel keeps for a reader that is slow.

    Raises:
        KernelError: the socket can't be had.
    """

    def __init__(self, namespace: Path | None = None, *, receive_buffer_bytes: int = 1 << 20) -> None:
        with netns.inside(namespace):
            self._listener = NetlinkListener(
                "the rtnetlink monitor", nl.NETLINK_ROUTE, _GROUPS, receive_buffer_bytes
            )

    def __enter__(self) -> "RtnlMonitor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()

    async def events(self) -> AsyncGenerator[Event, None]:
        """Yield each event, for as long as it is read.

        Raises:
            KernelError: the socket failed.
        """
        while True:
            data = await self._listener.receive()
            if data is None:
                yield Overrun()
            else:
                for event in decode_events(data):
                    yield event


def decode_events(data: bytes) -> Iterator[Event]:
    """Decode a datagram of rtnetlink notifications; what no event stands for is left out."""
    for kind, port, body in nl.notifications(data):
        if kind in {_NEWROUTE, _DELROUTE}:
            yield from _decode_route(body, port, is_deleted=kind == _DELROUTE)
        elif kind in {_NEWLINK, _DELLINK}:
            yield from _decode_link(body, is_deleted=kind == _DELLINK)
        elif kind in {_NEWADDR, _DELADDR}:
            yield AddressEvent()


def _decode_route(body: memoryview, port: int, *, is_deleted: bool) -> Iterator[RouteEvent]:
    if len(body) < _ROUTE.size:
        return
    family, dst_bits, _, _, _, protocol, scope, _, flags = _ROUTE.unpack_from(body)
    address = bytes(nl.attribute_map(body[_ROUTE.size :]).get(_RTA_DST, bytes(4)))
    if family != socket.AF_INET or flags & _RTM_F_CLONED or len(address) != 4 or dst_bits > 32:
        return
    yield RouteEvent(
        destination=IPv4Network((address, dst_bits), strict=False),
        protocol=protocol,
        is_on_link=scope >= 253,  # RT_SCOPE_LINK, RT_SCOPE_HOST
        is_deleted=is_deleted,
        port=port,
    )


def _decode_link(body: memoryview, *, is_deleted: bool) -> Iterator[LinkEvent]:
    if len(body) < _LINK.size:
        return
    _, _, flags, change = _LINK.unpack_from(body)
    # Statistics, a carrier or a bridge's port state come as the same message; routes live by IFF_UP.
    if not is_deleted and not change & _IFF_UP:
        return
    name = nl.read_text(nl.attribute_map(body[_LINK.size :]).get(_IFLA_IFNAME, memoryview(b"")))
    yield LinkEvent(name, is_up=bool(flags & _IFF_UP) and not is_deleted)
