"""Finding keys in a listed map as the kernel does: one key, or all that a draw may make of it at once."""

import struct
from collections import Counter
from collections.abc import Sequence

import msgspec

from nodeplane.datapath.nft.listing import ListedMap


class Drawn(msgspec.Struct, frozen=True):
    """A register that holds any number from `offset` to below `offset` + `modulus`, each as likely.

    `how` says in words where it comes from.
    """

    modulus: int
    offset: int
    how: str

    def __str__(self) -> str:
        first, last = self.offset, self.offset + self.modulus - 1
        return f"{first}…{last} {self.how}" if last > first else str(first)


class Contents:
    """One map, indexed as it is asked."""

    def __init__(self, listed: ListedMap) -> None:
        self.listed = listed
        self._by_rest: dict[int, dict[bytes, list[tuple[int, bytes]]]] = {}
        self._drawn: dict[tuple[bytes, int, Drawn], tuple[Counter[bytes], int]] = {}

    def find(self, key: bytes) -> bytes | None:
        """Return the data of a key, empty for a set; None if it is not there."""
        listed = self.listed
        if listed.field_bytes:
            found = next(
                (
                    data
                    for element, data in listed.elements.items()
                    if _is_within(key, element, listed.field_bytes)
                ),
                None,
            )
        else:
            found = listed.elements.get(key)
        return listed.catch_all if found is None else found

    def find_drawn(self, key: Sequence[bytes], place: int, drawn: Drawn) -> tuple[Counter[bytes], int]:
        """Return how many of a draw's numbers find which data, and how many find nothing.

        Of the key's words the one at `place` is the draw's, and not looked at. The map has no ranges.
        """
        rest = b"".join(word for position, word in enumerate(key) if position != place)
        known = self._drawn.get((rest, place, drawn))
        if known is None:
            end = drawn.offset + drawn.modulus
            found = Counter(
                data for number, data in self._index(place).get(rest, ()) if drawn.offset <= number < end
            )
            missing = drawn.modulus - found.total()
            if missing and self.listed.catch_all is not None:
                found[self.listed.catch_all] += missing
                missing = 0
            known = self._drawn[rest, place, drawn] = found, missing
        return known

    def _index(self, place: int) -> dict[bytes, list[tuple[int, bytes]]]:
        """Return the elements by all of their key but one word."""
        if place not in self._by_rest:
            index: dict[bytes, list[tuple[int, bytes]]] = {}
            start = 4 * place
            for key, data in self.listed.elements.items():
                word = key[start : start + 4]
                if len(word) == 4:
                    number: int = struct.unpack("=I", word)[0]
                    index.setdefault(key[:start] + key[start + 4 :], []).append((number, data))
            self._by_rest[place] = index
        return self._by_rest[place]


def _is_within(key: bytes, element: bytes, field_bytes: Sequence[int]) -> bool:
    """Compare field by field, as a set of ranges of several fields does (nft_set_pipapo)."""
    first, last = element[: len(element) // 2], element[len(element) // 2 :]
    start = 0
    for length in field_bytes:
        end = start + length
        if not first[start:end] <= key[start:end] <= last[start:end]:
            return False
        start = end + -end % 4
    return True
