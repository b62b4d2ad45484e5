"""Bodies read past h11: the same bytes as through it, whatever the head says and however it comes."""

import asyncio
import ssl
from base64 import b64encode
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import httpcore2
import pytest

from nodeplane.errors import ProtocolError
from nodeplane.kube.byte_stream import ByteStream, ByteStreams, read_body
from nodeplane.kube.connection import Connection
from nodeplane.kube.kubeconfig import Cluster, Target, User
from tests.kube.api_cluster import connect
from tests.kube.certificates import Authority
from tests.kube.peer import Peer, Reply, Request

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
BODY = b"3\r\none\r\n3\r\ntwo\r\n"
END = b"0\r\n\r\n"
# Many TLS records, none like another: one out of its place must show.
LARGE = b"".join(b"%d," % number for number in range(70_000))


async def fetch(connection: Connection, times: int = 1) -> list[bytes | str]:
    """Read some bodies one after the other from one client; an error counts as one, by its name."""
    found: list[bytes | str] = []
    async with await connection.open() as client, asyncio.timeout(60):
        for _ in range(times):
            async with client.stream("GET", "/") as response:
                try:
                    found.append(b"".join([piece async for piece in read_body(response)]))
                except (ProtocolError, OSError) as exc:
                    found.append(type(exc).__name__)
    return found


@pytest.mark.parametrize(
    ("pieces", "body"),
    [
        pytest.param([CHUNKED + BODY + END], b"onetwo", id="at once"),
        pytest.param([CHUNKED, BODY, END], b"onetwo", id="head, body, end"),
        pytest.param([CHUNKED[:-3], CHUNKED[-3:] + BODY + END], b"onetwo", id="cut in the head's end"),
        pytest.param([CHUNKED[:-1], CHUNKED[-1:], BODY + END], b"onetwo", id="cut before its last byte"),
        pytest.param([CHUNKED + BODY + b"0\r\nDigest: x\r\n\r\n"], b"onetwo", id="trailer"),
        pytest.param([b"HTTP/1.1 103 Early\r\n\r\n" + CHUNKED + BODY + END], b"onetwo", id="an early head"),
        pytest.param([CHUNKED.replace(b"\r\n", b"\n") + BODY + END], b"onetwo", id="lines without CR"),
        pytest.param([HEAD + b"Content-Length: 6\r\n\r\none", b"two"], b"onetwo", id="length"),
        pytest.param([HEAD + b"Content-Length: 6\r\n\r\n\r\n\r\no", b"n"], b"\r\n\r\non", id="like an end"),
        pytest.param([CHUNKED, b"%x\r\n%b\r\n" % (len(LARGE), LARGE), END], LARGE, id="large"),
        pytest.param(
            [CHUNKED + b"".join(b"1\r\n%c\r\n" % each for each in LARGE[:90_000]) + END],
            LARGE[:90_000],
            id="many chunks",
        ),
        pytest.param([HEAD + b"Content-Length: %d\r\n\r\n" % len(LARGE) + LARGE], LARGE, id="large length"),
        pytest.param([CHUNKED + b"{}\r\n"], "ProtocolError", id="not chunked at all"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_body(tmp_path: Path, pieces: Sequence[bytes], body: bytes | str, tls: bool) -> None:
    async def handle(request: Request, reply: Reply) -> None:
        for piece in pieces:
            await reply.raw(piece)
            await asyncio.sleep(0.005)
        reply.is_whole = True

    async def walk() -> list[bytes | str]:
        authority = Authority()
        async with Peer(handle, authority.server_context(tmp_path) if tls else None) as peer:
            return await fetch(trusting(peer.url, authority))

    assert asyncio.run(walk()) == [body]


def trusting(url: str, authority: Authority) -> Connection:
    """Return a connection that trusts an authority."""
    cluster = Cluster(server=url, certificate_auth_data=b64encode(authority.pem).decode())
    return Connection(lambda: Target(cluster, User(), Path("/")))


@pytest.mark.parametrize(
    "piece",
    [
        pytest.param(BODY, id="between chunks"),
        pytest.param(BODY[:4], id="in a chunk"),
        pytest.param(b"", id="at once"),
    ],
)
def test_cut_off(piece: bytes) -> None:
    """A body without its end is an error."""

    async def handle(request: Request, reply: Reply) -> None:
        await reply.raw(CHUNKED + piece)

    async def walk() -> list[bytes | str]:
        async with Peer(handle) as peer:
            return await fetch(connect(peer.url))

    assert asyncio.run(walk()) == ["ConnectionResetError"]


def test_a_connection_is_used_again() -> None:
    """The end of a body is h11's to see, which then knows that the connection is free."""

    async def handle(request: Request, reply: Reply) -> None:
        await reply.raw(CHUNKED + BODY + END)
        reply.is_whole = True

    async def walk() -> tuple[list[bytes | str], int]:
        connections = 0
        async with Peer(handle) as peer:
            accept = peer._accept

            async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                nonlocal connections
                connections += 1
                await accept(reader, writer)

            server = await asyncio.start_server(count, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            bodies = await fetch(connect(f"http://127.0.0.1:{port}"), times=3)
            server.close()
        return bodies, connections

    assert asyncio.run(walk()) == ([b"onetwo"] * 3, 1)


def test_the_client_is_on_our_streams() -> None:
    """httpx2 has no public way to this; a release that moves it must not make watches four times as dear."""

    async def handle(request: Request, reply: Reply) -> None:
        await reply.json({})

    async def walk() -> bool:
        async with (
            Peer(handle) as peer,
            await connect(peer.url).open() as client,
            client.stream("GET", "/") as response,
        ):
            return isinstance(response.extensions["network_stream"], ByteStream)

    assert asyncio.run(walk())


async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Do what a proxy does for CONNECT: open the way, then pass bytes on."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    host, _, port = head.split()[1].rpartition(":")
    answers, server = await asyncio.open_connection(host, int(port))
    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

    async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await source.read(1 << 16):
                sink.write(data)
                await sink.drain()
        sink.close()

    await asyncio.gather(pass_on(reader, server), pass_on(answers, writer))


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_tls_through_a_proxy(tmp_path: Path, scheme: str) -> None:
    """TLS with the server runs inside of the proxy's connection, which may be TLS itself."""

    async def handle(request: Request, reply: Reply) -> None:
        await reply.raw(CHUNKED + b"%x\r\n%b\r\n" % (len(LARGE), LARGE) + END)
        reply.is_whole = True

    async def walk() -> tuple[bool, bytes]:
        authority = Authority()
        trusted = ssl.create_default_context(cadata=authority.pem.decode())
        tls = authority.server_context(tmp_path)
        proxy = await asyncio.start_server(relay, "127.0.0.1", 0, ssl=tls if scheme == "https" else None)
        port = proxy.sockets[0].getsockname()[1]
        async with (
            Peer(handle, tls) as peer,
            httpcore2.AsyncHTTPProxy(
                proxy_url=f"{scheme}://127.0.0.1:{port}",
                proxy_ssl_context=trusted if scheme == "https" else None,
                ssl_context=trusted,
                network_backend=ByteStreams(),
            ) as pool,
            pool.stream("GET", peer.url) as response,
        ):
            body = await response.aread()
            proxy.close()
            return isinstance(response.extensions["network_stream"], ByteStream), body

    async def limited() -> tuple[bool, bytes]:
        async with asyncio.timeout(60):
            return await walk()

    assert asyncio.run(limited()) == (True, LARGE)
