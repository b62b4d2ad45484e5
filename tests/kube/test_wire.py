"""What a server sends, as values; recorded from a real one, made up, and garbage."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeplane.errors import ProtocolError
from nodeplane.kube.objects import EndpointSlice, Namespace, Node, Object, ObjectKey, Pod, Service
from nodeplane.kube.wire import (
    Bookmark,
    Event,
    Failure,
    Gone,
    Page,
    Put,
    Status,
    Unreadable,
    WireDecoder,
    decode_status,
)
from tests.kube.objects import endpoint_slice, service
from tests.kube.recordings import recorded_items, recording

WEB = service("web")


def put(item: Object, version: str = "5") -> dict[str, Any]:
    """Render an object as a server would at that version."""
    value: dict[str, Any] = msgspec.to_builtins(item)
    value["metadata"]["resourceVersion"] = version
    return value


def event(step: str, item: Any) -> bytes:
    """Render an event."""
    return msgspec.json.encode({"type": step, "object": item})


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param(event("ADDED", put(WEB)), Put(WEB, "5"), id="added"),
        pytest.param(event("MODIFIED", put(WEB)), Put(WEB, "5"), id="modified"),
        pytest.param(event("DELETED", put(WEB)), Gone(WEB.key, "5"), id="deleted"),
        pytest.param(
            event("DELETED", {**put(WEB), "spec": "of another shape"}),
            Gone(WEB.key, "5"),
            id="odd one deleted",
        ),
        pytest.param(
            event("MODIFIED", {**put(WEB), "spec": "of another shape"}),
            Unreadable(WEB.key, "5"),
            id="odd one",
        ),
        pytest.param(event("ADDED", {"metadata": {"labels": 7}}), Unreadable(None, ""), id="no name"),
        pytest.param(event("ADDED", {"metadata": 7}), Unreadable(None, ""), id="no metadata"),
        pytest.param(
            event("ADDED", {**put(WEB), "kind": "Service", "newField": [1]}),
            Put(WEB, "5"),
            id="unknown field",
        ),
        pytest.param(event("TELEPORTED", put(WEB)), None, id="unknown type"),
        pytest.param(
            event("BOOKMARK", {"metadata": {"resourceVersion": "9"}}),
            Bookmark("9", ends_initial=False),
            id="bookmark",
        ),
        pytest.param(
            event(
                "BOOKMARK",
                {"metadata": {"resourceVersion": "9", "annotations": {"k8s.io/initial-events-end": "true"}}},
            ),
            Bookmark("9", ends_initial=True),
            id="end of a streaming list",
        ),
        pytest.param(
            event("ERROR", {"kind": "Status", "code": 410, "message": "too old"}),
            Failure(410, "too old"),
            id="error",
        ),
        pytest.param(
            event("ERROR", {"code": 500, "reason": "Internal"}), Failure(500, "Internal"), id="no message"
        ),
    ],
)
def test_event(line: bytes, expected: Event) -> None:
    """An event is what happened to an object, without the version that it left behind."""
    assert WireDecoder(Service).event(line) == expected


@pytest.mark.parametrize(
    "line", [b"{", b"[]", b"7", b"<html>", b'{"type":"ADDED"}', b'{"object":{}}', b'{"type":1,"object":{}}']
)
def test_no_event(line: bytes) -> None:
    """What is no event at all is the peer's error."""
    with pytest.raises(ProtocolError):
        WireDecoder(Service).event(line)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(
            {"metadata": {"resourceVersion": "7"}, "items": None}, Page((), (), "7", ""), id="empty"
        ),
        pytest.param(
            {
                "metadata": {"resourceVersion": "7", "continue": "c", "remainingItemCount": 1},
                "items": [put(WEB)],
            },
            Page((WEB,), (), "7", "c"),
            id="first of several",
        ),
        pytest.param(
            {
                "metadata": {"resourceVersion": "7"},
                "items": [{**put(service("odd")), "spec": 1}, put(WEB), {"metadata": {}}],
            },
            Page((WEB,), (service("odd").key,), "7", ""),
            id="odd ones",
        ),
    ],
)
def test_page(body: Any, expected: Page) -> None:
    """A page holds its objects, and the names of those that can't be read."""
    assert WireDecoder(Service).page(msgspec.json.encode(body)) == expected


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"metadata":{},"items":7}', b"<html>"])
def test_no_page(body: bytes) -> None:
    """What is no list at all is the peer's error."""
    with pytest.raises(ProtocolError):
        WireDecoder(Service).page(body)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        pytest.param(Service, "list-services.json", id="Services"),
        pytest.param(EndpointSlice, "list-endpointslices.json", id="EndpointSlices"),
        pytest.param(Node, "list-nodes.json", id="Nodes"),
        pytest.param(Namespace, "list-namespaces.json", id="Namespaces"),
        pytest.param(Pod, "list-pods.json", id="Pods"),
    ],
)
def test_recorded_list(kind: type[Object], name: str) -> None:
    """Every object of a real list is read."""
    page = WireDecoder(kind).page(recording(name).encode())
    metadata = [item["metadata"] for item in recorded_items(name)]

    assert page.unreadable == ()
    assert [item.key for item in page.items] == [
        ObjectKey(kind, each.get("namespace", ""), each["name"]) for each in metadata
    ]
    assert page.resource_version


