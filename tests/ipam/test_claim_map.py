"""Which blocks are claimed: found in few reads, and right whatever was claimed and given back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipam.claim_map import clear_claimed, find_unclaimed, is_top_full, set_claimed, top_level


class Kept:
    """Words in a dict, that counts what is read."""

    def __init__(self) -> None:
        self.words: dict[tuple[int, int], int] = {}
        self.reads = 0

    def get_word(self, level: int, index: int) -> int:
        self.reads += 1
        return self.words.get((level, index), 0)

    def put_word(self, level: int, index: int, word: int) -> None:
        self.words[level, index] = word


def claimed(count: int, *numbers: int) -> Kept:
    words = Kept()
    for number in numbers:
        set_claimed(words, count, number)
    words.reads = 0
    return words


def any_block(number: int) -> int:
    return number


@pytest.mark.parametrize(
    ("count", "taken", "start", "expected"),
    [
        pytest.param(1, [], 0, 0, id="a pool of one block"),
        pytest.param(1, [0], 0, None, id="and that is claimed"),
        pytest.param(8, [], 5, 5, id="where the node begins"),
        pytest.param(8, [5, 6], 5, 7, id="the next"),
        pytest.param(8, [5, 6, 7], 5, 0, id="around the end"),
        pytest.param(8, range(8), 5, None, id="none left"),
        pytest.param(64, range(64), 0, None, id="one whole word"),
        pytest.param(65, range(64), 0, 64, id="in the next word"),
        pytest.param(65, range(65), 64, None, id="a last word that is short"),
        pytest.param(65, [*range(1, 65)], 64, 0, id="around the end, of several words"),
        pytest.param(4097, range(4096), 0, 4096, id="three levels"),
        pytest.param(1 << 74, [], 1 << 70, 1 << 70, id="IPv6: 2^74 blocks"),
        pytest.param(1 << 74, [(1 << 74) - 1], (1 << 74) - 1, 0, id="the very last of them"),
    ],
)
def test_find_unclaimed(count: int, taken: list[int], start: int, expected: int | None) -> None:
    assert find_unclaimed(claimed(count, *taken), count, start, any_block) == expected


def test_the_last_free_block_of_a_vast_pool_takes_few_reads() -> None:
    """A /12 of /26, 16,384 blocks, all claimed but one far from where the node begins."""
    count, hole = 16_384, 9_877
    words = claimed(count, *(number for number in range(count) if number != hole))

    assert find_unclaimed(words, count, 0, any_block) == hole
    assert words.reads <= 6
    set_claimed(words, count, hole)
    words.reads = 0
    assert find_unclaimed(words, count, 5_000, any_block) is None
    assert words.reads <= 6


def test_a_claim_reads_and_writes_one_word() -> None:
    words = claimed(16_384)

    set_claimed(words, 16_384, 100)

    assert (words.reads, words.words) == (1, {(0, 1): 1 << 36})


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        pytest.param(0, 0, id="before"),
        pytest.param(3, 9, id="within"),
        pytest.param(12, 12, id="behind"),
    ],
)
def test_blocks_that_are_no_use_are_passed_over(start: int, expected: int) -> None:
    assert find_unclaimed(claimed(16), 16, start, lambda number: 9 if 3 <= number < 9 else number) == expected


def test_a_pool_that_is_all_of_no_use() -> None:
    assert find_unclaimed(claimed(16), 16, 5, lambda _: 16) is None


@given(
    st.integers(1, 200),
    st.lists(st.tuples(st.booleans(), st.integers(0, 199)), max_size=300),
    st.integers(0, 199),
)
@settings(deadline=None)
def test_the_map_is_a_set(count: int, steps: list[tuple[bool, int]], start: int) -> None:
    """Whatever is claimed and given back, in any order, the map knows what a set would."""
    words, taken = Kept(), set[int]()
    for claim, number in steps:
        if number < count and claim:
            set_claimed(words, count, number)
            taken.add(number)
        elif number in taken:
            clear_claimed(words, count, number)
            taken.discard(number)

    start %= count
    free = [number for number in range(count) if number not in taken]
    after = [number for number in free if number >= start]
    assert find_unclaimed(words, count, start, any_block) == next(iter(after + free), None)
    level0 = {number for number in range(count) if words.get_word(0, number // 64) >> number % 64 & 1}
    assert level0 == taken
    assert is_top_full(words.get_word(top_level(count), 0), count) == (len(taken) == count)
    # The state does not depend on the way there.
    assert {key: word for key, word in words.words.items() if word} == claimed(count, *sorted(taken)).words
