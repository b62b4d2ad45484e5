"""A server in a pod that says who it is and which source it saw: TCP, UDP, SCTP as far as INIT."""

import selectors
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from nodeplane.datapath import netns
from tests.kubeproxy.matrix import sctp
from tests.kubeproxy.matrix.echo import FAMILY, without_header

PORT = 8080
EVERYWHERE = {4: "", 6: "::"}


@contextmanager
def echoing(ns: Path, name: str, port: int = PORT, hosts: Mapping[int, str] = EVERYWHERE) -> Iterator[None]:
    """Serve in a namespace until the end; where it has several addresses, at one of each family."""
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        wake, waker = socket.socketpair()
        stack.enter_context(wake)
        stack.enter_context(waker)
        selector.register(wake, selectors.EVENT_READ)
        for version, host in hosts.items():
            for kind, number in (
                (socket.SOCK_STREAM, 0),
                (socket.SOCK_DGRAM, 0),
                (socket.SOCK_RAW, socket.IPPROTO_SCTP),
            ):
                with netns.inside(ns):
                    server = stack.enter_context(socket.socket(FAMILY[version], kind, number))
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if version == 6 and not number:
                    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                server.bind((host, 0 if number else port))
                server.setblocking(False)
                if kind == socket.SOCK_STREAM:
                    server.listen(128)
                selector.register(server, selectors.EVENT_READ, (name, port))
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
