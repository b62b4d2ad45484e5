"""Change is a value."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeplane.reconcile.delta import Delta, diff


@pytest.mark.parametrize(
    ("desired", "actual", "delta"),
    [
        pytest.param({}, {}, Delta({}, frozenset()), id="nothing"),
        pytest.param({"a": 1}, {"a": 1}, Delta({}, frozenset()), id="as desired"),
        pytest.param({"a": 1}, {}, Delta({"a": 1}, frozenset()), id="new"),
        pytest.param({"a": 2}, {"a": 1}, Delta({"a": 2}, frozenset()), id="changed"),
        pytest.param({"a": None}, {}, Delta({"a": None}, frozenset()), id="new, of no value"),
        pytest.param({}, {"a": 1}, Delta({}, frozenset({"a"})), id="gone"),
        pytest.param(
            {"a": 1, "b": 2, "c": 3},
            {"b": 2, "c": 4, "d": 5},
            Delta({"a": 1, "c": 3}, frozenset({"d"})),
            id="all of it",
        ),
    ],
)
def test_diff(
    desired: dict[str, int | None], actual: dict[str, int | None], delta: Delta[str, int | None]
) -> None:
    """Only what differs is in a delta; one with nothing in it is falsy."""
    assert diff(desired, actual) == delta
    assert bool(delta) == (desired != actual)


TABLES = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 2) | st.none())


@given(TABLES, TABLES)
@settings(deadline=None)
def test_a_delta_applied_gives_what_is_desired(
    desired: dict[str, int | None], actual: dict[str, int | None]
) -> None:
    """After it there is nothing to do; it writes and removes no key in vain."""
    delta = diff(desired, actual)
    after = {key: value for key, value in actual.items() if key not in delta.delete} | dict(delta.upsert)

    assert after == desired
    assert delta.delete <= actual.keys()
    assert not diff(desired, after)
