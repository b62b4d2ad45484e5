"""Queries from bytes (RFC 1035 section 4, RFC 6891 for EDNS): decides what a well-formed query is."""

import struct
from enum import IntEnum

import msgspec

from coredns_lite.wire.names import ROOT, NameFormatError, lower_name, read_name, skip_name
from coredns_lite.wire.record import RecordType
from nodeplane.errors import ProtocolError

# Without EDNS a client is promised no more (RFC 1035 section 2.3.4); a smaller EDNS size means the same.
MIN_REPLY_BYTES = 512
QUESTION_OFFSET = 12

HEADER = struct.Struct("!HHHHHH")
"""Id, flags, and the counts of questions, answers, authority and additional records."""
OPT = struct.Struct("!BHHBBHH")
"""An OPT record without options: root, type, size, high bits of the rcode, version, flags, length."""
DNSSEC_OK = 0x8000
"""The flag DO of an OPT record (RFC 3225)."""

# What stub resolvers and forwarders say that they take over UDP: RFC 1035's own limit; glibc
# (RESOLV_EDNS_BUFFER_SIZE); RFC 4035 section 4.1; DNS flag day 2020; 1,280 bytes of IPv6 without regard to
# headers; what fits an Ethernet frame, more or less set aside for tunnels; 4 kB (RFC 6891 section 6.2.5) and
# 8; systemd-resolved on loopback; the most there is. Any other is rare, and all 65,536 are an attack.
_COMMON_SIZES = (512, 1200, 1220, 1232, 1280, 1400, 1410, 1452, 1472, 4000, 4096, 8192, 65_494, 65_535)

_TYPE_AND_CLASS = struct.Struct("!HH")
_RECORD = struct.Struct("!HHIH")
_OPTION = struct.Struct("!HH")
_SOA_NUMBERS_BYTES = 20
OPCODE_MASK = 0x7800


class Flag(IntEnum):
    """The header's flags (RFC 1035 section 4.1.1; AD, CD: RFC 4035)."""

    QR = 0x8000
    AA = 0x0400
    TC = 0x0200
    RD = 0x0100
    RA = 0x0080
    AD = 0x0020
    CD = 0x0010


# What stands behind the question of nearly every query: nothing, or an OPT record without options.
_COMMON_TAILS = {b""} | {
    OPT.pack(0, RecordType.OPT, size_bytes, 0, 0, flags, 0)
    for size_bytes in _COMMON_SIZES
    for flags in (0, DNSSEC_OK)
}
_RARE_FLAGS = 0xFFFF & ~(Flag.RD | Flag.AD | Flag.CD)


class MessageFormatError(ProtocolError):
    """A query that its sender has to put right: FORMERR."""


class NoQuestionError(MessageFormatError):
    """A query without a question, which only a cookie can make sense of (RFC 7873 section 5.4)."""


class Edns(msgspec.Struct, frozen=True):
    """What the OPT record of a query says."""

    udp_size_bytes: int
    version: int
    dnssec_ok: bool
    options: tuple[tuple[int, bytes], ...] = ()
    """Code and data of each option, in their order."""

    @property
    def has_options(self) -> bool:
        """Whether there is any option, so that the packet may not come again."""
        return bool(self.options)


class Query(msgspec.Struct, frozen=True):
    """A query with one question.

    `question` is the question section as it was sent, `name` its name in wire form and lower case. `serial`
    is that of the zone that an IXFR's sender has (RFC 1995 section 3).
    """

    id: int
    flags: int
    question: bytes
    name: bytes
    qtype: int
    qclass: int
    edns: Edns | None = None
    serial: int | None = None

    @property
    def is_lower_case(self) -> bool:
        """Whether the client wrote the name in lower case, as all do that don't randomise it (0x20)."""
        return self.question.startswith(self.name)


def is_query(packet: bytes) -> bool:
    """Whether the packet may be replied to at all: it has a whole header and is not itself a reply."""
    return len(packet) >= HEADER.size and not packet[2] & (Flag.QR >> 8)


def opcode(packet: bytes) -> int:
    """Return the operation that the header asks for; 0 is QUERY."""
    return (packet[2] << 8 & OPCODE_MASK) >> 11


