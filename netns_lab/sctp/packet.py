"""SCTP packets: a header, and chunks (RFC 9260, section 3)."""

import struct
from typing import NamedTuple

from netns_lab.trace.sctp import crc32c

PROTOCOL = 132
"""IANA's number of SCTP over IP."""

# RFC 9260, 3.2.
DATA, INIT, INIT_ACK, SACK, HEARTBEAT, HEARTBEAT_ACK, ABORT, SHUTDOWN, SHUTDOWN_ACK = range(9)
COOKIE_ECHO, COOKIE_ACK, SHUTDOWN_COMPLETE = 10, 11, 14

WHOLE_MESSAGE = 3
"""Flags of DATA: first and last fragment in one."""

_HEADER = struct.Struct(">HHII")
_CHUNK = struct.Struct(">BBH")
_INIT = struct.Struct(">IIHHI")
_DATA = struct.Struct(">IHHI")
_COOKIE_PARAMETER = 7
_WINDOW_BYTES = 65536


class Chunk(NamedTuple):
    """A chunk: its type, its flags, and what is behind its header."""

    kind: int
    flags: int
    body: bytes


class Packet(NamedTuple):
    """A packet."""

    source_port: int
    destination_port: int
    tag: int
    chunks: tuple[Chunk, ...]


class Init(NamedTuple):
    """What INIT and INIT ACK say of their sender."""

    tag: int
    tsn: int
    cookie: bytes = b""


def encode(packet: Packet) -> bytes:
    """Render a packet with its checksum."""
    body = b"".join(_encode_chunk(chunk) for chunk in packet.chunks)
    ports = (packet.source_port, packet.destination_port)
    bare = _HEADER.pack(*ports, packet.tag, 0) + body
    # The checksum is in the order of the bytes that it was computed in (appendix A).
    (checksum,) = struct.unpack(">I", struct.pack("<I", crc32c(bare)))
    return _HEADER.pack(*ports, packet.tag, checksum) + body


def decode(data: bytes) -> Packet | None:
    """Return a packet; None if it is none, or damaged."""
    if len(data) < _HEADER.size:
        return None
    source_port, destination_port, tag, checksum = _HEADER.unpack_from(data)
    bare = data[:8] + bytes(4) + data[12:]
    if struct.pack(">I", checksum) != struct.pack("<I", crc32c(bare)):
        return None
    chunks = []
    offset = _HEADER.size
    while offset + _CHUNK.size <= len(data):
        kind, flags, length = _CHUNK.unpack_from(data, offset)
        if length < _CHUNK.size or offset + length > len(data):
            return None
        chunks.append(Chunk(kind, flags, data[offset + _CHUNK.size : offset + length]))
        offset += length + -length % 4
    return Packet(source_port, destination_port, tag, tuple(chunks))


def init_chunk(kind: int, init: Init) -> Chunk:
    """Build an INIT or, with a cookie, an INIT ACK."""
    parameter = b""
    if init.cookie:
        parameter = struct.pack(">HH", _COOKIE_PARAMETER, 4 + len(init.cookie)) + init.cookie
    return Chunk(kind, 0, _INIT.pack(init.tag, _WINDOW_BYTES, 1, 1, init.tsn) + parameter)


def read_init(chunk: Chunk) -> Init | None:
    """Return what an INIT or INIT ACK says; None if it is cut short."""
    if len(chunk.body) < _INIT.size:
        return None
    tag, _, _, _, tsn = _INIT.unpack_from(chunk.body)
    offset, cookie = _INIT.size, b""
    while offset + 4 <= len(chunk.body):
        kind, length = struct.unpack_from(">HH", chunk.body, offset)
        if length < 4:
            return None
        if kind == _COOKIE_PARAMETER:
            cookie = chunk.body[offset + 4 : offset + length]
        offset += length + -length % 4
    return Init(tag, tsn, cookie)


def data_chunk(tsn: int, sequence: int, message: bytes) -> Chunk:
    """Build a whole message on stream 0."""
    return Chunk(DATA, WHOLE_MESSAGE, _DATA.pack(tsn, 0, sequence, 0) + message)


def read_data(chunk: Chunk) -> tuple[int, bytes] | None:
    """Return a message and its number; None if it is a part, or cut short."""
    if len(chunk.body) < _DATA.size or chunk.flags & WHOLE_MESSAGE != WHOLE_MESSAGE:
        return None
    return _DATA.unpack_from(chunk.body)[0], chunk.body[_DATA.size :]


def sack_chunk(tsn: int) -> Chunk:
    """Build the acknowledgement of all up to a number."""
    return Chunk(SACK, 0, struct.pack(">IIHH", tsn, _WINDOW_BYTES, 0, 0))


def _encode_chunk(chunk: Chunk) -> bytes:
    length = _CHUNK.size + len(chunk.body)
    return _CHUNK.pack(chunk.kind, chunk.flags, length) + chunk.body + bytes(-length % 4)
