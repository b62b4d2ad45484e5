"""The answers that a server block keeps: found by any thread, changed by the asyncio loop alone."""

from collections.abc import Callable, Mapping

import msgspec

from coredns_lite.plugins.cache.entry import Entry, Kind, Limits, kind_of, ttl_of
from coredns_lite.plugins.cache.metrics import Counts
from coredns_lite.wire.reply import Answer
from coredns_lite.zones import ZoneTable

# How many entries that were asked for meanwhile get a second turn before one of them has to go all the same.
_SECOND_TURNS = 8
# What an entry may take on average: so much is a chain of aliases with ten addresses. More, as of those whose
# zone is made to be large, means fewer entries.
MEAN_BYTES = 4 << 10
# Type, class and a byte of flags stand behind the name in a key.
KEY_TAIL_BYTES = 5
_SIDES = {Kind.SUCCESS: "success", Kind.DENIAL: "denial", Kind.SERVFAIL: "denial"}


class Store:
    """Answers by key, those that deny or fail apart from the others."""

    def __init__(
        self,
        limits: Mapping[str, Limits],
        servfail_s: int,
        counts: Counts,
        clock: Callable[[], float],
        disabled: Mapping[str, ZoneTable[None]] | None = None,
    ) -> None:
        self._limits = limits
        self._disabled = disabled or {}
        self._servfail_s = servfail_s
        self._counts = counts
        self._clock = clock
        self._entries: dict[str, dict[bytes, Entry]] = {"success": {}, "denial": {}}
        self._bytes = {"success": 0, "denial": 0}
        self._success = self._entries["success"]
        self._denial = self._entries["denial"]

    def find(self, key: bytes) -> Entry | None:
        """Return what is kept, be it stale."""
        return self._success.get(key) or self._denial.get(key)

    def keep(self, key: bytes, answer: Answer, *, spares_stale: bool) -> Answer:
        """Keep an answer if it may be kept; return it with the TTL that it has from now on.

        Args:
            key: What it answers.
            answer: What to keep.
            spares_stale: A failure must not take the place of what is kept.
        """
        kind = kind_of(answer)
        if kind is None:
            return answer
        side = _SIDES[kind]
        if (off := self._disabled.get(side)) and off.find_zone(key[:-KEY_TAIL_BYTES]) is not None:
            return answer
        now = self._clock()
        known = self.find(key)
        if kind is not Kind.SERVFAIL:
            ttl_s = ttl_of(answer, self._limits[side])
        elif spares_stale and known is not None and known.kind is not Kind.SERVFAIL:
            return answer
        else:
            ttl_s = self._servfail_s
        if not ttl_s:
            return answer
        entry = Entry(kind, answer, ttl_s, now, known.hits if known else 0)
        self._remove(key)
        while self._is_full(side, entry):
            self._evict(side)
        self._entries[side][key] = entry
        self._bytes[side] += entry.size_bytes
        for each, entries in self._entries.items():
            self._counts.entries[each] = len(entries)
        return msgspec.structs.replace(entry.answer, plugin=answer.plugin)

    def _remove(self, key: bytes) -> None:
        for side, entries in self._entries.items():
            if (gone := entries.pop(key, None)) is not None:
                self._bytes[side] -= gone.size_bytes

    def _is_full(self, side: str, entry: Entry) -> bool:
        """Whether there is no room for one more; in an empty store there is for any."""
        entries, capacity = self._entries[side], self._limits[side].capacity
        has_no_room = self._bytes[side] + entry.size_bytes > capacity * MEAN_BYTES
        return len(entries) >= capacity or (has_no_room and bool(entries))

    def _evict(self, side: str) -> None:
        """Remove the entry that was kept first, but give those a second turn that were asked for since."""
        entries, now = self._entries[side], self._clock()
        for _ in range(_SECOND_TURNS):
            key, entry = next(iter(entries.items()))
            if entry.hit_at == entry.stored_at or entry.left_s(now) <= 0:
                break
            del entries[key]
            entry.hit_at = entry.stored_at
            entries[key] = entry
        else:
            key = next(iter(entries))
        self._bytes[side] -= entries.pop(key).size_bytes
        self._counts.evictions[side] += 1
