"""A store in this process's memory: for tests and simulations, as strict as the durable ones."""

from bisect import bisect_left
from collections.abc import Callable
from threading import Lock
from typing import TypeVar

from ipam.store import Reader, Transaction

T = TypeVar("T")


class MemoryStore:
    """A `Store` that lives as long as the object."""

    def __init__(self) -> None:
        self._entries: dict[str, bytes] = {}
        self._lock = Lock()

    def read(self, step: Callable[[Reader], T]) -> T:
        """Run `step` on one state; see `Store`."""
        with self._lock:
            return step(_Changes(self._entries))

    def transact(self, step: Callable[[Transaction], T]) -> T:
        """Run `step` and keep what it changed; see `Store`."""
        with self._lock:
            changes = _Changes(dict(self._entries))
            result = step(changes)
            self._entries = changes.entries
            return result

    def verify(self) -> list[str]:
        """Find nothing: there is no structure that could break."""
        return []

    def close(self) -> None:
        """Do nothing: the entries go with the object."""


class _Changes:
    """A transaction on a copy of the entries."""

    def __init__(self, entries: dict[str, bytes]) -> None:
        self.entries = entries

    def get(self, key: str) -> bytes | None:
        return self.entries.get(key)

    def scan(self, prefix: str, limit: int | None = None) -> list[tuple[str, bytes]]:
        keys = sorted(self.entries)
        first = bisect_left(keys, prefix)
        found = [key for key in keys[first:] if key.startswith(prefix)][:limit]
        return [(key, self.entries[key]) for key in found]

    def put(self, key: str, value: bytes) -> None:
        self.entries[key] = value

    def delete(self, key: str) -> None:
        self.entries.pop(key, None)
