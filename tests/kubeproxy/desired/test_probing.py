"""Places depend on which keys there are, not on how they came."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubeproxy.desired.pools import PoolName
from kubeproxy.desired.probing import ProbingTable
from kubeproxy.desired.service_port import PortName

SIZE = 16
NAMES = [f"service-{number}" for number in range(SIZE)]


def table(size: int = SIZE) -> ProbingTable[str]:
    return ProbingTable(size, str.encode)


def fresh(names: set[str]) -> dict[int, str]:
    places = table()
    places.update(sorted(names), ())
    return places.keys


@given(st.lists(st.tuples(st.sets(st.sampled_from(NAMES)), st.sets(st.sampled_from(NAMES))), max_size=20))
@settings(deadline=None)
def test_path_does_not_matter(steps: list[tuple[set[str], set[str]]]) -> None:
    """In a space so small that all collide arrivals and departures leave no trace; each change is told."""
    places = table()
    present: set[str] = set()
    for added, removed in steps:
        before = dict(places.keys)
        touched = places.update(added, removed)
        present = present - removed | added
        changed = {place for place in range(SIZE) if before.get(place) != places.keys.get(place)}

        assert changed <= touched
        assert places.keys == fresh(present)
        assert {places[name]: name for name in present} == places.keys
        assert len(places) == len(present)


def test_all_places_can_be_taken() -> None:
    """The space can be filled, and one more is refused."""
    places = table()
    places.update(NAMES, ())

    assert sorted(places.keys) == list(range(SIZE))
    with pytest.raises(ValueError, match="more than 16 places"):
        places.update(["one more"], ())


def test_a_change_is_local() -> None:
    """In a large space others stay where they are, nearly all of them."""
    places = table(1 << 16)
    places.update((f"key-{number}" for number in range(40_000)), ())

    assert sum(len(places.update([f"more-{number}"], ())) for number in range(1000)) < 5000


def test_numbers_are_the_same_on_every_machine() -> None:
    """A restart, also of another version of Python, finds what is in the kernel."""
    numbers = ProbingTable(1 << 22, PoolName.encode)
    name = PoolName(PortName("default", "web", "http", "TCP"), is_local=False)
    numbers.update([name], ())

    assert numbers[name] == 0x3B52FE
