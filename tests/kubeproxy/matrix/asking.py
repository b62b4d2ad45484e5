"""Clients: one connection, one datagram or one INIT, and what comes of it."""

import itertools
import socket
from pathlib import Path
from time import monotonic
from typing import Literal

import msgspec

from nodeplane.datapath import netns
from tests.kubeproxy.matrix import sctp
from tests.kubeproxy.matrix.echo import FAMILY, without_header

Protocol = Literal["tcp", "udp", "sctp"]
Answer = tuple[str, str] | Literal["refuse", "silence"]
"""Who answered and the source that it saw; or a refusal, or nothing in time."""

_KINDS = {
    "tcp": (socket.SOCK_STREAM, 0),
    "udp": (socket.SOCK_DGRAM, 0),
    "sctp": (socket.SOCK_RAW, socket.IPPROTO_SCTP),
}
# None is used twice: conntrack remembers. Above what node ports are, below what the kernel gives to others.
_SOURCE_PORTS = itertools.count(10000)


class Told(msgspec.Struct, frozen=True):
    """An answer, and the source port that was used: the witness knows the packet by it."""

    answer: Answer
    source_port: int


def ask(
    ns: Path,
    protocol: Protocol,
    host: str,
    port: int,
    version: int,
    *,
    source_port: int = 0,
    patience_s: float = 20,
) -> Told:
    """Open one connection from a source port of its own."""
    source_port = source_port or next(_SOURCE_PORTS)
    kind, number = _KINDS[protocol]
    with netns.inside(ns):
        client = socket.socket(FAMILY[version], kind, number)
    with client:
        client.settimeout(patience_s)
        if protocol != "sctp":
            client.bind(("", source_port))
        try:
            client.connect((host, 0 if protocol == "sctp" else port))
            if protocol != "tcp":
                _send(client, b"?" if protocol == "udp" else sctp.encode_init(source_port, port))
            text = (
                _receive_cookie(client, source_port, monotonic() + patience_s)
                if protocol == "sctp"
                else client.recv(64)
            )
        except ConnectionRefusedError:
            return Told("refuse", source_port)
        except TimeoutError:
            return Told("silence", source_port)
    name, source = text.decode().split()
    return Told((name, source), source_port)


def _send(client: socket.socket, data: bytes) -> None:
    try:
        client.send(data)
    except PermissionError:
        # Stopped on our own way out. Behind a refusal lies what recv() raises, behind a drop nothing.
        return


def _receive_cookie(client: socket.socket, source_port: int, limit: float) -> bytes:
    """Return the cookie of the INIT ACK for this port: a raw socket gets all that comes from there."""
    while (left_s := limit - monotonic()) > 0:
        client.settimeout(left_s)
        message = sctp.decode(without_header(client, client.recv(2048)))
        if message is not None and message.is_answer and message.port == source_port:
            return message.cookie
    raise TimeoutError
