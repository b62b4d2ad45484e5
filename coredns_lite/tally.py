"""Counts queries for the metrics, at a small part of what answering one costs.

A packet loop notes for each batch which queries the first cache answered: one call of C code counts them all,
by packet, and one lock is taken. What a packet means (zone, type, rcode, sizes) is looked up only when the
cache is replaced or somebody reads the metrics. The queries of a batch are answered together and so take
equally long.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from threading import Lock

import msgspec

from coredns_lite.responder import Kind

# CoreDNS's buckets (plugin/pkg/... vars.go): from 0.25 ms, doubling, 16 of them; and of sizes in bytes.
DURATION_BUCKETS_S = tuple(0.00025 * 2**power for power in range(16))
SIZE_BUCKETS_BYTES = (0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16_000, 32_000, 48_000, 64_000)

IPV4, IPV6 = "1", "2"
"""The label `family`, as CoreDNS has it."""

_ID_BYTES = 2


class Slice(msgspec.Struct, frozen=True):
    """Queries that the metrics don't tell apart: same kind, and in the same bucket of each histogram."""

    kind: Kind
    family: str
    duration_bucket: int
    request_bucket: int
    reply_bucket: int


class Sums(msgspec.Struct):
    """How many queries a slice has, and what they add up to."""

    count: int = 0
    seconds: float = 0.0
    request_bytes: int = 0
    reply_bytes: int = 0

    def add(self, other: "Sums") -> None:
        """Add another slice's."""
        self.count += other.count
        self.seconds += other.seconds
        self.request_bytes += other.request_bytes
        self.reply_bytes += other.reply_bytes


class Asked(msgspec.Struct, frozen=True):
    """One query and its reply."""

    kind: Kind
    family: str
    request_bytes: int
    reply_bytes: int


Kinds = Mapping[bytes, tuple[Kind, int]]


class Tally:
    """What one packet loop, or the streams of one listener, counted; read from any thread."""

    def __init__(self) -> None:
        self._totals: defaultdict[Slice, Sums] = defaultdict(Sums)
        self._hits: defaultdict[tuple[str, int], Counter[bytes]] = defaultdict(Counter)
        self._seconds: defaultdict[tuple[str, int], float] = defaultdict(float)
        self._kinds: Kinds = {}
        self._older: Kinds = {}
        self._lock = Lock()

    def count_hits(self, hits: Mapping[str, Sequence[bytes]], kinds: Kinds, duration_s: float) -> None:
        """Count a batch of queries (without their ids) that the first cache answered, by family.

        `kinds` says what the cache's queries are; with another mapping than the last, it is another cache.
        """
        bucket = bisect_left(DURATION_BUCKETS_S, duration_s)
        with self._lock:
            if kinds is not self._kinds:
                self._fold()
                # The batch that the cache was emptied in has queries of both.
                self._older, self._kinds = self._kinds, kinds
            for family, bodies in hits.items():
                self._hits[family, bucket].update(bodies)
                self._seconds[family, bucket] += duration_s * len(bodies)

    def count(self, asked: Sequence[Asked], duration_s: float) -> None:
        """Count queries one by one."""
        bucket = bisect_left(DURATION_BUCKETS_S, duration_s)
        with self._lock:
            for one in asked:
                self._add(one, bucket, Sums(1, duration_s))

    def totals(self) -> dict[Slice, Sums]:
        """Return all that was counted so far."""
        with self._lock:
            self._fold()
            return {key: msgspec.structs.replace(sums) for key, sums in self._totals.items()}

    def _fold(self) -> None:
        """Put what was counted by packet to the totals."""
        for (family, bucket), counts in self._hits.items():
            mean_s = self._seconds[family, bucket] / (counts.total() or 1)
            for body, count in counts.items():
                found = self._kinds.get(body) or self._older.get(body)
                if found:
                    kind, reply_bytes = found
                    asked = Asked(kind, family, len(body) + _ID_BYTES, reply_bytes + _ID_BYTES)
                    self._add(asked, bucket, Sums(count, mean_s * count))
        self._hits.clear()
        self._seconds.clear()

    def _add(self, asked: Asked, duration_bucket: int, sums: Sums) -> None:
        """Add queries that are all like one."""
        sums.request_bytes = asked.request_bytes * sums.count
        sums.reply_bytes = asked.reply_bytes * sums.count
        key = Slice(
            asked.kind,
            asked.family,
            duration_bucket,
            bisect_left(SIZE_BUCKETS_BYTES, asked.request_bytes),
            bisect_left(SIZE_BUCKETS_BYTES, asked.reply_bytes),
        )
        self._totals[key].add(sums)
