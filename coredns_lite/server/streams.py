"""Queries over TCP and TLS (RFC 7766, RFC 7858), on the asyncio loop.

    accept ─► (TLS handshake) ─► length, query, length, query … ─► Responder ─► length, reply, …

Decides how many connections there may be and how long; about DNS, the Responder decides. Queries that a
client sends without waiting are answered as their answers come, in any order.
"""

import asyncio
import logging
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import cast

from coredns_lite.background import Background
from coredns_lite.metrics import PANICS
from coredns_lite.plugin import Client, Transport
from coredns_lite.responder import IDLE_TIMEOUT_S, Kind, Pending, Responder
from coredns_lite.server.udp_worker import QueryLog
from coredns_lite.tally import IPV4, IPV6, Asked, Tally

MAX_CONNECTIONS = 2000
MAX_CONNECTIONS_PER_CLIENT = 500
# Queries of one connection whose answers come later; what it sends on top waits, here what was read with them
# and the rest in the kernel.
MAX_PENDING = 256
# Replies that are given to the transport at once, so that it can say in between that the client is behind.
_WRITE_BYTES = 32 * 1024
_HANDSHAKE_TIMEOUT_S = 5.0
_ACCEPT_RETRY_S = 0.5
# A connection that is to end is given this long to be silent, and no longer than that to become so.
_SILENCE_S = 0.1
_MAX_DRAIN_S = 2.0
_LENGTH_BYTES = 2

log = logging.getLogger(__name__)

TlsContext = Callable[[], ssl.SSLContext]
"""Gives what the next connection is served with."""


class StreamServer:
    """Serves the connections of one listening socket; `responder` may be replaced at any time."""

    def __init__(
        self,
        listener: socket.socket,
        responder: Responder,
        loop: asyncio.AbstractEventLoop,
        *,
        tls: TlsContext | None = None,
        query_log: QueryLog | None = None,
        tally: Tally | None = None,
    ) -> None:
        self.responder = responder
        self.query_log = query_log
        self.tally = tally
        self.received = 0
        self.transport: Transport = "tls" if tls else "tcp"
        self.background = Background()
        self.connections: set[_Connection] = set()
        self._clients: Counter[IPv4Address | IPv6Address] = Counter()
        self._listener = listener
        self._loop = loop
        self._tls = tls

    async def run(self) -> None:
        """Accept connections for as long as the task lives."""
        readable = asyncio.Event()
        self._loop.add_reader(self._listener, readable.set)
        try:
            while True:
                await readable.wait()
                readable.clear()
                try:
                    self.accept_all()
                except OSError as exc:
                    # Out of descriptors or memory (accept(2)), which may pass.
                    log.warning("connection not accepted error=%r", exc.strerror)
                    await asyncio.sleep(_ACCEPT_RETRY_S)
                    readable.set()
        finally:
            self._stop_accepting()

    def accept_all(self) -> None:
        """Accept all connections that have come.

        Raises:
            OSError: out of descriptors or memory.
        """
        while True:
            try:
                client, address = self._listener.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                continue
            found = ip_address(address[0].partition("%")[0])
            peer = (found.ipv4_mapped if isinstance(found, IPv6Address) else None) or found
            if self._clients.total() >= MAX_CONNECTIONS or self._clients[peer] >= MAX_CONNECTIONS_PER_CLIENT:
                client.close()
                continue
            client.setblocking(False)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._clients[peer] += 1
            self.background.start(self._serve(client, Client(peer, address[1], self.transport)))

    async def drain(self) -> None:
        """Accept no more, let each connection have its replies, then close it."""
        with suppress(OSError):
            self.accept_all()
        self._stop_accepting()
        end = time.monotonic() + _MAX_DRAIN_S
        while self.connections and time.monotonic() < end:
            for connection in tuple(self.connections):
                connection.close_if_silent(_SILENCE_S)
            await asyncio.sleep(_SILENCE_S / 4)
        self.close()

    def close(self) -> None:
        """End all at once."""
        self._stop_accepting()
        for connection in tuple(self.connections):
            connection.abort()
        self.background.close()

    def _stop_accepting(self) -> None:
        if self._listener.fileno() >= 0:
            # The loop must not watch a number that is another file's by then.
            self._loop.remove_reader(self._listener)
            self._listener.close()

    async def _serve(self, client: socket.socket, peer: Client) -> None:
        connection = _Connection(self, peer)
        try:
            tls = self._tls() if self._tls else None
            await self._loop.connect_accepted_socket(
                lambda: connection,
                client,
                ssl=tls,
                ssl_handshake_timeout=_HANDSHAKE_TIMEOUT_S if tls else None,
            )
            await connection.closed.wait()
        except (OSError, TimeoutError):
            # A client that is gone, or that speaks no TLS: its own affair.
            client.close()
        finally:
            self._clients[peer.address] -= 1
            if not self._clients[peer.address]:
                del self._clients[peer.address]


