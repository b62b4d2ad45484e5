"""One client's stream of queries: framing, what is owed to it, and when it ends (RFC 7766).

    length, query, length, query … ─► Responder ─► length, reply, …

Queries that a client sends without waiting are answered as their answers come, in any order. A connection
has an owner, which may be another one after a reload: what it reads then is answered by that one.
"""

import asyncio
import logging
import time
from collections.abc import Iterator
from typing import Protocol, cast

from coredns_lite.background import Background
from coredns_lite.edns_options import IDLE_TIMEOUT_S
from coredns_lite.kept import TRAILER_BYTES
from coredns_lite.kind import Kind
from coredns_lite.metrics import PANICS
from coredns_lite.pending import Pending
from coredns_lite.plugin import Client, Transport
from coredns_lite.query_log import QueryLog
from coredns_lite.responder import Responder
from coredns_lite.tally import IPV4, IPV6, Asked, Tally

# Queries of one connection whose answers come later; what it sends on top waits, here what was read with them
# and the rest in the kernel.
MAX_PENDING = 256
# Replies that are given to the transport at once, so that it can say in between that the client is behind.
_WRITE_BYTES = 32 * 1024
_LENGTH_BYTES = 2

log = logging.getLogger(__name__)


class Owner(Protocol):
    """Who answers the queries of a connection, and counts them; `background` runs what takes longer."""

    responder: Responder
    query_log: QueryLog | None
    tally: Tally | None
    received: int
    transport: Transport
    background: Background

    def release(self, connection: "Connection") -> None:
        """Take note that a connection has ended."""
        ...


