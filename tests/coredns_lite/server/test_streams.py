"""Queries over TCP, served in this process: framing, order, limits, transfers, the end."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import dns.message
import dns.rcode
import pytest

from coredns_lite.chain import Chain
from coredns_lite.plugin import Client, Outcome
from coredns_lite.responder import Responder
from coredns_lite.server import streams
from coredns_lite.server.listen import open_tcp
from coredns_lite.server.streams import StreamServer
from coredns_lite.wire.names import encode_name
from coredns_lite.wire.query import Query
from coredns_lite.wire.record import Record, RecordType, soa_record, txt_record
from coredns_lite.wire.reply import Answer, Rcode
from coredns_lite.zones import ZoneTable

LIMIT_S = 30.0
ZONE = encode_name("example.")
SOA = soa_record(ZONE, 1, 5)


class Scripted:
    """Says `later.` names late, when it is told to, and gives its zone away."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    def answer(self, query: Query, client: Client) -> Outcome:
        assert client.transport == "tcp"
        if query.qtype == RecordType.AXFR:
            return Answer(is_lasting=False, transfer=self.records)
        if query.name.startswith(b"\5later"):
            return self.wait()
        if query.name.startswith(b"\6broken"):
            raise ZeroDivisionError
        return Answer(answers=(txt_record(b"x" * 3000, 5),))

    async def wait(self) -> Answer:
        await self.go_on.wait()
        return Answer(Rcode.NXDOMAIN, is_lasting=False)

    def records(self) -> list[Record]:
        texts = [txt_record(b"y" * 200, 5, encode_name(f"host-{number}.example.")) for number in range(1000)]
        return [SOA, *texts, SOA]


Connect = Callable[[], Coroutine[Any, Any, tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@asynccontextmanager
async def served() -> AsyncIterator[tuple[StreamServer, Scripted, Connect]]:
    """Serve on a free port of loopback."""
    handler = Scripted()
    chains = ZoneTable({"example.": Chain(handler, "example.", answers_transfers=True)})
    listener = open_tcp("127.0.0.1", 0)
    port = listener.getsockname()[1]
    server = StreamServer(listener, Responder(chains, is_stream=True), asyncio.get_running_loop())
    task = asyncio.ensure_future(server.run())

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", port)

    try:
        async with asyncio.timeout(LIMIT_S):
            yield server, handler, connect
    finally:
        task.cancel()
        server.close()


def frame(name: str, ident: int, rtype: str = "A") -> bytes:
    wire = dns.message.make_query(name, rtype, id=ident).to_wire()
    return struct.pack("!H", len(wire)) + wire


async def read(reader: asyncio.StreamReader) -> dns.message.Message:
    (size,) = struct.unpack("!H", await reader.readexactly(2))
    return dns.message.from_wire(await reader.readexactly(size), xfr=True)


def test_pipelined_in_pieces_and_out_of_order() -> None:
    """Queries come however TCP cuts them; one that waits for its answer holds up none behind it."""

    async def main() -> None:
        async with served() as (_, handler, connect):
            reader, writer = await connect()
            stream = frame("later.example.", 1) + frame("a.example.", 2) + frame("a.example.", 3)
            for at in range(len(stream)):
                writer.write(stream[at : at + 1])
                await writer.drain()
                await asyncio.sleep(0)
            assert [(await read(reader)).id for _ in range(2)] == [2, 3]
            handler.go_on.set()
            late = await read(reader)
            assert (late.id, late.rcode()) == (1, dns.rcode.NXDOMAIN)
            writer.close()

    asyncio.run(main())


def test_long_answers_are_whole() -> None:
    """No size but TCP's own counts."""

    async def main() -> None:
        async with served() as (_, _, connect):
            reader, writer = await connect()
            writer.write(frame("a.example.", 1, "TXT"))
            assert len(b"".join((await read(reader)).answer[0][0].strings)) == 3000
            writer.close()

    asyncio.run(main())


def test_end_of_queries_is_not_end_of_answers() -> None:
    """A client may close its side when it has asked (RFC 7766 section 6.2.4)."""

    async def main() -> None:
        async with served() as (_, handler, connect):
            reader, writer = await connect()
            writer.write(frame("later.example.", 1))
            writer.write_eof()
            await asyncio.sleep(0)
            asyncio.get_running_loop().call_later(0.05, handler.go_on.set)
            assert (await read(reader)).id == 1
            assert await reader.read() == b""

    asyncio.run(main())


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(b"\0\0", id="empty message"),
        pytest.param(b"\0\1x", id="shorter than a header"),
        pytest.param(b"\0\x0c" + b"\0\1\x80\0" + bytes(8), id="a reply"),
        pytest.param(frame("broken.example.", 9), id="a defect of a plugin"),
    ],
)
def test_what_gets_no_reply(garbage: bytes) -> None:
    async def main() -> None:
        async with served() as (_, _, connect):
            reader, writer = await connect()
            writer.write(garbage + frame("a.example.", 1))
            assert (await read(reader)).id == 1
            writer.close()

    asyncio.run(main())


