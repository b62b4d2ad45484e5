"""The seam below IPAM: an ordered map of keys to values that changes in transactions.

Every store (SQLite, memory; etcd fits) keeps the same promises, held by one contract test:

- A step sees one state of all keys, plus what it has put and deleted itself.
- What a step of `transact` put and deleted is written whole and durably before `transact` returns, or not
  at all: nothing is written when the step raises, or when the process dies.
- No two transactions interleave: the outcome is that of running them one after the other. A store may
  get there by locking (SQLite) or by running a step again when what it read has changed (etcd), so a step
  must have no effect but through its transaction.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Reader(Protocol):
    """One consistent state of the map."""

    def get(self, key: str) -> bytes | None:
        """Return the value of a key; None when it is not there."""
        ...

    def scan(self, prefix: str, limit: int | None = None) -> list[tuple[str, bytes]]:
        """Return the entries whose keys begin with `prefix`, by key; only the first `limit`."""
        ...


class Transaction(Reader, Protocol):
    """One consistent state of the map, and changes to it."""

    def put(self, key: str, value: bytes) -> None:
        """Write a value, in place of what the key had."""
        ...

    def delete(self, key: str) -> None:
        """Remove a key; a key that is not there is fine."""
        ...


class Store(Protocol):
    """An ordered map of ASCII keys to values."""

    def read(self, step: Callable[[Reader], T]) -> T:
        """Run `step` on one state; it can't write.

        Raises:
            DatastoreError: the map can't be read.
        """
        ...

    def transact(self, step: Callable[[Transaction], T]) -> T:
        """Run `step` and write what it put and deleted.

        Raises:
            DatastoreError: the map can't be read or written; nothing was written.
        """
        ...

    def verify(self) -> list[str]:
        """Say what is wrong with the store's own structure, a line each; takes time with its size."""
        ...

    def close(self) -> None:
        """Let go of the map."""
        ...
