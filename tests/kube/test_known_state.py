"""What is known, and what of it the reader has not been told."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from nodeplane.kube.known_state import KnownState
from nodeplane.kube.objects import EndpointSlice, Object, ObjectKey, Service
from nodeplane.kube.source import Change
from tests.kube.changes import apply
from tests.kube.objects import endpoint_slice, keyed, service

WEB, WEB_81, DB = service("web"), service("web", 81), service("db")


def listed(*items: Object) -> KnownState:
    """Return what is known after a list that the reader has been told of."""
    state = KnownState([Service])
    relist = state.relist(Service)
    for item in items:
        relist.put(item)
    state.finish(Service, relist)
    state.take()
    return state


def test_nothing_before_a_list_is_finished() -> None:
    """A list on its way changes nothing, and its kind is not complete."""
    state = KnownState([Service, EndpointSlice])
    relist = state.relist(Service)
    relist.put(WEB)

    assert (set(state.incomplete), state.take()) == ({Service, EndpointSlice}, ())
    state.finish(Service, relist)
    assert (set(state.incomplete), state.take()) == ({EndpointSlice}, (Change(WEB.key, None, WEB),))


def test_steps_coalesce() -> None:
    """Of many steps the reader is told the first state and the last; a detour is nothing."""
    state = listed(WEB)
    state.put(WEB_81)
    state.remove(WEB.key)
    state.put(DB)
    state.remove(DB.key)
    assert state.take() == (Change(WEB.key, WEB, None),)
    state.put(WEB)
    state.put(WEB_81)
    state.put(WEB)
    assert state.take() == (Change(WEB.key, None, WEB),)
    state.put(WEB_81)
    state.put(WEB)
    assert (state.has_news, state.take(), state.has_news) == (True, (), False)


def test_a_list_says_what_is_gone() -> None:
    """What a complete list does not have has gone, unless it is there in a shape that we can't read."""
    state = listed(WEB, DB, service("odd"))
    relist = state.relist(Service)
    relist.put(WEB)
    relist.keep(service("odd").key)
    state.finish(Service, relist)

    assert state.take() == (Change(DB.key, DB, None),)


def test_a_list_holds_only_what_differs() -> None:
    """Memory does not double while a list comes in that says what is known."""
    relist = listed(WEB, DB).relist(Service)
    relist.put(service("web"))
    relist.put(service("db", 81))

    assert (relist.changed, set(relist.gone), relist.seen) == (keyed(service("db", 81)), set(), 2)


def test_a_lost_kind_is_incomplete() -> None:
    """Its objects stay known, and the next list completes it."""
    state = listed(WEB)
    state.lose(Service)
    assert (set(state.incomplete), state.take()) == ({Service}, ())
    state.finish(Service, state.relist(Service))
    assert (set(state.incomplete), state.take()) == (set(), (Change(WEB.key, WEB, None),))


ITEMS = st.builds(
    lambda name, port, is_slice: (
        endpoint_slice(name, name, f"10.0.0.{port}") if is_slice else service(name, port)
    ),
    st.sampled_from("abc"),
    st.integers(1, 2),
    st.booleans(),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), ITEMS),
        st.tuples(st.just("remove"), ITEMS),
        st.tuples(st.just("list"), st.lists(ITEMS)),
        st.tuples(st.just("take"), st.none()),
    )
)


State = dict[ObjectKey, Object]


def walk(state: KnownState, steps: list[tuple[str, Any]]) -> tuple[State, State]:
    """Take the steps; return what there is then, and what the batches have told a reader."""
    truth, told = State(), State()
    for name, value in steps:
        match name:
            case "put":
                state.put(value)
                truth[value.key] = value
            case "remove":
                state.remove(value.key)
                truth.pop(value.key, None)
            case "list":
                for kind in (Service, EndpointSlice):
                    relist = state.relist(kind)
                    for item in value:
                        if type(item) is kind:
                            relist.put(item)
                    state.finish(kind, relist)
                truth = keyed(*value)
            case "take":
                apply(told, state.take())
    apply(told, state.take())
    return truth, told


@given(STEPS)
def test_the_reader_ends_up_where_the_state_is(steps: list[tuple[str, Any]]) -> None:
    """However lists, events and batches mix, the batches lead to what is known."""
    truth, told = walk(KnownState([Service, EndpointSlice]), steps)

    assert told == truth


def shrink(item: Object) -> Object | None:
    """Keep names alone, and nothing of those that begin with an x."""
    return None if item.metadata.name.startswith("x") else service(item.metadata.name)


def test_what_is_shrunk_away_is_not_known() -> None:
    """A reader who keeps less is told of nothing else: no change in the rest, no object that is left out."""
    state = KnownState([Service], shrink)
    relist = state.relist(Service)
    for item in (WEB_81, service("x")):
        relist.put(item)
    state.finish(Service, relist)
    assert state.take() == (Change(WEB.key, None, WEB),)

    state.put(service("web", 82))
    state.put(service("x", 82))
    again = state.relist(Service)
    again.put(service("web", 83))
    state.finish(Service, again)
    assert (state.has_news, state.take()) == (True, ())


@given(STEPS)
def test_what_is_shrunk_depends_on_the_state_alone(steps: list[tuple[str, Any]]) -> None:
    """An object that is left out now has gone for the reader, however it came and goes."""

    def ports(item: Object) -> Object | None:
        is_wanted = isinstance(item, EndpointSlice) or item == WEB
        return item if is_wanted else None

    truth, told = walk(KnownState([Service, EndpointSlice], ports), steps)

    assert told == {key: kept for key, item in truth.items() if (kept := ports(item)) is not None}
