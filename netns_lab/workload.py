"""The built-in workload of a pod: an echo server that says who it is and which source it saw.

It is started once for each pod, so it imports little (`python -I -S`, about 25 ms) and serves all ports in
one loop. On TCP it answers an HTTP request with one JSON document and any other line with one JSON line; on
UDP each datagram with one JSON datagram, on SCTP each message with one. SCTP it speaks by itself where the
kernel does not (`netns_lab.sctp`).
"""

import json
import selectors
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from nodeplane.runtime.sd_notify import notify

if TYPE_CHECKING:
    from netns_lab.sctp.echo import SctpEcho

_MAX_REQUEST_BYTES = 65536
_PROTOCOLS = {"TCP": 0, "SCTP": socket.IPPROTO_SCTP}

Identity = dict[str, str]
Reply = tuple[bytes, bool]


class EchoServer:
    """Sockets bound to a pod's ports, answered from one selector loop."""

    def __init__(self, identity: Identity, ports: list[tuple[str, int]], address: str = "") -> None:
        """Bind every port, without an address on all there are; `ports` holds (protocol, number)."""
        self._identity = identity
        self._selector = selectors.DefaultSelector()
        self.addresses: list[tuple[str, int]] = []
        own_sctp = [port for protocol, port in ports if protocol == "SCTP" and not _has_sctp()]
        if own_sctp:
            self._listen_raw(own_sctp)
        for protocol, port in ports:
            if protocol == "SCTP" and own_sctp:
                continue
            if protocol == "UDP":
                server = _open(socket.SOCK_DGRAM, address)
                ready: Callable[[], None] = partial(self._answer_datagram, server)
            else:
                server = _open(socket.SOCK_STREAM, address, _PROTOCOLS[protocol])
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                ready = partial(self._accept, server)
            server.bind((address, port))
            if protocol != "UDP":
                server.listen(1024)
            server.setblocking(False)
            self.addresses.append(server.getsockname())
            self._selector.register(server, selectors.EVENT_READ, ready)

    def serve_once(self, timeout_s: float | None = None) -> None:
        """Answer what has arrived, or wait up to `timeout_s` for it."""
        for key, _ in self._selector.select(timeout_s):
            key.data()

    def close(self) -> None:
        """Close every socket."""
        for key in list(self._selector.get_map().values()):
            self._drop(key.fileobj)
        self._selector.close()

    def _listen_raw(self, ports: list[int]) -> None:
        """Answer SCTP packets of both families; a raw socket gets those to every port."""
        from netns_lab.sctp.echo import SctpEcho
        from netns_lab.sctp.packet import PROTOCOL

        echo = SctpEcho(ports, partial(_answer, self._identity))
        families = [socket.AF_INET, *([socket.AF_INET6] if socket.has_dualstack_ipv6() else [])]
        for family in families:
            raw = socket.socket(family, socket.SOCK_RAW, PROTOCOL)
            raw.setblocking(False)
            self._selector.register(raw, selectors.EVENT_READ, partial(self._answer_packet, raw, echo))

    def _answer_packet(self, raw: socket.socket, echo: "SctpEcho") -> None:
        from netns_lab.sctp.packet import decode, encode

        try:
            received, source = raw.recvfrom(_MAX_REQUEST_BYTES)
            # RFC 791: a raw socket of IPv4 has the header too, its length in words; one of IPv6 has none.
            start = (received[0] & 0xF) * 4 if raw.family == socket.AF_INET else 0
            packet = decode(received[start:])
            for reply in echo.receive(source[0], packet) if packet is not None else ():
                raw.sendto(encode(reply), (source[0], 0))
        except OSError:
            return  # as for a datagram

    def _answer_datagram(self, server: socket.socket) -> None:
        try:
            data, source = server.recvfrom(_MAX_REQUEST_BYTES)
            server.sendto(_answer(self._identity, source, data), source)
        except OSError:
            # A client that has gone (its ICMP error comes back on this socket) is not the server's trouble.
            return

    def _accept(self, server: socket.socket) -> None:
        try:
            connection, source = server.accept()
        except OSError:
            return  # reset before it was accepted
        connection.setblocking(False)
        self._selector.register(
            connection, selectors.EVENT_READ, partial(self._read, connection, source, bytearray())
        )

    def _read(self, connection: socket.socket, source: tuple[str, int], received: bytearray) -> None:
        try:
            chunk = connection.recv(_MAX_REQUEST_BYTES)
            received += chunk
            if not chunk or len(received) > _MAX_REQUEST_BYTES:
                self._drop(connection)
                return
            reply, last = respond(self._identity, source, received)
            if reply:
                connection.sendall(reply)
            if last:
                # Only this side ends; the connection is closed when the client ends too, so that bytes of
                # it still under way never meet a closed socket, whose reset could overtake the answer.
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop(connection)

    def _drop(self, connection: Any) -> None:
        self._selector.unregister(connection)
        connection.close()


def _has_sctp() -> bool:
    """Say whether the kernel has SCTP sockets."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP).close()
    except OSError:
        return False
    return True


def _open(kind: socket.SocketKind, address: str, protocol: int = 0) -> socket.socket:
    """Open a socket for an address; for none, one of IPv6 that takes IPv4 too, where the kernel has both."""
    if address or not socket.has_dualstack_ipv6():
        return socket.socket(socket.AF_INET, kind, protocol)
    opened = socket.socket(socket.AF_INET6, kind, protocol)
    opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    return opened


def respond(identity: Identity, source: tuple[str, int], received: bytearray) -> Reply:
    """Answer the complete requests in `received`, take them out of it, and say whether this was the last."""
    line, newline, _ = received.partition(b"\n")
    if newline and line.rstrip().endswith((b" HTTP/1.0", b" HTTP/1.1")):
        if b"\r\n\r\n" not in received:
            return b"", False
        received.clear()
        body = _answer(identity, source, bytes(line.rstrip()))
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        return head.encode() + b"Connection: close\r\n\r\n" + body, True
    replies = []
    while newline:
        replies.append(_answer(identity, source, bytes(line.rstrip())))
        del received[: len(line) + 1]
        line, newline, _ = received.partition(b"\n")
    return b"".join(replies), False


def _answer(identity: Identity, source: tuple[str, int], data: bytes) -> bytes:
    # RFC 4291, 2.5.5.2: so an address of IPv4 looks on a socket of IPv6.
    address = source[0].removeprefix("::ffff:")
    seen = {"source": address, "sourcePort": source[1], "data": data.decode(errors="replace")}
    return json.dumps({**identity, **seen}).encode() + b"\n"


def main(arguments: list[str]) -> None:
    """Serve until killed; the one argument is JSON: `{"identity": {…}, "ports": [["TCP", 80], …]}`."""
    settings = json.loads(arguments[0])
    server = EchoServer(settings["identity"], [(protocol, port) for protocol, port in settings["ports"]])
    notify("READY=1")
    while True:
        server.serve_once()


if __name__ == "__main__":
    main(sys.argv[1:])
