"""What is known of the cluster, and whom a change touches."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeplane.kube.objects import Node, Object, ObjectKey, Service
from nodeplane.kube.source import Batch, Change
from nodeplane.kube.store import Store, diff_objects
from tests.kube.changes import apply
from tests.kube.objects import endpoint_slice, keyed, namespace, service

WEB = service("web")
WEB_1 = endpoint_slice("web-1", "web", "10.0.0.1")
WEB_2 = endpoint_slice("web-2", "web", "10.0.0.2")


def store_of(*items: Object) -> Store:
    """Return a store that holds these objects."""
    store = Store()
    store.apply(diff_objects({}, keyed(*items)))
    return store


@pytest.mark.parametrize(
    ("before", "after", "touched"),
    [
        pytest.param((), (WEB,), {"web"}, id="service added"),
        pytest.param((WEB,), (service("web", 81),), {"web"}, id="service changed"),
        pytest.param((WEB,), (), {"web"}, id="service deleted"),
        pytest.param((), (WEB_1,), {"web"}, id="slice added, before its service"),
        pytest.param((WEB_1,), (endpoint_slice("web-1", "web"),), {"web"}, id="slice changed"),
        pytest.param((WEB_1, WEB_2), (WEB_2,), {"web"}, id="slice deleted"),
        pytest.param(
            (WEB_1,), (endpoint_slice("web-1", "db"),), {"web", "db"}, id="slice of another service now"
        ),
        pytest.param((WEB_1,), (endpoint_slice("web-1", ""),), {"web"}, id="slice of no service now"),
        pytest.param((), (endpoint_slice("x", ""),), set(), id="slice of no service"),
        pytest.param((), (namespace("n"),), set(), id="namespace"),
        pytest.param((), (), set(), id="nothing"),
    ],
)
def test_touched(before: tuple[Object, ...], after: tuple[Object, ...], touched: set[str]) -> None:
    """A change touches the services that it is about: for a slice that moves, the old and the new."""
    store = store_of(*before)

    assert store.apply(diff_objects(keyed(*before), keyed(*after))) == {("default", name) for name in touched}


def test_namespaces_do_not_mix() -> None:
    """A slice belongs to the Service of its own namespace."""
    store = store_of(
        WEB, service("web", 81, "other"), WEB_1, endpoint_slice("web-1", "web", namespace="other")
    )

    assert (store.service("default", "web"), store.slices("default", "web")) == (WEB, [WEB_1])


def test_slices_are_in_order_of_name() -> None:
    """What is built from slices does not depend on the order in which they came."""
    assert store_of(WEB_2, WEB_1).slices("default", "web") == [WEB_1, WEB_2]


def test_what_is_not_there() -> None:
    """Unknown names give nothing, and leave nothing behind."""
    store = store_of(WEB, namespace("n"))

    assert (store.service("default", "x"), store.slices("default", "x")) == (None, [])
    assert ([*store.of_kind(Service)], [*store.of_kind(Node)]) == ([WEB], [])


@pytest.mark.parametrize(
    ("old", "new", "batch"),
    [
        pytest.param((), (), (), id="empty"),
        pytest.param((WEB,), (service("web"),), (), id="the same"),
        pytest.param(
            (WEB, WEB_1, namespace("n")),
            (WEB_2, service("web", 81), namespace("n")),
            (
                Change(WEB_1.key, WEB_1, None),
                Change(WEB_2.key, None, WEB_2),
                Change(WEB.key, WEB, service("web", 81)),
            ),
            id="deletions first",
        ),
    ],
)
def test_diff_objects(old: tuple[Object, ...], new: tuple[Object, ...], batch: Batch) -> None:
    """Equal states give an empty batch; a change carries both states."""
    assert diff_objects(keyed(*old), keyed(*new)) == batch


NAMES = st.sampled_from(["a", "b", "c"])
OBJECTS = st.one_of(
    st.builds(service, NAMES, st.sampled_from([80, 81])),
    st.builds(
        endpoint_slice, NAMES, st.sampled_from(["a", "b", ""]), st.sampled_from(["10.0.0.1", "10.0.0.2"])
    ),
    st.builds(namespace, NAMES),
)
STATES = st.lists(OBJECTS, max_size=6).map(lambda items: keyed(*items))


@given(st.lists(STATES, min_size=1, max_size=5))
@settings(deadline=None)
def test_path_does_not_matter(path: list[dict[ObjectKey, Object]]) -> None:
    """A store depends on the last state alone, never on the way there."""
    walked, state = Store(), dict[ObjectKey, Object]()
    for desired in path:
        batch = diff_objects(state, desired)
        walked.apply(batch)
        apply(state, batch)
    straight = store_of(*path[-1].values())

    assert state == path[-1]
    for name in ("a", "b", "c"):
        assert walked.service("default", name) == straight.service("default", name)
        assert walked.slices("default", name) == straight.slices("default", name)
    assert keyed(*walked.of_kind(Service)) == keyed(*straight.of_kind(Service))
