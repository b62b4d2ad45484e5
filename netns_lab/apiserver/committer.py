"""The one writer: numbers changes, writes them in groups, and shows them once they are written.

Whoever changes an object says which version it was made from; that check and the numbering happen here, in
one place and one order, so two changes never win over each other. While a group is being written the next
one gathers, so the cost of a write is shared by all that wait for it.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import msgspec

from netns_lab.apiserver.history import Event, State
from netns_lab.apiserver.resources import BY_NAME, Resource
from netns_lab.apiserver.store import (
    MAX_RECORDS,
    MAX_VALUE_BYTES,
    Record,
    Store,
    StoreError,
    StoreLostError,
    build_key,
    split_key,
)
from netns_lab.apiserver.wire import Item, stored_form
from nodeplane.errors import NodeplaneError

log = logging.getLogger(__name__)

Observer: TypeAlias = Callable[[Resource, Event], None]


class StaleRevisionError(NodeplaneError):
    """The object is no longer at the revision that the change was made from."""


class _Pending(msgspec.Struct):
    resource: Resource
    namespace: str
    name: str
    expected: int
    value: bytes | None
    done: "asyncio.Future[Event]"

    @property
    def key(self) -> str:
        return build_key(self.resource.qualified, self.namespace, self.name)


def _group_size(queue: Sequence[_Pending]) -> int:
    """Return how many of those that wait go together: one at least, within what a store takes at once."""
    room = MAX_VALUE_BYTES
    for count, pending in enumerate(queue[:MAX_RECORDS]):
        room -= len(pending.value or b"")
        if room < 0 and count:
            return count
    return min(len(queue), MAX_RECORDS)


class Committer:
    """Writes to a store through its own thread, and to the state from the loop.

    Args:
        observers: Each is told of each event right after the state has it, before anyone else runs.
    """

    def __init__(self, store: Store, state: State, observers: Sequence[Observer] = ()) -> None:
        self._store = store
        self._state = state
        self._observers = observers
        self._queue: list[_Pending] = []
        self._waiting: set[asyncio.Future[Event]] = set()
        self._wanted = asyncio.Event()
        self._compactions: list[tuple[int, asyncio.Future[None]]] = []
        # One thread: store calls stay in order, and sqlite3 sees one user at a time.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="apiserver-store")

    async def commit(
        self, resource: Resource, namespace: str, name: str, *, expected: int, value: bytes | None
    ) -> Event:
        """Write an object made from its version `expected` (0: there is none); None deletes it.

        Raises:
            StaleRevisionError: the object is at another version.
            StoreError: it could not be written.
        """
        done: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self._queue.append(_Pending(resource, namespace, name, expected, value, done))
        self._waiting.add(done)
        done.add_done_callback(self._waiting.discard)
        self._wanted.set()
        return await done

    async def compact(self, revision: int) -> None:
        """Forget the history up to a revision that has been reached, behind what is being written.

        Raises:
            StoreError: the store could not be written.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._compactions.append((revision, done))
        self._wanted.set()
        await done

    async def run(self) -> None:
        """Write for as long as the task lives; who still waits at its end is cancelled.

        Raises:
            StoreLostError: the store has moved on; what this server shows is no longer the truth.
        """
        try:
            while True:
                await self._wanted.wait()
                await self._write_group()
        finally:
            for waiting in tuple(self._waiting):
                waiting.cancel()
            for _, compacted in self._compactions:
                compacted.cancel()
            self._thread.shutdown()

    async def _write_group(self) -> None:
        self._wanted.clear()
        group = self._number()
        loop = asyncio.get_running_loop()
        error: StoreError | None = None
        try:
            if group:
                await loop.run_in_executor(self._thread, self._store.append, [record for _, record in group])
        except StoreError as exc:
            log.error("store failed error=%r changes=%d", str(exc), len(group))
            error = exc
        self._finish(group, error)
        if isinstance(error, StoreLostError):
            raise error
        while self._compactions:
            revision, done = self._compactions.pop()
            try:
                await loop.run_in_executor(self._thread, self._store.compact, revision)
            except StoreError as exc:
                if not done.cancelled():
                    done.set_exception(exc)
            else:
                self._state.compact(revision)
                if not done.cancelled():
                    done.set_result(None)

    def _number(self) -> list[tuple[_Pending, Record]]:
        """Take what waits; refuse what is stale, number the rest."""
        count = _group_size(self._queue)
        queue, self._queue = self._queue[:count], self._queue[count:]
        if self._queue:
            self._wanted.set()
        revision = self._state.revision
        group: list[tuple[_Pending, Record]] = []
        # What the group itself writes comes before what the state has.
        written: dict[str, Record] = {}
        for pending in queue:
            if pending.done.cancelled():
                continue
            last = written.get(pending.key) or self._last(pending)
            current = 0 if last is None or last.value is None else last.revision
            if current != pending.expected:
                pending.done.set_exception(StaleRevisionError(f"{pending.key} is at revision {current}"))
                continue
            revision += 1
            previous = last.value if last is not None and current else None
            record = Record(revision, pending.key, pending.value, previous, current)
            written[pending.key] = record
            group.append((pending, record))
        return group

    def _last(self, pending: _Pending) -> Record | None:
        item: Item | None = self._state.history(pending.resource).get(pending.namespace, pending.name)
        return None if item is None else Record(item.revision, pending.key, stored_form(item))

    def _finish(self, group: list[tuple[_Pending, Record]], error: StoreError | None) -> None:
        if error is None:
            events = self._state.apply(record for _, record in group)
            for (pending, record), event in zip(group, events, strict=True):
                for observe in self._observers:
                    observe(BY_NAME[split_key(record.key)[0]], event)
                if not pending.done.cancelled():
                    pending.done.set_result(event)
            return
        for pending, _ in group:
            if not pending.done.cancelled():
                pending.done.set_exception(error)
