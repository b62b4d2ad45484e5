"""Replies to bytes: an answer, for whoever asked (RFC 1035 section 4.1, RFC 6891 for EDNS).

Names are compressed against the question and against one another (RFC 1035 section 4.1.4), so a suffix that
the client asked for comes back in the client's own spelling (draft-vixie-dnsext-dns0x20).
"""

import struct
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Protocol

import msgspec

from coredns_lite.client import Client
from coredns_lite.wire.names import label_offsets, lower_name, skip_name
from coredns_lite.wire.query import (
    DNSSEC_OK,
    HEADER,
    MIN_REPLY_BYTES,
    OPCODE_MASK,
    OPT,
    QUESTION_OFFSET,
    Edns,
    Flag,
    Query,
)
from coredns_lite.wire.record import Record, RecordType

# What passes any path in one piece: 1,280 bytes of IPv6 less its headers (DNS flag day 2020).
MAX_UDP_REPLY_BYTES = 1232
MAX_TCP_REPLY_BYTES = 65_535

_FIXED = struct.Struct("!HHIH")
_POINTER = 0xC000
_MAX_POINTER_OFFSET = 0x3FFF
_RCODE_MASK = 0xF

# A reply repeats these of its query (RFC 1035 section 4.1.1, RFC 4035 section 3.1.6).
_REPEATED = Flag.RD | Flag.CD

PADDING = 12
"""The option that makes a reply's length say less (RFC 7830): given as one of a reply's, it fills a block."""
# RFC 8467 section 4.1, for replies.
_PADDED_BLOCK_BYTES = 468
_OPTION = struct.Struct("!HH")
_EXTENDED_ERROR = 15

# Bytes before the name that ends the data of these types. Their names may be compressed (RFC 3597 section
# 4), SRV's may not (RFC 2782), and DNAME's neither (RFC 6672 section 2.5).
_NAME_AT: Mapping[int, int] = {RecordType.NS: 0, RecordType.CNAME: 0, RecordType.PTR: 0, RecordType.MX: 2}
_SRV_NAME_AT = 6