class _Connection(asyncio.Protocol):
    """One client's stream."""

    def __init__(self, server: StreamServer, client: Client) -> None:
        self.closed = asyncio.Event()
        self._server = server
        self._client = client
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
        self._transport = cast("asyncio.Transport", transport)
        self._server.connections.add(self)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        self._server.connections.discard(self)
        if self._timer:
            self._timer.cancel()
        self._transport = None
        self._buffer.clear()
        self._can_write.set()
        self.closed.set()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._work()

    def eof_received(self) -> bool:
        # What was asked is answered first; TLS has no half-closed streams.
        self._is_ending = True
        return self._is_owing() and self._server.transport == "tcp"

    def pause_writing(self) -> None:
        # Who does not read what was answered asks no more.
        self._can_write.clear()
        self._adjust_reading()

    def resume_writing(self) -> None:
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
        server = self._server
        responder = server.responder
        find, find_turning = responder.packets.get, responder.turning.get
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
            take = find(body) or find_turning(body)
            if take is None:
                reply = self._respond(responder, packet, asked)
                if reply is None:
                    continue
            else:
                hits.append(body)
                reply = packet[:2] + (take if isinstance(take, bytes) else take())
            replies += len(reply).to_bytes(_LENGTH_BYTES, "big"), reply
            if server.query_log:
                logged.append((len(packet), reply))
            unsent_bytes += len(reply)
            if unsent_bytes >= _WRITE_BYTES and self._transport:
                self._transport.write(b"".join(replies))
                replies.clear()
                unsent_bytes = 0
        if replies and self._transport:
            self._transport.write(b"".join(replies))
        if taken:
            server.received += taken
            self._active_at = time.monotonic()
        duration_s = time.perf_counter() - started
        if server.tally and (hits or asked):
            server.tally.count_hits({self._family: hits}, responder.kinds, duration_s)
            server.tally.count(asked, duration_s)
        for query_bytes, reply in logged:
            if server.query_log:
                server.query_log(self._client, query_bytes, reply, duration_s)

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
            reply = responder.respond(packet, lambda: self._client)
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
            self._server.background.start(self._reply_later(reply, len(packet)))
        else:
            asked.append(Asked(responder.last_kind, self._family, len(packet), 0))
            self._server.background.start(self._transfer(reply))
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
        if self._server.tally:
            self._server.tally.count([Asked(kind, self._family, query_bytes, len(reply))], duration_s)
        if self._server.query_log:
            self._server.query_log(self._client, query_bytes, reply, duration_s)

    async def _transfer(self, messages: Iterator[bytes]) -> None:
        """Send a zone, no faster than the client reads, and leave the loop to others in between."""
        try:
            for message in messages:
                await self._can_write.wait()
                if self._transport is None:
                    return
                self._write(message)
                await asyncio.sleep(0)
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
