"""The seam below IPAM: an ordered map of ASCII keys to values, in which each write has a revision.

    snapshot   one state of all keys, to look at
    attempt    what a transaction reads, each thing with its revision; then
    commit     guards hold?  yes: all writes, durably, as one     no: nothing

Every store (SQLite, etcd, memory) keeps the same promises, held by one contract test (tests/ipam/stores):

- A revision is the number of the commit that wrote a key; numbers only grow, also where a key was deleted and
  written again, so that an equal revision means the very same entry.
- A commit is whole and durable before it returns, or it is not there: also when the process dies in it, and
  when its answer is lost on the way.
- Guards are compared and the writes done at one moment, with nobody else's between the two.

`ipam.transact` makes of this what the code above uses: steps that read and write freely.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import msgspec

MAX_KEYS = 100
"""How many keys one transaction may depend on, and how many it may write.

etcd takes 128 operations in one request (--max-txn-ops). It holds over every store, so that what runs on a
file runs on a cluster.
"""

Writes = Mapping[str, bytes | None]
"""What a commit changes: the new value of each key; None deletes, also what is not there."""


class Entry(msgspec.Struct, frozen=True):
    """A key, what it has, and the revision of the commit that wrote it."""

    key: str
    value: bytes
    revision: int


class Found(msgspec.Struct, frozen=True):
    """What a scan found, and the revision of the state that it looked at."""

    entries: tuple[Entry, ...]
    revision: int


class KeyGuard(msgspec.Struct, frozen=True):
    """A key's last write is that of a revision; 0: the key is not there."""

    key: str
    revision: int


class RangeGuard(msgspec.Struct, frozen=True):
    """No key from `first` up to, not including, `end` was written after a revision.

    A deletion does not show in it: whoever depends on an entry guards its key too.
    """

    first: str
    end: str
    revision: int


Guard = KeyGuard | RangeGuard


class Counters(msgspec.Struct):
    """What a store was asked to do since it was opened.

    Attributes:
        transactions: Commits that were tried, each one exchange with the store.
        conflicts: Those of them that a guard stopped.
        reads: Further exchanges, that only read.
        resolved: Commits whose answer was lost, and whose outcome was read.
    """

    transactions: int = 0
    conflicts: int = 0
    reads: int = 0
    resolved: int = 0


class StaleError(Exception):
    """What an attempt has been given is no longer so: to be tried again. Never leaves `ipam.transact`."""


class View(Protocol):
    """A state of the map."""

    def get(self, key: str) -> Entry | None:
        """Return the entry of a key; None when it is not there."""
        ...

    def scan(self, prefix: str, limit: int | None = None) -> Found:
        """Return the entries whose keys begin with `prefix`, by key; only the first `limit`."""
        ...


class Attempt(View, Protocol):
    """What a transaction reads; it may be out of date, which `commit` finds out."""

    def peek(self, prefix: str, limit: int | None = None) -> Found:
        """Return entries as `scan` does, for a look that needs no guard."""
        ...

    def commit(self, guards: Sequence[Guard], writes: Writes) -> bool:
        """Write everything if all that was read is still so; False, and nothing is written, otherwise.

        Args:
            guards: All that the transaction depends on, as this attempt gave it.
            writes: What changes; nothing, when it is only to be said whether the guards hold.

        Raises:
            DatastoreError: the map can't be written; nothing was, unless the error says that it is unknown.
        """
        ...


class Watch(Protocol):
    """Tells of changes since it began."""

    def wait(self) -> bool:
        """Wait until a key may have changed since the last call; False when the watch was closed.

        Several changes may come as one.

        Raises:
            DatastoreError: the map is gone, or another one has come in its place.
        """
        ...

    def close(self) -> None:
        """End it; for any thread: a wait in another one ends too."""
        ...


class News(msgspec.Struct, frozen=True):
    """Entries that changed: by key, what each has now, None for one that is gone.

    With `is_whole` they are all that there are: what is known from before counts for nothing.
    """

    entries: Mapping[str, bytes | None]
    is_whole: bool


class Feed(Protocol):
    """Tells what changes; the cost of one change does not grow with the number of entries."""

    def next(self) -> News | None:
        """Return all entries at first, then wait for changes; None when the feed was closed.

        Of several changes of a key the last one counts.

        Raises:
            DatastoreError: the map is gone, or another one has come in its place.
        """
        ...

    def close(self) -> None:
        """End it; for any thread: a wait in another one ends too."""
        ...


class Store(Protocol):
    """An ordered map; an object belongs to one thread."""

    counters: Counters

    def snapshot(self) -> AbstractContextManager[View]:
        """Look at one state; what is written meanwhile does not show.

        Raises:
            DatastoreError: the map can't be read.
        """
        ...

    def attempt(self) -> AbstractContextManager[Attempt]:
        """Begin a transaction; without a commit nothing is written.

        A store may keep all others out meanwhile (SQLite), or leave it to the guards (etcd).

        Raises:
            DatastoreError: the map can't be read.
        """
        ...

    def commit(self, guards: Sequence[Guard], writes: Writes) -> bool:
        """Compare and swap: write everything if all guards hold; see `Attempt.commit`."""
        ...

    def watch(self, prefix: str) -> Watch:
        """Begin to watch the keys that begin with `prefix`; changes of others may wake it too.

        Raises:
            DatastoreError: the map can't be watched.
        """
        ...

    def follow(self, prefixes: Sequence[str]) -> Feed:
        """Begin to follow the keys that begin with one of `prefixes`.

        Raises:
            DatastoreError: the map can't be followed.
        """
        ...

    def verify(self) -> list[str]:
        """Say what is wrong with the store's own structure, a line each; takes time with its size."""
        ...

    def close(self) -> None:
        """Let go of the map."""
        ...


def prefix_end(prefix: str) -> str:
    """Return the first key after all that begin with `prefix`: keys are ASCII, and hold no DEL."""
    return prefix + "\x7f"


def key_after(key: str) -> str:
    """Return the key that directly follows another one."""
    return key + "\0"
