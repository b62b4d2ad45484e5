"""What the program and its worker processes say to each other, message by message.

    worker ──► Ready, Ask, Counted ──► program        program ──► Serve, Remember, Forget, Leave ──► worker

The channel is a pair of unix sockets that keep messages apart and in order (SOCK_SEQPACKET, unix(7)), and end
when either process does.
"""

import fcntl
import socket
import sys
import termios
from contextlib import suppress

import msgspec

from coredns_lite.query_log import LogRule
from coredns_lite.server.counters import Counters
from coredns_lite.server.late_replies import Origin
from coredns_lite.server.mmsg import PacketInfo
from coredns_lite.tally import NumberedSlice, Sums

# What the program may have said that a worker has not heard yet.
_BUFFER_BYTES = 4 << 20
# Replies to keep may be a small part of it: an order to forget waits behind them, and must find room.
_MAX_KEPT_BUFFER_BYTES = 1 << 20
# About a thousand questions: more than the program can answer are refused, and do not make all wait.
_ASK_BUFFER_BYTES = 512 << 10
# Linux's name that Python's socket module lacks (asm-generic/socket.h).
_SO_SNDBUFFORCE = 32
_MAX_MESSAGE_BYTES = 1 << 18
# Each takes 9 bytes; who has to forget more may as well forget all.
MAX_TOKENS = 10_000


class Ready(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The worker is there, and waits for its socket."""


class Ask(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A query to which the worker has kept no reply; the program sends it."""

    origin: Origin
    packet: bytes


class Counted(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """What the worker has done and counted since it last said so."""

    counters: Counters
    slices: tuple[tuple[NumberedSlice, Sums], ...] = ()


class Serve(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Serve the socket that comes with this message."""

    packet_info: PacketInfo | None
    log_rules: dict[str, tuple[LogRule, ...]]
    logs_errors: bool
    is_counted: bool


class Remember(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Keep these replies to a query; each has its label at its end."""

    body: bytes
    replies: tuple[bytes, ...]


class Forget(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Keep no longer what is about any of these, at most MAX_TOKENS; None: nothing at all."""

    tokens: tuple[int, ...] | None


class Leave(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Answer what has come to the socket, and end."""


FromWorker = Ready | Ask | Counted
ToWorker = Serve | Remember | Forget | Leave

_encoder = msgspec.msgpack.Encoder()
_from_worker = msgspec.msgpack.Decoder(FromWorker)
_to_worker = msgspec.msgpack.Decoder(ToWorker)


def make_pair() -> tuple[socket.socket, socket.socket]:
    """Make both ends of a channel, the program's and the worker's."""
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end, size_bytes in zip(pair, (_BUFFER_BYTES, _ASK_BUFFER_BYTES), strict=True):
        try:
            end.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, size_bytes)
        except PermissionError:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size_bytes)
    return pair


def say(end: socket.socket, message: FromWorker | ToWorker, *, waits: bool = False) -> bool:
    """Send a message; False if there is no room for it and it does not wait, or nobody who hears it."""
    with suppress(OSError):
        return end.send(_encoder.encode(message), 0 if waits else socket.MSG_DONTWAIT) > 0
    return False


def suggest(end: socket.socket, message: Remember) -> bool:
    """Send what a worker may keep; False if it has not heard much of what was said before."""
    # What the kernel counts is what the messages take in its memory (unix(7), SIOCOUTQ).
    unheard_bytes = int.from_bytes(fcntl.ioctl(end, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    return unheard_bytes <= _MAX_KEPT_BUFFER_BYTES and say(end, message)


def give(end: socket.socket, message: Serve, sock: socket.socket) -> bool:
    """Send a message with a socket."""
    with suppress(OSError):
        return socket.send_fds(end, [_encoder.encode(message)], [sock.fileno()], socket.MSG_DONTWAIT) > 0
    return False


def hear_worker(end: socket.socket) -> FromWorker | None:
    """Take what a worker has said; None at its end.

    Raises:
        BlockingIOError: it has said nothing yet.
    """
    data = _receive(end)
    return _from_worker.decode(data) if data else None


def hear_program(end: socket.socket) -> ToWorker | None:
    """Wait for what the program says; None at its end."""
    data = _receive(end)
    return _to_worker.decode(data) if data else None


def take_socket(end: socket.socket) -> tuple[Serve, socket.socket] | None:
    """Wait for the socket to serve; None if the program ends before."""
    try:
        data, descriptors, _, _ = socket.recv_fds(end, _MAX_MESSAGE_BYTES, 1)
    except ConnectionResetError:
        return None
    message = _to_worker.decode(data) if data else None
    if not isinstance(message, Serve):
        return None
    return message, socket.socket(fileno=descriptors[0])


def _receive(end: socket.socket) -> bytes:
    try:
        return end.recv(_MAX_MESSAGE_BYTES)
    except ConnectionResetError:
        # It ended without having heard all (unix(7)).
        return b""