def test_recorded_page() -> None:
    """A real page leads to the next one."""
    page = WireDecoder(Service).page(recording("list-services-page1.json").encode())

    assert (len(page.items) > 0, page.token[:6], page.resource_version) == (True, "eyJ2Ij", "293")


SHOP_WEB, SHOP_EXT = ObjectKey(Service, "shop", "web"), ObjectKey(Service, "shop", "ext")


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        pytest.param(
            Service,
            "watch-services.jsonl",
            [("Put", "288"), ("Put", "289"), ("Gone", "293"), ("Bookmark", "293"), ("Bookmark", "293")],
            id="Services",
        ),
        pytest.param(
            EndpointSlice,
            "watch-endpointslices.jsonl",
            [("Put", "282"), ("Put", "285"), ("Put", "291"), ("Bookmark", "291"), ("Bookmark", "291")],
            id="EndpointSlices",
        ),
    ],
)
def test_recorded_watch(kind: type[Object], name: str, expected: list[tuple[str, str]]) -> None:
    """A real watch, bookmarks with empty fields among its events."""
    events = [WireDecoder(kind).event(line.encode()) for line in recording(name).splitlines()]

    assert [(type(each).__name__, getattr(each, "resource_version", "")) for each in events] == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param(
            "watch-expired.http", Failure(410, "too old resource version: 1 (332)"), id="expired, in a 200"
        ),
        pytest.param(
            "watchlist-endpointslices.jsonl",
            Failure(
                500,
                "a watch stream was requested by the client but the required storage feature"
                " RequestWatchProgress is disabled",
            ),
            id="streaming list not offered",
        ),
    ],
)
def test_recorded_error(name: str, expected: Failure) -> None:
    """A real server's no, in the middle of a yes."""
    line = recording(name).splitlines()[-1]

    assert WireDecoder(EndpointSlice).event(line.encode()) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(
            recording("not-found.json"), Status('services "nope" not found', "NotFound", 404), id="404"
        ),
        pytest.param("<html>502</html>", Status(), id="a proxy's"),
        pytest.param("", Status(), id="nothing"),
    ],
)
def test_status(body: str, expected: Status) -> None:
    """A refusal says why, if it can."""
    assert decode_status(body.encode()) == expected


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(0, 9)
    | st.sampled_from(["ADDED", "BOOKMARK", "ERROR", "web", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "object", "metadata", "name", "items", "spec", "code", "annotations"]),
            inner,
        )
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(JSON.map(msgspec.json.encode) | st.binary(max_size=40))
def test_garbage(line: bytes) -> None:
    """Whatever comes is an event, a page, or a ProtocolError."""
    decoder = WireDecoder(EndpointSlice)
    for decode in (decoder.event, decoder.page):
        try:
            decode(line)
        except ProtocolError as exc:
            assert "EndpointSlice" in str(exc)  # noqa: PT017  # garbage may as well be an event


def test_a_slice_is_read_whole() -> None:
    """What goes in comes out."""
    piece = endpoint_slice("web-1", "web", "10.0.0.1", "10.0.0.2")

    assert WireDecoder(EndpointSlice).event(event("ADDED", put(piece))) == Put(piece, "5")
