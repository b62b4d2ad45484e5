"""What a reader is told while deletions are kept back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeplane.kube.held_deletions import HeldDeletions
from nodeplane.kube.objects import Object, ObjectKey
from nodeplane.kube.source import Batch, Change
from nodeplane.kube.store import diff_objects
from tests.kube.changes import apply
from tests.kube.objects import keyed, service

WEB, WEB_81, DB = service("web"), service("web", 81), service("db")
GONE = Change(WEB.key, WEB, None)


@pytest.mark.parametrize(
    ("steps", "last", "released"),
    [
        pytest.param([()], (), (), id="nothing"),
        pytest.param([(GONE, Change(DB.key, None, DB))], (Change(DB.key, None, DB),), (GONE,), id="held"),
        pytest.param([(GONE,), (Change(WEB.key, None, WEB),)], (), (), id="back as it was"),
        pytest.param(
            [(GONE,), (Change(WEB.key, None, WEB_81),)], (Change(WEB.key, WEB, WEB_81),), (), id="changed"
        ),
        pytest.param([(GONE,), (Change(WEB.key, None, WEB),), (GONE,)], (), (GONE,), id="and gone again"),
    ],
)
def test_steps(steps: list[Batch], last: Batch, released: Batch) -> None:
    """All but deletions goes through at once; what is released is told once."""
    held = HeldDeletions()
    *_, rest = [held.hold(step) for step in steps]

    assert (rest, len(held), held.release(), held.release()) == (last, len(released), released, ())


STATES = st.lists(st.builds(service, st.sampled_from("wxyz"), st.sampled_from([80, 81])), max_size=3).map(
    lambda items: keyed(*items)
)


@given(st.lists(st.tuples(STATES, st.booleans())))
@settings(deadline=None)
def test_nothing_is_lost(steps: list[tuple[dict[ObjectKey, Object], bool]]) -> None:
    """A reader has all there is, at most some of what was; after a release exactly what there is."""
    held, before, told = HeldDeletions(), dict[ObjectKey, Object](), dict[ObjectKey, Object]()
    for state, is_released in steps:
        apply(told, held.hold(diff_objects(before, state)))
        assert {key: told.get(key) for key in state} == state
        assert len(told) == len(state) + len(held)
        if is_released:
            apply(told, held.release())
            assert told == state
        before = state
