"""Ranges of keys and their borders: the kernel keeps where each begins and where it is over (nft_set_rbtree).

A range is its first key and its last put together. Keys are compared byte by byte as a whole, so the fields
before the one that ranges over something have to be the same in both.

Sets of ranges in several fields at once (nft_set_pipapo) are not used: whoever writes to one makes `nft
monitor` 1.0.6 print its own memory and end by a signal (docs/adr/0008).
"""

from collections.abc import Iterable, Iterator

import msgspec


class Border(msgspec.Struct, frozen=True, order=True):
    """A key at which a range begins, or (not `is_first`) the first one behind it."""

    key: bytes
    is_first: bool
    data: bytes = b""


def split_range(key: bytes) -> Iterator[Border]:
    """Yield where a range begins and where it is over, which one up to the last key of all never is."""
    half = len(key) // 2
    first, last = key[:half], key[half:]
    yield Border(first, is_first=True)
    if not is_open(key):
        yield Border((int.from_bytes(last, "big") + 1).to_bytes(half, "big"), is_first=False)


def is_open(key: bytes) -> bool:
    """Say whether a range goes up to the last key of all."""
    return key.endswith(b"\xff" * (len(key) // 2))


def join_borders(borders: Iterable[Border]) -> tuple[dict[bytes, bytes], int]:
    """Return the ranges with their data, and how many borders belong to none."""
    ranges: dict[bytes, bytes] = {}
    odd = 0
    begun: Border | None = None
    # Where one is over and another begins, the kernel has both; the end comes first.
    for border in sorted(borders):
        if border.is_first:
            if begun is not None:
                odd += 1
            begun = border
        elif begun is None:
            odd += 1
        else:
            last = int.from_bytes(border.key, "big") - 1
            ranges[begun.key + last.to_bytes(len(border.key), "big")] = begun.data
            begun = None
    if begun is not None:
        ranges[begun.key + b"\xff" * len(begun.key)] = begun.data
    return ranges, odd
