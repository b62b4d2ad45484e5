"""Upstreams for tests: a server of plain sockets whose every reply a test writes itself."""

import asyncio
import ssl
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from ipaddress import IPv4Address
from types import TracebackType
from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from coredns_lite.plugin import Client
from coredns_lite.wire.query import Query, decode_query
from coredns_lite.wire.reply import MAX_TCP_REPLY_BYTES, Answer, render_reply

UDP = Client(IPv4Address("127.0.0.1"), 4000, "udp")
TCP = Client(IPv4Address("127.0.0.1"), 4000, "tcp")
# Generous for a slow machine; nothing waits this long unless it is broken.
LIMIT_S = 30.0

Script = Callable[[dns.message.Message, str], bytes | None]
"""Gets a query and `udp`, `tcp` or `tls`; what it returns is sent, if anything."""


def ask(name: str, rtype: str = "A", **options: Any) -> Query:
    """Make a client's query."""
    return decode_query(dns.message.make_query(name, rtype, **options).to_wire())


def option(code: int, data: bytes) -> dns.edns.Option:
    """Make an EDNS option."""
    return dns.edns.GenericOption(dns.edns.OptionType.make(code), data)


def shown(query: Query, answer: Answer) -> dns.message.Message:
    """Read an answer as the client reads its reply."""
    return dns.message.from_wire(render_reply(query, answer, MAX_TCP_REPLY_BYTES))


def data(query: Query, answer: Answer) -> list[str]:
    """Return status and answers of a reply, one text each."""
    reply = shown(query, answer)
    return [dns.rcode.to_text(reply.rcode()), *(str(rrset) for rrset in reply.answer)]


def reply(
    query: dns.message.Message,
    *answers: str,
    authority: str = "",
    rcode: str = "NOERROR",
    truncated: bool = False,
) -> dns.message.Message:
    """Make a reply with records as in a zone file; the owner `@` is the question's name."""
    made = dns.message.make_response(query, recursion_available=True)
    made.set_rcode(dns.rcode.from_text(rcode))
    if truncated:
        made.flags |= dns.flags.TC
    name = str(query.question[0].name)
    for section, texts in ((made.answer, answers), (made.authority, (authority,) if authority else ())):
        for text in texts:
            owner, ttl, rtype, rdata = text.split(None, 3)
            section.append(dns.rrset.from_text(name if owner == "@" else owner, int(ttl), "IN", rtype, rdata))
    return made


def always(*answers: str, **options: str) -> Script:
    """Answer every question with these records."""
    return lambda query, _: reply(query, *answers, **options).to_wire()  # type: ignore[arg-type]


async def eventually(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(LIMIT_S):
        while not holds():
            await asyncio.sleep(0.005)


class Upstream:
    """A server on a loopback port, over UDP and TCP; `asked` is what it was asked so far, and how.

    `gate` is awaited before each reply, and what `before` makes is sent before it.
    """

    def __init__(
        self,
        script: Script,
        *,
        context: ssl.SSLContext | None = None,
        udp: bool = True,
        host: str = "127.0.0.1",
    ) -> None:
        self.script = script
        self.asked: list[tuple[str, dns.message.Message]] = []
        self.peers: list[tuple[str, int]] = []
        self.connections = 0
        self.target = ""
        self.gate: Callable[[], Awaitable[object]] | None = None
        self.before: Callable[[dns.message.Message], bytes] | None = None
        self.port = 0
        self._context = context
        self._has_udp = udp
        self._host = host
        self._transport: asyncio.DatagramTransport | None = None
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def names(self) -> list[str]:
        """What was asked, names only."""
        return [str(query.question[0].name) for _, query in self.asked]

    @property
    def open_connections(self) -> int:
        """How many connections there are."""
        return len(self._writers)

    async def __aenter__(self) -> "Upstream":
        await self.start()
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop()

    async def start(self) -> None:
        """Listen; on the same port as before if it was stopped."""
        while True:
            if self._has_udp:
                self._transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                    lambda: _Datagrams(self), local_addr=(self._host, self.port)
                )
                self.port = self._transport.get_extra_info("sockname")[1]
            try:
                self._server = await asyncio.start_server(
                    self._serve, self._host, self.port, ssl=self._context
                )
            except OSError:
                # The port that UDP got is taken in TCP.
                self.stop()
                self.port = 0
                continue
            self.port = self._server.sockets[0].getsockname()[1]
            return

    def stop(self) -> None:
        """Stop listening, and end all connections."""
        if self._transport:
            self._transport.close()
        if self._server:
            self._server.close()
        self.drop()
        for task in self._tasks:
            task.cancel()

    def drop(self) -> None:
        """End all connections."""
        for writer in self._writers:
            writer.transport.abort()

    def send(self, wire: bytes, peer: tuple[str, int]) -> None:
        """Send a datagram to anybody."""
        assert self._transport
        self._transport.sendto(wire, peer)

    def take(
        self, packet: bytes, protocol: str, peer: tuple[str, int], send: Callable[[bytes], None]
    ) -> None:
        """Answer a query as the script says, once the gate is open."""
        task = asyncio.get_running_loop().create_task(self._answer(packet, protocol, peer, send))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(
        self, packet: bytes, protocol: str, peer: tuple[str, int], send: Callable[[bytes], None]
    ) -> None:
        query = dns.message.from_wire(packet)
        self.asked.append((protocol, query))
        self.peers.append(peer)
        if self.gate:
            await self.gate()
        if self.before:
            send(self.before(query))
        wire = self.script(query, protocol)
        if wire is not None:
            send(wire)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        with suppress(EOFError, OSError, asyncio.CancelledError):
            while True:
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                self.take(
                    await reader.readexactly(length),
                    "tls" if self._context else "tcp",
                    writer.get_extra_info("peername"),
                    lambda wire: writer.write(struct.pack("!H", len(wire)) + wire),
                )
        self._writers.discard(writer)
        writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._upstream.take(data, "udp", addr, lambda wire: self._upstream.send(wire, addr))
