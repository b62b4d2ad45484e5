"""Queries over TCP and TLS (RFC 7766, RFC 7858), on the asyncio loop.

    accept ─► (TLS handshake) ─► Connection

Decides how many connections there may be and how they end. At a reload they don't: they go on with the server
that takes over (`hand_over`), and what is asked from then on is answered by it.
"""

import asyncio
import logging
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address

from coredns_lite.background import Background
from coredns_lite.plugin import Client, Transport
from coredns_lite.query_log import QueryLog
from coredns_lite.responder import Responder
from coredns_lite.server.connection import Connection
from coredns_lite.tally import Tally

MAX_CONNECTIONS = 2000
MAX_CONNECTIONS_PER_CLIENT = 500
_HANDSHAKE_TIMEOUT_S = 5.0
_ACCEPT_RETRY_S = 0.5
# A connection that is to end is given this long to be silent, and no longer than that to become so.
_SILENCE_S = 0.1
_MAX_DRAIN_S = 2.0

log = logging.getLogger(__name__)

TlsContext = Callable[[], ssl.SSLContext]
"""Gives what the next connection is served with."""


class StreamServer:
    """Serves the connections of one listening socket; `responder` may be replaced at any time."""

    def __init__(
        self,
        listener: socket.socket,
        responder: Responder,
        loop: asyncio.AbstractEventLoop,
        *,
        tls: TlsContext | None = None,
        query_log: QueryLog | None = None,
        tally: Tally | None = None,
    ) -> None:
        self.responder = responder
        self.query_log = query_log
        self.tally = tally
        self.received = 0
        self.transport: Transport = "tls" if tls else "tcp"
        self.background = Background()
        self.connections: set[Connection] = set()
        self._clients: Counter[IPv4Address | IPv6Address] = Counter()
        self._listener = listener
        self._loop = loop
        self._tls = tls

    async def run(self) -> None:
        """Accept connections for as long as the task lives."""
        readable = asyncio.Event()
        self._loop.add_reader(self._listener, readable.set)
        try:
            while True:
                await readable.wait()
                readable.clear()
                try:
                    self.accept_all()
                except OSError as exc:
                    if self._listener.fileno() < 0:
                        # Another server's by now.
                        return
                    # Out of descriptors or memory (accept(2)), which may pass.
                    log.warning("connection not accepted error=%r", exc.strerror)
                    await asyncio.sleep(_ACCEPT_RETRY_S)
                    readable.set()
        finally:
            self._stop_accepting()

    def accept_all(self) -> None:
        """Accept all connections that have come.

        Raises:
            OSError: out of descriptors or memory.
        """
        while True:
            try:
                client, address = self._listener.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                continue
            found = ip_address(address[0].partition("%")[0])
            peer = (found.ipv4_mapped if isinstance(found, IPv6Address) else None) or found
            if len(self.connections) >= MAX_CONNECTIONS or self._clients[peer] >= MAX_CONNECTIONS_PER_CLIENT:
                client.close()
                continue
            client.setblocking(False)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(self, Client(peer, address[1], self.transport))
            self.admit(connection)
            self.background.start(self._open(client, connection))

    def admit(self, connection: Connection) -> None:
        """Take a connection for one of ours."""
        connection.owner = self
        self.connections.add(connection)
        self._clients[connection.client.address] += 1

    def release(self, connection: Connection) -> None:
        """Take note that a connection has ended, or is another's."""
        if connection in self.connections:
            self.connections.discard(connection)
            self._clients[connection.client.address] -= 1
            if not self._clients[connection.client.address]:
                del self._clients[connection.client.address]

    def hand_over(self, successor: "StreamServer") -> None:
        """Have another server of the same address go on with the connections, and accept no more.

        Also with those whose handshake is under way, and with the replies that are owed.
        """
        with suppress(OSError):
            self.accept_all()
        self._stop_accepting()
        for connection in tuple(self.connections):
            self.release(connection)
            successor.admit(connection)
        self.background.hand_over(successor.background)

    async def drain(self) -> None:
        """Accept no more, let each connection have its replies, then close it."""
        with suppress(OSError):
            self.accept_all()
        self._stop_accepting()
        end = time.monotonic() + _MAX_DRAIN_S
        while self.connections and time.monotonic() < end:
            for connection in tuple(self.connections):
                connection.close_if_silent(_SILENCE_S)
            await asyncio.sleep(_SILENCE_S / 4)
        self.close()

    def close(self) -> None:
        """End all at once."""
        self._stop_accepting()
        for connection in tuple(self.connections):
            connection.abort()
        self.background.close()

    def _stop_accepting(self) -> None:
        if self._listener.fileno() >= 0:
            # The loop must not watch a number that is another file's by then.
            self._loop.remove_reader(self._listener)
            self._listener.close()

    async def _open(self, client: socket.socket, connection: Connection) -> None:
        tls = self._tls() if self._tls else None
        try:
            await self._loop.connect_accepted_socket(
                lambda: connection,
                client,
                ssl=tls,
                ssl_handshake_timeout=_HANDSHAKE_TIMEOUT_S if tls else None,
            )
        except (OSError, TimeoutError):
            # A client that is gone, or that speaks no TLS: its own affair.
            client.close()
            connection.owner.release(connection)
