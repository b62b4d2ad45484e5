"""One request to an echo server, or to any other: sent, answered or not, and by whom.

It runs inside of pods, through the C library's resolver and the pod's resolv.conf, so that a request takes
the way of any program's. It imports little (`python -I -S`).
"""

import json
import re
import socket
import time
from typing import Any, NamedTuple

from netns_lab.sctp.client import ask_sctp

_TARGET = re.compile(r"(http|tcp|udp|sctp)://(\[[0-9a-fA-F:.]+\]|[^/:\[\]]+)(?::([0-9]{1,5}))?(/[^\s]*)?")

TARGET_WORDS = "expected http://HOST[:PORT][/PATH], or tcp://, udp:// or sctp://HOST:PORT"


class Target(NamedTuple):
    """Where requests go."""

    scheme: str
    host: str
    port: int
    path: str = "/"


class Outcome(NamedTuple):
    """What became of a request: who answered (`namespace/pod`, "" for a stranger), which source it saw."""

    begun_s: float
    took_s: float
    by: str = ""
    source: str = ""
    error: str = ""
    is_held: bool = False


def parse_target(text: str) -> Target:
    """Return where a text leads.

    Raises:
        ValueError: nowhere.
    """
    parts = _TARGET.fullmatch(text)
    if parts is None:
        raise ValueError(TARGET_WORDS)
    scheme, host, port, path = parts.groups()
    if (port is None and scheme != "http") or (path and scheme != "http"):
        raise ValueError(TARGET_WORDS)
    number = int(port) if port else 80
    if not 0 < number < 65536:
        raise ValueError(TARGET_WORDS)
    return Target(scheme, host.strip("[]"), number, path or "/")


def ask(target: Target, timeout_s: float) -> Outcome:
    """Send one request with a socket of its own and say what became of it."""
    begun_s = time.time()
    started = time.monotonic()
    try:
        if target.scheme == "sctp":
            answer = ask_sctp(target.host, target.port, b"who is there", timeout_s)
            return _outcome(begun_s, time.monotonic() - started, answer)
        kind = socket.SOCK_DGRAM if target.scheme == "udp" else socket.SOCK_STREAM
        family, _, _, _, address = socket.getaddrinfo(target.host, target.port, type=kind)[0]
        with socket.socket(family, kind) as connection:
            connection.settimeout(timeout_s)
            connection.connect(address)
            answer = exchange(connection, target)
    except OSError as exc:
        return Outcome(begun_s, time.monotonic() - started, error=str(exc) or type(exc).__name__)
    return _outcome(begun_s, time.monotonic() - started, answer)


def exchange(connection: socket.socket, target: Target) -> bytes:
    """Send a request through a connected socket and return the answer's body.

    Raises:
        OSError: there is none.
    """
    if target.scheme == "udp":
        connection.send(b"who is there")
        return connection.recv(65536)
    if target.scheme == "tcp":
        connection.sendall(b"who is there\n")
        return _read_line(connection)
    host = f"[{target.host}]" if ":" in target.host else target.host
    connection.sendall(f"GET {target.path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    head, separator, body = received.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    if not separator or len(words) < 2 or not words[1].startswith(b"2"):
        line = head.partition(b"\r\n")[0].decode(errors="replace")
        raise ConnectionError(f"answered {line or 'nothing'}")
    return body


class HeldConnection:
    """A TCP connection that stays open and is asked again and again; one that was lost is opened anew."""

    def __init__(self, target: Target, timeout_s: float) -> None:
        # A line of text is what the echo server answers without ending the connection.
        self._target = target._replace(scheme="tcp")
        self._timeout_s = timeout_s
        self._connection: socket.socket | None = None

    def ask(self) -> Outcome:
        """Send one request and say what became of it."""
        begun_s, started = time.time(), time.monotonic()
        try:
            if self._connection is None:
                address = (self._target.host, self._target.port)
                self._connection = socket.create_connection(address, self._timeout_s)
            answer = exchange(self._connection, self._target)
        except OSError as exc:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            error = str(exc) or type(exc).__name__
            return Outcome(begun_s, time.monotonic() - started, error=error, is_held=True)
        return _outcome(begun_s, time.monotonic() - started, answer)._replace(is_held=True)


def _read_line(connection: socket.socket) -> bytes:
    received = b""
    while not received.endswith(b"\n"):
        chunk = connection.recv(65536)
        if not chunk:
            raise ConnectionError("the other end has closed the connection")
        received += chunk
    return received


def _outcome(begun_s: float, took_s: float, answer: bytes) -> Outcome:
    said: dict[str, Any] = {}
    try:
        decoded = json.loads(answer)
    except ValueError:
        decoded = None
    if isinstance(decoded, dict):
        said = decoded
    by = f"{said['namespace']}/{said['pod']}" if "pod" in said and "namespace" in said else ""
    return Outcome(begun_s, took_s, by, str(said.get("source", "")))
