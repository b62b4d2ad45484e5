"""The seam below the API server: what it has been told survives it.

A store holds the current value of each key, and a log of the changes since the last compaction, numbered
by revisions that only grow. It decides nothing: the server, its one writer, numbers the changes. Every
store (memory, SQLite, etcd) keeps the same promises, held by one contract test:

- What `append` has returned from is there, whole and in order, after the server is killed.
- `append` writes all of its records or none.
- Two servers on the same store never mix: the second is refused (SQLite), or takes over (etcd).
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from nodeplane.errors import NodeplaneError

FIRST_REVISION = 1
"""The revision of an empty store; 0 has a meaning of its own in the API."""


MAX_RECORDS = 42
"""What one `append` takes at most: three operations each of etcd's 128 (--max-txn-ops), one for itself."""

MAX_VALUE_BYTES = 1_500_000
"""What the values of one `append` have together at most, so a single one too.

One request to etcd has up to 1.5 MiB (--max-request-bytes); the rest of it is for the keys. It holds over
every store, so what was created can be updated, wherever it moves.
"""


class StoreError(NodeplaneError):
    """The store can't be read or written."""


class StoreLostError(StoreError):
    """The store has moved on without this server: only reading all of it again can help."""


class Record(msgspec.Struct, frozen=True, array_like=True):
    """One change: `value` is None for a deletion, `previous` for a creation."""

    revision: int
    key: str
    value: bytes | None
    previous: bytes | None = None
    previous_revision: int = 0


class Snapshot(msgspec.Struct, frozen=True):
    """All that a store holds.

    Attributes:
        compacted: The revision up to which the log has been forgotten.
        objects: Each key with the revision that wrote its value, and the value; by key.
        log: What happened after `compacted`, in order.
    """

    revision: int = FIRST_REVISION
    compacted: int = FIRST_REVISION
    objects: tuple[tuple[str, int, bytes], ...] = ()
    log: tuple[Record, ...] = ()


class Store(Protocol):
    """Where the server's state outlives it; used by one thread at a time."""

    def load(self) -> Snapshot:
        """Read everything.

        Raises:
            StoreError: the store can't be read.
        """
        ...

    def append(self, records: Sequence[Record]) -> None:
        """Write changes whose revisions follow the last one, up to MAX_RECORDS and MAX_VALUE_BYTES.

        Raises:
            StoreError: nothing was written.
            StoreLostError: another server has written, or an earlier change without its answer.
        """
        ...

    def compact(self, revision: int) -> None:
        """Forget the log up to a revision; the current values stay.

        Raises:
            StoreError: the store can't be written.
        """
        ...

    def close(self) -> None:
        """Let go of the store."""
        ...


def build_key(resource: str, namespace: str, name: str) -> str:
    """Return the key of an object; cluster-scoped kinds have an empty namespace."""
    return f"{resource}/{namespace}/{name}"


def split_key(key: str) -> tuple[str, str, str]:
    """Return resource, namespace and name; names hold no slash."""
    resource, namespace, name = key.split("/")
    return resource, namespace, name
