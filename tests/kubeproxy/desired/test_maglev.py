"""Maglev's table: even, steady, and the same for everybody."""

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubeproxy.desired.maglev import build_table
from kubeproxy.rules.sizes import HASH_SIZES, hash_size
from tests.kubeproxy.objects import at


def endpoints(number: int) -> list[bytes]:
    return [at(f"10.244.{index // 250}.{index % 250 + 1}") for index in range(number)]


def size_for(entries: Sequence[bytes]) -> int:
    return HASH_SIZES[hash_size(len(set(entries)), len(entries))]


def table_of(entries: Sequence[bytes]) -> list[bytes]:
    return build_table(entries, size_for(entries))


@given(st.permutations(endpoints(7)))
@settings(deadline=None, max_examples=20)
def test_order_does_not_matter(entries: list[bytes]) -> None:
    """Every node has the same table, however it came to know of the endpoints."""
    assert build_table(entries, 251) == build_table(endpoints(7), 251)


@pytest.mark.parametrize("number", [*range(2, 13), 20, 21, 40, 41, 80, 81, 99, 100])
def test_even(number: int) -> None:
    """Each endpoint's share is within 2 % of even: a hundred slots each, right to one."""
    entries = endpoints(number)
    shares = Counter(table_of(entries))

    even = size_for(entries) / number
    assert shares.keys() == set(entries)
    assert max(abs(share / even - 1) for share in shares.values()) <= 0.02


@pytest.mark.parametrize(
    "weights",
    [pytest.param((1, 2, 3), id="small"), pytest.param((1, 256, 256), id="as far apart as can be")],
)
def test_weights(weights: tuple[int, ...]) -> None:
    """An endpoint that is there several times has so many shares."""
    entries = [
        entry for entry, weight in zip(endpoints(len(weights)), weights, strict=True) for _ in range(weight)
    ]
    size = size_for(entries)
    shares = Counter(build_table(entries, size))

    for entry, weight in Counter(entries).items():
        assert abs(shares[entry] / (size * weight / len(entries)) - 1) <= 0.1


@pytest.mark.parametrize("gone", range(20))
def test_steady(gone: int) -> None:
    """When one of twenty leaves, 96 of 100 slots of the others stay as they are (97 to 98 here)."""
    before = table_of(endpoints(20))
    left = endpoints(20)
    leaver = left.pop(gone)
    pairs = [(old, new) for old, new in zip(before, table_of(left), strict=True) if old != leaver]

    assert sum(old == new for old, new in pairs) >= 0.96 * len(pairs)
