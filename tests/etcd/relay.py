"""A relay before an etcd that loses requests or answers, at the moment that a test wants."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

Fault = Literal["lose the request", "lose the answer", "hold the request"]


class Relay:
    """Passes connections on; the next transaction after `arm` meets the fault, and its connection ends."""

    def __init__(self, target: str) -> None:
        self._target = split(target)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._fault: Fault | None = None
        self._open: set[socket.socket] = {self._listener}
        self._held = b""
        self._refuses = False
        self._then_refuses = False
        self.faults = 0
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def arm(self, fault: Fault, *, refuse: bool = False) -> None:
        """Meet the next transaction with a fault, and then, if asked, no new connection until `accept`."""
        self._fault = fault
        self._then_refuses = refuse

    def release(self) -> bytes:
        """Let a request that was held go to etcd; return the answer."""
        assert self._held
        with socket.create_connection(self._target, 10.0) as server:
            server.sendall(self._held)
            return server.recv(65536)

    def cut(self, *, refuse: bool = False) -> None:
        """End all connections; and, if asked, each new one until `accept`."""
        self._refuses = refuse
        for item in self._open - {self._listener}:
            end(item)
        self._open = {self._listener}

    def switch(self, target: str) -> None:
        """Pass connections on to another etcd from now on."""
        self._target = split(target)
        self.cut()

    def accept(self) -> None:
        self._refuses = False

    def close(self) -> None:
        for item in list(self._open):
            end(item)

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._refuses:
                    client.close()
                    continue
                server = socket.create_connection(self._target, 10.0)
                self._open |= {client, server}
                lost = threading.Event()
                threading.Thread(target=self._requests, args=(client, server, lost), daemon=True).start()
                threading.Thread(target=answers, args=(client, server, lost), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket, lost: threading.Event) -> None:
        with suppress(OSError):
            while request := read_request(client):
                fault = self._fault if request.startswith(b"POST /v3/kv/txn ") else None
                if fault is not None:
                    self._fault = None
                    self.faults += 1
                    self._refuses = self._then_refuses
                if fault == "lose the request":
                    break
                if fault == "hold the request":
                    self._held = request
                    break
                if fault == "lose the answer":
                    lost.set()
                server.sendall(request)
        if not lost.is_set():
            end(client)
            end(server)


def answers(client: socket.socket, server: socket.socket, lost: threading.Event) -> None:
    """Pass on what comes back, until that is to be lost."""
    with suppress(OSError):
        while data := server.recv(65536):
            if lost.is_set():
                break
            client.sendall(data)
    end(client)
    end(server)


def read_request(client: socket.socket) -> bytes:
    """Read a whole HTTP request; nothing at the end."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = client.recv(65536)
        if not part:
            return b""
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    found = re.search(rb"(?i)\r\ncontent-length: *([0-9]+)", head)
    missing = (int(found[1]) if found else 0) - len(body)
    while missing > 0:
        part = client.recv(65536)
        data += part
        missing -= len(part)
    return data


def split(address: str) -> tuple[str, int]:
    """Return host and port."""
    host, _, port = address.rpartition(":")
    return host, int(port)


def end(item: socket.socket) -> None:
    """End a connection, also for a thread that waits on it."""
    with suppress(OSError):
        item.shutdown(socket.SHUT_RDWR)
    item.close()


@contextmanager
def relay(target: str) -> Iterator[Relay]:
    """Run a relay before `host:port`."""
    running = Relay(target)
    try:
        yield running
    finally:
        running.close()
