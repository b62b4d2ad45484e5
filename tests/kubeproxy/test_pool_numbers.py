"""Numbers depend on which pools exist, not on how they came."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubeproxy.pool_numbers import PoolNumbers
from kubeproxy.service_port import PoolName

BITS = 4
NAMES = [PoolName("default", f"service-{number}", "", "TCP") for number in range(1 << BITS)]


def fresh(names: set[PoolName]) -> dict[PoolName, int]:
    numbers = PoolNumbers(BITS)
    numbers.update(sorted(names), ())
    return {name: numbers[name] for name in names}


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.booleans()), max_size=60))
@settings(deadline=None)
def test_path_does_not_matter(steps: list[tuple[PoolName, bool]]) -> None:
    """In a space so small that everything collides, arrivals and departures leave no trace."""
    numbers = PoolNumbers(BITS)
    present: set[PoolName] = set()
    for name, comes in steps:
        before = {other: numbers[other] for other in present}
        moved = numbers.update([name] if comes else [], [] if comes else [name])
        present = present | {name} if comes else present - {name}
        now = {other: numbers[other] for other in present}

        assert moved == {other for other in present if before.get(other) != now[other]}
    assert {name: numbers[name] for name in present} == fresh(present)


def test_all_numbers_can_be_used() -> None:
    """The space can be filled, and no number is given twice."""
    assert sorted(fresh(set(NAMES)).values()) == list(range(1 << BITS))


def test_too_many() -> None:
    """One more pool than numbers is refused."""
    numbers = PoolNumbers(BITS)
    numbers.update(NAMES, ())

    with pytest.raises(ValueError, match="more than 16 pools"):
        numbers.update([PoolName("default", "one-more", "", "TCP")], ())


def test_numbers_are_the_same_on_every_machine() -> None:
    """A restart, also of another version of Python, finds what is in the kernel."""
    numbers = PoolNumbers()
    numbers.update([PoolName("default", "web", "http", "TCP")], ())

    assert numbers[PoolName("default", "web", "http", "TCP")] == 0xB7FC65
