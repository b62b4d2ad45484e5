"""The datastore that a URL names: opened, and read or changed in typed transactions."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

from ipam import transact
from ipam.datastore_url import EtcdUrl, MemoryUrl, SqliteUrl, decode_datastore
from ipam.ledger import Ledger, LedgerReader
from ipam.model import Block
from ipam.store import Counters, Store, Watch
from ipam.stores.sqlite import SqliteStore
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

    @property
    def counters(self) -> Counters:
        """What the store was asked to do so far."""
        return self._store.counters

    def read(self, step: Callable[[LedgerReader], T]) -> T:
        """Run `step` on one state; see `ipam.transact.read`."""
        return transact.read(self._store, lambda reader: step(LedgerReader(reader)))

    def transact(self, step: Callable[[Ledger], T]) -> T:
        """Run `step`, perhaps more than once, and write what it changed; see `ipam.transact.transact`."""
        return transact.transact(self._store, lambda transaction: step(Ledger(transaction)))

    def blocks(self) -> list[Block]:
        """Return all blocks, each with the node that owns it, by address."""
        return self.read(LedgerReader.blocks)

    def watch(self) -> Watch:
        """Begin to watch for changes."""
        return self._store.watch("")

    def verify(self) -> list[str]:
        """Say what is wrong with the store's own structure, a line each."""
        return self._store.verify()

    def close(self) -> None:
        """Let go of the store."""
        self._store.close()


def open_datastore(
    url: str,
    *,
    create: bool = True,
    place: str = PLACE,
    field: str = "ipam.datastore",
    ended: threading.Event | None = None,
) -> Datastore:
    """Open the datastore that a URL names; see `ipam.datastore_url`.

    Args:
        url: Which datastore.
        create: Make it when it is not there.
        place: Where the URL was written, for errors.
        field: The field or option that it was written in.
        ended: Whoever sets it, from another thread, has it wait no longer for a server that does not answer.

    Raises:
        ConfigError: the URL is not one that we know.
        DatastoreError: what is there is damaged or not ours.
        NoDatastoreError: nothing is there and `create` is false.
    """
    return Datastore(open_store(url, create=create, place=place, field=field, ended=ended))


def open_store(
    url: str,
    *,
    create: bool = True,
    place: str = PLACE,
    field: str = "ipam.datastore",
    ended: threading.Event | None = None,
) -> Store:
    """Open the store that a URL names; see `open_datastore`."""
    where = decode_datastore(url, place, field)
    # Who keeps addresses in a file does not pay for http and TLS.
    if isinstance(where, EtcdUrl):
        from ipam.stores.etcd import open_etcd

        return open_etcd(where, create=create, ended=ended)
    if isinstance(where, MemoryUrl):
        from ipam.stores.memory import named

        return named(where.name)
    return SqliteStore(where.path, create=create)


def rehearse(url: str) -> Datastore:
    """Return an empty datastore in memory, in place of one that is not there and that an ADD would make.

    Raises:
        DatastoreError: it could not be made.
    """
    from ipam.stores.memory import MemoryStore
    from ipam.stores.sqlite_file import expect_room

    where = decode_datastore(url)
    if isinstance(where, SqliteUrl):
        expect_room(where.path)
    return Datastore(MemoryStore())
