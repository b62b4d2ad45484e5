"""The edge that sends: one request from a namespace, and what its sender learns of it."""

import errno
import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import msgspec

from netns_lab.trace.mark import Mark
from netns_lab.trace.sctp import build_init
from netns_lab.trace.target import PROTOCOLS, Target
from nodeplane.datapath import netns
from nodeplane.datapath.conntrack.entry import Ends
from nodeplane.datapath.rtnl import Address
from nodeplane.errors import NodeplaneError

# linux/tcp.h: the way to choose the first sequence number is that of a connection that is restored.
_TCP_REPAIR, _TCP_REPAIR_QUEUE, _TCP_QUEUE_SEQ = 19, 20, 21
_SEND_QUEUE = 2
_MAX_ANSWER_BYTES = 1 << 16

SentState = Literal["answered", "refused", "unreachable", "timeout", "mute"]
"""`unreachable`: the sender's kernel says so; `mute`: connected, and then no answer."""


class Sent(msgspec.Struct, frozen=True):
    """What the sender learned.

    Attributes:
        at_ns: When it was sent.
        ends: The request's, as sent; None if the kernel had no way for it.
        words: The error, or the first line of the answer.
        answer: What the answer holds, as text.
    """

    state: SentState
    at_ns: int
    seconds: float
    ends: Ends | None = None
    words: str = ""
    answer: str = ""


def open_sender(namespace: str, protocol: str, address: Address, port: int) -> "Sender":
    """Open a sender's socket in a namespace, bound to the address that a process there would have.

    Raises:
        KernelError: there is no such namespace.
        NodeplaneError: the kernel has no socket of the kind.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with netns.inside(netns.NETNS_DIR / namespace):
            asker = socket.socket(family, socket.SOCK_DGRAM)
            kind = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM, "sctp": socket.SOCK_RAW}[protocol]
            opened = socket.socket(family, kind, PROTOCOLS[protocol])
    except OSError as exc:
        raise NodeplaneError(f"open a {protocol} socket in {namespace}: {exc.strerror}") from exc
    with asker:
        try:
            asker.connect((str(address), port))
            own = asker.getsockname()[0]
            opened.bind((own, 0))
        except OSError as exc:
            return Sender(opened, None, address, port, exc.errno or 0)
        source_port = asker.getsockname()[1] if protocol == "sctp" else opened.getsockname()[1]
    return Sender(opened, (own, source_port), address, port)


class Sender:
    """A socket that sends one request; `no_way` is the errno of an address that no route leads to."""

    def __init__(
        self,
        opened: socket.socket,
        own: tuple[str, int] | None,
        address: Address,
        port: int,
        no_way: int = 0,
    ) -> None:
        self._socket = opened
        self._own = own
        self._peer = (str(address), port)
        self._no_way = no_way
        self.ends = None if own is None else _ends(own, address, port)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def send(self, target: Target, mark: Mark, limit_s: float) -> Sent:
        """Send the request and wait for its answer, at most `limit_s` seconds each."""
        at_ns, started = time.time_ns(), time.monotonic()
        self._socket.settimeout(limit_s)
        try:
            state, words, answer = self._send(target, mark, limit_s)
        except TimeoutError:
            state, words, answer = "timeout", f"no answer in {limit_s:g} s", ""
        except ConnectionRefusedError as exc:
            state, words, answer = "refused", exc.strerror or "", ""
        except OSError as exc:
            state, words, answer = "unreachable", exc.strerror or errno.errorcode.get(exc.errno or 0, ""), ""
        return Sent(state, at_ns, time.monotonic() - started, self.ends, words, answer)

    def _send(self, target: Target, mark: Mark, limit_s: float) -> tuple[SentState, str, str]:
        if self._own is None:
            raise OSError(self._no_way, os.strerror(self._no_way))
        if mark.protocol == "udp":
            return "answered", "", self._exchange(mark)
        if mark.protocol == "sctp":
            kind = self._initiate(mark, self._own[1])
            return "refused" if kind == "ABORT" else "answered", kind, ""
        _choose_sequence(self._socket, mark.number)
        self._socket.connect(self._peer)
        if not target.path:
            return "answered", "", ""
        try:
            answer = _ask_http(self._socket, target, limit_s)
        except OSError as exc:
            return "mute", f"connected, and no HTTP answer: {exc.strerror or 'timed out'}", ""
        head, _, body = answer.partition("\r\n\r\n")
        line = head.partition("\r\n")[0]
        return "answered" if line.startswith("HTTP/") else "mute", line or "no HTTP answer", body

    def _exchange(self, mark: Mark) -> str:
        self._socket.connect(self._peer)
        self._socket.send(mark.payload)
        return self._socket.recv(_MAX_ANSWER_BYTES).decode(errors="replace")

    def _initiate(self, mark: Mark, source_port: int) -> str:
        self._socket.sendto(build_init(source_port, self._peer[1], mark.number), (self._peer[0], 0))
        limit = time.monotonic() + (self._socket.gettimeout() or 0)
        while (left_s := limit - time.monotonic()) > 0:
            self._socket.settimeout(left_s)
            packet = self._socket.recv(_MAX_ANSWER_BYTES)
            # Of IPv4 a raw socket gets the header too (raw(7)).
            packet = packet[4 * (packet[0] & 0xF) :] if self._socket.family == socket.AF_INET else packet
            if len(packet) > 12 and struct.unpack_from(">HHI", packet)[1:] == (source_port, mark.number):
                return "ABORT" if packet[12] == 6 else "INIT ACK"
        raise TimeoutError


@contextmanager
def sending(namespace: str, protocol: str, address: Address, port: int) -> Iterator[Sender]:
    """Open a sender, and close it at the end."""
    sender = open_sender(namespace, protocol, address, port)
    try:
        yield sender
    finally:
        sender.close()


def _choose_sequence(opened: socket.socket, number: int) -> None:
    """Have connect(2) take `number` as its first: tcp_v4_connect chooses one only where there is none."""
    opened.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
    opened.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR_QUEUE, _SEND_QUEUE)
    opened.setsockopt(socket.IPPROTO_TCP, _TCP_QUEUE_SEQ, struct.pack("=I", number))
    opened.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 0)


def _ask_http(opened: socket.socket, target: Target, limit_s: float) -> str:
    host = f"[{target.host}]" if ":" in target.host else target.host
    lines = (f"GET {target.path} HTTP/1.1", f"Host: {host}:{target.port}", "Connection: close", "", "")
    opened.sendall("\r\n".join(lines).encode())
    received = b""
    limit = time.monotonic() + limit_s
    while len(received) < _MAX_ANSWER_BYTES and (left_s := limit - time.monotonic()) > 0:
        opened.settimeout(left_s)
        chunk = opened.recv(_MAX_ANSWER_BYTES)
        if not chunk:
            break
        received += chunk
    else:
        if not received:
            raise TimeoutError
    return received.decode(errors="replace")


def _ends(own: tuple[str, int], address: Address, port: int) -> Ends:
    source = type(address)(own[0])
    return Ends(source, own[1], address, port)
