"""Requests, against the built-in echo server and against others."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from netns_lab.scenarios.request import TARGET_WORDS, HeldConnection, Target, ask, parse_target
from netns_lab.workload import EchoServer

IDENTITY = {"pod": "web", "namespace": "default", "node": "n1"}
TIMEOUT_S = 30.0


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("http://web/", Target("http", "web", 80, "/")),
        ("http://web.default.svc:8080/a?b", Target("http", "web.default.svc", 8080, "/a?b")),
        ("http://[fd00::1]:81", Target("http", "fd00::1", 81, "/")),
        ("tcp://10.0.0.1:7", Target("tcp", "10.0.0.1", 7)),
        ("udp://web:53", Target("udp", "web", 53)),
    ],
)
def test_target(text: str, target: Target) -> None:
    assert parse_target(text) == target


@pytest.mark.parametrize(
    "text", ["", "web", "tcp://web", "udp://web:53/x", "ftp://web/", "http://web:0/", "http://web:99999/"]
)
def test_no_target(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected http://") as caught:
        parse_target(text)

    assert str(caught.value) == TARGET_WORDS


@contextmanager
def served(protocol: str) -> Iterator[int]:
    """Serve the echo on a free port of loopback and yield its number."""
    server = EchoServer(IDENTITY, [(protocol, 0)], "127.0.0.1")
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            server.serve_once(0.05)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield server.addresses[0][1]
    finally:
        over.set()
        thread.join()
        server.close()


@pytest.mark.parametrize(("scheme", "protocol"), [("http", "TCP"), ("tcp", "TCP"), ("udp", "UDP")])
def test_answered(scheme: str, protocol: str) -> None:
    with served(protocol) as port:
        outcome = ask(Target(scheme, "127.0.0.1", port), TIMEOUT_S)

    assert (outcome.by, outcome.source, outcome.error) == ("default/web", "127.0.0.1", "")


def test_held_connection() -> None:
    """It is one connection; when it is lost, the next request opens another."""
    with served("TCP") as port:
        held = HeldConnection(Target("http", "127.0.0.1", port), TIMEOUT_S)
        first, second = held.ask(), held.ask()
    lost = held.ask()
    with served("TCP") as other:
        again = HeldConnection(Target("http", "127.0.0.1", other), TIMEOUT_S).ask()

    assert [each.by for each in (first, second, again)] == ["default/web"] * 3
    assert all(each.is_held for each in (first, second, lost, again))
    assert lost.error


def _refuse() -> bytes:
    return b"HTTP/1.1 503 Service Unavailable\r\n\r\nno"


def _stranger() -> bytes:
    return b"HTTP/1.1 200 OK\r\n\r\nhello"


def _other_json() -> bytes:
    body = json.dumps([1, 2]).encode()
    return b"HTTP/1.1 200 OK\r\n\r\n" + body


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        pytest.param(_refuse, "answered HTTP/1.1 503 Service Unavailable", id="refused"),
        pytest.param(_stranger, "", id="another server"),
        pytest.param(_other_json, "", id="JSON of another kind"),
        pytest.param(lambda: b"", "answered nothing", id="nothing"),
    ],
)
def test_other_servers(answer: Callable[[], bytes], error: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer())

        thread = threading.Thread(target=serve)
        thread.start()
        outcome = ask(Target("http", "127.0.0.1", server.getsockname()[1]), TIMEOUT_S)
        thread.join()

    assert (outcome.by, outcome.error) == ("", error)


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    assert "refused" in ask(Target("tcp", "127.0.0.1", port), TIMEOUT_S).error
