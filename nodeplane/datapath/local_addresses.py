"""The IP addresses of a network namespace, IPv4 and IPv6, and the kernel's word that they have changed.

Raw rtnetlink: a program that only wants to know its addresses need not pay for pyroute2 (160 ms, 15 MB).
"""

import asyncio
import errno
import os
import socket
import struct
from collections.abc import AsyncGenerator, Iterator
from contextlib import nullcontext
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Protocol

from nodeplane.datapath import netns
from nodeplane.errors import kernel_error

Address = IPv4Address | IPv6Address

# linux/rtnetlink.h and linux/netlink.h
_NEWADDR, _GETADDR = 20, 22
_GROUPS = 1 << 4 | 1 << 8  # RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_REQUEST, _DUMP = 1, 0x300
_ERROR, _DONE = 2, 3

_MESSAGE = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefixlen, flags, scope, index
_ATTRIBUTE = struct.Struct("=HH")

_READ_BYTES = 1 << 16


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
    """The addresses of the namespace at `namespace`, or of the calling thread's."""

    def __init__(self, namespace: Path | None = None) -> None:
        self._namespace = namespace

    def read(self) -> frozenset[Address]:
        """See `LocalAddresses`."""
        try:
            with self._open() as asker:
                asker.send(
                    _MESSAGE.pack(_MESSAGE.size + _ADDRESS.size, _GETADDR, _REQUEST | _DUMP, 1, 0)
                    + _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
                )
                return frozenset(_read_dump(asker))
        except OSError as exc:
            raise kernel_error("read addresses", exc.errno or errno.EIO) from exc

    async def changes(self) -> AsyncGenerator[None, None]:
        """See `LocalAddresses`."""
        loop = asyncio.get_running_loop()
        try:
            with self._open() as listener:
                listener.bind((0, _GROUPS))
                listener.setblocking(False)
                yield
                while True:
                    try:
                        await loop.sock_recv(listener, _READ_BYTES)
                    except OSError as exc:
                        # Events were lost: that there were some is all that counts.
                        if exc.errno != errno.ENOBUFS:
                            raise
                    yield
        except OSError as exc:
            raise kernel_error("listen for addresses", exc.errno or errno.EIO) from exc

    def _open(self) -> socket.socket:
        with netns.inside(self._namespace) if self._namespace is not None else nullcontext():
            kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
            return socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)


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


def decode_address(body: bytes) -> Address | None:
    """Decode the body of an RTM_NEWADDR message; None for what is no IP address."""
    if len(body) < _ADDRESS.size:
        return None
    found = {}
    offset = _ADDRESS.size
    while offset + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, offset)
        found[kind] = body[offset + _ATTRIBUTE.size : offset + length]
        offset += max(length + 3 & ~3, _ATTRIBUTE.size)
    # On a point-to-point link IFA_ADDRESS is the other side's (rtnetlink(7)).
    packed = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS) or b""
    return ip_address(packed) if len(packed) in {4, 16} else None


def _read_dump(asker: socket.socket) -> Iterator[Address]:
    while True:
        data = asker.recv(_READ_BYTES)
        offset = 0
        while offset + _MESSAGE.size <= len(data):
            length, kind, _, _, _ = _MESSAGE.unpack_from(data, offset)
            body = data[offset + _MESSAGE.size : offset + length]
            if kind == _DONE:
                return
            if kind == _ERROR:
                number = -struct.unpack_from("=i", body)[0]
                raise OSError(number, os.strerror(number))
            address = decode_address(body) if kind == _NEWADDR else None
            if address is not None:
                yield address
            offset += max(length + 3 & ~3, _MESSAGE.size)
