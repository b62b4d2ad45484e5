"""Counts queries for the metrics, at a small part of what answering one costs.

A packet loop notes for each batch which kept replies it has sent: one call of C code counts them all, and one
lock is taken. What a reply means (zone, type, rcode, sizes) stands at its end (`coredns_lite.kept`), and is
read only when somebody wants the sums. The queries of a batch are answered together and so take equally long.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from threading import Lock

import msgspec

from coredns_lite.kept import TRAILER_BYTES, label_of
from coredns_lite.kind import KINDS, Kind

# CoreDNS's buckets (plugin/pkg/... vars.go): from 0.25 ms, doubling, 16 of them; and of sizes in bytes.
DURATION_BUCKETS_S = tuple(0.00025 * 2**power for power in range(16))
SIZE_BUCKETS_BYTES = (0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16_000, 32_000, 48_000, 64_000)

IPV4, IPV6 = "1", "2"
"""The label `family`, as CoreDNS has it."""

_ID_BYTES = 2
# Replies that are noted before they are summed up: those that are kept no more take room until then.
_MAX_NOTED = 16_384


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


NumberedSlice = tuple[int, str, int, int, int]
"""A slice with its kind's number."""


class Tally:
    """What one packet loop, or the streams of one listener, counted; read from any thread."""

    def __init__(self) -> None:
        self._totals: defaultdict[NumberedSlice, Sums] = defaultdict(Sums)
        self._hits: defaultdict[tuple[str, int], Counter[bytes]] = defaultdict(Counter)
        self._seconds: defaultdict[tuple[str, int], float] = defaultdict(float)
        self._lock = Lock()

    def count_hits(self, hits: Mapping[str, Sequence[bytes]], duration_s: float) -> None:
        """Count the kept replies that a batch of queries got, by family."""
        bucket = bisect_left(DURATION_BUCKETS_S, duration_s)
        with self._lock:
            for family, replies in hits.items():
                noted = self._hits[family, bucket]
                noted.update(replies)
                self._seconds[family, bucket] += duration_s * len(replies)
                if len(noted) > _MAX_NOTED:
                    self._fold()

    def count(self, asked: Sequence[Asked], duration_s: float) -> None:
        """Count queries one by one."""
        bucket = bisect_left(DURATION_BUCKETS_S, duration_s)
        with self._lock:
            for one in asked:
                number = KINDS.number(one.kind)
                sums = Sums(1, duration_s, one.request_bytes, one.reply_bytes)
                self._add(number, one.family, bucket, sums)

    def add(self, counted: Mapping[NumberedSlice, Sums]) -> None:
        """Add what another process has counted of this one's kinds."""
        with self._lock:
            for key, sums in counted.items():
                self._totals[key].add(sums)

    def totals(self) -> dict[Slice, Sums]:
        """Return all that was counted so far."""
        with self._lock:
            self._fold()
            totals: defaultdict[Slice, Sums] = defaultdict(Sums)
            for (number, family, *buckets), sums in self._totals.items():
                totals[Slice(KINDS.kind(number), family, *buckets)].add(sums)
            return dict(totals)

    def take(self) -> dict[NumberedSlice, Sums]:
        """Return what was counted since this was last called."""
        with self._lock:
            self._fold()
            taken = dict(self._totals)
            self._totals.clear()
            return taken

    def _fold(self) -> None:
        """Put what was counted by reply to the totals."""
        for (family, bucket), counts in self._hits.items():
            mean_s = self._seconds[family, bucket] / (counts.total() or 1)
            for reply, count in counts.items():
                label = label_of(reply)
                reply_bytes = len(reply) - TRAILER_BYTES + _ID_BYTES
                sums = Sums(count, mean_s * count, label.query_bytes * count, reply_bytes * count)
                self._add(label.kind, family, bucket, sums)
        self._hits.clear()
        self._seconds.clear()

    def _add(self, number: int, family: str, duration_bucket: int, sums: Sums) -> None:
        """Add queries that are all like one."""
        key = (
            number,
            family,
            duration_bucket,
            bisect_left(SIZE_BUCKETS_BYTES, sums.request_bytes // sums.count),
            bisect_left(SIZE_BUCKETS_BYTES, sums.reply_bytes // sums.count),
        )
        self._totals[key].add(sums)
