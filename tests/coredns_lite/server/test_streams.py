"""Queries over TCP, served in this process: framing, order, limits, transfers, the end."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any

import dns.message
import dns.rcode
import pytest

from coredns_lite.chain import Chain
from coredns_lite.plugin import Client, Outcome
from coredns_lite.responder import Responder
from coredns_lite.server import connection, streams
from coredns_lite.server.connection import Connection
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
        self.at_work = self.most_at_work = 0

    def answer(self, query: Query, client: Client) -> Outcome:
        assert client.transport == "tcp"
        if query.qtype == RecordType.AXFR:
            return Answer(is_lasting=False, transfer=self.records)
        if query.name.startswith(b"\5later"):
            self.at_work += 1
            self.most_at_work = max(self.most_at_work, self.at_work)
            return self.wait()
        if query.name.startswith(b"\6broken"):
            raise ZeroDivisionError
        return Answer(answers=(txt_record(b"x" * 3000, 5),))

    async def wait(self) -> Answer:
        await self.go_on.wait()
        self.at_work -= 1
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
    monkeypatch.setattr(connection, "IDLE_TIMEOUT_S", 0.1)

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
    """What is too much waits, and is answered in the end, also if the client has closed its side."""
    monkeypatch.setattr(connection, "MAX_PENDING", 2)

    async def main() -> None:
        async with served() as (_, handler, connect):
            reader, writer = await connect()
            writer.write(b"".join(frame("later.example.", number) for number in range(10)))
            writer.write_eof()
            while handler.at_work < 2:
                await asyncio.sleep(0.01)
            handler.go_on.set()
            assert sorted([(await read(reader)).id for _ in range(10)]) == [*range(10)]
            assert await reader.read() == b""
            assert handler.most_at_work == 2

    asyncio.run(main())


def test_who_does_not_read_is_not_answered() -> None:
    """The queries of a client that is behind wait; all are answered once it reads."""
    count = 8000

    async def main() -> None:
        async with served() as (server, _, connect):
            reader, writer = await connect()
            writer.write(b"".join(frame("a.example.", number) for number in range(count)))
            while not server.connections:
                await asyncio.sleep(0.01)
            (held,) = server.connections
            while held._can_write.is_set():
                await asyncio.sleep(0.01)
            assert held._transport
            assert held._transport.get_write_buffer_size() < 200_000
            assert server.received < count
            idents = []
            for _ in range(count):
                (size,) = struct.unpack("!H", await reader.readexactly(2))
                idents.append(int.from_bytes((await reader.readexactly(size))[:2], "big"))
            assert idents == [*range(count)]
            assert server.received == count
            writer.close()

    asyncio.run(main())


class Behind(asyncio.Transport):
    """Takes one write at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.connection: Connection | None = None
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert data
        assert self.connection
        self.connection.pause_writing()

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    abort = close

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


def test_what_waits_for_the_client_is_owed() -> None:
    """A connection with queries that nobody looked at yet is not silent; it ends when they are answered."""

    async def main() -> None:
        async with served() as (server, _, _):
            transport = Behind()
            held = Connection(server, Client(ip_address("127.0.0.1"), 1, "tcp"))
            transport.connection = held
            held.connection_made(transport)
            held.data_received(b"".join(frame("a.example.", number) for number in range(100)))
            held.close_if_silent(0)
            assert held.eof_received()
            rounds = 0
            while not transport.is_closed:
                rounds += 1
                assert rounds < 100
                held.resume_writing()
            assert server.received == 100
            assert rounds > 1
            held.connection_lost(None)

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


def test_another_server_goes_on() -> None:
    """Replies that are owed come, what is asked then is the other's, and its limits count the connection."""

    async def main() -> None:
        async with served() as (old, handler, connect), served() as (new, other, _):
            reader, writer = await connect()
            writer.write(frame("later.example.", 1))
            while not handler.at_work:
                await asyncio.sleep(0.01)
            old.hand_over(new)
            old.close()
            assert (len(old.connections), len(new.connections)) == (0, 1)
            writer.write(frame("later.example.", 2))
            while not other.at_work:
                await asyncio.sleep(0.01)
            other.go_on.set()
            assert (await read(reader)).id == 2
            handler.go_on.set()
            assert (await read(reader)).id == 1
            writer.close()
            while new.connections:
                await asyncio.sleep(0.01)
            assert not new._clients

    asyncio.run(main())


def test_two_listeners_of_one_address() -> None:
    """A second one may be opened beside the first, as a new process does."""
    with open_tcp("127.0.0.1", 0) as first, open_tcp("127.0.0.1", first.getsockname()[1]) as second:
        assert first.getsockname() == second.getsockname()
        assert first.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
