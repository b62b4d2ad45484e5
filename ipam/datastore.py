"""The datastore that a URL names: opened, and read or changed in typed transactions."""

from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

from ipam.config import decode_datastore
from ipam.ledger import Ledger, LedgerReader
from ipam.model import Block
from ipam.sqlite_store import SqliteStore
from ipam.store import Store
from nodeplane.cnispec import PLACE

T = TypeVar("T")


class Datastore:
    """IPAM's state in a store; a context manager that closes it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(self, step: Callable[[LedgerReader], T]) -> T:
        """Run `step` on one state; see `ipam.store.Store`."""
        return self._store.read(lambda reader: step(LedgerReader(reader)))

    def transact(self, step: Callable[[Ledger], T]) -> T:
        """Run `step`, perhaps more than once, and write what it changed; see `ipam.store.Store`."""
        return self._store.transact(lambda transaction: step(Ledger(transaction)))

    def blocks(self) -> list[Block]:
        """Return all blocks, each with the node that owns it, by address."""
        return self.read(LedgerReader.blocks)

    def verify(self) -> list[str]:
        """Say what is wrong with the store's own structure, a line each."""
        return self._store.verify()

    def close(self) -> None:
        """Let go of the store."""
        self._store.close()


def open_datastore(
    url: str, *, create: bool = True, place: str = PLACE, field: str = "ipam.datastore"
) -> Datastore:
    """Open the datastore at `sqlite:///path`.

    Args:
        url: Which datastore.
        create: Make it when it is not there.
        place: Where the URL was written, for errors.
        field: The field or option that it was written in.

    Raises:
        ConfigError: the URL is not one that we know.
        DatastoreError: what is there is damaged or not ours, or nothing is there and `create` is false.
    """
    return Datastore(SqliteStore(decode_datastore(url, place, field), create=create))
