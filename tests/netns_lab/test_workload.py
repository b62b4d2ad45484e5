"""The echo server and its client, over the loopback."""

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from netns_lab.client import connect, main, resolve
from netns_lab.workload import EchoServer, respond

IDENTITY = {"pod": "web-1", "namespace": "default", "node": "n1"}
SOURCE = ("10.0.0.9", 4000)


def answer(data: str, source: tuple[str, int] = SOURCE) -> dict[str, Any]:
    """Return what the server says to a request."""
    return {**IDENTITY, "source": source[0], "sourcePort": source[1], "data": data}


@pytest.mark.parametrize(
    ("received", "answers", "rest"),
    [
        pytest.param(b"", [], b"", id="nothing"),
        pytest.param(b"hel", [], b"hel", id="half a line"),
        pytest.param(b"hello\n", ["hello"], b"", id="a line"),
        pytest.param(b"a\r\nb\nc", ["a", "b"], b"c", id="two lines and a half"),
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: x\r\n", [], b"GET / HTTP/1.1\r\nHost: x\r\n", id="half a request"
        ),
        pytest.param(b"\xff\n", ["\ufffd"], b"", id="not UTF-8"),
    ],
)
def test_respond_to_lines(received: bytes, answers: list[str], rest: bytes) -> None:
    buffer = bytearray(received)
    reply, last = respond(IDENTITY, SOURCE, buffer)

    assert [json.loads(line) for line in reply.splitlines()] == [answer(data) for data in answers]
    assert (last, bytes(buffer)) == (False, rest)


def test_respond_to_http() -> None:
    reply, last = respond(IDENTITY, SOURCE, bytearray(b"GET /x HTTP/1.1\r\nHost: web\r\n\r\n"))

    head, _, body = reply.partition(b"\r\n\r\n")
    assert last
    assert head.splitlines() == [
        b"HTTP/1.1 200 OK",
        b"Content-Type: application/json",
        f"Content-Length: {len(body)}".encode(),
        b"Connection: close",
    ]
    assert json.loads(body) == answer("GET /x HTTP/1.1")


@pytest.mark.parametrize("client", ["127.0.0.1", "::1"])
def test_both_families(client: str) -> None:
    """Without an address it serves all there are, and a source of IPv4 is told as one."""
    echo = EchoServer(IDENTITY, [("UDP", 0)])
    family = socket.AF_INET6 if ":" in client else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as asker:
            asker.sendto(b"x", (client, echo.addresses[0][1]))
            echo.serve_once(10)
            asker.settimeout(10)
            assert json.loads(asker.recv(4096))["source"] == client
    finally:
        echo.close()


@pytest.fixture
def server() -> Iterator[EchoServer]:
    """Yield a server on free ports of the loopback, the first TCP, the second UDP."""
    echo = EchoServer(IDENTITY, [("TCP", 0), ("UDP", 0)], "127.0.0.1")
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            echo.serve_once(0.05)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield echo
    finally:
        ended.set()
        thread.join()
        echo.close()


def test_datagram(server: EchoServer) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(30)
        client.connect(server.addresses[1])
        client.send(b"ping")

        assert json.loads(client.recv(4096)) == answer("ping", client.getsockname())


def test_connection_that_stays_open(server: EchoServer) -> None:
    with (
        socket.create_connection(server.addresses[0], timeout=30) as client,
        client.makefile("rwb") as stream,
    ):
        for data in ("one", "two"):
            stream.write(f"{data}\n".encode())
            stream.flush()

            assert json.loads(stream.readline()) == answer(data, client.getsockname())


def test_http_connection_is_closed(server: EchoServer) -> None:
    with socket.create_connection(server.addresses[0], timeout=30) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")

        reply = client.makefile("rb").read()

    assert json.loads(reply.partition(b"\r\n\r\n")[2])["data"] == "GET / HTTP/1.0"


def test_server_survives_clients_that_vanish(server: EchoServer) -> None:
    for data in (b"", b"half", b"GET / HTTP/1.1\r\n", b"x" * 70000):
        with socket.create_connection(server.addresses[0], timeout=30) as client:
            # A reset in place of an ordinary end: linger for no time (socket(7)).
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.sendall(data)

    assert connect(*server.addresses[0])["answer"]["pod"] == "web-1"


def test_client(server: EchoServer, capsys: pytest.CaptureFixture[str]) -> None:
    address, port = server.addresses[0]
    main([address, str(port), "2"])

    printed = json.loads(capsys.readouterr().out)
    assert (printed["name"], printed["addresses"]) == ("127.0.0.1", ["127.0.0.1"])
    assert [connection["answer"] for connection in printed["connections"]] == [
        answer("who is there", ("127.0.0.1", connection["sourcePort"]))
        for connection in printed["connections"]
    ]
    assert len(printed["connections"]) == 2


def test_client_without_a_server(server: EchoServer) -> None:
    """The UDP port's number is no TCP port of the server's."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))

        assert connect("127.0.0.1", closed.getsockname()[1]) == {"error": "[Errno 111] Connection refused"}


def test_unknown_name_has_no_addresses() -> None:
    """An IPv6 address is no IPv4 name, and is told apart without asking any server."""
    assert resolve("::1") == []
