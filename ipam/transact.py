"""Transactions over any store: a step reads and writes freely, and happens as if it were alone.

A step sees one state of the map and what it has written itself. Its writes are kept back; at its end they are
committed on the condition that all that it has read is still so, entries that might have been and were not
(phantoms) included. If not, it runs again. So a step must have no effect but through its transaction, and it
may meet, in a run that will not count, entries that contradict each other: what it returns, and what it
raises, counts only once its reads have been found true together.
"""

import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from ipam.errors import DatastoreBusyError, DatastoreError
from ipam.store import (
    MAX_KEYS,
    Attempt,
    Entry,
    Guard,
    KeyGuard,
    RangeGuard,
    StaleError,
    Store,
    View,
    key_after,
    prefix_end,
)

T = TypeVar("T")

# A thousand writers of one key at a millisecond each take a second; container runtimes give a plugin minutes.
BUSY_TIMEOUT_S = 60.0
# What has changed comes along with a refusal, and grows old in a pause: whoever paused after each would never
# get through beside one that does not. So several tries go at once, and the pauses between them stay short.
_TRIES_AT_ONCE = 4
_FIRST_PAUSE_S = 0.002
_LONGEST_PAUSE_S = 0.064


class Reader(Protocol):
    """One consistent state of the map."""

    def get(self, key: str) -> bytes | None:
        """Return the value of a key; None when it is not there."""
        ...

    def scan(self, prefix: str, limit: int | None = None) -> list[tuple[str, bytes]]:
        """Return the entries whose keys begin with `prefix`, by key; only the first `limit`."""
        ...

    def peek(self, prefix: str, limit: int | None = None) -> list[tuple[str, bytes]]:
        """Return entries as `scan` does, without depending on them.

        For a look among many, after which the step gets those that it relies on. What the step itself has
        written does not show.
        """
        ...


class Transaction(Reader, Protocol):
    """One consistent state of the map, and changes to it."""

    def put(self, key: str, value: bytes) -> None:
        """Write a value, in place of what the key had."""
        ...

    def delete(self, key: str) -> None:
        """Remove a key; a key that is not there is fine."""
        ...


def read(store: Store, step: Callable[[Reader], T]) -> T:
    """Run `step` on one state; it can't write.

    Raises:
        DatastoreError: the map can't be read.
    """
    with store.snapshot() as view:
        return step(_ViewReader(view))


def transact(store: Store, step: Callable[[Transaction], T]) -> T:
    """Run `step`, more than once if need be, and write what it put and deleted.

    Raises:
        DatastoreError: the map can't be read or written, or the step reads or writes too much for one
            transaction; nothing was written.
        DatastoreBusyError: others changed what the step reads for as long as we try; nothing was written.
    """
    started_s = time.monotonic()
    pause_s = _FIRST_PAUSE_S
    tries = 0
    while True:
        done, result = _try(store, step)
        if done:
            return result  # type: ignore[return-value]  # a step's, when it is done
        if time.monotonic() - started_s > BUSY_TIMEOUT_S:
            raise DatastoreBusyError(
                f"others changed the same entries of the datastore for {BUSY_TIMEOUT_S:.0f} s"
            )
        tries += 1
        if tries % _TRIES_AT_ONCE == 0:
            # Takes 2 ms to import, and a pod start seldom meets another one.
            import random

            time.sleep(random.uniform(0, pause_s))
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)


def _try(store: Store, step: Callable[[Transaction], T]) -> tuple[bool, T | None]:
    """Run a step once; say whether it counts, and what it returned."""
    with store.attempt() as attempt:
        run = _Run(attempt)
        try:
            result = step(run)
        except StaleError:
            return False, None
        except DatastoreError:
            raise
        except Exception:
            if attempt.commit(run.guards(), {}):
                raise
            return False, None
        return attempt.commit(run.guards(), run.writes()), result


class _ViewReader:
    """The values of a view."""

    def __init__(self, view: View) -> None:
        self._view = view

    def get(self, key: str) -> bytes | None:
        entry = self._view.get(key)
        return None if entry is None else entry.value

    def scan(self, prefix: str, limit: int | None = None) -> list[tuple[str, bytes]]:
        return [(entry.key, entry.value) for entry in self._view.scan(prefix, limit).entries]

    def peek(self, prefix: str, limit: int | None = None) -> list[tuple[str, bytes]]:
        return self.scan(prefix, limit)


class _Run:
    """One run of a step: what it has read, and what it wants to write."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._writes: dict[str, bytes | None] = {}
        self._keys: dict[str, int] = {}
        self._ranges: list[RangeGuard] = []

    def get(self, key: str) -> bytes | None:
        if key in self._writes:
            return self._writes[key]
        entry = self._attempt.get(key)
        self._depend_on(key, entry)
        return None if entry is None else entry.value

    def scan(self, prefix: str, limit: int | None = None) -> list[tuple[str, bytes]]:
        end = prefix_end(prefix)
        own = {key: value for key, value in self._writes.items() if prefix <= key < end}
        # An entry that this step has deleted makes room for one more.
        wanted = None if limit is None else limit + len(own)
        found = self._attempt.scan(prefix, wanted)
        for entry in found.entries:
            self._depend_on(entry.key, entry)
        if wanted is not None and len(found.entries) == wanted:
            # What comes after the last one does not matter.
            end = key_after(found.entries[-1].key) if found.entries else prefix
        if end > prefix:
            self._ranges.append(RangeGuard(prefix, end, found.revision))
        if not own:
            return [(entry.key, entry.value) for entry in found.entries]
        merged = {entry.key: entry.value for entry in found.entries} | own
        values = [(key, value) for key, value in sorted(merged.items()) if value is not None]
        return values[:limit]

    def peek(self, prefix: str, limit: int | None = None) -> list[tuple[str, bytes]]:
        return [(entry.key, entry.value) for entry in self._attempt.peek(prefix, limit).entries]

    def put(self, key: str, value: bytes) -> None:
        self._writes[key] = value

    def delete(self, key: str) -> None:
        self._writes[key] = None

    def guards(self) -> list[Guard]:
        """Return what the run depends on."""
        ranges = list(dict.fromkeys(self._ranges))
        count = len(self._keys) + len(ranges)
        if count > MAX_KEYS:
            raise DatastoreError(_too_large("reads", count))
        return [*(KeyGuard(key, revision) for key, revision in self._keys.items()), *ranges]

    def writes(self) -> dict[str, bytes | None]:
        """Return what the run changes."""
        if len(self._writes) > MAX_KEYS:
            raise DatastoreError(_too_large("writes", len(self._writes)))
        return self._writes

    def _depend_on(self, key: str, entry: Entry | None) -> None:
        revision = 0 if entry is None else entry.revision
        if self._keys.setdefault(key, revision) != revision:
            # Two reads that disagree: no state of the map has both.
            raise StaleError


def _too_large(what: str, count: int) -> str:
    return f"one transaction {what} {count} keys, expected at most {MAX_KEYS}: to be done in parts"
