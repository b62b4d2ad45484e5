"""The side of an association that asks: one message, one answer, each step tried again in time."""

import secrets
import socket
import time
from collections.abc import Callable
from typing import TypeVar

from netns_lab.sctp.packet import (
    ABORT,
    COOKIE_ACK,
    COOKIE_ECHO,
    DATA,
    INIT,
    INIT_ACK,
    PROTOCOL,
    Chunk,
    Init,
    Packet,
    data_chunk,
    decode,
    encode,
    init_chunk,
    read_data,
    read_init,
    sack_chunk,
)

T = TypeVar("T")

_AGAIN_S = 0.5
_PORTS = (32768, 60999)  # net.ipv4.ip_local_port_range


def ask_sctp(host: str, port: int, message: bytes, timeout_s: float) -> bytes:
    """Send one message over an association of its own and return the answer.

    Raises:
        OSError: there is none.
    """
    family, _, _, _, address = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, socket.SOCK_RAW, PROTOCOL) as raw:
        raw.connect((address[0], 0))
        asking = _Asking(raw, port, time.monotonic() + timeout_s)
        peer = asking.until(init_chunk(INIT, asking.own), _init_ack)
        asking.tag = peer.tag
        asking.until(Chunk(COOKIE_ECHO, 0, peer.cookie), _cookie_ack)
        tsn, answer = asking.until(data_chunk(asking.own.tsn, 0, message), _data)
        # It is not waited for: what is lost of it costs the peer a note.
        asking.send(sack_chunk(tsn), Chunk(ABORT, 0, b""))
    return answer


class _Asking:
    def __init__(self, raw: socket.socket, port: int, deadline: float) -> None:
        self._raw = raw
        self._port = port
        self._deadline = deadline
        self._own_port = _PORTS[0] + secrets.randbelow(_PORTS[1] - _PORTS[0])
        self.own = Init(secrets.randbits(32) or 1, secrets.randbits(32))
        self.tag = 0

    def send(self, *chunks: Chunk) -> None:
        self._raw.send(encode(Packet(self._own_port, self._port, self.tag, chunks)))

    def until(self, chunk: Chunk, read: Callable[[Chunk], T | None]) -> T:
        """Send a chunk again and again until an answer to it comes."""
        while (left_s := self._deadline - time.monotonic()) > 0:
            self.send(chunk)
            again = time.monotonic() + min(_AGAIN_S, left_s)
            while (wait_s := again - time.monotonic()) > 0:
                self._raw.settimeout(wait_s)
                try:
                    received = self._raw.recv(65535)
                except TimeoutError:
                    break
                for answer in self._chunks(received):
                    if answer.kind == ABORT:
                        raise ConnectionRefusedError("the association was refused")
                    value = read(answer)
                    if value is not None:
                        return value
        raise TimeoutError("timed out")

    def _chunks(self, received: bytes) -> tuple[Chunk, ...]:
        # RFC 791: a raw socket of IPv4 has the header too, whose length is in words; one of IPv6 has none.
        start = (received[0] & 0xF) * 4 if self._raw.family == socket.AF_INET else 0
        packet = decode(received[start:])
        is_ours = packet is not None and packet[:3] == (self._port, self._own_port, self.own.tag)
        return packet.chunks if packet is not None and is_ours else ()


def _init_ack(chunk: Chunk) -> Init | None:
    return read_init(chunk) if chunk.kind == INIT_ACK else None


def _cookie_ack(chunk: Chunk) -> bool | None:
    return True if chunk.kind == COOKIE_ACK else None


def _data(chunk: Chunk) -> tuple[int, bytes] | None:
    return read_data(chunk) if chunk.kind == DATA else None
