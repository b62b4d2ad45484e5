"""Replies of other servers from bytes (RFC 1035 section 4): any bytes become a value, or are refused.

The names inside the data of known types are expanded, so that a record can be written into any other message;
the data of all other types has no compressed names (RFC 3597 section 4) and is kept as it is.
"""

import struct
from collections.abc import Mapping

import msgspec

from coredns_lite.wire.names import NameFormatError, lower_name, read_name
from coredns_lite.wire.query import HEADER, QUESTION_OFFSET, Flag
from coredns_lite.wire.record import OF_QUESTION, Record, RecordType
from coredns_lite.wire.reply import Rcode
from nodeplane.errors import ProtocolError

_TYPE_AND_CLASS = struct.Struct("!HH")
_FIXED = struct.Struct("!HHIH")
_RCODE_MASK = 0xF
_TSIG = 250
# A TTL has 31 bits; one with the highest set is to be taken for 0 (RFC 2181 section 8).
_MAX_TTL_S = 0x7FFFFFFF

_NAME, _STRING, _REST = "name", "string", "rest"
# What the data of a type is made of: a number of bytes, a name, a character string, any rest. These are the
# types whose names senders may compress, or did (RFC 3597 section 4), and those whose length is known.
_FORMATS: Mapping[int, tuple[int | str, ...]] = {
    1: (4,),  # A
    2: (_NAME,),  # NS
    3: (_NAME,),  # MD
    4: (_NAME,),  # MF
    5: (_NAME,),  # CNAME
    6: (_NAME, _NAME, 20),  # SOA
    7: (_NAME,),  # MB
    8: (_NAME,),  # MG
    9: (_NAME,),  # MR
    12: (_NAME,),  # PTR
    14: (_NAME, _NAME),  # MINFO
    15: (2, _NAME),  # MX
    17: (_NAME, _NAME),  # RP
    18: (2, _NAME),  # AFSDB
    21: (2, _NAME),  # RT
    24: (18, _NAME, _REST),  # SIG
    26: (2, _NAME, _NAME),  # PX
    28: (16,),  # AAAA
    30: (_NAME, _REST),  # NXT
    33: (6, _NAME),  # SRV
    35: (4, _STRING, _STRING, _STRING, _NAME),  # NAPTR
    36: (2, _NAME),  # KX
    39: (_NAME,),  # DNAME
}


class ResponseFormatError(ProtocolError):
    """Bytes that are not a reply."""


class Response(msgspec.Struct, frozen=True):
    """A server's reply; records about the question's own name have no owner (`OF_QUESTION`)."""

    id: int
    flags: int
    rcode: Rcode
    answers: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()


def is_reply_to(packet: bytes, ident: int, question: bytes) -> bool:
    """Whether a packet claims to answer a query: a reply, of its id and to its question in any spelling.

    One without a question can only say that the server did not understand the query (RFC 1035 section 4.1.1).
    """
    if len(packet) < HEADER.size:
        return False
    found, flags, question_count, answer_count, *_ = HEADER.unpack_from(packet)
    if found != ident or not flags & Flag.QR:
        return False
    if not question_count:
        return not answer_count and bool(flags & _RCODE_MASK)
    asked = packet[QUESTION_OFFSET : QUESTION_OFFSET + len(question)]
    # The type stays out of the lower-casing: types 65 to 90 have a letter's bytes.
    is_same_name = lower_name(asked[:-4]) == lower_name(question[:-4])
    return question_count == 1 and is_same_name and asked[-4:] == question[-4:]


def decode_response(packet: bytes) -> Response:
    """Decode a reply; what stands behind its last record is ignored.

    One that is truncated may end inside a record: then it has none.

    Raises:
        ResponseFormatError: it is not a reply, its records end too late, or their data is not of their type.
    """
    try:
        return _decode(packet)
    except (NameFormatError, struct.error, IndexError, ValueError) as exc:
        if len(packet) >= HEADER.size:
            ident, flags, *_ = HEADER.unpack_from(packet)
            if flags & Flag.QR and flags & Flag.TC and not flags & _RCODE_MASK:
                return Response(ident, flags, Rcode.NOERROR)
        raise ResponseFormatError(str(exc)) from exc


def _decode(packet: bytes) -> Response:
    ident, flags, question_count, *counts = HEADER.unpack_from(packet)
    if not flags & Flag.QR or question_count > 1:
        raise ResponseFormatError(f"expected a reply to one question, got {question_count}")
    reader = _Reader(packet)
    if question_count:
        reader.read_question()
    answers, authority, additional = (reader.read_records(count) for count in counts)
    rcode = Rcode(reader.high_rcode << 4 | flags & _RCODE_MASK)
    return Response(ident, flags, rcode, answers, authority, additional)


class _Reader:
    """Reads a message's records one after another; `high_rcode` are the bits in its OPT record."""

    def __init__(self, packet: bytes) -> None:
        self.high_rcode = 0
        self._packet = packet
        self._at = QUESTION_OFFSET
        self._question = b""
        self._has_opt = False

    def read_question(self) -> None:
        name, self._at = read_name(self._packet, self._at)
        self._question = lower_name(name)
        _TYPE_AND_CLASS.unpack_from(self._packet, self._at)
        self._at += _TYPE_AND_CLASS.size

    def read_records(self, count: int) -> tuple[Record, ...]:
        """Read a section; what is between two servers only (OPT, TSIG) is left out."""
        records = (self._read_record() for _ in range(count))
        return tuple(record for record in records if record is not None)

    def _read_record(self) -> Record | None:
        owner, at = read_name(self._packet, self._at)
        rtype, rclass, ttl_s, size_bytes = _FIXED.unpack_from(self._packet, at)
        at += _FIXED.size
        self._at = at + size_bytes
        if self._at > len(self._packet):
            raise ValueError("expected the record to end inside the message")
        if rtype == RecordType.OPT:
            if self._has_opt:
                raise ValueError("expected one OPT record")
            self._has_opt = True
            self.high_rcode = ttl_s >> 24
            return None
        if rtype == _TSIG:
            return None
        rdata = self._read_data(rtype, at, self._at)
        if lower_name(owner) == self._question:
            owner = OF_QUESTION
        return Record(rtype, ttl_s if ttl_s <= _MAX_TTL_S else 0, rdata, owner, rclass)

    def _read_data(self, rtype: int, at: int, end: int) -> bytes:
        packet = self._packet
        parts = []
        for field in _FORMATS.get(rtype, (_REST,)):
            start = at
            if field == _NAME:
                name, at = read_name(packet, at)
                parts.append(name)
                continue
            if field == _REST:
                at = max(at, end)
            else:
                at += 1 + packet[at] if field == _STRING else int(field)
            parts.append(packet[start:at])
        if at != end:
            raise ValueError(f"expected the data of a record of type {rtype} to have its length")
        return b"".join(parts)
