"""Ranges of keys and their borders."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeplane.datapath.nft.borders import Border, join_borders, split_range


@given(st.sets(st.integers(0, 0xFFFF), min_size=0, max_size=20), st.booleans())
def test_round_trip(keys: set[int], is_open: bool) -> None:
    """Ranges side by side, with gaps, of one key, and up to the last key of all come back as they were."""
    ends = sorted({*keys, 0x10000} if is_open else keys)
    ranges = {
        first.to_bytes(2, "big") + (behind - 1).to_bytes(2, "big"): b""
        for place, (first, behind) in enumerate(pairwise(ends))
        if place % 3
    }

    assert join_borders(border for key in ranges for border in split_range(key)) == (ranges, 0)


@pytest.mark.parametrize(
    ("borders", "expected"),
    [
        pytest.param([(b"\1", True), (b"\3", False)], ({b"\1\2": b""}, 0), id="a range"),
        pytest.param(
            [(b"\3", True), (b"\3", False), (b"\1", True)], ({b"\1\2": b"", b"\3\xff": b""}, 0), id="two"
        ),
        pytest.param([(b"\3", False)], ({}, 1), id="an end of nothing"),
        pytest.param([(b"\1", True), (b"\2", True), (b"\3", False)], ({b"\2\2": b""}, 1), id="begun twice"),
    ],
)
def test_join(borders: list[tuple[bytes, bool]], expected: tuple[dict[bytes, bytes], int]) -> None:
    """What belongs to no range is counted."""
    assert join_borders(Border(key, is_first) for key, is_first in borders) == expected
