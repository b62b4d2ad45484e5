"""Netlink framing: attributes and messages to bytes and back (linux/netlink.h, nfnetlink.h, nf_tables.h).

Only bytes; the socket is `kernel`'s. Headers are host-endian, nf_tables' integers network-endian. Nested
attributes are written without NLA_F_NESTED, as the kernel itself writes them, so that what is sent and
what is dumped compare equal.
"""

import struct
from collections.abc import Iterator

NFNL_SUBSYS_NFTABLES = 10
NLMSG_ERROR, NLMSG_DONE, NLMSG_OVERRUN = 2, 3, 4
NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END = 0x10, 0x11

NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND = 0x200, 0x400, 0x800
NLM_F_DUMP_INTR = 0x10

NEWTABLE, GETTABLE, DELTABLE = 0, 1, 2
NEWCHAIN, GETCHAIN = 3, 4
NEWRULE, GETRULE = 6, 7
NEWSET, GETSET = 9, 10
NEWSETELEM, GETSETELEM, DELSETELEM = 12, 13, 14
NEWGEN, GETGEN = 15, 16

_NLMSG = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_NFGEN = struct.Struct(">BBH")  # family, version, resource id
_ATTR = struct.Struct("=HH")
_NLA_TYPE_MASK = 0x3FFF

HEADER_LENGTH = _NLMSG.size + _NFGEN.size


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


def text(kind: int, value: str) -> bytes:
    """Encode a NUL-terminated string attribute."""
    return attribute(kind, value.encode() + b"\0")


def message(operation: int, flags: int, sequence: int, family: int, payload: bytes) -> bytes:
    """Encode one nf_tables request."""
    kind = NFNL_SUBSYS_NFTABLES << 8 | operation
    length = HEADER_LENGTH + len(payload)
    return _NLMSG.pack(length, kind, flags | NLM_F_REQUEST, sequence, 0) + _NFGEN.pack(family, 0, 0) + payload


def batch_mark(operation: int, sequence: int) -> bytes:
    """Encode the begin or end mark of a transaction for nf_tables."""
    header = _NLMSG.pack(HEADER_LENGTH, operation, NLM_F_REQUEST, sequence, 0)
    return header + _NFGEN.pack(0, 0, NFNL_SUBSYS_NFTABLES)


def messages(data: bytes) -> Iterator[tuple[int, int, int, memoryview]]:
    """Yield (type, flags, sequence, payload without the netlink header) of each message in a datagram."""
    view = memoryview(data)
    offset = 0
    while offset + _NLMSG.size <= len(view):
        length, kind, flags, sequence, _ = _NLMSG.unpack_from(view, offset)
        if length < _NLMSG.size:
            return
        yield kind, flags, sequence, view[offset + _NLMSG.size : offset + length]
        offset += length + (-length % 4)


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
    return dict(attributes(data))


def nf_payload(payload: memoryview) -> memoryview:
    """Skip the nfgenmsg header of an nf_tables message."""
    return payload[_NFGEN.size :]


def read_u32(payload: memoryview) -> int:
    """Decode a 32-bit network-endian integer."""
    return int.from_bytes(payload, "big")


def read_text(payload: memoryview) -> str:
    """Decode a NUL-terminated string."""
    return bytes(payload).rstrip(b"\0").decode(errors="replace")


def comment_userdata(kind: int, value: str) -> bytes:
    """Encode the user data that `nft list` prints as a comment (libnftnl udata.h: type, length, value)."""
    data = value.encode()[:253] + b"\0"
    return bytes((kind, len(data))) + data
