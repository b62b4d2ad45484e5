"""The history's law: a list, and the events after it, are the later list."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netns_lab.apiserver.history import Event, State
from netns_lab.apiserver.resources import CONFIG_MAPS, NODES
from netns_lab.apiserver.status import StatusError
from netns_lab.apiserver.store import Record, Snapshot
from netns_lab.apiserver.wire import Item

NAMES = st.tuples(st.sampled_from(["a", "ab", "b"]), st.sampled_from("xyz"))
CHANGES = st.lists(st.tuples(NAMES, st.one_of(st.none(), st.sampled_from(["1", "2"]))), max_size=20)


def build_state(changes: list[tuple[tuple[str, str], str | None]]) -> tuple[State, list[dict[Any, Item]]]:
    """Return a state, and what the objects were at each revision from 1 on."""
    state = State(Snapshot())
    states: list[dict[Any, Item]] = [{}]
    stored: dict[tuple[str, str], tuple[int, bytes]] = {}
    for (namespace, name), value in changes:
        before = stored.pop((namespace, name), None)
        if value is None and before is None:
            continue
        revision = state.revision + 1
        content = None
        if value is not None:
            metadata = {"name": name, "namespace": namespace, "labels": {"v": value}}
            content = msgspec.json.encode({"metadata": metadata})
            stored[namespace, name] = (revision, content)
        old_revision, old = before or (0, None)
        key = f"configmaps/{namespace}/{name}"
        state.apply([Record(revision, key, content, old, old_revision)])
        states.append({(item.namespace, item.name): item for item in state.history(CONFIG_MAPS).items()})
    return state, states


def replay(listed: dict[Any, Item], events: list[Event]) -> dict[Any, Item]:
    for event in events:
        for item in (event.old, event.new):
            if item is not None:
                listed.pop((item.namespace, item.name), None)
        if event.new is not None:
            listed[event.new.namespace, event.new.name] = event.new
    return listed


@given(changes=CHANGES)
@settings(deadline=None)
def test_a_list_and_its_events_are_the_later_list(changes: Any) -> None:
    state, states = build_state(changes)
    history = state.history(CONFIG_MAPS)

    for revision, listed in enumerate(states, start=1):
        assert replay(dict(listed), list(history.events_after(revision))) == states[-1]


@given(changes=CHANGES, namespace=st.sampled_from(["", "a", "ab", "b", "c"]))
@settings(deadline=None)
def test_every_revision_can_be_listed(changes: Any, namespace: str) -> None:
    state, states = build_state(changes)
    history = state.history(CONFIG_MAPS)

    for revision, listed in enumerate(states, start=1):
        expected = [listed[name] for name in sorted(listed) if namespace in {"", name[0]}]
        assert list(history.items_at(revision, namespace)) == expected


def test_forgotten_revisions_are_refused() -> None:
    state, _ = build_state([(("a", "x"), "1"), (("a", "x"), "2"), (("a", "y"), "1")])
    state.compact(3)

    state.check_remembered(3)
    with pytest.raises(StatusError) as refused:
        state.check_remembered(2)

    assert (refused.value.code, refused.value.reason) == (410, "Expired")
    assert str(refused.value) == "too old resource version: 2 (3)"
    assert state.history(CONFIG_MAPS).forgotten == 3


def test_a_loaded_state_is_the_one_that_was_stored() -> None:
    node = b'{"metadata":{"name":"n"}}'
    log = (Record(2, "nodes//n", node), Record(3, "nodes//n", None, node, 2))
    lived = State(Snapshot())
    lived.apply(log)
    loaded = State(Snapshot(revision=3, log=log))

    assert loaded.history(NODES).events_after(1) == lived.history(NODES).events_after(1)
    assert (loaded.revision, loaded.history(NODES).items()) == (3, [])
