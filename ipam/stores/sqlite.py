"""A store in one SQLite file, shared by all processes of a machine: the default.

Write-ahead log with full sync: a commit that has returned survives a power cut; one that has not left no
trace. A transaction takes the write lock before it reads, so its guards can't fail: writers queue, readers
wait for nobody.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ipam.errors import DatastoreBusyError, DatastoreError
from ipam.store import (
    Attempt,
    Counters,
    Entry,
    Feed,
    Found,
    Guard,
    KeyGuard,
    View,
    Watch,
    Writes,
    prefix_end,
)
from ipam.stores.sqlite_file import (
    errors,
    has_our_version,
    open_file,
    read_identity,
    transaction,
    write_ahead_log,
)


class SqliteStore:
    """A `Store` in the file at `path`.

    Args:
        path: The database file.
        create: Make the file, and its directory, when there is none.
        syncs: Whether a commit waits for the disk; else its caller does (`ipam.log_sync`).

    Raises:
        DatastoreError: the file is not there and not to be made, is damaged, or is not a datastore of ours.
    """

    def __init__(self, path: Path, *, create: bool = True, syncs: bool = True) -> None:
        self.counters = Counters()
        self._path = path
        with errors(path):
            before = read_identity(path)
            self._connection = open_file(path, create=create, syncs=syncs)
            # Known only if the file was not replaced, or made, while it was opened.
            self._identity = before if read_identity(path) == before else None
            # Made with the first read, and there for as long as anybody has the file open.
            self._log_identity = read_identity(write_ahead_log(path))

    @property
    def changes(self) -> int:
        """How many changes to the file this store has made."""
        return self._connection.total_changes

    @property
    def state(self) -> tuple[int, int]:
        """How far the file has come since it was opened: our changes, and a count of others' commits."""
        with errors(self._path):
            # https://sqlite.org/pragma.html#pragma_data_version
            (others,) = self._connection.execute("PRAGMA data_version").fetchone()
        return self.changes, others

    def empty_log(self) -> None:
        """Write all that the log has into the file, synced, and begin the log anew.

        Raises:
            DatastoreError: the disk refuses, or others still read out of the log.
        """
        with errors(self._path):
            # https://sqlite.org/pragma.html#pragma_wal_checkpoint
            (is_busy, *_counts) = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if is_busy:
            raise DatastoreBusyError(f"{self._path}: the log can't be emptied, others read it")

    def is_current(self) -> bool:
        """Say whether the open file is still the one at its path, and of our version.

        Raises:
            DatastoreError: the file can't be read, or lost its log: we would write where nobody reads.
        """
        log = write_ahead_log(self._path)
        with errors(self._path):
            if self._identity != (read_identity(self._path) or ()):
                return False
            if self._log_identity != read_identity(log):
                raise DatastoreError(f"{log} was taken away while in use: stop cni-agent, restore a backup")
            return has_our_version(self._connection)

    @contextmanager
    def snapshot(self) -> Iterator[View]:
        """Look at the state of the first read; see `Store`."""
        self.counters.reads += 1
        with errors(self._path), transaction(self._connection, "BEGIN"):
            yield _View(self._connection)

    @contextmanager
    def attempt(self) -> Iterator[Attempt]:
        """Begin a transaction while no other process writes; see `Store`."""
        # IMMEDIATE takes the write lock before the first read. A reader that wants to write later is refused
        # at once, however long the timeout, when another has written in between.
        self.counters.transactions += 1
        with errors(self._path), transaction(self._connection, "BEGIN IMMEDIATE"):
            yield _Attempt(self._connection)

    def commit(self, guards: Sequence[Guard], writes: Writes) -> bool:
        """Compare and swap; see `Store`."""
        with self.attempt() as attempt:
            if not all(self._holds(guard) for guard in guards):
                self.counters.conflicts += 1
                return False
            return attempt.commit((), writes)

    def watch(self, prefix: str) -> Watch:  # noqa: ARG002  # the file's events name no keys
        """Begin to watch the file; see `Store`."""
        # A pod start watches nothing, and need not import what that takes.
        from ipam.stores.sqlite_watch import SqliteWatch

        return SqliteWatch(self._path)

    def follow(self, prefixes: Sequence[str]) -> Feed:
        """Begin to follow; see `Store`."""
        from ipam.stores.sqlite_feed import SqliteFeed

        return SqliteFeed(self._path, prefixes)

    def verify(self) -> list[str]:
        """Let SQLite check each page and index; see `Store`."""
        try:
            found = [str(line) for (line,) in self._connection.execute("PRAGMA integrity_check")]
        except sqlite3.DatabaseError as exc:
            # So broken that the check itself stumbles.
            return [str(exc)]
        return [] if found == ["ok"] else found

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _holds(self, guard: Guard) -> bool:
        if isinstance(guard, KeyGuard):
            query = "SELECT revision FROM entries WHERE key = ?"
            found = self._connection.execute(query, (guard.key,)).fetchone()
            return bool((found or (0,))[0] == guard.revision)
        query = "SELECT 1 FROM entries WHERE key >= ? AND key < ? AND revision > ? LIMIT 1"
        newer = self._connection.execute(query, (guard.first, guard.end, guard.revision)).fetchone()
        return newer is None


class _View:
    """The open transaction of a connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def get(self, key: str) -> Entry | None:
        query = "SELECT key, value, revision FROM entries WHERE key = ?"
        row = self._connection.execute(query, (key,)).fetchone()
        return None if row is None else Entry(*row)

    def scan(self, prefix: str, limit: int | None = None) -> Found:
        rows = self._connection.execute(
            "SELECT key, value, revision FROM entries WHERE key >= ? AND key < ? ORDER BY key LIMIT ?",
            (prefix, prefix_end(prefix), -1 if limit is None else limit),
        )
        entries = tuple(Entry(*row) for row in rows)
        (revision,) = self._connection.execute("SELECT revision FROM state").fetchone()
        return Found(entries, revision)


class _Attempt(_View):
    """A transaction that holds the write lock."""

    def peek(self, prefix: str, limit: int | None = None) -> Found:
        return self.scan(prefix, limit)

    def commit(self, guards: Sequence[Guard], writes: Writes) -> bool:  # noqa: ARG002  # see the module
        if writes:
            self._write(writes)
        self._connection.execute("COMMIT" if writes else "ROLLBACK")
        return True

    def _write(self, writes: Writes) -> None:
        self._connection.execute("UPDATE state SET revision = revision + 1")
        self._connection.executemany(
            "INSERT OR REPLACE INTO entries VALUES (?, ?, (SELECT revision FROM state))",
            [(key, value) for key, value in writes.items() if value is not None],
        )
        self._connection.executemany(
            "DELETE FROM entries WHERE key = ?", [(key,) for key, value in writes.items() if value is None]
        )
