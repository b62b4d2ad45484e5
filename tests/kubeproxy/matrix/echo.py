"""Servers that say who they are and which source they saw, in one thread: TCP, UDP, SCTP as far as INIT."""

import selectors
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from nodeplane.datapath import netns
from tests.kubeproxy.matrix import sctp
from tests.kubeproxy.matrix.topology import ENDPOINTS, address_of

PORT = 8080
"""Where servers listen, whatever the protocol."""
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}


class Place(NamedTuple):
    """Where a server listens; its name is what it says."""

    name: str
    namespace: Path
    version: int
    host: str


@contextmanager
def servers(paths: Mapping[str, Path]) -> Iterator[None]:
    """Serve at all endpoints, until the end."""
    places = [
        Place(name, paths[name], version, address_of(name, version))
        for name in ENDPOINTS
        for version in (4, 6)
    ]
    with echoing(places):
        yield


@contextmanager
def echoing(places: Iterable[Place], port: int = PORT) -> Iterator[None]:
    """Serve at these places, until the end."""
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        wake, waker = socket.socketpair()
        stack.enter_context(wake)
        stack.enter_context(waker)
        selector.register(wake, selectors.EVENT_READ)
        for place in places:
            for kind, protocol in (
                (socket.SOCK_STREAM, 0),
                (socket.SOCK_DGRAM, 0),
                (socket.SOCK_RAW, socket.IPPROTO_SCTP),
            ):
                with netns.inside(place.namespace):
                    server = stack.enter_context(socket.socket(FAMILY[place.version], kind, protocol))
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if place.version == 6 and not protocol:
                    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                server.bind((place.host, 0 if protocol else port))
                server.setblocking(False)
                if kind == socket.SOCK_STREAM:
                    server.listen(128)
                selector.register(server, selectors.EVENT_READ, (place.name, port))
        thread = threading.Thread(target=_serve, args=(selector,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            waker.send(b"stop")
            thread.join(30)


def _serve(selector: selectors.BaseSelector) -> None:
    while True:
        for key, _ in selector.select():
            if key.data is None:
                return
            assert isinstance(key.fileobj, socket.socket)
            # A client that has gone meanwhile is no reason to stop.
            with suppress(OSError):
                _answer(key.fileobj, *key.data)


def _answer(server: socket.socket, name: str, port: int) -> None:
    if server.type == socket.SOCK_STREAM:
        connection, peer = server.accept()
        with connection:
            connection.sendall(f"{name} {peer[0]}".encode())
        return
    data, peer = server.recvfrom(2048)
    text = f"{name} {peer[0]}".encode()
    if server.type == socket.SOCK_DGRAM:
        server.sendto(text, peer)
        return
    init = sctp.decode(without_header(server, data))
    if init is not None and not init.is_answer and init.port == port:
        server.sendto(sctp.encode_answer(init, text), peer)


def without_header(raw: socket.socket, packet: bytes) -> bytes:
    """Return what a raw socket has received without the header that IPv4 alone leaves on it (raw(7))."""
    return packet[(packet[0] & 0xF) * 4 :] if raw.family == socket.AF_INET else packet
