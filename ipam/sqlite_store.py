"""A store in one SQLite file, shared by all processes of a machine: the default.

Write-ahead log with full sync: a transaction that has returned survives a power cut; one that has not left
no trace. Writers queue at BEGIN IMMEDIATE, readers wait for nobody.

A file is made once, whole, under another name and linked into place. Whatever is later found in its place
that is not a complete datastore of ours is an error, never a reason to start anew: an empty datastore would
give the addresses of running pods out again.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from ipam.errors import DatastoreBusyError, DatastoreError
from ipam.store import Reader, Transaction

T = TypeVar("T")

# "npip" in ASCII: tells our files from other programs' (sqlite.org/pragma.html#pragma_application_id).
APPLICATION_ID = 0x6E706970
# The layout of `ipam.records` and of the table below; a change to either comes with a migration.
SCHEMA_VERSION = 1
# At a millisecond each this stands for a line of tens of thousands of writers; container runtimes give a
# plugin two minutes.
_BUSY_TIMEOUT_S = 60.0

_SCHEMA = f"""
CREATE TABLE entries (key TEXT NOT NULL PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""


class SqliteStore:
    """A `Store` in the file at `path`; an object belongs to the thread that opened it.

    Args:
        path: The database file.
        create: Make the file, and its directory, when there is none.

    Raises:
        DatastoreError: the file is not there and not to be made, is damaged, or is not a datastore of ours.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self._path = path
        with _errors(path):
            if not _exists(path):
                if not create:
                    raise DatastoreError(f"{path}: there is no datastore")
                _create(path)
            self._connection = _connect(path, "rw")
            try:
                self._expect_ours()
                # https://sqlite.org/pragma.html#pragma_synchronous: only FULL syncs the log at each commit.
                self._connection.execute("PRAGMA synchronous = FULL")
            except BaseException:
                self._connection.close()
                raise

    def read(self, step: Callable[[Reader], T]) -> T:
        """Run `step` on one state; see `Store`."""
        with _errors(self._path), self._transaction("BEGIN"):
            return step(_Transaction(self._connection))

    def transact(self, step: Callable[[Transaction], T]) -> T:
        """Run `step` while no other process writes; see `Store`."""
        # IMMEDIATE takes the write lock before the first read. A reader that wants to write later is refused
        # at once, however long the timeout, when another has written in between.
        with _errors(self._path), self._transaction("BEGIN IMMEDIATE"):
            return step(_Transaction(self._connection))

    def settled_version(self) -> int:
        """Return a number that changes with each transaction of others; waits for one that is under way."""
        # The log is written before its transaction can be seen; who holds the write lock finds none between.
        with _errors(self._path), self._transaction("BEGIN IMMEDIATE"):
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

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

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[None]:
        self._connection.execute(begin)
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            # After some errors (a full disk) SQLite has rolled back by itself.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _expect_ours(self) -> None:
        application_id, schema_version = (
            self._connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("application_id", "user_version")
        )
        if application_id != APPLICATION_ID:
            raise DatastoreError(
                f"{self._path} is a database, but not an IPAM datastore: name another file, or restore this "
                "one from a backup"
            )
        if schema_version != SCHEMA_VERSION:
            raise DatastoreError(
                f"{self._path} has schema version {schema_version}, this nodeplane knows {SCHEMA_VERSION}: "
                "run the nodeplane that wrote it, or a newer one"
            )


class _Transaction:
    """The open transaction of a connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def get(self, key: str) -> bytes | None:
        row = self._connection.execute("SELECT value FROM entries WHERE key = ?", (key,)).fetchone()
        return None if row is None else row[0]

    def scan(self, prefix: str, limit: int | None = None) -> list[tuple[str, bytes]]:
        # Keys are ASCII, so DEL is above all that may follow the prefix.
        return self._connection.execute(
            "SELECT key, value FROM entries WHERE key >= ? AND key < ? ORDER BY key LIMIT ?",
            (prefix, prefix + "\x7f", -1 if limit is None else limit),
        ).fetchall()

    def put(self, key: str, value: bytes) -> None:
        self._connection.execute("INSERT OR REPLACE INTO entries VALUES (?, ?)", (key, value))

    def delete(self, key: str) -> None:
        self._connection.execute("DELETE FROM entries WHERE key = ?", (key,))


def write_ahead_log(path: Path) -> Path:
    """Return the file that SQLite appends each transaction to."""
    return path.with_name(path.name + "-wal")


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    """Translate what SQLite and the file system say, by code."""
    try:
        yield
    except sqlite3.Error as exc:
        # The low byte is the primary code: https://sqlite.org/rescode.html.
        code = getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            raise DatastoreBusyError(f"{path} was busy for {_BUSY_TIMEOUT_S:.0f} s: {exc}") from exc
        if code in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}:
            raise DatastoreError(_damaged(path, str(exc))) from exc
        raise DatastoreError(f"{path}: {exc}") from exc
    except OSError as exc:
        raise DatastoreError(f"{exc.filename or path}: {exc.strerror}") from exc


def _damaged(path: Path, what: str) -> str:
    return (
        f"{path} is damaged ({what}): restore it from a backup; "
        "move it away only when no pod has an address from it"
    )


def _exists(path: Path) -> bool:
    """Say whether the file is there, and complete as far as its size can tell."""
    if write_ahead_log(path).exists() and not path.exists():
        # SQLite would replay this log into whatever file takes the name.
        raise DatastoreError(_damaged(path, "its write-ahead log is there, the file is not"))
    if not path.exists():
        return False
    if path.stat().st_size == 0:
        raise DatastoreError(_damaged(path, "the file is empty"))
    return True


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    # In a URI these three are special; importing urllib for them would cost a pod start 3 ms.
    name = str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    return sqlite3.connect(
        f"file:{name}?mode={mode}", uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None
    )


def _create(path: Path) -> None:
    """Make a complete, empty datastore and link it into place; whoever comes second uses the first's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name that no one else uses, nor a process that died here: SQLite would replay a log left under it.
    draft = path.with_name(f".{path.name}.{os.urandom(8).hex()}.new")
    try:
        connection = _connect(draft, "rwc")
        try:
            connection.executescript("PRAGMA synchronous = FULL; PRAGMA journal_mode = WAL;" + _SCHEMA)
        finally:
            connection.close()
        try:
            os.link(draft, path)
        except FileExistsError:
            return
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    finally:
        draft.unlink(missing_ok=True)
