"""Which blocks of a pool are claimed: a tree of 64-bit words, so that a free one is found in few reads.

    level 1, word 0      bit 3: all blocks below word 3 of level 0 are claimed
    level 0, word 3      bit 5: block 3 * 64 + 5 is claimed

A claim reads and writes one word, and one more for each 64th. In a pool of 16,384 blocks of which all but one
are claimed, that one is found in five reads. Words that are zero are not kept, so that an IPv6 pool of 2^74
blocks costs no more than what is claimed of it. Nodes that claim at the same moment meet only in the same
word.
"""

from collections.abc import Callable
from typing import Protocol

_BITS = 64
_SHIFT = 6


class Words(Protocol):
    """Where the words are kept."""

    def get_word(self, level: int, index: int) -> int:
        """Return a word; 0 when it was never set."""
        ...

    def put_word(self, level: int, index: int, word: int) -> None:
        """Set a word."""
        ...


def find_unclaimed(words: Words, count: int, start: int, past: Callable[[int], int]) -> int | None:
    """Return the number of the first unclaimed block from `start` on, once around; None when all are taken.

    Args:
        words: The tree.
        count: How many blocks the pool has.
        start: Where to begin.
        past: Says for a block whether it can be used (its own number), or else with which to go on.
    """
    for first, end in ((start, count), (0, start)):
        number: int | None = first
        while number is not None and number < end:
            number = _next_unclaimed(words, count, number)
            if number is None or number >= end:
                break
            following = past(number)
            if following == number:
                return number
            number = following
    return None


def set_claimed(words: Words, count: int, number: int) -> None:
    """Note that a block is claimed."""
    for level in range(_levels(count)):
        index, bit = number >> _SHIFT, number & (_BITS - 1)
        word = words.get_word(level, index) | 1 << bit
        words.put_word(level, index, word)
        if word != _all(count, level, index):
            return
        number = index


def clear_claimed(words: Words, count: int, number: int) -> None:
    """Note that a block is claimed no more."""
    for level in range(_levels(count)):
        index, bit = number >> _SHIFT, number & (_BITS - 1)
        word = words.get_word(level, index)
        words.put_word(level, index, word & ~(1 << bit))
        if word != _all(count, level, index):
            return
        number = index


def top_level(count: int) -> int:
    """Return the level of the one word that all others are below."""
    return _levels(count) - 1


def is_top_full(word: int, count: int) -> bool:
    """Say whether all blocks are claimed, by the word on the top level."""
    return word == _all(count, top_level(count), 0)


def _next_unclaimed(words: Words, count: int, number: int) -> int | None:
    """Return the first unclaimed block from `number` on: up the tree until there is one, then down to it."""
    level = 0
    while level < _levels(count) and number < _size(count, level):
        index, bit = number >> _SHIFT, number & (_BITS - 1)
        free = _all(count, level, index) & ~words.get_word(level, index) & -(1 << bit)
        if not free:
            level, number = level + 1, index + 1
            continue
        number = (index << _SHIFT) + _lowest(free)
        while level:
            level -= 1
            free = _all(count, level, number) & ~words.get_word(level, number)
            number = (number << _SHIFT) + _lowest(free)
        return number
    return None


def _levels(count: int) -> int:
    """Return how many levels the tree has: the topmost is one word."""
    levels = 1
    while _size(count, levels) > 1:
        levels += 1
    return levels


def _size(count: int, level: int) -> int:
    """Return how many bits of a level mean something."""
    return -(-count >> (_SHIFT * level))


def _all(count: int, level: int, index: int) -> int:
    """Return a word with all its bits set that mean something."""
    return (1 << min(_BITS, _size(count, level) - (index << _SHIFT))) - 1


def _lowest(word: int) -> int:
    return (word & -word).bit_length() - 1
