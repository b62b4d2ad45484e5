"""Where one kind's pages and events go: into a list until it is complete, from then on into what is known."""

from nodeplane.errors import ApiError
from nodeplane.kube.known_state import KnownState, Relist
from nodeplane.kube.objects import Object
from nodeplane.kube.wire import Bookmark, Event, Failure, Gone, Page, Put, Unreadable


class WatchFailedError(ApiError):
    """The server ended a watch with an ERROR event; `code` is an HTTP status, 410 after a compaction."""

    def __init__(self, kind: type[Object], failure: Failure) -> None:
        super().__init__(f"watch {kind.__name__}: {failure.code} {failure.message}")
        self.code = failure.code


class Intake:
    """Takes in what a server sends about one kind, from the beginning of a list on.

    `version` is what a watch continues from; it is the list's, then each event's.
    """

    def __init__(self, state: KnownState, kind: type[Object]) -> None:
        self.version = ""
        self._state = state
        self._kind = kind
        self._relist: Relist | None = state.relist(kind)
        self._listed = 0

    @property
    def is_complete(self) -> bool:
        """Whether the list has come to its end."""
        return self._relist is None

    @property
    def listed(self) -> int:
        """How many objects the list had."""
        return self._listed

    def restart(self) -> None:
        """Forget the pages so far: the server can't continue the list that they belong to."""
        self._relist = self._state.relist(self._kind)

    def take_page(self, page: Page) -> None:
        """Take a page in; the one without a successor completes the list."""
        for item in page.items:
            self._sink.put(item)
        for key in page.unreadable:
            self._sink.keep(key)
        if not page.token:
            self._finish(page.resource_version)

    def take(self, event: Event) -> None:
        """Take an event in.

        Raises:
            WatchFailedError: the event says that there will be no more.
        """
        match event:
            case Put(item, version):
                self._sink.put(item)
                self._advance(version)
            case Gone(key, version):
                self._sink.remove(key)
                self._advance(version)
            case Unreadable(key, version):
                if key is not None:
                    self._sink.keep(key)
                self._advance(version)
            case Bookmark(version, ends_initial):
                if ends_initial and not self.is_complete:
                    self._finish(version)
                self._advance(version)
            case Failure():
                raise WatchFailedError(self._kind, event)

    @property
    def _sink(self) -> Relist | KnownState:
        return self._state if self._relist is None else self._relist

    def _finish(self, version: str) -> None:
        if self._relist is not None:
            self._listed = self._relist.seen
            self._state.finish(self._kind, self._relist)
            self._relist = None
        self.version = version

    def _advance(self, version: str) -> None:
        # A streaming list is in the order of its keys: only the bookmark at its end says where it stands.
        if self.is_complete and version:
            self.version = version
