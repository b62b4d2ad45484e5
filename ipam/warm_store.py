"""Datastores of a daemon that serves many requests: open files are kept, and what was there is known.

To open a datastore's file, and to close it, costs more than an address out of it. A kept file is used by one
request at a time: of several, the others wait here in line and not in SQLite, which asks for its lock again
after pauses of milliseconds; the disk is waited for when the turn is over (`ipam.log_sync`). Nothing that was
read is kept: each request is a transaction, and reads anew what it relies on. A file that was replaced
(restored from a backup) or brought to another version is opened again; one that is gone is an error until it
is back: the pods that were served from it still run.
"""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from ipam.datastore import Datastore, open_datastore
from ipam.datastore_url import SqliteUrl, decode_datastore
from ipam.errors import DatastoreError, NoDatastoreError
from ipam.log_sync import LogSync, sync_log
from ipam.store import Counters
from ipam.stores.sqlite import SqliteStore
from ipam.stores.sqlite_file import write_ahead_log


class _Place:
    """A URL's file, if it is open, and whose turn it is."""

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self._open: tuple[SqliteStore, LogSync] | None = None
        self._has_refused_log = False

    def open(self, path: Path, *, create: bool) -> tuple[SqliteStore, LogSync]:
        """Return the open file and its log, opened if they are not, or are not those at the path."""
        if self._open is not None and (self._open[1].is_refused or not self._open[0].is_current()):
            self.close()
        if self._open is None:
            store = SqliteStore(path, create=create, syncs=False)
            try:
                if self._has_refused_log:
                    store.empty_log()
                    self._has_refused_log = False
                self._open = store, LogSync(write_ahead_log(path))
            except BaseException:
                store.close()
                raise
        return self._open

    def close(self) -> None:
        opened, self._open = self._open, None
        if opened is not None:
            store, log = opened
            log.close()
            self._has_refused_log = self._has_refused_log or log.is_refused
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
                store, log = place.open(where.path, create=create and url not in self._known)
            counters = store.counters = Counters()
            try:
                yield Datastore(store)
            except BaseException:
                # A full disk, a damaged file: whoever comes next looks at it with fresh eyes.
                place.close()
                raise
            state = None
            if counters.transactions:
                state = store.state
                log.reach(state)
        if state is not None:
            log.wait(state)

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
    where = decode_datastore(url)
    if not isinstance(where, SqliteUrl):
        return open_datastore(url, create=create) if _kept is None else _kept.asked(url, create=create)
    return _opened_alone(where, create=create) if _kept is None else _kept.taken(url, where, create=create)


@contextmanager
def _opened_alone(where: SqliteUrl, *, create: bool) -> Iterator[Datastore]:
    store = SqliteStore(where.path, create=create)
    with Datastore(store) as datastore:
        yield datastore
        if store.counters.transactions and not store.changes:
            # Who did what we found done may have been killed before the disk had it.
            sync_log(write_ahead_log(where.path))
