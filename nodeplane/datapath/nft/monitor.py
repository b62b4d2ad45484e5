"""The kernel's own word that somebody else has written to a table of ours.

Hears of every write to the ruleset of a namespace and heeds those that name our tables and are not our own,
at a microsecond for each element that anybody changes. What was changed is not said: the table is compared.
Who did it, the kernel says at the end of each transaction.
"""

import asyncio
from collections.abc import AsyncGenerator, Collection, Container
from typing import Protocol

import msgspec

from nodeplane.datapath.netlink_listener import NetlinkListener
from nodeplane.datapath.nft import netlink as nl
from nodeplane.datapath.nft.expr import NFPROTO, TableFamily

_GROUPS = 1 << 6  # NFNLGRP_NFTABLES
_BUFFER_BYTES = 8 << 20
# Pods' starts and our own syncs write often; what comes meanwhile is read at once.
_REST_S = 0.01
_NEWGEN = nl.NFNL_SUBSYS_NFTABLES << 8 | nl.NEWGEN


class Writer(msgspec.Struct, frozen=True):
    """A process as the kernel knows it: its id in the first namespace of processes, its command's name."""

    pid: int
    name: str

    def __str__(self) -> str:
        return f"process={self.name} pid={self.pid}"


class Disturbance(msgspec.Struct, frozen=True):
    """Why our tables may not be what we wrote.

    Attributes:
        writer: Who wrote to them, if that is known.
        is_lost: Notifications were lost: somebody may have written, or all of them were of our own writes.
    """

    writer: Writer | None = None
    is_lost: bool = False


class TableWatch(Protocol):
    """Tells when somebody else has written to our tables; a context manager that ends it."""

    def __enter__(self) -> "TableWatch": ...

    def __exit__(self, *exc: object) -> None: ...

    def disturbances(self) -> AsyncGenerator[Disturbance, None]:
        """Yield each time that somebody else has written to our tables, or may have.

        Writes that come together are one disturbance, which names the last of the writers.

        Raises:
            KernelError: the watch has failed.
        """
        ...


class TableMonitor:
    """A `TableWatch` over a socket, which hears of writes from when it is opened.

    Args:
        tables: Whose changes count: family and name of each table of ours.
        ports: The netlink ports of those who may write there: our own sockets.
        names: The names of threads that may: our own in other processes.

    Raises:
        KernelError: the socket can't be had.
    """

    def __init__(
        self,
        tables: Collection[tuple[TableFamily, str]],
        ports: Container[int],
        names: Container[str] = (),
    ) -> None:
        self._prefixes = frozenset(bytes((NFPROTO[family],)) + nl.text(1, name) for family, name in tables)
        self._ports = ports
        self._names = names
        self._listener = NetlinkListener("the ruleset monitor", nl.NETLINK_NETFILTER, _GROUPS, _BUFFER_BYTES)

    def __enter__(self) -> "TableMonitor":
        return self

    def __exit__(self, *_exc: object) -> None:
        self._listener.close()

    async def disturbances(self) -> AsyncGenerator[Disturbance, None]:
        """See `TableWatch`."""
        # Ports of those who have written to our tables and whose transaction has not been told to its end.
        open_ports: set[int] = set()
        while True:
            data = await self._listener.receive()
            found: Disturbance | None = None
            is_lost = False
            # To the end, also when some were lost: until then the kernel drops all others and does not say so
            # again (NETLINK_S_CONGESTED). Whoever asks for the generation afterwards misses nothing.
            while data != b"":
                if data is None:
                    is_lost = True
                else:
                    found = self.read(data, open_ports) or found
                data = self._listener.receive_more()
            if is_lost:
                # The end of a transaction that was heard of may be among them.
                is_certain = found is not None or bool(open_ports)
                open_ports.clear()
                yield found or Disturbance(is_lost=not is_certain)
            elif found:
                yield found
            await asyncio.sleep(_REST_S)

    def read(self, data: bytes, open_ports: set[int]) -> Disturbance | None:
        """Return the last of the writes to our tables by others that a datagram of notifications ends.

        `open_ports` are the ports whose writes to our tables have not ended yet; kept from one datagram to
        the next.
        """
        found = None
        offset = 0
        while offset + nl.HEADER_LENGTH <= len(data):
            length, kind, _, _, port = nl.NLMSG.unpack_from(data, offset)
            if port not in self._ports:
                family = data[offset + nl.NLMSG.size : offset + nl.NLMSG.size + 1]
                body = data[offset + nl.HEADER_LENGTH : offset + length]
                if kind == _NEWGEN:
                    if port in open_ports:
                        open_ports.discard(port)
                        writer = _decode_writer(body)
                        if writer is None or writer.name not in self._names:
                            found = Disturbance(writer)
                # The table's name is the first attribute of all there is in a table, and of the table itself.
                elif any(body.startswith(prefix[1:]) and family == prefix[:1] for prefix in self._prefixes):
                    open_ports.add(port)
            # NLMSG_ALIGN; a length below the header's would never end.
            offset += max(length + 3 & ~3, nl.HEADER_LENGTH)
        return found


def _decode_writer(generation: bytes) -> Writer | None:
    """Decode who is behind a new generation (enum nft_gen_attributes)."""
    facts = nl.attribute_map(memoryview(generation))
    if 2 not in facts or 3 not in facts:
        return None
    return Writer(nl.read_u32(facts[2]), nl.read_text(facts[3]))


class FakeMonitor:
    """A `TableWatch` that says what a test puts in."""

    def __init__(self) -> None:
        self._disturbances: asyncio.Queue[Disturbance] = asyncio.Queue()

    def __enter__(self) -> "FakeMonitor":
        return self

    def __exit__(self, *_exc: object) -> None:
        return

    def disturb(self, writer: Writer | None = None, *, is_lost: bool = False) -> None:
        """Let the watch tell of one disturbance."""
        self._disturbances.put_nowait(Disturbance(writer, is_lost))

    async def disturbances(self) -> AsyncGenerator[Disturbance, None]:
        """See `TableWatch`."""
        while True:
            yield await self._disturbances.get()
