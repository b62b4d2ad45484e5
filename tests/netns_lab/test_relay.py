"""The relay: bytes from a namespace that leads nowhere to a server outside, and back."""

import os
import secrets
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from netns_lab.commands import bare_module
from netns_lab.launch import start
from netns_lab.processes import lab_processes, stop
from netns_lab.programs import Program, running
from netns_lab.state import StateDirectory
from nodeplane.datapath import netns
from tests import netns_fixture

pytestmark = pytest.mark.netns

LAB = f"t{os.getpid():x}{secrets.token_hex(2)}"
LIMIT_S = 60
PORT = 6443
LONG = b"x" * 3_000_000


@pytest.fixture
def outside() -> Iterator[socket.socket]:
    """Yield a server's socket on the machine's own loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(LIMIT_S)
        yield server


@pytest.fixture
def inside(outside: socket.socket, tmp_path: Path) -> Iterator[Path]:
    """Yield a namespace whose port 6443 leads to the server outside."""
    state = StateDirectory(LAB, tmp_path)
    state.path.mkdir()
    with netns_fixture.namespace() as path:
        far = ("127.0.0.1", str(outside.getsockname()[1]))
        command = bare_module("netns_lab.relay", str(path), "127.0.0.1", str(PORT), *far)
        program = Program("fabric/relay", path.name, command, moves_in=True)
        try:
            start(state, [program])
            # It counts as running where it listens, though it was started here.
            assert running(state, [program], lab_processes(LAB, [])).keys() == {"fabric/relay"}
            yield path
        finally:
            stop(lab_processes(LAB, []))


def connect(namespace: Path) -> socket.socket:
    """Connect to the relay."""
    with netns.inside(namespace):
        client = socket.socket()
    client.settimeout(LIMIT_S)
    client.connect(("127.0.0.1", PORT))
    return client


def read_all(connection: socket.socket) -> bytes:
    """Read to the end."""
    with connection.makefile("rb") as file:
        return file.read()


@pytest.mark.parametrize("question", [pytest.param(b"hello", id="short"), pytest.param(LONG, id="long")])
def test_both_ways(question: bytes, inside: Path, outside: socket.socket) -> None:
    """All bytes arrive, and so does the end of each direction on its own."""

    def serve() -> None:
        connection, _ = outside.accept()
        with connection:
            connection.settimeout(LIMIT_S)
            # Only answers when the question is at its end: a half-closed connection stays open.
            connection.sendall(read_all(connection)[::-1])

    server = threading.Thread(target=serve)
    server.start()
    with connect(inside) as client:
        client.sendall(question)
        client.shutdown(socket.SHUT_WR)
        answer = read_all(client)
    server.join()

    assert answer == question[::-1]


def test_no_server(inside: Path, outside: socket.socket) -> None:
    """The client is told at once; the relay stays for when the server is back."""
    address = outside.getsockname()
    outside.close()
    with connect(inside) as client:
        assert client.recv(1) == b""

    with socket.create_server(address) as back, connect(inside) as client:
        back.settimeout(LIMIT_S)
        connection, _ = back.accept()
        with connection:
            connection.sendall(b"here")
            assert client.recv(4, socket.MSG_WAITALL) == b"here"
