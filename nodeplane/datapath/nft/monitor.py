"""The kernel's own word that somebody else has written to a table of ours.

Hears of every write to the ruleset of a namespace and heeds those that name our tables and are not our own,
at a microsecond for each element that anybody changes. What was changed is not said: the table is compared.
"""

import asyncio
from collections.abc import AsyncGenerator, Collection, Container
from typing import Protocol

from nodeplane.datapath.netlink_listener import NetlinkListener
from nodeplane.datapath.nft import netlink as nl
from nodeplane.datapath.nft.expr import NFPROTO, Family

_GROUPS = 1 << 6  # NFNLGRP_NFTABLES
_BUFFER_BYTES = 8 << 20


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
        self._listener = NetlinkListener("the ruleset monitor", nl.NETLINK_NETFILTER, _GROUPS, _BUFFER_BYTES)

    def __enter__(self) -> "TableMonitor":
        return self

    def __exit__(self, *_exc: object) -> None:
        self._listener.close()

    async def disturbances(self) -> AsyncGenerator[str, None]:
        """See `TableWatch`."""
        while True:
            data = await self._listener.receive()
            found = False
            while data:
                found = found or self.is_disturbance(data)
                data = self._listener.receive_more()
            if data is None:
                yield "notifications were lost"
            elif found:
                yield "another program wrote to our table"

    def is_disturbance(self, data: bytes) -> bool:
        """Say whether a datagram of notifications tells of a write to our tables that is not ours."""
        offset = 0
        while offset + nl.HEADER_LENGTH <= len(data):
            length, _, _, _, port = nl.NLMSG.unpack_from(data, offset)
            if port not in self._ports:
                family = data[offset + nl.NLMSG.size : offset + nl.NLMSG.size + 1]
                body = data[offset + nl.HEADER_LENGTH : offset + length]
                # The table's name is the first attribute of all there is in a table, and of the table itself.
                if any(body.startswith(prefix[1:]) and family == prefix[:1] for prefix in self._prefixes):
                    return True
            # NLMSG_ALIGN; a length below the header's would never end.
            offset += max(length + 3 & ~3, nl.HEADER_LENGTH)
        return False


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
