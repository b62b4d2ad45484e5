"""A small HTTP/1.1 server for a daemon's own pages: health, metrics, what it is doing.

The protocol is h11's; here is what stands between it and a socket, in the event loop of the program. Handlers
are plain functions that answer at once; several servers, each with its listener, share one loop.
"""

import asyncio
import logging
import socket
from http import HTTPStatus
from typing import cast

import h11

from nodeplane.errors import KernelError
from nodeplane.runtime.listen import ListenAddress, open_listener
from nodeplane.runtime.page import Handler, Request, Response, route

__all__ = ["Handler", "Request", "Response", "keep_serving", "route", "serve"]

# A scraper keeps its connection between two scrapes, up to minutes apart (Prometheus: scrape_interval).
_IDLE_LIMIT_S = 150.0
_MAX_CONNECTIONS = 64
_RETRY_S = 5.0
_ACCEPT_RETRY_S = 1.0

log = logging.getLogger(__name__)


async def serve(listener: socket.socket, handler: Handler) -> None:
    """Answer the connections of a listener for as long as the task lives; closes it at the end."""
    connections: set[asyncio.Transport] = set()
    loop = asyncio.get_running_loop()
    # Neither `create_server` nor `sock_accept`: both lose a client that comes while they end, which then
    # hangs (CPython 3.11: Server._attach, BaseSelectorEventLoop._sock_accept).
    with listener:
        try:
            while True:
                await _until_readable(listener)
                try:
                    client, _ = listener.accept()
                except (BlockingIOError, ConnectionAbortedError):
                    continue
                except OSError as exc:
                    # Out of descriptors or memory (accept(2)), which may pass.
                    log.warning("connection not accepted error=%r", exc.strerror)
                    await asyncio.sleep(_ACCEPT_RETRY_S)
                    continue
                client.setblocking(False)
                await loop.connect_accepted_socket(lambda: _Connection(handler, connections), client)
        finally:
            for transport in tuple(connections):
                transport.abort()


async def _until_readable(listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    readable = loop.create_future()

    def wake() -> None:
        if not readable.done():
            readable.set_result(None)

    loop.add_reader(listener, wake)
    try:
        await readable
    finally:
        loop.remove_reader(listener)


async def keep_serving(address: ListenAddress, handler: Handler, *, must_listen: bool = False) -> None:
    """Answer at an address; one that can't be listened on is tried again, unless it `must` be had.

    Raises:
        KernelError: `must_listen`, and the address is taken or not ours.
    """
    while True:
        try:
            listener = open_listener(address)
        except KernelError as exc:
            if must_listen:
                raise
            log.error("not listening, trying again error=%r retry_s=%.0f", str(exc), _RETRY_S)
            await asyncio.sleep(_RETRY_S)
        else:
            log.info("listening address=%s", address)
            await serve(listener, handler)


class _Connection(asyncio.Protocol):
    """One connection: requests are answered in the order in which they come."""

    def __init__(self, handler: Handler, connections: set[asyncio.Transport]) -> None:
        self._handler = handler
        self._connections = connections
        self._http = h11.Connection(h11.SERVER)
        self._request: h11.Request | None = None
        self._is_blocked = False
        self._is_refused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or close it where there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        self._idle = asyncio.get_running_loop().call_later(_IDLE_LIMIT_S, self._transport.abort)
        if len(self._connections) >= _MAX_CONNECTIONS:
            self._transport.abort()
        else:
            self._connections.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        """Forget the connection."""
        self._idle.cancel()
        self._connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        """Read on."""
        if not self._is_refused:
            self._http.receive_data(data)
            self._work()

    def eof_received(self) -> None:
        """Answer what was asked before the client shut its side down; then the transport is closed."""
        if not self._is_refused:
            self._http.receive_data(b"")
            self._work()

    def pause_writing(self) -> None:
        """Take no more requests from a client that does not read its answers."""
        self._is_blocked = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on with what has come meanwhile."""
        self._is_blocked = False
        self._transport.resume_reading()
        self._work()

    def _work(self) -> None:
        try:
            while not self._is_blocked and not self._transport.is_closing():
                event = self._http.next_event()
                if event is h11.NEED_DATA or event is h11.PAUSED:
                    return
                if isinstance(event, h11.Request):
                    self._request = event
                elif isinstance(event, h11.EndOfMessage) and self._request is not None:
                    self._answer(self._request)
                elif isinstance(event, h11.ConnectionClosed):
                    self._transport.close()
                # A body is read and means nothing.
        except h11.RemoteProtocolError as exc:
            log.debug("bad request error=%s", exc)
            if self._http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                self._send(Response(f"{exc}\n".encode(), exc.error_status_hint), is_head=False)
            # Not closed at once: with data unread that is a reset, and the client would not learn why.
            self._is_refused = True
            self._transport.write_eof()

    def _answer(self, request: h11.Request) -> None:
        target = request.target.decode("ascii", errors="replace")
        path, _, query = target.partition("?")
        method = request.method.decode("ascii", errors="replace")
        if method in {"GET", "HEAD"}:
            headers = {name.decode("ascii"): value.decode("latin-1") for name, value in request.headers}
            response = self._handler(Request(path, query, method, headers))
        else:
            response = Response(b"405 method not allowed\n", 405, headers=(("Allow", "GET, HEAD"),))
        self._send(response, is_head=method == "HEAD")
        self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(_IDLE_LIMIT_S, self._transport.abort)
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        else:
            self._transport.close()

    def _send(self, response: Response, *, is_head: bool) -> None:
        headers = [
            ("Content-Type", response.content_type),
            ("Content-Length", str(len(response.body))),
            *response.headers,
        ]
        head = h11.Response(
            status_code=response.status,
            headers=[(name.encode(), value.encode()) for name, value in headers],
            reason=HTTPStatus(response.status).phrase.encode(),
        )
        parts = [self._http.send(head)]
        if not is_head:
            parts.append(self._http.send(h11.Data(data=response.body)))
        parts.append(self._http.send(h11.EndOfMessage()))
        self._transport.write(b"".join(part for part in parts if part))
