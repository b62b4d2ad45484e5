"""WATCH: a resource's events from a revision on, as the lines of one long answer.

A watcher is a place in the history. It reads on when there is more, and ends with an ERROR event when
the history no longer has its place. What a selector hides and shows is told as deletion and addition, with
what the object was before (storage/cacher: cacheWatcher.convertToWatchEvent).
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence

import msgspec

from netns_lab.apiserver.history import Event, History, State
from netns_lab.apiserver.request_info import ListOptions, Target
from netns_lab.apiserver.resources import Resource
from netns_lab.apiserver.selectors import Matcher, build_matcher
from netns_lab.apiserver.status import StatusError, expired, internal_error, too_large_revision
from netns_lab.apiserver.wire import Item, at_revision, encode_event

_INITIAL_EVENTS_END = {"k8s.io/initial-events-end": "true"}
# A line's worth of work between two looks at the clock and the other requests.
_CHUNK_EVENTS = 500
# Upstream's --min-request-timeout: a watch that names none ends after one to two times this.
_DEFAULT_TIMEOUT_S = 1800.0

Encoder = Callable[[str, Resource, Item], bytes]


class WatchSettings(msgspec.Struct, frozen=True):
    """How the server serves watches; `streaming_list` off answers as a server without that feature."""

    bookmark_interval_s: float = 10.0
    streaming_list: bool = True


class Watch:
    """One watch; made before its answer begins, so that wrong options are refused with their own status.

    Raises:
        StatusError: 400, a selector is wrong.
    """

    def __init__(
        self,
        state: State,
        target: Target,
        options: ListOptions,
        settings: WatchSettings,
        encode: Encoder = encode_event,
    ) -> None:
        self._state = state
        self._history: History = state.history(target.resource)
        self._target = target
        self._options = options
        self._settings = settings
        self._encode = encode
        self._matcher = build_matcher(target.resource, options.label_selector, options.field_selector)
        self._seen = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield whole lines until the time is up, the server ends or the history has moved on."""
        try:
            for chunk in self._begin():
                yield chunk
            async for chunk in self._follow():
                yield chunk
        except StatusError as exc:
            yield b'{"type":"ERROR","object":%b}\n' % msgspec.json.encode(exc.body)

    def _begin(self) -> list[bytes]:
        """Return what comes first: nothing, or the current objects."""
        options, state = self._options, self._state
        if options.initial_events and not self._settings.streaming_list:
            raise internal_error(
                "a watch stream was requested by the client but the required storage feature "
                "RequestWatchProgress is disabled"
            )
        wanted = options.resource_version or 0
        if wanted > state.revision:
            # Upstream waits in silence; a client whose server came back with other data has to know.
            raise too_large_revision(wanted, state.revision)
        if options.initial_events is None and wanted:
            state.check_remembered(wanted)
            self._seen = wanted
            return []
        self._seen = state.revision
        if options.initial_events is False:
            return []
        resource, matcher = self._target.resource, self._matcher
        items = [
            item for item in self._history.items(self._target.namespace) if matcher is None or matcher(item)
        ]
        chunks = [
            b"".join(self._encode("ADDED", resource, item) for item in items[at : at + _CHUNK_EVENTS])
            for at in range(0, len(items), _CHUNK_EVENTS)
        ]
        if options.initial_events:
            chunks.append(self._bookmark(_INITIAL_EVENTS_END))
        return chunks

    async def _follow(self) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        end = loop.time() + (self._options.timeout_s or random.uniform(1, 2) * _DEFAULT_TIMEOUT_S)
        bookmark = loop.time() + self._settings.bookmark_interval_s
        while not self._state.closed:
            if self._seen < self._history.forgotten:
                raise expired(self._seen, self._state.compacted)
            events = self._history.events_after(self._seen)[:_CHUNK_EVENTS]
            if events:
                lines = self._lines(events)
                self._seen = events[-1].revision
                if lines:
                    yield lines
                continue
            # Nothing more of this resource, so all that has been written is seen.
            self._seen = self._state.revision
            now = loop.time()
            if self._options.bookmarks and now >= min(bookmark, end):
                yield self._bookmark({})
                bookmark = now + self._settings.bookmark_interval_s
            if now >= end:
                return
            try:
                async with asyncio.timeout_at(min(bookmark, end) if self._options.bookmarks else end):
                    await self._history.changed()
            except TimeoutError:
                continue

    def _lines(self, events: Sequence[Event]) -> bytes:
        return b"".join(
            self._encode(kind, self._target.resource, item)
            for kind, item in (_told(event, self._target.namespace, self._matcher) for event in events)
            if item is not None
        )

    def _bookmark(self, annotations: dict[str, str]) -> bytes:
        resource = self._target.resource
        metadata: dict[str, object] = {"resourceVersion": str(self._seen)}
        if annotations:
            metadata["annotations"] = annotations
        head = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        return b'{"type":"BOOKMARK","object":%b}\n' % msgspec.json.encode({**head, **resource.zero})


def _told(event: Event, namespace: str, matcher: Matcher | None) -> tuple[str, Item | None]:
    """Return an event as a watcher with a selector sees it; no item when it sees none."""
    some = event.new or event.old
    if some is None or (namespace and some.namespace != namespace):
        return "", None
    shown_before = event.old is not None and (matcher is None or matcher(event.old))
    shown_now = event.new is not None and (matcher is None or matcher(event.new))
    if shown_now:
        return "MODIFIED" if shown_before else "ADDED", event.new
    if shown_before and event.old is not None:
        return "DELETED", at_revision(event.old, event.revision)
    return "", None
