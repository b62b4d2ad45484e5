"""When the disk has what was written to a file that stays open: after a request's turn, and not within it.

    turn: transaction ─► the next one's turn
              └────────► sync ─► answer

The disk takes as long as all the rest, and neither the processor nor the next request need wait for it; one
sync is good for all that was committed before it began. What holds is this: no request that changes the
datastore, or would if it had not been done already, is answered before the disk has all that it has seen and
written. It may do other things meanwhile (`syncing_later`). What one that was killed has left on no disk, the
next one syncs.

A disk that refuses says so once, and may have dropped what it refused: its next "yes" does not speak of that,
and a log with a gap ends at the gap. So nothing is synced any more, until the file was opened again and all
that the log has was written into it (`ipam.warm_store`).
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ipam.errors import DatastoreError
from ipam.stores.sqlite_file import errors

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

# How many requests wait for a disk at once.
_THREADS = 8

_later: ContextVar["list[Future[None]] | None"] = ContextVar("later", default=None)

State = tuple[int, int]
"""How far a file has come, as `ipam.stores.sqlite.SqliteStore.state` counts; only grows."""


class LogSync:
    """Syncs the write-ahead log of one open file: one sync at a time, for all that has come by then.

    Args:
        log: The log.

    Raises:
        DatastoreError: it can't be opened.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        with errors(log):
            # Whoever made the log may not have lived to sync its name.
            _sync(log.parent, os.O_DIRECTORY)
            self._descriptor = os.open(log, os.O_RDONLY | os.O_CLOEXEC)
        self._lock = threading.Lock()
        # Of what others committed before us we don't know whether they lived to sync it.
        self._synced: State = (-1, -1)
        self._reached = self._synced
        self.is_refused = False

    def reach(self, state: State) -> None:
        """Note, within a request's turn, how far the file has come."""
        # Without the lock, which a sync holds: the turn does not wait for the disk.
        self._reached = state

    def wait(self, state: State) -> None:
        """Wait until the disk has what was reached, or have `syncing_later` do that.

        Raises:
            DatastoreError: the disk does not take it.
        """
        if self._synced >= state:
            return
        later = _later.get()
        if later is None:
            self._wait(state)
        else:
            later.append(_threads().submit(self._wait, state))

    def close(self) -> None:
        """Sync what is not, for those who still wait, and let go of the log."""
        with self._lock:
            with suppress(DatastoreError):
                self._sync(self._reached)
            os.close(self._descriptor)

    def _wait(self, state: State) -> None:
        with self._lock:
            self._sync(state)

    def _sync(self, state: State) -> None:
        if self._synced >= state:
            return
        if self.is_refused:
            raise DatastoreError(f"{self._log}: the disk has refused what was written before")
        reached = self._reached
        try:
            with errors(self._log):
                os.fdatasync(self._descriptor)
        except DatastoreError:
            self.is_refused = True
            raise
        self._synced = reached


def sync_log(log: Path) -> None:
    """Sync a log that is not kept open, and its name; where there is none the disk has all.

    Raises:
        DatastoreError: the disk does not take it.
    """
    with errors(log):
        try:
            _sync(log)
        except FileNotFoundError:
            return
        _sync(log.parent, os.O_DIRECTORY)


@contextmanager
def syncing_later() -> Iterator[Callable[[], None]]:
    """Let requests in the block return before the disk has what they wrote; yields what waits for that.

    That raises DatastoreError if the disk did not take it.
    """
    pending: list[Future[None]] = []
    token = _later.set(pending)

    def await_disk() -> None:
        for each in pending:
            each.result()

    try:
        yield await_disk
    finally:
        _later.reset(token)
        for each in pending:
            # Waits too, and does not raise.
            each.exception()


def after_sync(act: Callable[[bool], None]) -> None:
    """Call `act` when the disk has what the caller's requests wrote, or has refused it (False).

    That is at once, unless they are in a block of `syncing_later`; then it is in another thread.
    """
    pending = _later.get()
    if pending:
        pending[-1].add_done_callback(lambda done: act(done.exception() is None))
    else:
        act(True)


def _sync(path: Path, flags: int = 0) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@cache
def _threads() -> "ThreadPoolExecutor":
    # Late: a short process syncs by itself, and has no time for this import.
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(_THREADS, "sync")


# A fork has the executor and none of its threads: what is given to it would never be done.
os.register_at_fork(after_in_child=_threads.cache_clear)
