"""DNS messages: queries from bytes, replies to bytes (RFC 1035 section 4, RFC 6891 for EDNS).

Decides what a well-formed query is and how much of an answer fits; what the answer is, others decide.
"""

import struct
from collections.abc import Iterable
from enum import IntEnum

import msgspec

from coredns_lite.names import NameFormatError, lower_name, read_name, skip_name
from coredns_lite.records import QUESTION_OFFSET, RecordType
from nodeplane.errors import ProtocolError

# Without EDNS a client is promised no more (RFC 1035 section 2.3.4); a smaller EDNS size means the same.
MIN_REPLY_BYTES = 512
# What passes any path in one piece: 1,280 bytes of IPv6 less its headers (DNS flag day 2020).
MAX_REPLY_BYTES = 1232

HEADER = struct.Struct("!HHHHHH")
"""Id, flags, and the counts of questions, answers, authority and additional records."""
OPT = struct.Struct("!BHHBBHH")
"""An OPT record without options: root, type, size, high bits of the rcode, version, flags, length."""
DNSSEC_OK = 0x8000
"""The flag DO of an OPT record (RFC 3225)."""

_TYPE_AND_CLASS = struct.Struct("!HH")
_RECORD = struct.Struct("!HHIH")
_OPTION = struct.Struct("!HH")
_OPCODE_MASK = 0x7800
_RCODE_MASK = 0xF


class Flag(IntEnum):
    """The header's flags (RFC 1035 section 4.1.1; CD: RFC 4035)."""

    QR = 0x8000
    AA = 0x0400
    TC = 0x0200
    RD = 0x0100
    RA = 0x0080
    CD = 0x0010


# A reply repeats these of its query (RFC 1035 section 4.1.1, RFC 4035 section 3.1.6).
_REPEATED = Flag.RD | Flag.CD


class Rcode(IntEnum):
    """Response codes (RFC 1035 section 4.1.1, RFC 6891 section 9)."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    BADVERS = 16


class MessageFormatError(ProtocolError):
    """A query that its sender has to put right: FORMERR."""


class Edns(msgspec.Struct, frozen=True):
    """What the OPT record of a query says."""

    udp_size_bytes: int
    version: int
    dnssec_ok: bool
    has_options: bool


class Query(msgspec.Struct, frozen=True):
    """A query with one question.

    `question` is the question section as it was sent, `name` its name in wire form and lower case.
    """

    id: int
    flags: int
    question: bytes
    name: bytes
    qtype: int
    qclass: int
    edns: Edns | None = None

    @property
    def is_lower_case(self) -> bool:
        """Whether the client wrote the name in lower case, as all do that don't randomise it (0x20)."""
        return self.question.startswith(self.name)


class Answer(msgspec.Struct, frozen=True):
    """What is true of a question, whoever asks and however: made once, copied into many replies.

    `tail` is the answer and authority sections as they follow the question; `records` those of the answer
    section one by one, for when not all of them fit.
    """

    rcode: Rcode
    is_authoritative: bool
    records: tuple[bytes, ...]
    authority_count: int
    tail: bytes


def build_answer(
    records: Iterable[bytes] = (),
    *,
    rcode: Rcode = Rcode.NOERROR,
    authority: tuple[bytes, ...] = (),
    is_authoritative: bool = True,
) -> Answer:
    """Put an answer together from the records of its sections."""
    records = tuple(records)
    return Answer(rcode, is_authoritative, records, len(authority), b"".join((*records, *authority)))


def is_query(packet: bytes) -> bool:
    """Whether the packet may be replied to at all: it has a whole header and is not itself a reply."""
    return len(packet) >= HEADER.size and not packet[2] & (Flag.QR >> 8)


def opcode(packet: bytes) -> int:
    """Return the operation that the header asks for; 0 is QUERY."""
    return (packet[2] << 8 & _OPCODE_MASK) >> 11


