"""The HTTP server, asked over real connections on loopback."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from nodeplane.errors import KernelError
from nodeplane.runtime.http import Request, Response, keep_serving, route, serve
from nodeplane.runtime.listen import ListenAddress, open_listener

BIG = b"x" * (4 << 20)
ASKED: list[Request] = []


def echo(request: Request) -> Response:
    ASKED.append(request)
    return Response(request.query.encode(), headers=(("X-Test", "yes"),))


HANDLERS = route(
    {
        "/echo": echo,
        "/big": lambda _: Response(BIG),
        "/bad": lambda _: Response(b"no\n", 503, "application/json"),
    }
)


def listener() -> socket.socket:
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    # As `open_listener` does it.
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind(("127.0.0.1", 0))
    found.listen()
    return found


def with_server(scenario: Callable[[int], Awaitable[None]]) -> None:
    async def main() -> None:
        listening = listener()
        port = listening.getsockname()[1]
        task = asyncio.create_task(serve(listening, HANDLERS))
        try:
            async with asyncio.timeout(60):
                await scenario(port)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    asyncio.run(main())


def exchange(sent: bytes) -> bytes:
    """Send bytes, and nothing more, and return all that comes back."""
    answers = []

    async def scenario(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        writer.write_eof()
        answers.append(await reader.read())
        writer.close()

    with_server(scenario)
    return answers[0]


def head(
    body: bytes, status: str = "200 OK", kind: str = "text/plain; charset=utf-8", extra: str = ""
) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode()


YES = "X-Test: yes\r\n"
NOT_FOUND = b"404 page not found\n"
NOT_ALLOWED = b"405 method not allowed\n"


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        pytest.param(
            b"GET /echo?a=1 HTTP/1.1\r\nHost: x\r\n\r\n", head(b"a=1", extra=YES) + b"a=1", id="get"
        ),
        pytest.param(b"HEAD /echo?a HTTP/1.1\r\nHost: x\r\n\r\n", head(b"a", extra=YES), id="head"),
        pytest.param(
            b"GET /echo?1 HTTP/1.1\r\nHost: x\r\n\r\nGET /echo?22 HTTP/1.1\r\nHost: x\r\n\r\n",
            head(b"1", extra=YES) + b"1" + head(b"22", extra=YES) + b"22",
            id="two, one after the other",
        ),
        pytest.param(
            b"GET /bad HTTP/1.1\r\nHost: x\r\n\r\n",
            head(b"no\n", "503 Service Unavailable", "application/json") + b"no\n",
            id="status and type",
        ),
        pytest.param(
            b"GET /else HTTP/1.1\r\nHost: x\r\n\r\n",
            head(NOT_FOUND, "404 Not Found") + NOT_FOUND,
            id="unknown path",
        ),
        pytest.param(
            b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi",
            head(NOT_ALLOWED, "405 Method Not Allowed", extra="Allow: GET, HEAD\r\n") + NOT_ALLOWED,
            id="other method",
        ),
        pytest.param(b"", b"", id="nothing"),
    ],
)
def test_answers(sent: bytes, expected: bytes) -> None:
    """Each request is answered, in order."""
    assert exchange(sent) == expected


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 8 + b"\r\n\r\n", b"400", id="TLS"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", b"400", id="no host"),
        pytest.param(b"GET /ec", b"400", id="half a request"),
        pytest.param(b"GET /" + b"x" * (1 << 17) + b" HTTP/1.1\r\n", b"431", id="endless line"),
    ],
)
def test_garbage(sent: bytes, status: bytes) -> None:
    """What is no request is refused, and the connection closed."""
    assert exchange(sent).startswith(b"HTTP/1.1 " + status)


def test_close_when_asked() -> None:
    """HTTP/1.0 and Connection: close end with the answer."""

    async def scenario(port: int) -> None:
        for request in (
            b"GET /echo?1 HTTP/1.0\r\n\r\n",
            b"GET /echo?1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            assert (await reader.read()).endswith(b"\r\n\r\n1")
            writer.close()

    with_server(scenario)


def test_slow_reader_gets_all() -> None:
    """Answers that fill the socket wait, also those to requests that came together; none is lost."""
    count = 3

    async def scenario(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n" * count)
        for _ in range(20):
            await asyncio.sleep(0)
        assert await reader.readexactly(count * (len(head(BIG)) + len(BIG))) == (head(BIG) + BIG) * count
        writer.close()

    with_server(scenario)


def test_headers_reach_the_handler() -> None:
    """Names in lower case, as HTTP does not tell them apart."""
    asked = ASKED
    asked.clear()
    exchange(b"GET /echo HTTP/1.1\r\nHost: x\r\nACCEPT: text/html\r\n\r\n")

    assert asked == [Request("/echo", "", "GET", {"host": "x", "accept": "text/html"})]


def test_many_connections() -> None:
    """Connections beyond the limit are closed, those within it live on."""

    async def scenario(port: int) -> None:
        opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(70)]
        ends = [asyncio.ensure_future(reader.read(1)) for reader, _ in opened]
        done, left = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        while len(done) < 6:
            more, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            done |= more
        reader, writer = opened[0]
        ends[0].cancel()
        writer.write(b"GET /echo?1 HTTP/1.1\r\nHost: x\r\n\r\n")
        with suppress(asyncio.CancelledError):
            await ends[0]
        assert (await reader.readline()) == b"HTTP/1.1 200 OK\r\n"
        for end in ends:
            end.cancel()
        await asyncio.gather(*ends, return_exceptions=True)
        for _, writer in opened:
            writer.close()

    with_server(scenario)


def test_must_listen() -> None:
    """A port that must be had and is taken is an error."""
    with listener() as taken:
        address = ListenAddress("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(KernelError, match="EADDRINUSE"):
            asyncio.run(keep_serving(address, HANDLERS, must_listen=True))


def test_listens_once_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that is taken is tried again."""
    monkeypatch.setattr("nodeplane.runtime.http._RETRY_S", 0.01)

    async def scenario() -> None:
        taken = listener()
        port = taken.getsockname()[1]
        task = asyncio.create_task(keep_serving(ListenAddress("127.0.0.1", port), HANDLERS))
        await asyncio.sleep(0)
        assert not task.done()
        taken.close()
        async with asyncio.timeout(30):
            while True:
                try:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    break
                except OSError:
                    await asyncio.sleep(0.005)
            writer.write(b"GET /echo?1 HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await reader.readline()) == b"HTTP/1.1 200 OK\r\n"
        writer.close()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(scenario())


def test_end_frees_the_port() -> None:
    """A server that has ended holds neither its port nor a connection."""

    async def main() -> None:
        listening = listener()
        port = listening.getsockname()[1]
        task = asyncio.create_task(serve(listening, HANDLERS))
        await asyncio.sleep(0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /echo?1 HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readline()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        with suppress(ConnectionError):
            await reader.read()
        open_listener(ListenAddress("127.0.0.1", port)).close()
        writer.close()

    asyncio.run(main())
