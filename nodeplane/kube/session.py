"""One open client's conversation with the server about one kind: a list's pages, a watch's events."""

import asyncio
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import cast

import httpx2

from nodeplane.errors import ApiError
from nodeplane.kube.api_request import Query, Selector, collection_path, list_query
from nodeplane.kube.byte_stream import read_body
from nodeplane.kube.connection import CONNECT_TIMEOUT_S, READ_TIMEOUT_S, Observe
from nodeplane.kube.line_splitter import LineSplitter
from nodeplane.kube.objects import Object
from nodeplane.kube.open_sockets import OpenSockets
from nodeplane.kube.wire import Event, Page, WireDecoder, decode_status

# A watch says nothing for minutes. That its server's machine has gone without a word is TCP's to find out:
# after 30 s of silence, asked three times 10 s apart, in about a minute (tcp(7)).
_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)

_TRANSPORT_ERRORS = (httpx2.HTTPError, httpx2.StreamError, OSError)


class RefusedError(ApiError):
    """The server answered with a status other than 200; `retry_after_s` is what it asks for, if it does."""

    def __init__(self, request: str, code: int, message: str, retry_after_s: float | None) -> None:
        super().__init__(f"{request}: {code} {message}".rstrip())
        self.code = code
        self.retry_after_s = retry_after_s


class SilenceError(ApiError):
    """The server said nothing for longer than it may."""


class Watch:
    """The events of an open watch, as the network brings them."""

    def __init__(self, name: str, chunks: AsyncIterator[bytes], decoder: WireDecoder) -> None:
        self._name = name
        self._chunks = chunks
        self._decoder = decoder
        self._lines = LineSplitter()

    async def read(self, silence_s: float) -> list[Event] | None:
        """Return the next events, maybe none yet; None at the regular end of the watch.

        Raises:
            SilenceError: not a byte came for `silence_s` seconds.
            ApiError: the connection was lost.
            ProtocolError: what came is no event.
        """
        try:
            async with asyncio.timeout(silence_s):
                chunk = await anext(self._chunks, None)
        except TimeoutError as exc:
            raise SilenceError(f"{self._name}: silent for {silence_s:.0f} s") from exc
        except _TRANSPORT_ERRORS as exc:
            raise _lost(self._name, exc) from exc
        if chunk is not None:
            return [self._decoder.event(line) for line in self._lines.feed(chunk)]
        if self._lines.is_inside_line:
            # A body may end by closing (HTTP/1.0, proxies): here that was no regular end.
            raise ApiError(f"{self._name}: connection lost in the middle of an event")
        return None


class Session:
    """Requests about the objects of one kind that a selector names."""

    def __init__(
        self,
        client: httpx2.AsyncClient,
        kind: type[Object],
        selector: Selector,
        sockets: OpenSockets,
        *,
        observe: Observe | None = None,
    ) -> None:
        self._client = client
        self._sockets = sockets
        self._observe = observe
        self._kind = kind
        self._path = collection_path(kind)
        self._selector = selector
        self._decoder = WireDecoder(kind)

    async def pages(self, limit: int | None) -> AsyncGenerator[Page, None]:
        """Yield the pages of a list of at most `limit` objects each, None for all of them at once.

        Raises:
            RefusedError: the server said no; 410 if it can't continue where the last page ended.
            ApiError: the server was not reached, or was lost.
        """
        token = ""
        while True:
            page = await self._page(list_query(self._selector, limit=limit, token=token))
            yield page
            token = page.token
            if not token:
                return

    async def _page(self, query: Query) -> Page:
        name = f"list {self._kind.__name__}"
        # Not aread(): it joins pieces, and the response holds them until a collection of cycles finds it.
        body = bytearray()
        async with self._get(name, query, READ_TIMEOUT_S) as response:
            with _transport_errors(name):
                async for chunk in response.aiter_raw():
                    body += chunk
        return self._decoder.page(body)

    @asynccontextmanager
    async def watch(self, query: Query) -> AsyncIterator[Watch]:
        """Open a watch.

        Raises:
            RefusedError: the server said no.
            ApiError: the server was not reached.
        """
        name = f"watch {self._kind.__name__}"
        # Silence is judged by whoever reads, not by httpx.
        async with self._get(name, query, None) as response:
            connection = _keep_alive(response)
            with nullcontext() if connection is None else self._sockets.reading(connection):
                yield Watch(name, read_body(response), self._decoder)

    @asynccontextmanager
    async def _get(
        self, name: str, query: Query, read_timeout_s: float | None
    ) -> AsyncIterator[httpx2.Response]:
        """Send a request and wait for the head of its response."""
        timeout = httpx2.Timeout(CONNECT_TIMEOUT_S, read=read_timeout_s)
        with _transport_errors(name):
            request = self._client.build_request("GET", self._path, params=dict(query), timeout=timeout)
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S + READ_TIMEOUT_S):
                    response = await self._send(request)
                    if response.status_code != httpx2.codes.OK:
                        raise await _refusal(name, response)
            except TimeoutError as exc:
                raise SilenceError(f"{name}: no response") from exc
        try:
            yield response
        finally:
            with _transport_errors(name):
                await response.aclose()

    async def _send(self, request: httpx2.Request) -> httpx2.Response:
        started, status = time.perf_counter(), "<error>"
        try:
            response = await self._client.send(request, stream=True)
            status = str(response.status_code)
        finally:
            if self._observe:
                server = request.url.netloc.decode()
                self._observe(request.method, server, status, time.perf_counter() - started)
        return response


@contextmanager
def _transport_errors(name: str) -> Iterator[None]:
    try:
        yield
    except _TRANSPORT_ERRORS as exc:
        raise _lost(name, exc) from exc


def _lost(name: str, exc: Exception) -> ApiError:
    # httpx's timeouts have no text of their own.
    return ApiError(f"{name}: {str(exc) or type(exc).__name__}")


async def _refusal(name: str, response: httpx2.Response) -> RefusedError:
    try:
        status = decode_status(await response.aread())
    finally:
        await response.aclose()
    # RFC 9110 10.2.3 also allows a date; API servers send seconds.
    after = response.headers.get("Retry-After", "")
    message = status.message or response.reason_phrase
    return RefusedError(name, response.status_code, message, float(after) if after.isdecimal() else None)


def _keep_alive(response: httpx2.Response) -> socket.socket | None:
    """Have TCP ask now and then whether the server is there; return the connection, None if it is none."""
    stream = response.extensions.get("network_stream")
    found = stream.get_extra_info("socket") if stream is not None else None
    # asyncio's has the same methods, but not the type.
    connection = cast("socket.socket | None", found)
    if connection is not None:
        for option in _KEEPALIVE:
            connection.setsockopt(*option)
    return connection
