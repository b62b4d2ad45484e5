"""As much of SCTP as finds out who answers: INIT and INIT ACK over raw sockets (RFC 9260).

The development kernel tracks and translates SCTP and has no sockets for it. What the server has to say
travels in the state cookie.
"""

import struct

import msgspec

_HEADER = struct.Struct("!HHI")
_INIT, _INIT_ACK = 1, 2
_STATE_COOKIE = 7
_TAG = 0x6E706C62
_WINDOW, _STREAMS, _TSN = 1 << 16, 1, 1
# RFC 3309: the Castagnoli polynomial, reflected.
_POLYNOMIAL = 0x82F63B78


class Message(msgspec.Struct, frozen=True):
    """One INIT or INIT ACK."""

    source_port: int
    port: int
    is_answer: bool
    tag: int
    cookie: bytes = b""


def encode_init(source_port: int, port: int) -> bytes:
    """Return the first packet of an association."""
    return _encode(source_port, port, 0, _INIT, b"")


def encode_answer(init: Message, text: bytes) -> bytes:
    """Return the INIT ACK to an INIT."""
    padded = text + bytes(-len(text) % 4)
    cookie = struct.pack("!HH", _STATE_COOKIE, 4 + len(text)) + padded
    return _encode(init.port, init.source_port, init.tag, _INIT_ACK, cookie)


def decode(packet: bytes) -> Message | None:
    """Read a packet without its IP header; None for what is neither INIT nor INIT ACK, or damaged."""
    if len(packet) < 32 or packet[12] not in {_INIT, _INIT_ACK}:
        return None
    (checksum,) = struct.unpack_from("<I", packet, 8)
    if checksum != _crc32c(packet[:8] + bytes(4) + packet[12:]):
        return None
    source_port, port, _ = _HEADER.unpack_from(packet)
    (tag,) = struct.unpack_from("!I", packet, 16)
    cookie = b""
    if len(packet) >= 36:
        (length,) = struct.unpack_from("!H", packet, 34)
        cookie = packet[36 : 32 + length]
    return Message(source_port, port, packet[12] == _INIT_ACK, tag, cookie)


def _encode(source_port: int, port: int, tag: int, kind: int, parameters: bytes) -> bytes:
    body = struct.pack("!IIHHI", _TAG, _WINDOW, _STREAMS, _STREAMS, _TSN) + parameters
    chunk = struct.pack("!BBH", kind, 0, 4 + len(body)) + body
    header = _HEADER.pack(source_port, port, tag)
    return header + struct.pack("<I", _crc32c(header + bytes(4) + chunk)) + chunk


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (_POLYNOMIAL if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
