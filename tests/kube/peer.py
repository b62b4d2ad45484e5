"""An HTTP/1.1 server on loopback that says exactly what a test wants, whole or broken."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import msgspec

END_OF_BODY = b"0\r\n\r\n"


class Request(msgspec.Struct, frozen=True):
    """One request; header names are in lower case."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]

    @property
    def is_watch(self) -> bool:
        return self.query.get("watch") == "1"

    @property
    def is_streaming_list(self) -> bool:
        return self.query.get("sendInitialEvents") == "true"


class Reply:
    """The response to one request, piece by piece."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.is_whole = False

    async def json(self, value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Send a whole response; `value` may be text that is JSON already."""
        body = value.encode() if isinstance(value, str) else msgspec.json.encode(value)
        lines = [
            f"HTTP/1.1 {status} Status",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        ]
        lines += [f"{name}: {text}" for name, text in (headers or {}).items()]
        await self.raw("\r\n".join([*lines, "", ""]).encode() + body)
        self.is_whole = True

    async def status(self, code: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        """Refuse, as an API server does."""
        await self.json(status(code, reason), code, headers)

    async def start(self) -> None:
        """Send the head of a chunked response."""
        await self.raw(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )

    async def chunk(self, content: bytes) -> None:
        """Send a piece of the body."""
        await self.raw(b"%x\r\n%b\r\n" % (len(content), content))

    async def event(self, kind: str, item: Any) -> None:
        """Send an event of a watch."""
        await self.chunk(msgspec.json.encode({"type": kind, "object": item}) + b"\n")

    async def end(self) -> None:
        """End a chunked response as agreed."""
        await self.raw(END_OF_BODY)
        self.is_whole = True

    async def raw(self, content: bytes) -> None:
        """Send bytes as they are."""
        self._writer.write(content)
        await self._writer.drain()


Handler = Callable[[Request, Reply], Awaitable[None]]


class Peer:
    """Serves while it is entered; a reply that a handler leaves unfinished is cut off.

    `requests` holds what was asked so far. A handler's error is raised when the server is left.
    """

    def __init__(self, handler: Handler, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.requests: list[Request] = []
        self.handler = handler
        self._tls = tls
        self._port = port
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._errors: list[Exception] = []
        self._news = asyncio.Condition()

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port, ssl=self._tls)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self.hang_up()
        if self._errors and error is None:
            raise self._errors[0]

    async def hang_up(self) -> None:
        """Cut all connections off."""
        connections = tuple(self._connections)
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def asked(self, matches: Callable[[Request], bool], times: int = 1) -> None:
        """Wait until so many requests of a sort have come."""
        async with self._news:
            await self._news.wait_for(lambda: sum(map(matches, self.requests)) >= times)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while await self._serve_one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError):
            # The client went, or the test hangs up: both are what a network does.
            pass
        except Exception as exc:  # noqa: BLE001  # whatever a handler raises is the test's to see
            self._errors.append(exc)
        finally:
            self._connections.discard(task)
            # A reset, not an end: what is cut off must not look like what ended.
            writer.transport.abort()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        url = urlsplit(head[0].split()[1])
        headers = dict(line.split(": ", 1) for line in head[1:] if line)
        request = Request(
            url.path, dict(parse_qsl(url.query)), {name.lower(): text for name, text in headers.items()}
        )
        async with self._news:
            self.requests.append(request)
            self._news.notify_all()
        reply = Reply(writer)
        await self.handler(request, reply)
        return reply.is_whole


def status(code: int, reason: str) -> dict[str, Any]:
    """Build a metav1.Status that says no."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": reason,
        "reason": reason,
        "code": code,
    }