def test_transfer() -> None:
    """The whole zone comes in several messages, the SOA first and last, and then the stream goes on."""

    async def main() -> None:
        async with served() as (_, _, connect):
            reader, writer = await connect()
            writer.write(frame("example.", 1, "AXFR"))
            owners: list[str] = []
            messages = 0
            while owners.count("example.") < 2:
                message = await read(reader)
                messages += 1
                owners += [str(rrset.name) for rrset in message.answer for _ in rrset]
            assert owners == ["example.", *(f"host-{number}.example." for number in range(1000)), "example."]
            assert messages > 1
            writer.write(frame("a.example.", 2))
            assert (await read(reader)).id == 2
            writer.close()

    asyncio.run(main())


def test_idle_connections_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a query does not keep one open."""
    monkeypatch.setattr(streams, "IDLE_TIMEOUT_S", 0.1)

    async def main() -> None:
        async with served() as (_, _, connect):
            reader, writer = await connect()
            writer.write(frame("a.example.", 1)[:20])
            assert await reader.read() == b""

    asyncio.run(main())


def test_connections_of_a_client_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is closed at once; when another goes, there is room again."""
    monkeypatch.setattr(streams, "MAX_CONNECTIONS_PER_CLIENT", 2)

    async def main() -> None:
        async with served() as (server, _, connect):
            held = [await connect() for _ in range(2)]
            for reader, writer in held:
                writer.write(frame("a.example.", 1))
                await read(reader)
            reader, _ = await connect()
            assert await reader.read() == b""
            held[0][1].close()
            while len(server.connections) > 1:
                await asyncio.sleep(0.01)
            reader, writer = await connect()
            writer.write(frame("a.example.", 1))
            assert (await read(reader)).id == 1

    asyncio.run(main())


def test_pending_queries_of_a_connection_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too much waits, and is answered in the end."""
    monkeypatch.setattr(streams, "MAX_PENDING", 2)

    async def main() -> None:
        async with served() as (_, handler, connect):
            reader, writer = await connect()
            writer.write(b"".join(frame("later.example.", number) for number in range(10)))
            handler.go_on.set()
            assert sorted([(await read(reader)).id for _ in range(10)]) == [*range(10)]
            writer.close()

    asyncio.run(main())


def test_drain_answers_what_was_asked() -> None:
    """Connections end when nothing is owed to them; none is accepted any more."""

    async def main() -> None:
        async with served() as (server, handler, connect):
            reader, writer = await connect()
            writer.write(frame("a.example.", 1) + frame("later.example.", 2))
            assert (await read(reader)).id == 1
            draining = asyncio.ensure_future(server.drain())
            await asyncio.sleep(0)
            handler.go_on.set()
            assert (await read(reader)).id == 2
            assert await reader.read() == b""
            await draining
            with pytest.raises(ConnectionRefusedError):
                await connect()

    asyncio.run(main())


def test_two_listeners_of_one_address() -> None:
    """A second one may be opened beside the first, as a new process does."""
    with open_tcp("127.0.0.1", 0) as first, open_tcp("127.0.0.1", first.getsockname()[1]) as second:
        assert first.getsockname() == second.getsockname()
        assert first.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
