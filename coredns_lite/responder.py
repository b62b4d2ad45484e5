"""From a packet to its reply: what is dropped, refused or answered, with what is cached on the way.

A Responder lives from one change of the zones to the next. Its caches need no expiry and no lock: a change
makes a new Responder, and whoever still holds the old one fills caches that nobody asks again.
"""

from typing import Protocol

from coredns_lite.message import (
    Answer,
    MessageFormatError,
    Query,
    Rcode,
    build_answer,
    decode_query,
    is_query,
    opcode,
    render_error,
    render_reply,
)
from coredns_lite.records import CLASS_IN, RecordType
from coredns_lite.zone import ZoneTable

# Entries, for each of the two caches; both full of ordinary names take some 9 MB.
CACHE_SIZE = 16_384

_EDNS_VERSION = 0
_REFUSED = build_answer(rcode=Rcode.REFUSED, is_authoritative=False)
_BADVERS = build_answer(rcode=Rcode.BADVERS, is_authoritative=False)


class Handler(Protocol):
    """What serves the names of a zone."""

    def answer(self, query: Query) -> Answer:
        """Answer a question of class IN for a name in the zone."""
        ...


class Responder:
    """Answers from the given zones as they are now.

    `packets` is the first cache, read by the packet loop itself: queries to replies, both without their id.
    The second, inside, is by question, so that spelling (0x20) and EDNS don't matter to it.
    """

    def __init__(self, zones: ZoneTable[Handler | None], cache_size: int = CACHE_SIZE) -> None:
        self.packets: dict[bytes, bytes] = {}
        self._questions: dict[bytes, Answer] = {}
        self._zones = zones
        self._cache_size = cache_size

    def respond(self, packet: bytes) -> bytes | None:
        """Return the reply to any packet, or None if there must be none."""
        if not is_query(packet):
            return None
        if opcode(packet):
            return render_error(packet, Rcode.NOTIMP)
        try:
            query = decode_query(packet)
        except MessageFormatError:
            return render_error(packet, Rcode.FORMERR)
        reply = render_reply(query, self._answer(query))
        # Random spelling, and options (cookies, padding), make packets that don't come again.
        if query.is_lower_case and not (query.edns and query.edns.has_options):
            if len(self.packets) >= self._cache_size:
                self.packets.clear()
            self.packets[packet[2:]] = reply[2:]
        return reply

    def _answer(self, query: Query) -> Answer:
        if query.edns and query.edns.version != _EDNS_VERSION:
            return _BADVERS
        # A transfer needs TCP (RFC 5936 section 4.2).
        if query.qclass != CLASS_IN or query.qtype in (RecordType.AXFR, RecordType.IXFR):
            return _REFUSED
        # The type stays out of the lower-casing: types 65 to 90 have a letter's bytes.
        key = query.name + query.question[-4:]
        answer = self._questions.get(key)
        if answer is None:
            handler = self._zones.find(query.name)
            answer = handler.answer(query) if handler else _REFUSED
            if len(self._questions) >= self._cache_size:
                self._questions.clear()
            self._questions[key] = answer
        return answer
