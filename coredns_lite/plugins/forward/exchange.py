"""One question to one upstream and its reply, over a datagram or a stream.

    query ─► fresh socket, random port ─► upstream          query ─► idle or new connection ─► upstream
               ▲ wrong id, question, source: ignored                    ▲ kept for the next, until it expires

Decides which packet is the reply; what it says and what a failure means is for others.
"""

import asyncio
import os
import resource
import socket
import ssl
import struct

from coredns_lite.plugins.forward.targets import Target
from coredns_lite.wire.query import DNSSEC_OK, HEADER, OPT, Flag, Query
from coredns_lite.wire.record import RecordType
from coredns_lite.wire.reply import MAX_UDP_REPLY_BYTES
from coredns_lite.wire.response import is_reply_to

_LENGTH = struct.Struct("!H")
_OPTION = struct.Struct("!HH")
_MAX_PACKET_BYTES = 65_535

# These are between a client and the server that it asks, here us: NSID (RFC 5001), COOKIE (RFC 7873),
# edns-tcp-keepalive (RFC 7828) and Padding (RFC 7830).
_HOP_BY_HOP = frozenset({3, 10, 11, 12})


def allow_sockets() -> None:
    """Let the process have as many sockets as it may: each query under way takes one.

    The usual soft limit of 1,024 is there for programs that call select(2); Go's runtime lifts it as well.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def render_query(query: Query) -> bytes:
    """Render a client's query for an upstream, with an id that nobody can guess (RFC 5452 section 9.2).

    The question keeps the client's spelling (0x20) and EDNS is passed on, if there is any. AD is always set:
    so the upstream says what it has validated, whether or not this client asked (RFC 6840 section 5.7).
    """
    flags = query.flags & (Flag.RD | Flag.CD) | Flag.AD
    opt = b""
    if query.edns:
        options = b"".join(
            _OPTION.pack(code, len(data)) + data
            for code, data in query.edns.options
            if code not in _HOP_BY_HOP
        )
        do = DNSSEC_OK if query.edns.dnssec_ok else 0
        opt = OPT.pack(0, RecordType.OPT, MAX_UDP_REPLY_BYTES, 0, 0, do, len(options)) + options
    header = os.urandom(2) + HEADER.pack(0, flags, 1, 0, 0, 1 if opt else 0)[2:]
    return header + query.question + opt


async def ask_datagram(target: Target, packet: bytes, question: bytes) -> bytes:
    """Ask by UDP and wait for the reply, without end.

    The socket is connected: the kernel picks a random port for it, drops what comes from elsewhere, and says
    at once if nobody listens there.

    Raises:
        OSError: it can't be asked.
    """
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in target.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect((target.host, target.port))
        sock.send(packet)
        while True:
            reply = await loop.sock_recv(sock, _MAX_PACKET_BYTES)
            if is_reply_to(reply, _ident(packet), question):
                return reply


class Stream:
    """A connection for one question at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @property
    def is_open(self) -> bool:
        """Whether the upstream has not closed it, as far as is known."""
        return not self._reader.at_eof() and not self._writer.is_closing()

    async def ask(self, packet: bytes, question: bytes) -> bytes:
        """Ask and wait for the reply, without end.

        Raises:
            OSError, EOFError: the connection ended.
        """
        self._writer.write(_LENGTH.pack(len(packet)) + packet)
        await self._writer.drain()
        while True:
            (size_bytes,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            reply = await self._reader.readexactly(size_bytes)
            if is_reply_to(reply, _ident(packet), question):
                return reply

    def close(self) -> None:
        """Close it, without waiting for the upstream's part in it."""
        self._writer.transport.abort()


async def connect(target: Target, context: ssl.SSLContext | None, server_name: str) -> Stream:
    """Open a connection, with TLS if there is a context for it.

    Raises:
        OSError: it can't be had, or the certificate is not to be trusted.
    """
    name = server_name if context else None
    return Stream(*await asyncio.open_connection(target.host, target.port, ssl=context, server_hostname=name))


def _ident(packet: bytes) -> int:
    return packet[0] << 8 | packet[1]
