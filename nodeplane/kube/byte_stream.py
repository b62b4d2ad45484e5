"""The bytes of a connection, below the HTTP client: asyncio's own transport behind httpcore2's network edge.

    watch ─► ChunkSplitter ─┐
                            ├─► ByteStream ─► asyncio transport (TCP, TLS)
    h11: heads, lists  ─────┘

h11 is given a response's head and not a byte more, so a watch can read what follows without it. Each event
is a chunk and a TLS record of its own. One by one through h11 and the layers around it, they cost four times
what they do here, where all that have come are taken at once (`bench/kube_source.py`).
"""

import asyncio
import asyncio.sslproto
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from typing import Any, cast

import httpcore2
import httpx2

from nodeplane.kube.chunk_splitter import ChunkSplitter

# What is read and parsed at once: more is not quicker, and takes more memory.
_PIECE_BYTES = 64 * 1024
# Kept for a reader that is busy; then the peer has to wait.
_HIGH_WATER_BYTES = 2 * _PIECE_BYTES
# RFC 8305 section 5: how long IPv6 may take before IPv4 is tried beside it.
_HAPPY_EYEBALLS_S = 0.25
_END_OF_HEAD = b"\r\n\r\n"
# httpcore2 refuses longer ones.
_MAX_HEAD_BYTES = 100 * 1024


