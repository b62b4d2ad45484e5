"""Maglev's lookup table: which endpoint a hash leads to, the same on every node (Eisenbud et al. 2016, 3.4).

Endpoints take turns, each in the order of a permutation of its own, and take the next slot that is free. So
every endpoint has nearly the same share, and when one leaves nearly all other slots stay as they are.
"""

from collections.abc import Sequence
from hashlib import blake2b


def build_table(entries: Sequence[bytes], size: int) -> list[bytes]:
    """Return the entry of each slot; `entries` in any order, one that is there twice has two shares.

    `size` is a prime. The table depends on the set of entries and on `size` alone.
    """
    walks = [_Walk(entry, copy, size) for entry, copy in _numbered(sorted(entries))]
    slots: list[bytes | None] = [None] * size
    left = size
    while left:
        for walk in walks:
            place = walk.next_free(slots)
            slots[place] = walk.entry
            left -= 1
            if not left:
                break
    return [entry for entry in slots if entry is not None]


class _Walk:
    """One endpoint's way through the slots: from `offset` on in steps of `skip`, which meets each once."""

    def __init__(self, entry: bytes, copy: int, size: int) -> None:
        digest = blake2b(entry + copy.to_bytes(4, "big"), digest_size=16).digest()
        self.entry = entry
        self._place = int.from_bytes(digest[:8], "big") % size
        self._skip = int.from_bytes(digest[8:], "big") % (size - 1) + 1
        self._size = size

    def next_free(self, slots: Sequence[bytes | None]) -> int:
        """Return the first free slot from here on; there must be one."""
        place = self._place
        while slots[place] is not None:
            place = (place + self._skip) % self._size
        self._place = place
        return place


def _numbered(entries: Sequence[bytes]) -> list[tuple[bytes, int]]:
    """Return each entry with how often it has come before."""
    copies: dict[bytes, int] = {}
    numbered = []
    for entry in entries:
        copies[entry] = copies.get(entry, -1) + 1
        numbered.append((entry, copies[entry]))
    return numbered
