"""Datastores of a daemon that serves many requests: open files are kept, and what was there is known.

To open a datastore's file, and to close it, costs more than an address out of it. A kept file is used by one
request at a time: of several, the others wait here in line and not in SQLite, which asks for its lock again
after pauses of milliseconds. Nothing that was read is kept: each request is a transaction, and reads anew
what it relies on. A file that was replaced (restored from a backup) or brought to another version is opened
again; one that is gone is an error until it is back: the pods that were served from it still run.
"""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from ipam.datastore import Datastore, open_datastore
from ipam.datastore_url import SqliteUrl, decode_datastore
from ipam.errors import DatastoreError, NoDatastoreError
from ipam.store import Counters
from ipam.stores.sqlite import SqliteStore


class _Place:
    """A URL's file, if it is open, and whose turn it is."""

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self.store: SqliteStore | None = None

    def open(self, path: Path, *, create: bool) -> SqliteStore:
        """Return the open file, which is opened if it is not, or is not the one at its path."""
        if self.store is not None and not self.store.is_current():
            self.close()
        if self.store is None:
            self.store = SqliteStore(path, create=create)
        return self.store

    def close(self) -> None:
        store, self.store = self.store, None
        if store is not None:
            store.close()


class WarmStores:
    """The datastores of a daemon."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places: dict[str, _Place] = {}
        self._known: set[str] = set()

    @contextmanager
    def taken(self, url: str, where: SqliteUrl, *, create: bool) -> Iterator[Datastore]:
        """Wait for a file's turn and hold it; see `ipam.datastore.open_datastore`."""
        with self._lock:
            place = self._places.setdefault(url, _Place())
        with place.turn:
            with self._awaiting(url):
                store = place.open(where.path, create=create and url not in self._known)
            store.counters = Counters()
            try:
                yield Datastore(store)
            except BaseException:
                # A full disk, a damaged file: whoever comes next looks at it with fresh eyes.
                place.close()
                raise

    @contextmanager
    def asked(self, url: str, *, create: bool) -> Iterator[Datastore]:
        """Open what is no file for one request; see `ipam.datastore.open_datastore`."""
        with self._awaiting(url):
            datastore = open_datastore(url, create=create and url not in self._known)
        with datastore:
            yield datastore

    @contextmanager
    def _awaiting(self, url: str) -> Iterator[None]:
        """Note that a datastore was there, or say of one that is gone that it was."""
        try:
            yield
        except NoDatastoreError as exc:
            if url not in self._known:
                raise
            advice = "restore it from a backup, or restart cni-agent to begin with an empty one"
            raise DatastoreError(f"{exc}, it was taken away while in use: {advice}") from exc
        self._known.add(url)

    def close(self) -> None:
        """Close all files; a request that goes on meanwhile ends first."""
        with self._lock:
            places = list(self._places.values())
        for place in places:
            with place.turn:
                place.close()


_kept: WarmStores | None = None


@contextmanager
def keeping_open() -> Iterator[None]:
    """Keep files open between requests of this process meanwhile."""
    global _kept  # the process's, as its open files are
    before, _kept = _kept, WarmStores()
    try:
        yield
    finally:
        stores, _kept = _kept, before
        stores.close()


def opened(url: str, *, create: bool = True) -> AbstractContextManager[Datastore]:
    """Open a datastore for one request, or take the open one; see `ipam.datastore.open_datastore`."""
    if _kept is not None:
        where = decode_datastore(url)
        if isinstance(where, SqliteUrl):
            return _kept.taken(url, where, create=create)
        return _kept.asked(url, create=create)
    return open_datastore(url, create=create)