class ByteStream(asyncio.BufferedProtocol, httpcore2.AsyncNetworkStream):
    """One connection: what came is kept until it is read."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._incoming = memoryview(bytearray(_PIECE_BYTES))
        self._received = bytearray()
        # What h11 has read since the last head: the next one may come in several pieces.
        self._head = b""
        self._is_after_head = False
        self._ended = False
        self._lost: Exception | None = None
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take note of the way out."""
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # asyncio's
        """Return where asyncio is to write what comes next."""
        # A view: of several TLS records asyncio reads the second into a slice of this, which must be no copy.
        return self._incoming

    def buffer_updated(self, nbytes: int) -> None:
        """Keep what came."""
        self._received += self._incoming[:nbytes]
        if len(self._received) >= _HIGH_WATER_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """Take note that no more will come."""
        self._ended = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note of the end, and of its reason."""
        self._ended = True
        self._lost = exc
        self._wake()

    # What a watch calls.

    @property
    def is_after_head(self) -> bool:
        """Whether the last read ended where a head does."""
        return self._is_after_head

    async def take(self, max_bytes: int = _PIECE_BYTES) -> bytes:
        """Return what has come, as soon as there is any; nothing at the end.

        Raises:
            OSError: the connection was lost.
        """
        while not self._received:
            if self._lost is not None:
                raise self._lost
            if self._ended:
                return b""
            if self._paused and self._transport is not None:
                self._paused = False
                self._transport.resume_reading()
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        taken = bytes(self._received[:max_bytes])
        del self._received[:max_bytes]
        return taken

    def put_back(self, data: bytes) -> None:
        """Let the next read begin with these bytes."""
        self._received[:0] = data

    # What httpcore2 calls.

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return what has come, at most up to the end of a head."""
        try:
            async with asyncio.timeout(timeout):
                data = await self.take(max_bytes)
        except TimeoutError as exc:
            raise httpcore2.ReadTimeout(str(exc)) from exc
        except OSError as exc:
            raise httpcore2.ReadError(str(exc)) from exc
        recent = self._head + data
        found = recent.find(_END_OF_HEAD)
        end = len(data) if found < 0 else found + len(_END_OF_HEAD) - len(self._head)
        if end < len(data):
            self.put_back(data[end:])
        head = recent[: len(self._head) + end]
        # h11 also takes a line feed alone for the end of a line, and so for a head that ended earlier.
        self._is_after_head = found >= 0 and b"\n" not in head.replace(b"\r\n", b"")
        if found >= 0:
            head = b""
        elif len(head) > _MAX_HEAD_BYTES:
            head = head[1 - len(_END_OF_HEAD) :]
        self._head = head
        return data[:end]

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002  # httpcore2's
        """Send bytes; requests are small, so that none waits for the peer to take them."""
        if self._ended or self._transport is None:
            raise httpcore2.WriteError(str(self._lost or "connection closed"))
        self._is_after_head = False
        self._transport.write(buffer)

    async def aclose(self) -> None:
        """Close at once: a peer that has gone must not be waited for."""
        if self._transport is not None:
            self._transport.abort()
            # The socket is closed in the loop's next turn.
            await asyncio.sleep(0)

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        """Speak TLS from here on, maybe inside of TLS with a proxy."""
        loop = asyncio.get_running_loop()
        # asyncio fills a buffer with zeros for each connection: 256 KiB, to get pieces of this size.
        asyncio.sslproto.SSLProtocol.max_size = _PIECE_BYTES
        try:
            async with asyncio.timeout(timeout):
                self._transport = await loop.start_tls(
                    cast("asyncio.Transport", self._transport),
                    self,
                    ssl_context,
                    server_hostname=server_hostname,
                )
        except TimeoutError as exc:
            await self.aclose()
            raise httpcore2.ConnectTimeout(str(exc)) from exc
        except OSError as exc:
            await self.aclose()
            raise httpcore2.ConnectError(str(exc)) from exc
        if self._transport is None:
            raise httpcore2.ConnectError(str(self._lost or "connection closed"))
        return self

    def get_extra_info(self, info: str) -> Any:
        """Return what httpcore2 and we ask for."""
        if info == "is_readable":
            # Of an idle connection: it was closed, or the peer speaks out of turn.
            return self._ended or bool(self._received)
        return None if self._transport is None else self._transport.get_extra_info(info)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class ByteStreams(httpcore2.AsyncNetworkBackend):
    """Opens connections for an HTTP client."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002  # none of our clients names one
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002  # nor these
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first address of a host that answers."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                _, stream = await loop.create_connection(
                    ByteStream, host, port, happy_eyeballs_delay=_HAPPY_EYEBALLS_S
                )
        except TimeoutError as exc:
            raise httpcore2.ConnectTimeout(str(exc)) from exc
        except OSError as exc:
            raise httpcore2.ConnectError(str(exc)) from exc
        return stream

    async def sleep(self, seconds: float) -> None:
        """Wait between two attempts."""
        await asyncio.sleep(seconds)


def use_byte_streams(client: httpx2.AsyncClient) -> None:
    """Let a client open its connections here.

    httpcore2's pools take a network backend; httpx2, which makes them, has no way to name one. Should a
    release of it keep them elsewhere, its own connections do as well, and watches are read through h11.
    """
    with suppress(AttributeError):
        for transport in (client._transport, *client._mounts.values()):
            if transport is not None and hasattr(transport._pool, "_network_backend"):  # type: ignore[attr-defined]
                transport._pool._network_backend = ByteStreams()  # type: ignore[attr-defined]


async def read_body(response: httpx2.Response) -> AsyncIterator[bytes]:
    """Yield a response's body as it comes, in pieces as large as can be had.

    Raises:
        httpx2.HTTPError, OSError: the connection was lost.
        ProtocolError: the body is not chunked as its head says.
    """
    stream = response.extensions.get("network_stream")
    is_chunked = response.headers.get("Transfer-Encoding", "").lower() == "chunked"
    if is_chunked and isinstance(stream, ByteStream) and stream.is_after_head:
        chunks = ChunkSplitter()
        while chunks.end is None:
            piece = await stream.take()
            if not piece:
                raise ConnectionResetError("connection closed in the middle of a body")
            body = chunks.feed(piece)
            if body:
                yield body
        # h11 judges the end, and keeps the connection for the next request.
        stream.put_back(chunks.end)
    async for piece in response.aiter_raw():
        yield piece
