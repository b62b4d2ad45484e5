"""What a reload does to queries and connections under way, and to the servers that it replaces."""

import asyncio
import errno
import os
import signal
import socket
import ssl
import struct
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import dns.message
import pytest

from coredns_lite import daemon
from coredns_lite.config import Listener
from coredns_lite.daemon import Daemon
from coredns_lite.plugins import reload
from coredns_lite.serving import Server
from nodeplane.errors import KernelError
from tests.coredns_lite import upstreams
from tests.coredns_lite.running import LIMIT_S, free_port, own_address
from tests.kube.certificates import Authority

NAME = "a.example."
QUERY = dns.message.make_query(NAME, "A").to_wire()


class Program:
    """A daemon in this process that serves one name from its Corefile; the name's address says which."""

    def __init__(self, folder: Path) -> None:
        self.address = own_address()
        self.port = free_port(self.address)
        self.corefile = folder / "Corefile"
        self.daemon = Daemon(self.corefile)
        self.write(1)

    def write(self, version: int, extra: str = "") -> None:
        """Write the Corefile; `extra` are more server blocks."""
        self.corefile.write_text(
            f".:{self.port} {{\n bind {self.address}\n hosts /dev/null {{\n"
            f"  10.0.0.{version} {NAME}\n }}\n}}\n{extra}"
        )

    async def reload(self) -> None:
        """Have the Corefile read, and wait for the end of that."""
        # Both are counted when the daemon waits for the next time again.
        before = self.daemon._force, reload.FAILED._value.get()
        os.kill(os.getpid(), signal.SIGUSR1)
        await upstreams.eventually(lambda: (self.daemon._force, reload.FAILED._value.get()) != before)

    def servers(self) -> list[Server]:
        """Return those of the configuration in force."""
        assert self.daemon._force
        return self.daemon._force.configuration.servers


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    """Put back what a daemon sets for its process."""
    interval_s = sys.getswitchinterval()
    yield Program(tmp_path)
    sys.setswitchinterval(interval_s)


@asynccontextmanager
async def running(program: Program) -> AsyncIterator[None]:
    """Run it from its first answer on."""
    task = asyncio.create_task(program.daemon.run())
    try:
        async with asyncio.timeout(LIMIT_S):
            await upstreams.eventually(lambda: program.daemon._force)
            yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def said(packet: bytes) -> str:
    return str(dns.message.from_wire(packet).answer[0][0])


async def ask_over(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    """Ask over a connection."""
    writer.write(struct.pack("!H", len(QUERY)) + QUERY)
    (size,) = struct.unpack("!H", await reader.readexactly(2))
    return said(await reader.readexactly(size))


def test_connections_go_on(program: Program) -> None:
    """What is asked over one after a reload is answered from the new Corefile."""

    async def scenario() -> None:
        async with running(program):
            stream = await asyncio.open_connection(program.address, program.port)
            assert await ask_over(*stream) == "10.0.0.1"
            for version in (2, 3):
                program.write(version)
                await program.reload()
                assert await ask_over(*stream) == f"10.0.0.{version}"
            assert len(program.servers()[0]._streams.connections) == 1
            stream[1].close()
            await upstreams.eventually(lambda: not program.servers()[0]._streams.connections)

    asyncio.run(scenario())


def test_tls_connections_go_on_with_the_same_certificate(program: Program, tmp_path: Path) -> None:
    """Whom other lines of `tls` might not let in is not kept."""
    authority = Authority()
    certificate, key = authority.issue("dns.test", (program.address,))
    for name, content in (("crt", certificate), ("key", key), ("ca", authority.pem)):
        (tmp_path / name).write_bytes(content)
    context = ssl.create_default_context(cafile=str(tmp_path / "ca"))

    def write(version: int, *files: str) -> None:
        program.write(version)
        paths = " ".join(str(tmp_path / file) for file in files)
        text = program.corefile.read_text().replace(".:", "tls://.:", 1)
        program.corefile.write_text(text.replace(" bind", f" tls {paths}\n bind"))

    async def scenario() -> None:
        async with running(program):
            stream = await asyncio.open_connection(program.address, program.port, ssl=context)
            assert await ask_over(*stream) == "10.0.0.1"
            write(2, "crt", "key")
            await program.reload()
            assert await ask_over(*stream) == "10.0.0.2"
            write(3, "crt", "key", "ca")
            await program.reload()
            assert not program.servers()[0]._streams.connections
            with suppress(ConnectionError):
                assert await stream[0].read() == b""
            stream[1].transport.abort()

    write(1, "crt", "key")
    asyncio.run(scenario())


def test_a_failed_reload_loses_no_query(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came to sockets that were opened in vain is answered."""
    with ExitStack() as stack:
        # Of so many ports, one half falls to the old socket and one to the new.
        clients = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(40)]
        opened: list[Server] = []

        def open_server(*args: Any) -> Server:
            if opened:
                for client in clients:
                    client.sendto(QUERY, (program.address, program.port))
                # As if the second address were another's.
                raise KernelError("listen", errno.EADDRINUSE)
            opened.append(Server(*args))
            return opened[0]

        async def scenario() -> None:
            loop = asyncio.get_running_loop()
            second = f".:{free_port(program.address)} {{\n bind {program.address}\n}}\n"
            program.write(1, second)
            async with running(program):
                first = program.daemon._force
                program.write(2, second)
                monkeypatch.setattr(daemon, "Server", open_server)
                await program.reload()
                assert program.daemon._force is first
                for client in clients:
                    client.setblocking(False)
                    assert said(await loop.sock_recv(client, 512)) in {"10.0.0.1", "10.0.0.2"}
                assert opened[0]._is_closed

        asyncio.run(scenario())


def test_new_addresses_are_tried_first(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that can't be had costs those that are served not even a socket opened in vain."""
    opened: list[int] = []

    class Noted(Server):
        def __init__(self, listener: Listener, *others: Any) -> None:
            opened.append(listener.port)
            super().__init__(listener, *others)

    async def scenario() -> None:
        async with running(program):
            monkeypatch.setattr(daemon, "Server", Noted)
            port = free_port(program.address)
            program.write(2, f".:{port} {{\n bind {program.address}\n}}\n")
            await program.reload()
            assert opened == [port, program.port]

    asyncio.run(scenario())


def test_old_servers_follow_their_own_configuration(program: Program) -> None:
    """While they answer what they have, they are told what changes in it, and only they are."""

    async def scenario() -> None:
        async with running(program):
            assert program.daemon._force
            old, old_servers = program.daemon._force, program.servers()
            program.write(2)
            await program.reload()
            before = [server._streams.responder for server in (*old_servers, *program.servers())]
            old.configuration.upkeep.changed(None)
            after = [server._streams.responder for server in (*old_servers, *program.servers())]
            assert [one is other for one, other in zip(before, after, strict=True)] == [False, True]

    asyncio.run(scenario())


def test_servers_drain_side_by_side(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """No listener waits for another's queries."""
    # Each drain waits until all have begun.
    barrier = asyncio.Barrier(2)
    drain = Server.drain

    async def drain_together(server: Server) -> None:
        await barrier.wait()
        await drain(server)

    async def scenario() -> None:
        program.write(1, f".:{free_port(program.address)} {{\n bind {program.address}\n}}\n")
        async with running(program):
            old = program.daemon._force
            assert old
            monkeypatch.setattr(Server, "drain", drain_together)
            program.write(2)
            await program.reload()
            await upstreams.eventually(lambda: all(task.done() for task in old.serving))

    asyncio.run(scenario())