class Rcode(IntEnum):
    """Response codes (RFC 1035 section 4.1.1, RFC 2136 section 2.2, RFC 6891 section 9, RFC 7873)."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    YXDOMAIN = 6
    YXRRSET = 7
    NXRRSET = 8
    NOTAUTH = 9
    NOTZONE = 10
    BADVERS = 16
    BADCOOKIE = 23


CONFIGURATION = "configuration"
"""What answers are about that change with everything only: with a new configuration, or one of its files."""


class Guard(Protocol):
    """Decides by who asks whether an answer is given."""

    def refuse(self, query: Query, client: Client) -> "Answer | None":
        """Return what is said instead, None if the client may have the answer; counts both."""
        ...


Transfer = Callable[[], Iterable[Record]]


class Answer(msgspec.Struct, frozen=True):
    """What is to be said of a question.

    `is_lasting` says that it is true, whoever asks, until a zone or the configuration changes: then it may be
    kept. `recursed` says that somebody else was asked (the flag RA), `is_authenticated` that they vouch for
    its signatures (the flag AD, for clients that understand it), `is_truncated` that they left records out.
    `is_cacheable`: it came whole from somebody else, and is true for all who ask while its TTLs last.
    """

    rcode: Rcode = Rcode.NOERROR
    answers: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()
    is_authoritative: bool = True
    is_lasting: bool = True
    recursed: bool = False
    error: str = ""
    is_authenticated: bool = False
    is_truncated: bool = False
    is_cacheable: bool = False
    plugin: str = ""
    """Who said it, for the metrics."""
    zone: bytes = b""
    """Of the names in SRV data, as much as is in this zone (lower-case wire name) is spelled as the client
    spells it, as CoreDNS does; without one, as much as the question has."""
    about: Hashable | None = None
    """What it depends on, as its plugin says it in `Surroundings.changed`; None: on anything."""
    is_rotated: bool = False
    """Addresses and mail exchangers may come in any order, and are turned by one for each query."""
    is_dropped: bool = False
    """There is to be no reply."""
    transfer: Transfer | None = None
    """Yields a whole zone, to be sent in as many messages as it takes (RFC 5936); TCP only."""
    extended_error: tuple[int, str] | None = None
    """Why it is an error, as a code and a text (RFC 8914), for clients with EDNS."""
    guards: tuple[Guard, ...] = ()
    """Who is asked each time before it is given again; it is kept apart from what is for everybody."""
    set_flags: int = 0
    cleared_flags: int = 0
    """Flags of the header that are to be so, whatever the rest of the answer says."""


# What an answer and a record of it take besides their bytes, about, on CPython 3.11.
_ANSWER_BYTES, _RECORD_BYTES = 300, 200


def memory_bytes(answer: Answer) -> int:
    """Estimate what an answer takes in memory."""
    records = (*answer.answers, *answer.authority, *answer.additional)
    return _ANSWER_BYTES + sum(_RECORD_BYTES + len(record.rdata) + len(record.owner) for record in records)


def render_reply(
    query: Query, answer: Answer, limit_bytes: int, options: Sequence[tuple[int, bytes]] = ()
) -> bytes:
    """Render the reply to a query.

    What does not fit into `limit_bytes` is left out: first the additional records, whose absence takes
    nothing from the answer, then, with TC set, authority and as many answers as it takes (RFC 2181
    section 9).

    Args:
        query: Whose question, id, flags and EDNS it answers.
        answer: What to say.
        limit_bytes: The most that the client takes, `udp_limit_bytes` or MAX_TCP_REPLY_BYTES.
        options: EDNS options to send, code and data; only if the query has EDNS. An empty PADDING, which is
            to be the last, is filled.
    """
    if answer.extended_error:
        code, text = answer.extended_error
        # In front: padding is the last.
        options = ((_EXTENDED_ERROR, struct.pack("!H", code) + text.encode()), *options)
    opt = _render_opt(query.edns, answer.rcode, options) if query.edns else b""
    writer = _Writer(query, limit_bytes - len(opt), answer.zone)
    flags = Flag.QR | query.flags & _REPEATED | answer.rcode & _RCODE_MASK
    if answer.is_authoritative:
        flags |= Flag.AA
    if answer.recursed:
        flags |= Flag.RA
    # RFC 6840 section 5.8: for those only that ask for it, by AD or by DO.
    if answer.is_authenticated and (query.flags & Flag.AD or (query.edns and query.edns.dnssec_ok)):
        flags |= Flag.AD
    if answer.is_truncated:
        flags |= Flag.TC
    if answer.set_flags or answer.cleared_flags:
        flags = flags & ~answer.cleared_flags | answer.set_flags
    answered = writer.write(answer.answers)
    told = writer.write(answer.authority) if answered == len(answer.answers) else 0
    if (answered, told) != (len(answer.answers), len(answer.authority)):
        flags |= Flag.TC
        added = 0
    else:
        added = writer.write(answer.additional)
    header = HEADER.pack(
        query.id, flags, 1 if query.question else 0, answered, told, added + (1 if opt else 0)
    )
    reply = b"".join((header, query.question, *writer.parts, opt))
    return _pad(reply, len(opt), limit_bytes) if (PADDING, b"") in options else reply


def render_error(packet: bytes, rcode: Rcode) -> bytes:
    """Render a bare header that refuses a packet whose question can't be told."""
    ident, flags = struct.unpack_from("!HH", packet)
    return HEADER.pack(ident, Flag.QR | flags & (OPCODE_MASK | _REPEATED) | rcode, 0, 0, 0, 0)


def udp_limit_bytes(edns: Edns | None, largest: int = MAX_UDP_REPLY_BYTES) -> int:
    """Return the most that a client takes in one datagram, `largest` at most."""
    return min(max(edns.udp_size_bytes, MIN_REPLY_BYTES), largest) if edns else MIN_REPLY_BYTES


