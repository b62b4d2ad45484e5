"""What is kept of an answer, for how long (RFC 2308), and how it looks as it ages."""

import struct
from enum import Enum

import msgspec

from coredns_lite.wire.record import Record, RecordType
from coredns_lite.wire.reply import Answer, Rcode, memory_bytes

_SOA_MINIMUM = struct.Struct("!I")


class Kind(Enum):
    """What an answer is to a cache: CoreDNS's cache types, and what they are not."""

    SUCCESS = "success"
    DENIAL = "denial"
    SERVFAIL = "servfail"


class Limits(msgspec.Struct, frozen=True):
    """How many answers of a kind are kept, and the bounds of their TTL."""

    capacity: int = 9984
    max_ttl_s: int = 3600
    min_ttl_s: int = 5


def kind_of(answer: Answer) -> Kind | None:
    """Tell what an answer is; None if it must not be kept.

    A denial without an SOA record says not how long it holds (RFC 2308 section 5). A referral, and a code
    other than these three, is nothing that a client asked for.
    """
    if not answer.is_cacheable:
        return None
    if answer.rcode == Rcode.SERVFAIL:
        return Kind.SERVFAIL
    if answer.rcode == Rcode.NOERROR and answer.answers:
        return Kind.SUCCESS
    is_denial = answer.rcode in (Rcode.NOERROR, Rcode.NXDOMAIN)
    return Kind.DENIAL if is_denial and any(map(_is_soa, answer.authority)) else None


def ttl_of(answer: Answer, limits: Limits) -> int:
    """Return for how many seconds an answer may be kept: its shortest TTL, within limits."""
    records = (*answer.answers, *answer.authority, *answer.additional)
    shortest_s = min((_record_ttl(record) for record in records), default=0)
    return min(max(shortest_s, limits.min_ttl_s), limits.max_ttl_s)


def with_ttl(answer: Answer, ttl_s: int) -> Answer:
    """Give all records of an answer the same TTL."""
    return msgspec.structs.replace(
        answer,
        answers=_records_with_ttl(answer.answers, ttl_s),
        authority=_records_with_ttl(answer.authority, ttl_s),
        additional=_records_with_ttl(answer.additional, ttl_s),
    )


class Entry:
    """One answer, kept from a time of a monotonic clock.

    Packet loops read it while the asyncio loop replaces it: what changes is one attribute at a time, and none
    is needed together with another.
    """

    __slots__ = ("_view", "answer", "failed_at", "hit_at", "hits", "kind", "size_bytes", "stored_at", "ttl_s")

    def __init__(self, kind: Kind, answer: Answer, ttl_s: int, now: float, hits: int = 0) -> None:
        self.kind = kind
        # The metrics name who answers: from now on the cache.
        self.answer = msgspec.structs.replace(with_ttl(answer, ttl_s), plugin="cache")
        # As it came and as it is now.
        self.size_bytes = 2 * memory_bytes(answer)
        self.ttl_s = ttl_s
        self.stored_at = now
        self.hits = hits
        self.hit_at = now
        self.failed_at = float("-inf")
        self._view = (ttl_s, self.answer)

    def left_s(self, now: float) -> float:
        """Return how long it is good for; negative: how long ago it went stale."""
        return self.stored_at + self.ttl_s - now

    def aged(self, now: float) -> Answer:
        """Return the answer with the TTL that is left, made once a second."""
        left_s = max(self.ttl_s - int(now - self.stored_at), 0)
        shown_s, answer = self._view
        if shown_s != left_s:
            answer = with_ttl(self.answer, left_s)
            self._view = (left_s, answer)
        return answer

    def count_hit(self, now: float, longest_gap_s: float) -> None:
        """Count a hit among those without a longer gap between them."""
        self.hits = self.hits + 1 if now - self.hit_at < longest_gap_s else 1
        self.hit_at = now


def _is_soa(record: Record) -> bool:
    return record.rtype == RecordType.SOA


def _record_ttl(record: Record) -> int:
    """Return a record's TTL; an SOA is there to say how long a denial holds (RFC 2308 section 5)."""
    if not _is_soa(record):
        return record.ttl_s
    (minimum_s,) = _SOA_MINIMUM.unpack(record.rdata[-_SOA_MINIMUM.size :])
    return min(record.ttl_s, int(minimum_s))


def _records_with_ttl(records: tuple[Record, ...], ttl_s: int) -> tuple[Record, ...]:
    return tuple(Record(record.rtype, ttl_s, record.rdata, record.owner, record.rclass) for record in records)
