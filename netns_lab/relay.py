"""A way out for one server: takes connections inside of the lab and passes their bytes on from the machine.

The lab's namespaces lead nowhere else. What is passed on is not looked at: TLS stays between the two ends.
"""

import asyncio
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

from nodeplane.datapath import netns
from nodeplane.runtime.sd_notify import notify

_CHUNK_BYTES = 65536
_CONNECT_TIMEOUT_S = 10.0

# A machine that has gone without a word is found out on this side: the clients' own probes end here.
_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)


class Relay:
    """Connects to `host`:`port` from the namespace that `outside` leads to."""

    def __init__(self, outside: Path, host: str, port: int) -> None:
        self._outside = outside
        self._server = (host, port)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client until both sides have ended, or one is lost."""
        try:
            upstream = await asyncio.to_thread(self._connect)
        except OSError as exc:
            print(f"{self._server[0]}:{self._server[1]}: {exc}", file=sys.stderr, flush=True)
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection(sock=upstream)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_pass_on(reader, far_writer))
                tasks.create_task(_pass_on(far_reader, writer))
        except* OSError:
            pass
        finally:
            # Aborted, after all was passed on or when there is nobody to pass it on to.
            for end in (writer, far_writer):
                end.transport.abort()

    def _connect(self) -> socket.socket:
        # A thread of the pool's: it finds names and opens the socket where the machine does.
        with netns.inside(self._outside):
            upstream = socket.create_connection(self._server, timeout=_CONNECT_TIMEOUT_S)
        for option in _KEEPALIVE:
            upstream.setsockopt(*option)
        upstream.setblocking(False)
        return upstream


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes on until their end, and then the end."""
    while chunk := await reader.read(_CHUNK_BYTES):
        writer.write(chunk)
        await writer.drain()
    with suppress(OSError):
        writer.write_eof()
    await writer.drain()


async def _serve(relay: Relay, address: str, port: int) -> None:
    server = await asyncio.start_server(relay.accept, address, port)
    notify("READY=1")
    await server.serve_forever()


def main(arguments: list[str]) -> None:
    """Take NAMESPACE ADDRESS PORT HOST PORT: where to listen, and where to connect from here."""
    namespace, address, port, host, far_port = arguments
    # Held open, since this process is about to leave it.
    outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    with netns.inside(Path(namespace)):
        asyncio.run(_serve(Relay(Path(f"/proc/self/fd/{outside}"), host, int(far_port)), address, int(port)))


if __name__ == "__main__":
    main(sys.argv[1:])