class Connection(asyncio.Protocol):
    """One client's stream; `owner` may be replaced at any time."""

    def __init__(self, owner: Owner, client: Client) -> None:
        self.owner = owner
        self.client = client
        self._family = IPV4 if client.address.version == 4 else IPV6
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._pending = 0
        self._can_write = asyncio.Event()
        self._can_write.set()
        self._is_ending = False
        self._active_at = time.monotonic()
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to read."""
        self._transport = cast("asyncio.Transport", transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        """End: nothing can be said any more."""
        self.owner.release(self)
        if self._timer:
            self._timer.cancel()
        self._transport = None
        self._buffer.clear()
        self._can_write.set()

    def data_received(self, data: bytes) -> None:
        """Answer what has come."""
        self._buffer += data
        self._work()

    def eof_received(self) -> bool:
        """Say whether replies are still to go to a client that asks no more."""
        # What was asked is answered first; TLS has no half-closed streams.
        self._is_ending = True
        return self._is_owing() and self.owner.transport == "tcp"

    def pause_writing(self) -> None:
        """Stop reading: the client is behind."""
        # Who does not read what was answered asks no more.
        self._can_write.clear()
        self._adjust_reading()

    def resume_writing(self) -> None:
        """Answer what had to wait."""
        self._can_write.set()
        self._go_on()

    def abort(self) -> None:
        """End at once."""
        if self._transport:
            self._transport.abort()

    def close_if_silent(self, for_s: float) -> None:
        """Close the connection if nothing is owed and nothing came for a while."""
        if self._transport and not self._is_owing() and time.monotonic() - self._active_at >= for_s:
            self._transport.close()

    def _watch(self) -> None:
        """Close the connection once it was idle for too long; look again when that may be."""
        idle_s = 0.0 if self._pending else time.monotonic() - self._active_at
        if idle_s >= IDLE_TIMEOUT_S:
            # Also one whose client does not read, so that nothing waits for it.
            self.abort() if not self._can_write.is_set() else self.close_if_silent(0)
            return
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(IDLE_TIMEOUT_S - idle_s, self._watch)

    def _work(self) -> None:
        """Answer the whole queries that are in the buffer, as far as the limits of what is owed go."""
        started = time.perf_counter()
        owner = self.owner
        responder = owner.responder
        find = responder.replies.find
        replies: list[bytes] = []
        hits: list[bytes] = []
        asked: list[Asked] = []
        logged: list[tuple[int, bytes]] = []
        taken = unsent_bytes = 0
        buffer, can_write = self._buffer, self._can_write.is_set
        # Looked at for each: one read has thousands of queries.
        while self._pending < MAX_PENDING and can_write() and (end := self._whole_bytes()):
            packet = bytes(buffer[_LENGTH_BYTES:end])
            # A bytearray forgets its beginning without moving the rest.
            del buffer[:end]
            taken += 1
            body = packet[2:]
            kept = find(body)
            if kept is None:
                reply = self._respond(responder, packet, asked)
                if reply is None:
                    continue
            else:
                hits.append(kept)
                reply = packet[:2] + kept[:-TRAILER_BYTES]
            replies += len(reply).to_bytes(_LENGTH_BYTES, "big"), reply
            if owner.query_log:
                logged.append((len(packet), reply))
            unsent_bytes += len(reply)
            if unsent_bytes >= _WRITE_BYTES and self._transport:
                self._transport.write(b"".join(replies))
                replies.clear()
                unsent_bytes = 0
        if replies and self._transport:
            self._transport.write(b"".join(replies))
        if taken:
            owner.received += taken
            self._active_at = time.monotonic()
        duration_s = time.perf_counter() - started
        if owner.tally and (hits or asked):
            owner.tally.count_hits({self._family: hits}, duration_s)
            owner.tally.count(asked, duration_s)
        for query_bytes, reply in logged:
            if owner.query_log:
                owner.query_log(self.client, query_bytes, reply, duration_s)

    def _whole_bytes(self) -> int:
        """Return the length of the first message in the buffer, 0 if it is not whole yet."""
        buffer = self._buffer
        if len(buffer) < _LENGTH_BYTES:
            return 0
        size_bytes = _LENGTH_BYTES + (buffer[0] << 8 | buffer[1])
        return size_bytes if len(buffer) >= size_bytes else 0

    def _is_owing(self) -> bool:
        """Whether a query was not replied to yet."""
        return bool(self._pending or self._whole_bytes())

    def _respond(self, responder: Responder, packet: bytes, asked: list[Asked]) -> bytes | None:
        try:
            reply = responder.respond(packet, lambda: self.client)
        except Exception:
            # One query must not end the service for all.
            PANICS.inc()
            log.exception("defect met, packet dropped packet=%s", packet.hex())
            return None
        if reply is None or isinstance(reply, bytes):
            if reply:
                asked.append(Asked(responder.last_kind, self._family, len(packet), len(reply)))
            return reply
        self._pending += 1
        self._adjust_reading()
        if isinstance(reply, Pending):
            self.owner.background.start(self._reply_later(reply, len(packet)))
        else:
            asked.append(Asked(responder.last_kind, self._family, len(packet), 0))
            self.owner.background.start(self._transfer(reply))
        return None

    async def _reply_later(self, pending: Pending, query_bytes: int) -> None:
        started = time.perf_counter()
        try:
            reply, kind = await pending.answer()
            if reply is not None:
                self._write_later(reply, kind, query_bytes, started)
        finally:
            self._settle()

    def _write_later(self, reply: bytes, kind: Kind, query_bytes: int, started: float) -> None:
        self._write(reply)
        duration_s = time.perf_counter() - started
        if self.owner.tally:
            self.owner.tally.count([Asked(kind, self._family, query_bytes, len(reply))], duration_s)
        if self.owner.query_log:
            self.owner.query_log(self.client, query_bytes, reply, duration_s)

    async def _transfer(self, messages: Iterator[bytes]) -> None:
        """Send a zone, no faster than the client reads, and leave the loop to others in between."""
        try:
            for message in messages:
                await self._can_write.wait()
                if self._transport is None:
                    return
                self._write(message)
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            # What is left out must not be taken for nothing more to come.
            self.abort()
            raise
        finally:
            self._settle()

    def _write(self, reply: bytes) -> None:
        if self._transport:
            self._transport.write(len(reply).to_bytes(_LENGTH_BYTES, "big") + reply)

    def _settle(self) -> None:
        """Note that nothing more is owed for one query."""
        self._pending -= 1
        self._active_at = time.monotonic()
        self._go_on()

    def _go_on(self) -> None:
        """Answer what had to wait, and read more; or end, if that was all."""
        if not self._transport or self._transport.is_closing():
            return
        self._work()
        if self._is_ending and self._transport and not self._is_owing():
            self._transport.close()
        self._adjust_reading()

    def _adjust_reading(self) -> None:
        if not self._transport or self._is_ending or self._transport.is_closing():
            return
        if self._pending < MAX_PENDING and self._can_write.is_set():
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()
