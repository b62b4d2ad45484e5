"""One DNS question and the addresses in its answer (RFC 1035, RFC 3596): enough to see a name served."""

import struct
from ipaddress import ip_address

import msgspec

_HEADER = struct.Struct("!6H")
_RECORD = struct.Struct("!2HIH")
TYPE_A, TYPE_AAAA = 1, 28
_ADDRESS_BYTES = {TYPE_A: 4, TYPE_AAAA: 16}
_CLASS_IN = 1
_RECURSION_DESIRED = 0x0100
_RCODE = 0x000F
_RCODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}


class DnsAnswer(msgspec.Struct, frozen=True):
    """A reply: the response code's name, and the addresses of the type that was asked for."""

    rcode: str
    addresses: tuple[str, ...] = ()


def build_query(identifier: int, name: str, record_type: int = TYPE_A) -> bytes:
    """Build a query for the addresses of a name, such as `web.default.svc.cluster.local`."""
    labels = b"".join(bytes([len(label)]) + label for label in name.rstrip(".").encode("ascii").split(b"."))
    header = _HEADER.pack(identifier, _RECURSION_DESIRED, 1, 0, 0, 0)
    return header + labels + b"\0" + struct.pack("!2H", record_type, _CLASS_IN)


def decode_addresses(identifier: int, reply: bytes) -> list[str] | None:
    """Return the IPv4 addresses of a reply, none for a name that is not there; None if it is none to us."""
    answer = decode_answer(identifier, reply)
    return None if answer is None else list(answer.addresses)


def decode_answer(identifier: int, reply: bytes, record_type: int = TYPE_A) -> DnsAnswer | None:
    """Decode a reply; None if it is none to us."""
    try:
        answer_id, flags, questions, answers, _, _ = _HEADER.unpack_from(reply)
        if answer_id != identifier or questions != 1:
            return None
        rcode = _RCODES.get(flags & _RCODE, str(flags & _RCODE))
        if flags & _RCODE:
            return DnsAnswer(rcode)
        offset = _skip_name(reply, _HEADER.size) + 4
        addresses = []
        for _ in range(answers):
            offset = _skip_name(reply, offset)
            kind, _, _, length = _RECORD.unpack_from(reply, offset)
            offset += _RECORD.size
            if kind == record_type and length == _ADDRESS_BYTES[record_type]:
                addresses.append(str(ip_address(reply[offset : offset + length])))
            offset += length
    except (struct.error, IndexError, ValueError):
        return None
    return DnsAnswer(rcode, tuple(addresses))


def _skip_name(message: bytes, offset: int) -> int:
    """Return the offset behind a name; a compression pointer ends it (RFC 1035, section 4.1.4)."""
    while message[offset]:
        if message[offset] & 0xC0:
            return offset + 2
        offset += 1 + message[offset]
    return offset + 1