def decode_query(packet: bytes) -> Query:
    """Decode a packet of opcode QUERY.

    Raises:
        MessageFormatError: not exactly one question (RFC 9619), a compressed or broken name, a section
            that ends too early or too late, or a wrong or second OPT record (RFC 6891 section 6.1.1).
    """
    try:
        ident, flags, qdcount, *counts = HEADER.unpack_from(packet)
        if qdcount != 1:
            raise MessageFormatError(f"expected one question, got {qdcount}")
        name, end = read_name(packet, QUESTION_OFFSET)
        if end - QUESTION_OFFSET != len(name):
            raise MessageFormatError("expected a question without compression")
        qtype, qclass = _TYPE_AND_CLASS.unpack_from(packet, end)
        end += _TYPE_AND_CLASS.size
        edns = _decode_records(packet, end, counts)
    except (NameFormatError, struct.error, IndexError) as exc:
        raise MessageFormatError(str(exc)) from exc
    return Query(ident, flags, packet[QUESTION_OFFSET:end], lower_name(name), qtype, qclass, edns)


def render_reply(query: Query, answer: Answer) -> bytes:
    """Render the reply to a query, cut to what its client takes, with TC set if records had to go."""
    opt = _render_opt(query.edns, answer.rcode) if query.edns else b""
    room_bytes = _limit_bytes(query.edns) - HEADER.size - len(query.question) - len(opt)
    count, authority_count, tail = len(answer.records), answer.authority_count, answer.tail
    # RFC 6891 section 6.1.3: the low four bits here, the high eight in the OPT record.
    flags = Flag.QR | query.flags & _REPEATED | answer.rcode & _RCODE_MASK
    if answer.is_authoritative:
        flags |= Flag.AA
    if len(tail) > room_bytes:
        flags |= Flag.TC
        records = _that_fit(answer.records, room_bytes)
        count, authority_count, tail = len(records), 0, b"".join(records)
    header = HEADER.pack(query.id, flags, 1, count, authority_count, 1 if opt else 0)
    return b"".join((header, query.question, tail, opt))


def render_error(packet: bytes, rcode: Rcode) -> bytes:
    """Render a bare header that refuses a packet whose question can't be told."""
    ident, flags = struct.unpack_from("!HH", packet)
    return HEADER.pack(ident, Flag.QR | flags & (_OPCODE_MASK | _REPEATED) | rcode, 0, 0, 0, 0)


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
            edns = Edns(size_bytes, ttl >> 16 & 0xFF, bool(ttl & DNSSEC_OK), _has_options(rdata))
    if offset != len(packet):
        raise MessageFormatError("expected the message to end after its last record")
    return edns


def _has_options(rdata: bytes) -> bool:
    """Check that the options fill the OPT record; which they are does not matter (RFC 6891 section 6.1.2)."""
    at = 0
    while at < len(rdata):
        at += _OPTION.size + _OPTION.unpack_from(rdata, at)[1]
    if at != len(rdata):
        raise MessageFormatError("expected the EDNS option to end inside its record")
    return at > 0


def _limit_bytes(edns: Edns | None) -> int:
    return min(max(edns.udp_size_bytes, MIN_REPLY_BYTES), MAX_REPLY_BYTES) if edns else MIN_REPLY_BYTES


def _render_opt(edns: Edns, rcode: Rcode) -> bytes:
    """Render our OPT record: CoreDNS's echo of the client's size, version 0, DO copied (RFC 3225)."""
    size_bytes = max(edns.udp_size_bytes, MIN_REPLY_BYTES)
    return OPT.pack(0, RecordType.OPT, size_bytes, rcode >> 4, 0, DNSSEC_OK if edns.dnssec_ok else 0, 0)


def _that_fit(records: tuple[bytes, ...], room_bytes: int) -> tuple[bytes, ...]:
    for count, record in enumerate(records):
        room_bytes -= len(record)
        if room_bytes < 0:
            return records[:count]
    return records
