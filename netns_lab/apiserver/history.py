"""What the server serves: the objects of each resource, now and as far back as it remembers.

Everything is in memory and in the order of revisions. A watch is a place in a resource's list of events,
so watchers hold no queues: one that is slow reads on from where it was, or learns that it is too late.
"""

import asyncio
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence

import msgspec

from netns_lab.apiserver.resources import RESOURCES, Resource
from netns_lab.apiserver.status import expired
from netns_lab.apiserver.store import Record, Snapshot, split_key
from netns_lab.apiserver.wire import Item, build_item

ObjectName = tuple[str, str]
"""Namespace (empty for cluster-scoped kinds) and name: the order of a list."""


class Event(msgspec.Struct, frozen=True):
    """One object's step: `old` is None for a creation, `new` for a deletion."""

    revision: int
    old: Item | None
    new: Item | None


class History:
    """The objects of one resource and their last events.

    Attributes:
        forgotten: The revision of the last event that is no longer here.
    """

    def __init__(self) -> None:
        self.forgotten = 0
        self._items: dict[ObjectName, Item] = {}
        self._order: list[ObjectName] = []
        self._events: list[Event] = []
        self._revisions: list[int] = []
        self._changed = asyncio.Event()

    def get(self, namespace: str, name: str) -> Item | None:
        """Return an object's current version."""
        return self._items.get((namespace, name))

    def __len__(self) -> int:
        return len(self._items)

    def items(self, namespace: str = "") -> Sequence[Item]:
        """Return the current objects, of one namespace or of all, by namespace and name."""
        names = self._order
        if namespace:
            # No name holds a NUL, and none is below the empty one.
            names = names[bisect_left(names, (namespace, "")) : bisect_left(names, (namespace + "\0", ""))]
        return [self._items[name] for name in names]

    def items_at(self, revision: int, namespace: str = "") -> Sequence[Item]:
        """Return the objects as they were at a revision that is still remembered."""
        later = self._events[bisect_right(self._revisions, revision) :]
        if not later:
            return self.items(namespace)
        known = {(item.namespace, item.name): item for item in self.items(namespace)}
        for event in reversed(later):
            for item in (event.new, event.old):
                if item is not None and namespace in {"", item.namespace}:
                    known.pop((item.namespace, item.name), None)
            if event.old is not None and namespace in {"", event.old.namespace}:
                known[event.old.namespace, event.old.name] = event.old
        return [known[name] for name in sorted(known)]

    def events_after(self, revision: int) -> Sequence[Event]:
        """Return what happened after a revision that is still remembered."""
        return self._events[bisect_right(self._revisions, revision) :]

    async def changed(self) -> None:
        """Wait for the next event."""
        await self._changed.wait()

    def wake(self) -> None:
        """Let every waiter look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    def load(self, items: Iterable[Item]) -> None:
        """Take the objects that a store had."""
        self._items = {(item.namespace, item.name): item for item in items}
        self._order = sorted(self._items)

    def remember(self, event: Event) -> None:
        """Append an event to the history alone."""
        self._events.append(event)
        self._revisions.append(event.revision)

    def apply(self, event: Event) -> None:
        """Take a step: objects, history, waiters."""
        if event.new is not None:
            name = (event.new.namespace, event.new.name)
            if name not in self._items:
                insort(self._order, name)
            self._items[name] = event.new
        elif event.old is not None:
            name = (event.old.namespace, event.old.name)
            del self._items[name]
            del self._order[bisect_left(self._order, name)]
        self.remember(event)
        self.wake()

    def forget(self, revision: int) -> None:
        """Drop the events up to a revision."""
        count = bisect_right(self._revisions, revision)
        if count:
            self.forgotten = self._revisions[count - 1]
        del self._events[:count]
        del self._revisions[:count]


class State:
    """Every resource's history, and the revision that they have reached together.

    Attributes:
        revision: The last one written.
        compacted: The oldest one from which a watch can start, or that a list can show.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.revision = snapshot.revision
        self.compacted = snapshot.compacted
        self.closed = False
        self._histories = {resource.qualified: History() for resource in RESOURCES}
        items: dict[str, list[Item]] = {name: [] for name in self._histories}
        for key, revision, value in snapshot.objects:
            resource, namespace, name = split_key(key)
            items[resource].append(build_item(namespace, name, revision, value))
        for resource, history in self._histories.items():
            history.load(items[resource])
        for record in snapshot.log:
            resource, event = _event(record)
            self._histories[resource].remember(event)

    def history(self, resource: Resource) -> History:
        """Return one resource's history."""
        return self._histories[resource.qualified]

    def apply(self, records: Iterable[Record]) -> list[Event]:
        """Take what has been written, in order."""
        events = []
        for record in records:
            resource, event = _event(record)
            self.revision = record.revision
            self._histories[resource].apply(event)
            events.append(event)
        return events

    def check_remembered(self, revision: int) -> None:
        """Make sure that the history reaches back to a revision.

        Raises:
            StatusError: 410, it does not.
        """
        if revision < self.compacted:
            raise expired(revision, self.compacted)

    def compact(self, revision: int) -> None:
        """Forget what happened up to a revision; watchers that have not seen it learn that it is too late."""
        self.compacted = max(self.compacted, min(revision, self.revision))
        for history in self._histories.values():
            history.forget(self.compacted)
            history.wake()

    def close(self) -> None:
        """End every watch."""
        self.closed = True
        for history in self._histories.values():
            history.wake()


def _event(record: Record) -> tuple[str, Event]:
    resource, namespace, name = split_key(record.key)
    old = new = None
    if record.previous is not None:
        old = build_item(namespace, name, record.previous_revision, record.previous)
    if record.value is not None:
        new = build_item(namespace, name, record.revision, record.value)
    return resource, Event(record.revision, old, new)
