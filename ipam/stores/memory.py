"""A store in this process's memory: for tests and simulations, as strict as the durable ones.

It leaves everything to the guards, as etcd does, so that code which passes here holds over a cluster too.
Unlike the durable ones it may be shared by threads.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Condition, RLock

from ipam.store import (
    Attempt,
    Counters,
    Entry,
    Feed,
    Found,
    Guard,
    KeyGuard,
    News,
    View,
    Watch,
    Writes,
    prefix_end,
)

_named: dict[str, "MemoryStore"] = {}


def named(name: str) -> "MemoryStore":
    """Return this process's store of a name: the same one each time."""
    return _named.setdefault(name, MemoryStore())


class MemoryStore:
    """A `Store` that lives as long as the object."""

    def __init__(self) -> None:
        self.counters = Counters()
        self._state = _State({}, [], 0)
        self._changed = Condition(RLock())
        self._watches: list[_Watch | _Feed] = []

    @contextmanager
    def snapshot(self) -> Iterator[View]:
        """Look at a copy; see `Store`."""
        with self._changed:
            self.counters.reads += 1
            copy = _State(dict(self._state.entries), list(self._state.keys), self._state.revision)
        yield copy

    @contextmanager
    def attempt(self) -> Iterator[Attempt]:
        """Read what is there at the moment; see `Store`."""
        yield _Attempt(self)

    def commit(self, guards: Sequence[Guard], writes: Writes) -> bool:
        """Compare and swap; see `Store`."""
        for key, value in writes.items():
            if not key.isascii() or not isinstance(value, bytes | None):
                raise TypeError(f"expected an ASCII key and bytes, got {key!r}: {value!r}")
        with self._changed:
            self.counters.transactions += 1
            if not all(self._state.holds(guard) for guard in guards):
                self.counters.conflicts += 1
                return False
            if writes:
                self._state.write(writes)
                for watch in self._watches:
                    watch.tell(writes)
                self._changed.notify_all()
            return True

    def watch(self, prefix: str) -> Watch:
        """Begin to watch; see `Store`."""
        watch = _Watch(prefix, self._changed)
        with self._changed:
            self._watches.append(watch)
        return watch

    def follow(self, prefixes: Sequence[str]) -> Feed:
        """Begin to follow; see `Store`."""
        feed = _Feed(tuple(prefixes), self._changed, self._state)
        with self._changed:
            self._watches.append(feed)
        return feed

    def verify(self) -> list[str]:
        """Find nothing: there is no structure that could break."""
        return []

    def close(self) -> None:
        """Do nothing: the entries go with the object."""

    def get(self, key: str) -> Entry | None:
        """Return the entry of a key as it is now."""
        with self._changed:
            return self._state.get(key)

    def scan(self, prefix: str, limit: int | None) -> Found:
        """Return the entries below a prefix as they are now."""
        with self._changed:
            return self._state.scan(prefix, limit)


class _State:
    """Entries, with their keys in order."""

    def __init__(self, entries: dict[str, Entry], keys: list[str], revision: int) -> None:
        self.entries = entries
        self.keys = keys
        self.revision = revision

    def get(self, key: str) -> Entry | None:
        return self.entries.get(key)

    def scan(self, prefix: str, limit: int | None = None) -> Found:
        first, end = bisect_left(self.keys, prefix), bisect_left(self.keys, prefix_end(prefix))
        keys = self.keys[first:end][:limit]
        return Found(tuple(self.entries[key] for key in keys), self.revision)

    def holds(self, guard: Guard) -> bool:
        if isinstance(guard, KeyGuard):
            entry = self.entries.get(guard.key)
            return (0 if entry is None else entry.revision) == guard.revision
        first, end = bisect_left(self.keys, guard.first), bisect_left(self.keys, guard.end)
        return all(self.entries[key].revision <= guard.revision for key in self.keys[first:end])

    def write(self, writes: Writes) -> None:
        self.revision += 1
        for key, value in writes.items():
            if value is None:
                if self.entries.pop(key, None) is not None:
                    del self.keys[bisect_left(self.keys, key)]
                continue
            if key not in self.entries:
                insort(self.keys, key)
            self.entries[key] = Entry(key, value, self.revision)


class _Attempt:
    """A transaction whose reads are what is there at the moment of each."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def get(self, key: str) -> Entry | None:
        return self._store.get(key)

    def scan(self, prefix: str, limit: int | None = None) -> Found:
        return self._store.scan(prefix, limit)

    def peek(self, prefix: str, limit: int | None = None) -> Found:
        return self._store.scan(prefix, limit)

    def commit(self, guards: Sequence[Guard], writes: Writes) -> bool:
        return self._store.commit(guards, writes)


class _Watch:
    """Counts the changes below a prefix."""

    def __init__(self, prefix: str, changed: Condition) -> None:
        self._prefix = prefix
        self._changed = changed
        self._has_news = False
        self._is_closed = False

    def tell(self, writes: Writes) -> None:
        self._has_news = self._has_news or any(key.startswith(self._prefix) for key in writes)

    def wait(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._has_news or self._is_closed)
            self._has_news = False
            return not self._is_closed

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()


class _Feed:
    """Gathers the changes below some prefixes."""

    def __init__(self, prefixes: tuple[str, ...], changed: Condition, state: _State) -> None:
        self._prefixes = prefixes
        self._changed = changed
        self._state = state
        self._news: dict[str, bytes | None] = {}
        self._is_whole = True
        self._is_closed = False

    def tell(self, writes: Writes) -> None:
        self._news |= {key: value for key, value in writes.items() if key.startswith(self._prefixes)}

    def next(self) -> News | None:
        with self._changed:
            self._changed.wait_for(lambda: self._news or self._is_whole or self._is_closed)
            if self._is_closed:
                return None
            entries, is_whole = self._news, self._is_whole
            self._news, self._is_whole = {}, False
            if is_whole:
                found = (self._state.scan(prefix) for prefix in self._prefixes)
                entries = {entry.key: entry.value for each in found for entry in each.entries}
            return News(entries, is_whole)

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
