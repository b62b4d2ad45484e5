"""A proxy that ends TLS on both sides and can spoil one answer of the server in the middle of an event."""

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nodeplane.datapath import netns

LIMIT_S = 60.0

Spoil = Callable[[asyncio.StreamWriter, bytes, bytes], Awaitable[None]]
"""Gets the client and the answer's bytes, cut in the middle of an event; it may close the connection."""


class TamperingProxy:
    """Passes bytes on until it is armed."""

    def __init__(self, upstream_port: int, upstream: ssl.SSLContext, own: ssl.SSLContext) -> None:
        self.port = 0
        self.done = threading.Event()
        self._upstream_port = upstream_port
        self._upstream = upstream
        self._own = own
        self._armed: tuple[bytes, Spoil] | None = None
        self._clients: set[asyncio.StreamWriter] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()
        self._stop = asyncio.Event()

    def arm(self, needle: bytes, spoil: Spoil) -> None:
        """Spoil the next bytes of the server in which the needle is."""
        self.done.clear()
        self._armed = (needle, spoil)

    def hang_up(self) -> None:
        """Cut all connections off."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._abort_all)

    def _abort_all(self) -> None:
        for client in self._clients:
            client.transport.abort()

    @contextmanager
    def running(self, ns: Path) -> Iterator[None]:
        """Serve on loopback inside of a namespace, in a thread with a loop of its own."""

        def run() -> None:
            with netns.inside(ns):
                asyncio.run(self._serve())

        thread = threading.Thread(target=run, name="proxy")
        thread.start()
        try:
            assert self._ready.wait(LIMIT_S)
            yield
        finally:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._stop.set)
            thread.join()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._own)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        self._abort_all()

    async def _accept(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self._clients.add(client)
        server: asyncio.StreamWriter | None = None
        with suppress(OSError):
            answers, server = await asyncio.open_connection(
                "127.0.0.1", self._upstream_port, ssl=self._upstream
            )
            both = [
                asyncio.create_task(_pass_on(reader, server)),
                asyncio.create_task(self._pass_answers_on(answers, client)),
            ]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
        self._clients.discard(client)
        for each in (client, server):
            if each is not None and not each.is_closing():
                each.transport.abort()

    async def _pass_answers_on(self, answers: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        while data := await answers.read(1 << 16):
            if self._armed is None or self._armed[0] not in data:
                client.write(data)
                await client.drain()
                continue
            (needle, spoil), self._armed = self._armed, None
            middle = data.index(needle) + len(needle)
            await spoil(client, data[:middle], data[middle:])
            self.done.set()
            if client.is_closing():
                return


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()


def cut() -> Spoil:
    """Send half of an event, then end the connection."""

    async def spoil(client: asyncio.StreamWriter, first: bytes, _rest: bytes) -> None:
        client.write(first)
        await client.drain()
        client.close()

    return spoil


def send_instead(whole: bytes = b"") -> Spoil:
    """End the answer as agreed, after half of the event or after other bytes."""

    async def spoil(client: asyncio.StreamWriter, first: bytes, _rest: bytes) -> None:
        # Behind the chunk's own size, which would promise more.
        line = whole or first[first.rindex(b"\r\n") + 2 :]
        client.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(line), line))
        await client.drain()
        client.close()

    return spoil


def pause(seconds: float) -> Spoil:
    """Let the network stand still in the middle of an event."""

    async def spoil(client: asyncio.StreamWriter, first: bytes, rest: bytes) -> None:
        client.write(first)
        await client.drain()
        # The fault itself is this long.
        await asyncio.sleep(seconds)
        client.write(rest)
        await client.drain()

    return spoil