class _Writer:
    """Writes records behind a question, for as long as there is room."""

    def __init__(self, query: Query, limit_bytes: int, zone: bytes = b"") -> None:
        self.parts: list[bytes] = []
        self._zone = zone
        self._question = query.question
        self._end = QUESTION_OFFSET + len(query.question)
        self._limit_bytes = limit_bytes
        # Where each suffix (lower case) stands that a pointer can lead to.
        self._places = {query.name[at:]: QUESTION_OFFSET + at for at in label_offsets(query.name)}

    def write(self, records: Sequence[Record]) -> int:
        """Write records until one does not fit; return how many did."""
        for count, record in enumerate(records):
            wire = self._render(record)
            if self._end + len(wire) > self._limit_bytes:
                # Names of the record that stays out must not be pointed at.
                self._places = {name: at for name, at in self._places.items() if at < self._end}
                return count
            self.parts.append(wire)
            self._end += len(wire)
        return len(records)

    def _render(self, record: Record) -> bytes:
        owner = self._compress(record.owner, self._end) if record.owner else _OWNER_IS_QUESTION
        data_at = self._end + len(owner) + _FIXED.size
        rdata = self._render_data(record, data_at)
        return owner + _FIXED.pack(record.rtype, record.rclass, record.ttl_s, len(rdata)) + rdata

    def _render_data(self, record: Record, at: int) -> bytes:
        rdata = record.rdata
        name_at = _NAME_AT.get(record.rtype)
        if name_at is not None:
            return rdata[:name_at] + self._compress(rdata[name_at:], at + name_at)
        if record.rtype == RecordType.SOA:
            second = skip_name(rdata, 0)
            third = skip_name(rdata, second)
            mname = self._compress(rdata[:second], at)
            return mname + self._compress(rdata[second:third], at + len(mname)) + rdata[third:]
        if record.rtype == RecordType.SRV:
            return rdata[:_SRV_NAME_AT] + self._respell(rdata[_SRV_NAME_AT:])
        return rdata

    def _compress(self, name: bytes, at: int) -> bytes:
        """Write a name that will stand at an offset of the reply, its known suffix as a pointer."""
        lower = lower_name(name)
        for start in label_offsets(name):
            place = self._places.get(lower[start:])
            if place is not None:
                return name[:start] + struct.pack("!H", _POINTER | place)
            if at + start <= _MAX_POINTER_OFFSET:
                self._places[lower[start:]] = at + start
        return name

    def _respell(self, name: bytes) -> bytes:
        """Write a name in full, its suffix that the question has too as the client spelled it."""
        lower = lower_name(name)
        for start in label_offsets(name):
            if self._zone and not self._zone.endswith(lower[start:]):
                continue
            place = self._places.get(lower[start:], self._end)
            if place < QUESTION_OFFSET + len(self._question):
                at = place - QUESTION_OFFSET
                return name[:start] + self._question[at : at + len(name) - start]
        return name


_OWNER_IS_QUESTION = struct.pack("!H", _POINTER | QUESTION_OFFSET)


def _pad(reply: bytes, opt_bytes: int, limit_bytes: int) -> bytes:
    """Fill the empty padding at the end of a reply, which is that of its OPT record."""
    count = min(-len(reply) % _PADDED_BLOCK_BYTES, limit_bytes - len(reply))
    length_at = len(reply) - opt_bytes + OPT.size - 2
    options_bytes = opt_bytes - OPT.size + count
    return b"".join((
        reply[:length_at], struct.pack("!H", options_bytes),
        reply[length_at + 2 : -_OPTION.size], _OPTION.pack(PADDING, count), bytes(count),
    ))  # fmt: skip


def _render_opt(edns: Edns, rcode: Rcode, options: Iterable[tuple[int, bytes]]) -> bytes:
    """Render our OPT record: CoreDNS's echo of the client's size, version 0, DO copied (RFC 3225)."""
    size_bytes = max(edns.udp_size_bytes, MIN_REPLY_BYTES)
    data = b"".join(_OPTION.pack(code, len(value)) + value for code, value in options)
    flags = DNSSEC_OK if edns.dnssec_ok else 0
    return OPT.pack(0, RecordType.OPT, size_bytes, rcode >> 4, 0, flags, len(data)) + data