def decode_query(packet: bytes) -> Query:
    """Decode a packet of opcode QUERY.

    Raises:
        NoQuestionError: no question.
        MessageFormatError: more than one question (RFC 9619), a compressed or broken name, a section
            that ends too early or too late, or a wrong or second OPT record (RFC 6891 section 6.1.1).
    """
    try:
        ident, flags, qdcount, *counts = HEADER.unpack_from(packet)
        if not qdcount:
            raise NoQuestionError("expected one question, got 0")
        if qdcount != 1:
            raise MessageFormatError(f"expected one question, got {qdcount}")
        name, end = read_name(packet, QUESTION_OFFSET)
        if end - QUESTION_OFFSET != len(name):
            raise MessageFormatError("expected a question without compression")
        qtype, qclass = _TYPE_AND_CLASS.unpack_from(packet, end)
        end += _TYPE_AND_CLASS.size
        edns = _decode_records(packet, end, counts)
        serial = _find_serial(packet, end, counts[0], counts[1]) if qtype == RecordType.IXFR else None
    except (NameFormatError, struct.error, IndexError) as exc:
        raise MessageFormatError(str(exc)) from exc
    return Query(ident, flags, packet[QUESTION_OFFSET:end], lower_name(name), qtype, qclass, edns, serial)


def decode_bare_query(packet: bytes) -> Query:
    """Decode a packet of opcode QUERY that has no question: all that there may be is EDNS.

    Raises:
        MessageFormatError: what is there is malformed.
    """
    try:
        ident, flags, _, *counts = HEADER.unpack_from(packet)
        edns = _decode_records(packet, HEADER.size, counts)
    except (NameFormatError, struct.error, IndexError) as exc:
        raise MessageFormatError(str(exc)) from exc
    return Query(ident, flags, b"", ROOT, 0, 0, edns)


def is_common(packet: bytes, query: Query) -> bool:
    """Say whether the packet that a query was decoded from is one that well-meaning clients send again.

    Random spelling and options (cookies) make another each time. Flags, sections, EDNS sizes and bits that no
    client needs would let one question have more packets than there is memory for.
    """
    tail = packet[QUESTION_OFFSET + len(query.question) :]
    return not query.flags & _RARE_FLAGS and tail in _COMMON_TAILS and query.is_lower_case


def _decode_records(packet: bytes, offset: int, counts: list[int]) -> Edns | None:
    """Walk the three sections behind the question; of what is there, only OPT means something to us."""
    edns = None
    first_additional, total = counts[0] + counts[1], sum(counts)
    for number in range(total):
        owner, offset = packet[offset], skip_name(packet, offset)
        rtype, size_bytes, ttl, rdlength = _RECORD.unpack_from(packet, offset)
        offset += _RECORD.size
        rdata = packet[offset : offset + rdlength]
        if len(rdata) < rdlength:
            raise MessageFormatError("expected the record to end inside the message")
        offset += rdlength
        if rtype == RecordType.OPT:
            if edns or owner or number < first_additional:
                raise MessageFormatError("expected one OPT record, of the root, among the additional ones")
            edns = Edns(size_bytes, ttl >> 16 & 0xFF, bool(ttl & DNSSEC_OK), _decode_options(rdata))
    if offset != len(packet):
        raise MessageFormatError("expected the message to end after its last record")
    return edns


def _find_serial(packet: bytes, offset: int, answers: int, authorities: int) -> int | None:
    """Return the serial of the SOA in the authority section, whose records were found to be whole."""
    for number in range(answers + authorities):
        offset = skip_name(packet, offset)
        rtype, _, _, rdlength = _RECORD.unpack_from(packet, offset)
        offset += _RECORD.size
        if rtype == RecordType.SOA and number >= answers:
            at = skip_name(packet, skip_name(packet, offset))
            if at + _SOA_NUMBERS_BYTES != offset + rdlength:
                raise MessageFormatError("expected the data of an SOA record")
            return int.from_bytes(packet[at : at + 4])
        offset += rdlength
    return None


def _decode_options(rdata: bytes) -> tuple[tuple[int, bytes], ...]:
    """Take the options of an OPT record apart; they must fill it (RFC 6891 section 6.1.2)."""
    options = []
    at = 0
    while at < len(rdata):
        code, size_bytes = _OPTION.unpack_from(rdata, at)
        at += _OPTION.size
        options.append((code, rdata[at : at + size_bytes]))
        at += size_bytes
    if at != len(rdata):
        raise MessageFormatError("expected the EDNS option to end inside its record")
    return tuple(options)
