"""Sizes of pools and times of memory: the smallest of a ladder that is large enough."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeproxy.rules import sizes
from kubeproxy.rules.sizes import (
    AFFINITY_SIZES,
    AFFINITY_TIMEOUTS_S,
    BALANCE_SIZES,
    HASH_SIZES,
    MAX_MEMBERS,
    MAX_SLOTS,
    affinity_size,
    affinity_timeout,
    balance_size,
    hash_size,
)


@pytest.mark.parametrize(
    ("slots", "expected"),
    [
        (1, 1),
        (2, 2),
        (16, 16),
        (17, 24),
        (21, 24),
        (22, 32),
        (28, 32),
        (29, 48),
        (5000, 6144),
        (58982, 65536),
    ],
)
def test_balance_size(slots: int, expected: int) -> None:
    """Up to 16 slots exactly so many; more are at most nine tenths full."""
    assert BALANCE_SIZES[balance_size(slots)] == expected


@pytest.mark.parametrize(
    ("slots", "expected"),
    [(1, 1), (4, 4), (5, 6), (7, 8), (9, 12), (16, 16), (17, 24), (22, 32), (7372, 8192)],
)
def test_affinity_size(slots: int, expected: int) -> None:
    """Pools with session affinity have fewer sizes to choose from."""
    assert AFFINITY_SIZES[affinity_size(slots)] == expected


@given(st.integers(1, MAX_SLOTS))
def test_fill(slots: int) -> None:
    """No pool is more than nine tenths or less than six tenths full, small ones exactly."""
    for ladder, place, most in (
        (BALANCE_SIZES, balance_size, MAX_SLOTS),
        (AFFINITY_SIZES, affinity_size, MAX_MEMBERS),
    ):
        used = min(slots, most)
        size = ladder[place(used)]
        assert used <= size if sizes.is_dense(size) else 0.6 * size <= used <= 0.9 * size
        assert size == used or not sizes.is_full(size) or ladder is AFFINITY_SIZES


@pytest.mark.parametrize(("place", "most"), [(balance_size, MAX_SLOTS), (affinity_size, MAX_MEMBERS)])
def test_too_many(place: object, most: int) -> None:
    """No size holds more than the largest."""
    assert callable(place)
    with pytest.raises(ValueError, match=f"at most {most} slots in use, asked for {most + 1}"):
        place(most + 1)


@pytest.mark.parametrize(
    ("endpoints", "shares", "expected"),
    [
        pytest.param(1, 1, 4093, id="one"),
        pytest.param(40, 40, 4093, id="a hundred slots each"),
        pytest.param(41, 41, 16381, id="the next size"),
        pytest.param(3, 410, 16381, id="ten slots for each share"),
        pytest.param(5000, 5000, 65521, id="as far as there are"),
    ],
)
def test_hash_size(endpoints: int, shares: int, expected: int) -> None:
    """A hash needs many slots to be even, and a prime number of them."""
    assert HASH_SIZES[hash_size(endpoints, shares)] == expected


@pytest.mark.parametrize("size", HASH_SIZES)
def test_hash_sizes_are_prime(size: int) -> None:
    """Every step through a prime number of slots meets each of them."""
    assert all(size % divisor for divisor in range(2, int(size**0.5) + 1))


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(1, 1), (3, 3), (4, 5), (10, 10), (10800, 10800), (10801, 14400), (86400, 86400), (99999, 86400)],
)
def test_affinity_timeout(seconds: int, expected: int) -> None:
    """A client is remembered at least as long as asked."""
    assert AFFINITY_TIMEOUTS_S[affinity_timeout(seconds)] == expected
