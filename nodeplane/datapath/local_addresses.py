"""The IP addresses of a network namespace, IPv4 and IPv6, and the kernel's word that they have changed.

Raw rtnetlink: a program that only wants to know its addresses need not pay for pyroute2 (160 ms, 15 MB).
"""

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator, Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Protocol

from nodeplane.datapath import netlink as nl
from nodeplane.datapath import netns
from nodeplane.datapath.netlink_listener import NetlinkListener
from nodeplane.datapath.netlink_socket import NetlinkSocket, read_at_rest

Address = IPv4Address | IPv6Address

# linux/rtnetlink.h
_NEWADDR, _GETADDR = 20, 22
_GROUPS = 1 << 4 | 1 << 8  # RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR
_IFA_ADDRESS, _IFA_LOCAL = 1, 2

_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefixlen, flags, scope, index


class LocalAddresses(Protocol):
    """The addresses of one namespace."""

    def read(self) -> frozenset[Address]:
        """Return all addresses, those of the loopback interface included.

        Raises:
            KernelError: the kernel can't be asked.
        """
        ...

    def changes(self) -> AsyncGenerator[None, None]:
        """Yield once when it listens, and after each change since; what changed, `read` knows.

        Raises:
            KernelError: the kernel can't be listened to.
        """
        ...


class KernelAddresses:
    """The addresses of the namespace at `namespace`, or of the calling thread's.

    Those of the link `without` are left out, and what happens to them is not told.
    """

    def __init__(self, namespace: Path | None = None, *, without: str = "") -> None:
        self._namespace = namespace
        self._without = without

    def read(self) -> frozenset[Address]:
        """See `LocalAddresses`."""
        request = nl.request(_GETADDR, nl.NLM_F_DUMP, 1, _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0))
        with netns.inside(self._namespace):
            asker = NetlinkSocket(nl.NETLINK_ROUTE)
            ignored = self._ignored()
        with asker:
            return read_at_rest(
                lambda: frozenset(_decode_dump(asker.dump("read addresses", request), ignored))
            )

    async def changes(self) -> AsyncGenerator[None, None]:
        """See `LocalAddresses`."""
        with netns.inside(self._namespace):
            listener = NetlinkListener("notifications of addresses", nl.NETLINK_ROUTE, _GROUPS)
        with listener:
            yield
            while True:
                # If some were lost: that there were some is all that counts.
                datagram = await listener.receive()
                if datagram is None or not self._without or self._is_told(datagram):
                    yield

    def _is_told(self, datagram: bytes) -> bool:
        with netns.inside(self._namespace):
            ignored = self._ignored()
        bodies = (body for _, _, _, body in nl.messages(datagram) if len(body) >= _ADDRESS.size)
        return any(_ADDRESS.unpack_from(body)[4] != ignored for body in bodies)

    def _ignored(self) -> int | None:
        """Return the index of the link that is left out, if it is there."""
        try:
            return socket.if_nametoindex(self._without) if self._without else None
        except OSError:
            return None


class FakeAddresses:
    """Addresses in memory: `assign` puts others in their place."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = frozenset(map(ip_address, addresses))
        self._listeners: list[asyncio.Event] = []

    def assign(self, *addresses: str) -> None:
        """Put these addresses in place of those before."""
        self._addresses = frozenset(map(ip_address, addresses))
        for listener in self._listeners:
            listener.set()

    def read(self) -> frozenset[Address]:
        """See `LocalAddresses`."""
        return self._addresses

    async def changes(self) -> AsyncGenerator[None, None]:
        """See `LocalAddresses`."""
        changed = asyncio.Event()
        self._listeners.append(changed)
        try:
            yield
            while True:
                await changed.wait()
                changed.clear()
                yield
        finally:
            self._listeners.remove(changed)


def decode_address(body: memoryview) -> Address | None:
    """Decode the body of an RTM_NEWADDR message; None for what is no IP address."""
    if len(body) < _ADDRESS.size:
        return None
    found = nl.attribute_map(body[_ADDRESS.size :])
    # On a point-to-point link IFA_ADDRESS is the other side's (rtnetlink(7)).
    packed = bytes(found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS) or b"")
    return ip_address(packed) if len(packed) in {4, 16} else None


def _decode_dump(datagrams: Iterable[bytes], ignored: int | None) -> Iterator[Address]:
    for datagram in datagrams:
        for kind, _flags, _sequence, body in nl.messages(datagram):
            address = decode_address(body) if kind == _NEWADDR else None
            if address is not None and _ADDRESS.unpack_from(body)[4] != ignored:
                yield address
