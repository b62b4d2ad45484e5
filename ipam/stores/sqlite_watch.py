"""Learn that a SQLite file has changed, whoever changed it.

SQLite tells nobody of a change, but appends each transaction to its log before it takes effect, and that
inotify sees. The event is a hint; the fact is the revision in the file, read once no writer is under way.
"""

import os
import select
from pathlib import Path
from threading import Lock

from inotify_simple import Event, INotify, flags

from ipam.errors import DatastoreBusyError, DatastoreError
from ipam.stores.sqlite_file import errors, open_file, transaction, write_ahead_log

_EVENTS = flags.MODIFY | flags.CREATE | flags.DELETE | flags.MOVED_FROM | flags.MOVED_TO | flags.ONLYDIR
# The directory is gone, or the kernel has dropped events.
_UNNAMED = flags.IGNORED | flags.Q_OVERFLOW


class SqliteWatch:
    """A `Watch` of the file at `path`, which is there; one thread at a time waits.

    Raises:
        DatastoreError: the file can't be read or watched.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting = Lock()
        self._is_closed = False
        self._names = {path.name, write_ahead_log(path).name}
        self._connection = open_file(path, create=False)
        # The connection holds the file open, so that no other can get its number.
        self._inode = path.stat().st_ino
        self._notify = INotify(nonblocking=True)
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        try:
            self._notify.add_watch(path.parent, _EVENTS)
            # Read after the events have begun: what comes in between shows in both, not in neither.
            self._seen: int | None = self._settled_revision()
            self._is_unsure = False
        except OSError as exc:
            self._release()
            raise DatastoreError(f"{path.parent}: can't be watched: {exc.strerror}") from exc
        except BaseException:
            self._release()
            raise

    def wait(self) -> bool:
        """Wait for the next change; see `Watch`."""
        with self._waiting:
            if self._is_closed:
                return False
            poll = select.poll()
            for descriptor in (self._notify.fileno(), self._wake):
                poll.register(descriptor, select.POLLIN)
            while True:
                if self._is_unsure:
                    self._is_unsure = False
                    if self._moved(is_sure=True):
                        return True
                poll.poll()
                if self._is_closed:
                    return False
                events = self._notify.read(timeout=0)
                if any(map(self._concerns, events)):
                    # Most are of a commit that is through by now. Should another be under way, its event may
                    # have been among these: before the next wait that is found out.
                    self._is_unsure = self._moved(is_sure=False)
                    if self._is_unsure or self._moved(is_sure=True):
                        return True

    def close(self) -> None:
        """End it; see `Watch`."""
        if self._is_closed:
            return
        self._is_closed = True
        os.eventfd_write(self._wake, 1)
        # Only once nobody waits any more: a number of a closed file may be another file's by then.
        with self._waiting:
            self._release()

    def _concerns(self, event: Event) -> bool:
        return bool(event.mask & _UNNAMED) or event.name in self._names

    def _moved(self, *, is_sure: bool) -> bool:
        """Say whether the datastore has changed since the last call; sure is only who waits for writers."""
        if not self._is_in_place():
            # Another file under this name is another history. Whoever starts anew begins with that one.
            raise DatastoreError(f"{self._path} was taken away while in use")
        before = self._seen
        try:
            self._seen = self._settled_revision() if is_sure else self._revision()
        except DatastoreBusyError:
            # Writers all the time: surely something has changed, and their next event asks again.
            return True
        return self._seen != before

    def _settled_revision(self) -> int:
        """Read the revision of the last commit; waits for one that is under way."""
        # The log is written before its transaction can be seen; who holds the write lock finds none between.
        with errors(self._path), transaction(self._connection, "BEGIN IMMEDIATE"):
            return self._revision()

    def _revision(self) -> int:
        with errors(self._path):
            return int(self._connection.execute("SELECT revision FROM state").fetchone()[0])

    def _is_in_place(self) -> bool:
        try:
            return self._path.stat().st_ino == self._inode
        except (FileNotFoundError, NotADirectoryError):
            return False

    def _release(self) -> None:
        self._connection.close()
        self._notify.close()
        os.close(self._wake)
