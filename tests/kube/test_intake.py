"""Pages and events of one kind, and the version that they lead to."""

import pytest

from nodeplane.kube.intake import Intake, WatchFailedError
from nodeplane.kube.known_state import KnownState
from nodeplane.kube.objects import Object, ObjectKey, Service
from nodeplane.kube.wire import Bookmark, Event, Failure, Gone, Page, Put, Unreadable
from tests.kube.changes import apply
from tests.kube.objects import keyed, service

WEB, WEB_81, DB = service("web"), service("web", 81), service("db")
END = Bookmark("7", ends_initial=True)


def told(state: KnownState) -> dict[ObjectKey, Object]:
    """Return what a reader that was told nothing so far learns."""
    objects = dict[ObjectKey, Object]()
    apply(objects, state.take())
    return objects


@pytest.mark.parametrize(
    ("events", "objects", "version"),
    [
        pytest.param([END], (), "7", id="empty"),
        pytest.param([Put(WEB, "3"), Put(DB, "2"), END], (WEB, DB), "7", id="list"),
        pytest.param([Put(WEB, "3"), Put(WEB_81, "5"), END], (WEB_81,), "7", id="changed during the list"),
        pytest.param([Put(WEB, "3"), Gone(WEB.key, "5"), END], (), "7", id="deleted during the list"),
        pytest.param(
            [Put(WEB, "3"), Bookmark("1", ends_initial=False), END], (WEB,), "7", id="other bookmark"
        ),
        pytest.param([END, Put(WEB, "9")], (WEB,), "9", id="event"),
        pytest.param([END, Put(WEB, "8"), Gone(WEB.key, "9")], (), "9", id="deletion"),
        pytest.param([END, Bookmark("11", ends_initial=False)], (), "11", id="bookmark"),
        pytest.param([END, Put(WEB, "8"), Unreadable(WEB.key, "9")], (WEB,), "9", id="unreadable version"),
        pytest.param([END, Unreadable(None, "9"), None], (), "9", id="unreadable, nameless"),
        pytest.param([END, Put(WEB, "")], (WEB,), "7", id="no version"),
    ],
)
def test_streaming_list(events: list[Event], objects: tuple[Object, ...], version: str) -> None:
    """A streaming list ends at its bookmark; what follows is the watch."""
    state = KnownState([Service])
    intake = Intake(state, Service)
    for event in events:
        intake.take(event)

    assert (intake.is_complete, told(state), intake.version) == (True, keyed(*objects), version)


def test_pages() -> None:
    """The last page completes a list; one that expires leaves nothing of itself."""
    state = KnownState([Service])
    intake = Intake(state, Service)
    intake.take_page(Page((WEB,), (), "7", "more"))
    assert (intake.is_complete, told(state)) == (False, {})
    intake.restart()
    intake.take_page(Page((DB,), (), "9", "more"))
    intake.take_page(Page((WEB_81,), (), "9", ""))

    assert (intake.is_complete, told(state), intake.version, intake.listed) == (
        True,
        keyed(DB, WEB_81),
        "9",
        2,
    )


def test_failure() -> None:
    """An ERROR event ends the watch with the status that it carries."""
    with pytest.raises(WatchFailedError, match="watch Service: 410 too old") as caught:
        Intake(KnownState([Service]), Service).take(Failure(410, "too old"))

    assert caught.value.code == 410
