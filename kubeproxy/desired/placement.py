"""Which endpoint stands in which slot of a pool.

Each way of placing keeps the slots as they are now and says what one change does to them. The slots depend on
the endpoints alone, not on the way there (law 1). An endpoint that is there several times has so many shares.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby, repeat
from typing import Protocol

from kubeproxy.desired.maglev import build_table
from kubeproxy.desired.probing import ProbingTable
from kubeproxy.rules.sizes import FALLBACK, is_dense

SlotChanges = Mapping[int, bytes | None]
"""What slots hold now, None for one that is empty now."""


class Placement(Protocol):
    """The slots of one pool."""

    @property
    def slots(self) -> Mapping[int, bytes]:
        """What stands in which slot."""
        ...

    def update(self, entries: Sequence[bytes]) -> SlotChanges:
        """Put `entries`, sorted, in place of those before; return the slots that have changed."""
        ...


def place_by_chance(size: int) -> Placement:
    """Return the placement for a pool that is drawn from by chance."""
    return _DensePlacement(size) if is_dense(size) else _SparsePlacement(size)


def place_by_hash(size: int) -> Placement:
    """Return the placement for a pool that a hash chooses from."""
    return _MaglevPlacement(size)


class _DensePlacement:
    """Slots filled from the first one on: small pools, where all may move."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.slots: Mapping[int, bytes] = {}

    def update(self, entries: Sequence[bytes]) -> SlotChanges:
        """See `Placement`."""
        fresh = dict(enumerate(entries))
        if 0 < len(fresh) < self._size:
            fresh[FALLBACK] = entries[0]
        changes = _compare(self.slots, fresh)
        self.slots = fresh
        return changes


class _SparsePlacement:
    """Slots by hash: of the thousands of endpoints of a large pool a few move with each change."""

    def __init__(self, size: int) -> None:
        self._table: ProbingTable[tuple[bytes, int]] = ProbingTable(size, _encode_share)
        self._shares: set[tuple[bytes, int]] = set()
        self._fallback: bytes | None = None

    @property
    def slots(self) -> Mapping[int, bytes]:
        """See `Placement`."""
        found = {place: share[0] for place, share in self._table.keys.items()}
        return found if self._fallback is None else found | {FALLBACK: self._fallback}

    def update(self, entries: Sequence[bytes]) -> SlotChanges:
        """See `Placement`."""
        before, self._shares = self._shares, _shares(entries)
        touched = self._table.update(self._shares - before, before - self._shares)
        keys = self._table.keys
        changes = {place: keys[place][0] if place in keys else None for place in touched}
        fallback = entries[0] if entries else None
        if fallback != self._fallback:
            changes[FALLBACK] = self._fallback = fallback
        return changes


class _MaglevPlacement:
    """Slots by Maglev's permutations: every slot is taken."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.slots: Mapping[int, bytes] = {}

    def update(self, entries: Sequence[bytes]) -> SlotChanges:
        """See `Placement`."""
        fresh = dict(enumerate(build_table(entries, self._size))) if entries else {}
        changes = _compare(self.slots, fresh)
        self.slots = fresh
        return changes


def _compare(before: Mapping[int, bytes], now: Mapping[int, bytes]) -> SlotChanges:
    if not before:
        return now
    changes: dict[int, bytes | None] = dict.fromkeys(before.keys() - now.keys())
    changes.update((place, entry) for place, entry in now.items() if before.get(place) != entry)
    return changes


def _shares(entries: Sequence[bytes]) -> set[tuple[bytes, int]]:
    """Return each entry, of those that are sorted, with a number for each of its shares."""
    single = set(zip(entries, repeat(0), strict=False))
    if len(single) == len(entries):
        return single
    return {(entry, number) for entry, group in groupby(entries) for number, _ in enumerate(group)}


def _encode_share(share: tuple[bytes, int]) -> bytes:
    entry, number = share
    return entry + number.to_bytes(4, "big")
