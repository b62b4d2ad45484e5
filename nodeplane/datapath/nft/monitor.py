"""The kernel's own word that somebody else has written to a table of ours.

Hears of every write to the ruleset of a namespace and heeds those that name our tables and are not our own,
at a microsecond for each element that anybody changes. What was changed is not said: the table is compared.
"""

import asyncio
import errno
import socket
import struct
from collections.abc import AsyncGenerator, Collection, Container
from typing import Protocol

from nodeplane.datapath.nft import netlink as nl
from nodeplane.datapath.nft.expr import NFPROTO, Family
from nodeplane.errors import kernel_error

_NETLINK_NETFILTER = 12
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_NFNLGRP_NFTABLES = 7
_SO_RCVBUFFORCE = 33

_MESSAGE = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_BUFFER_BYTES = 8 << 20
_READ_BYTES = 1 << 17


class TableWatch(Protocol):
    """Tells when somebody else has written to our tables; a context manager that ends it."""

    def __enter__(self) -> "TableWatch": ...

    def __exit__(self, *exc: object) -> None: ...

    def disturbances(self) -> AsyncGenerator[str, None]:
        """Yield why our tables may not be what we wrote, each time that somebody else has written to them.

        Writes that come together are one disturbance.

        Raises:
            KernelError: the watch has failed.
        """
        ...


class TableMonitor:
    """A `TableWatch` over a socket, which hears of writes from when it is opened.

    Args:
        tables: Whose changes count: family and name of each table of ours.
        ports: The netlink ports of those who may write there: our own sockets.

    Raises:
        KernelError: the socket can't be had.
    """

    def __init__(self, tables: Collection[tuple[Family, str]], ports: Container[int]) -> None:
        self._prefixes = frozenset(bytes((NFPROTO[family],)) + nl.text(1, name) for family, name in tables)
        self._ports = ports
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK,
                socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC,
                _NETLINK_NETFILTER,
            )
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
            except PermissionError:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
            self._socket.bind((0, 0))
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _NFNLGRP_NFTABLES)
        except OSError as exc:
            raise kernel_error("open the ruleset monitor", exc.errno or errno.EIO) from exc

    def __enter__(self) -> "TableMonitor":
        return self

    def __exit__(self, *_exc: object) -> None:
        self._socket.close()

    async def disturbances(self) -> AsyncGenerator[str, None]:
        """See `TableWatch`."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                data = await loop.sock_recv(self._socket, _READ_BYTES)
                found = self.is_disturbance(data)
                while more := self._read_more():
                    found = found or self.is_disturbance(more)
            except OSError as exc:
                if exc.errno != errno.ENOBUFS:
                    raise kernel_error("read the ruleset monitor", exc.errno or errno.EIO) from exc
                yield "notifications were lost"
                continue
            if found:
                yield "another program wrote to our table"

    def is_disturbance(self, data: bytes) -> bool:
        """Say whether a datagram of notifications tells of a write to our tables that is not ours."""
        offset = 0
        while offset + nl.HEADER_LENGTH <= len(data):
            length, _, _, _, port = _MESSAGE.unpack_from(data, offset)
            if port not in self._ports:
                family = data[offset + _MESSAGE.size : offset + _MESSAGE.size + 1]
                body = data[offset + nl.HEADER_LENGTH : offset + length]
                # The table's name is the first attribute of all there is in a table, and of the table itself.
                if any(body.startswith(prefix[1:]) and family == prefix[:1] for prefix in self._prefixes):
                    return True
            # NLMSG_ALIGN; a length below the header's would never end.
            offset += max(length + 3 & ~3, nl.HEADER_LENGTH)
        return False

    def _read_more(self) -> bytes:
        try:
            return self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return b""


class FakeMonitor:
    """A `TableWatch` that says what a test puts in."""

    def __init__(self) -> None:
        self._reasons: asyncio.Queue[str] = asyncio.Queue()

    def __enter__(self) -> "FakeMonitor":
        return self

    def __exit__(self, *_exc: object) -> None:
        return

    def disturb(self, reason: str = "another program wrote to our table") -> None:
        """Let the watch tell of one disturbance."""
        self._reasons.put_nowait(reason)

    async def disturbances(self) -> AsyncGenerator[str, None]:
        """See `TableWatch`."""
        while True:
            yield await self._reasons.get()
