"""Netlink framing: attributes and messages to bytes and back (linux/netlink.h, nfnetlink.h).

Only bytes; sockets are `netlink_socket`'s and `netlink_listener`'s. Headers and rtnetlink's integers are
host-endian, netfilter's network-endian. Nested attributes are written without NLA_F_NESTED, as nf_tables
itself writes them, so that what is sent and what is dumped compare equal.
"""

import struct
from collections.abc import Iterator

NETLINK_ROUTE, NETLINK_NETFILTER = 0, 12

NLMSG_ERROR, NLMSG_DONE, NLMSG_OVERRUN = 2, 3, 4

NLM_F_REQUEST, NLM_F_ACK, NLM_F_ECHO, NLM_F_DUMP = 0x1, 0x4, 0x8, 0x300
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND = 0x100, 0x200, 0x400, 0x800
NLM_F_DUMP_INTR = 0x10

NLMSG = struct.Struct("=IHHII")  # length, type, flags, sequence, port
NFGEN = struct.Struct(">BBH")  # family, version, resource id
_ATTR = struct.Struct("=HH")
_HOST_U32 = struct.Struct("=I")
_NLA_TYPE_MASK = 0x3FFF

HEADER_LENGTH = NLMSG.size + NFGEN.size


def attribute(kind: int, payload: bytes) -> bytes:
    """Encode one attribute, padded to four bytes; `payload` holds at most 65,531 bytes."""
    length = 4 + len(payload)
    return _ATTR.pack(length, kind) + payload + b"\0" * (-length % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """Encode an attribute that holds others."""
    return attribute(kind, b"".join(attributes))


def u32(kind: int, value: int) -> bytes:
    """Encode a 32-bit network-endian integer attribute."""
    return attribute(kind, struct.pack(">I", value & 0xFFFFFFFF))


def host_u32(kind: int, value: int) -> bytes:
    """Encode a 32-bit integer attribute as rtnetlink has them: host-endian."""
    return attribute(kind, _HOST_U32.pack(value))


def text(kind: int, value: str) -> bytes:
    """Encode a NUL-terminated string attribute."""
    return attribute(kind, value.encode() + b"\0")


def request(kind: int, flags: int, sequence: int, payload: bytes) -> bytes:
    """Encode one request; `payload` begins with the header of its protocol's own."""
    return NLMSG.pack(NLMSG.size + len(payload), kind, flags | NLM_F_REQUEST, sequence, 0) + payload


def messages(data: bytes) -> Iterator[tuple[int, int, int, memoryview]]:
    """Yield (type, flags, sequence, payload without the netlink header) of each message in a datagram."""
    view = memoryview(data)
    offset = 0
    while offset + NLMSG.size <= len(view):
        length, kind, flags, sequence, _ = NLMSG.unpack_from(view, offset)
        if length < NLMSG.size:
            return
        yield kind, flags, sequence, view[offset + NLMSG.size : offset + length]
        offset += length + (-length % 4)


def notifications(data: bytes) -> Iterator[tuple[int, int, memoryview]]:
    """Yield (type, port of who caused it, payload) of each message that the kernel sends unasked."""
    view = memoryview(data)
    offset = 0
    for kind, _flags, _sequence, payload in messages(data):
        *_, port = NLMSG.unpack_from(view, offset)
        yield kind, port, payload
        offset += NLMSG.size + len(payload) + (-len(payload) % 4)


def attributes(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield (type, payload) of each attribute."""
    offset = 0
    while offset + 4 <= len(data):
        length, kind = _ATTR.unpack_from(data, offset)
        if length < 4:
            return
        yield kind & _NLA_TYPE_MASK, data[offset + 4 : offset + length]
        offset += length + (-length % 4)


def attribute_map(data: memoryview) -> dict[int, memoryview]:
    """Return the attributes by type; of several of one type, the last."""
    # The loop of `attributes` once more: a link has forty, and a generator doubles their cost.
    found: dict[int, memoryview] = {}
    offset, end = 0, len(data) - 4
    while offset <= end:
        length, kind = _ATTR.unpack_from(data, offset)
        if length < 4:
            break
        found[kind & _NLA_TYPE_MASK] = data[offset + 4 : offset + length]
        offset += length + 3 & ~3
    return found


def nf_payload(payload: memoryview) -> memoryview:
    """Skip the nfgenmsg header of a netfilter message."""
    return payload[NFGEN.size :]


def read_u32(payload: memoryview) -> int:
    """Decode a 32-bit network-endian integer."""
    return int.from_bytes(payload, "big")


def read_host_u32(payload: memoryview | bytes) -> int:
    """Decode a 32-bit host-endian integer."""
    number: int = _HOST_U32.unpack_from(payload)[0]
    return number


def read_text(payload: memoryview) -> str:
    """Decode a NUL-terminated string."""
    return bytes(payload).rstrip(b"\0").decode(errors="replace")
