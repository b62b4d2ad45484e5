"""One DNS question and the IPv4 addresses in its answer (RFC 1035): enough to see that a name is served."""

import struct

_HEADER = struct.Struct("!6H")
_RECORD = struct.Struct("!2HIH")
_TYPE_A = 1
_CLASS_IN = 1
_RECURSION_DESIRED = 0x0100
_RCODE = 0x000F


def build_query(identifier: int, name: str) -> bytes:
    """Build a query for the A records of a name, such as `web.default.svc.cluster.local`."""
    labels = b"".join(bytes([len(label)]) + label for label in name.rstrip(".").encode("ascii").split(b"."))
    header = _HEADER.pack(identifier, _RECURSION_DESIRED, 1, 0, 0, 0)
    return header + labels + b"\0" + struct.pack("!2H", _TYPE_A, _CLASS_IN)


def decode_addresses(identifier: int, reply: bytes) -> list[str] | None:
    """Return the addresses of a reply, none for a name that is not there; None if it is no reply to us."""
    try:
        answer_id, flags, questions, answers, _, _ = _HEADER.unpack_from(reply)
        if answer_id != identifier or questions != 1:
            return None
        if flags & _RCODE:
            return []
        offset = _skip_name(reply, _HEADER.size) + 4
        addresses = []
        for _ in range(answers):
            offset = _skip_name(reply, offset)
            kind, _, _, length = _RECORD.unpack_from(reply, offset)
            offset += _RECORD.size
            if kind == _TYPE_A and length == 4:
                addresses.append(".".join(map(str, reply[offset : offset + 4])))
            offset += length
    except (struct.error, IndexError):
        return None
    return addresses


def _skip_name(message: bytes, offset: int) -> int:
    """Return the offset behind a name; a compression pointer ends it (RFC 1035, section 4.1.4)."""
    while message[offset]:
        if message[offset] & 0xC0:
            return offset + 2
        offset += 1 + message[offset]
    return offset + 1
