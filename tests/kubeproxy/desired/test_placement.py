"""Slots depend on the endpoints alone, changes say all that changed, and draws are even."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubeproxy.desired.placement import Placement, place_by_chance, place_by_hash
from kubeproxy.rules.sizes import FALLBACK
from tests.kubeproxy.objects import at

ENDPOINTS = [at(f"10.244.0.{number}") for number in range(1, 22)]
# Each endpoint as often as it has shares, together at most the 21 that 24 slots take.
ENTRIES = st.lists(st.sampled_from(ENDPOINTS), max_size=21).map(sorted)


def placements(size: int) -> list[Placement]:
    return [place_by_hash(251)] if size == 251 else [place_by_chance(size)]


@pytest.mark.parametrize("size", [16, 24, 251])
@given(path=st.lists(ENTRIES, min_size=1, max_size=8))
@settings(deadline=None, max_examples=50)
def test_path_does_not_matter(size: int, path: list[list[bytes]]) -> None:
    """Whatever stood there before, the slots are those of a fresh start, and the changes lead to them."""
    (placement,), (fresh,) = placements(size), placements(size)
    path = [entries[:size] for entries in path]
    seen: dict[int, bytes] = {}
    for entries in path:
        changes = placement.update(entries)
        assert all(seen.get(place) != entry for place, entry in changes.items() if size != 24)
        for place, entry in changes.items():
            if entry is None:
                seen.pop(place, None)
            else:
                seen[place] = entry
        assert seen == placement.slots
    fresh.update(path[-1])

    assert placement.slots == fresh.slots


@pytest.mark.parametrize(
    ("size", "entries", "expected"),
    [
        pytest.param(2, [], {}, id="none"),
        pytest.param(2, [b"a", b"b"], {0: b"a", 1: b"b"}, id="full: no fallback"),
        pytest.param(6, [b"a", b"a", b"b"], {0: b"a", 1: b"a", 2: b"b", FALLBACK: b"a"}, id="shares"),
    ],
)
def test_small(size: int, entries: list[bytes], expected: dict[int, bytes]) -> None:
    """A small pool fills its slots from the first one on."""
    placement = place_by_chance(size)
    placement.update(entries)

    assert placement.slots == expected


@given(ENTRIES)
def test_every_share_has_a_slot(entries: list[bytes]) -> None:
    """In a large pool too an endpoint has as many slots as shares; the fallback is one more for the first."""
    placement = place_by_chance(24)
    placement.update(entries)
    slots = dict(placement.slots)

    assert slots.pop(FALLBACK, None) == (entries[0] if entries else None)
    assert Counter(slots.values()) == Counter(entries)
    assert all(place < 24 for place in slots)


def test_few_move_in_a_large_pool() -> None:
    """One endpoint of 5,000 that comes or goes: on average 12 slots may change, and never two hundred."""
    entries = sorted(at(f"10.{number >> 8}.{number & 255}.1") for number in range(5000))
    placement = place_by_chance(6144)
    placement.update(entries)
    counts = []
    for number in range(0, 5000, 50):
        counts.append(len(placement.update(entries[:number] + entries[number + 1 :])))
        counts.append(len(placement.update(entries)))

    assert sum(counts) / len(counts) < 15
    assert max(counts) < 200


def test_weights_of_a_large_pool_are_quick() -> None:
    """58,000 shares are numbered in one walk: a walk for each of them would take a minute."""
    entries = sorted(ENDPOINTS[number % 20] for number in range(58_000))
    placement = place_by_chance(65536)

    assert len(placement.update(entries)) >= 58_000
    assert placement.update(entries) == {}
