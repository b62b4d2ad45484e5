"""A store in one SQLite file: the default.

The write-ahead log is not synced at each commit: what was written survives a killed server, not a power
cut. Neither do the network namespaces that it describes.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from netns_lab.apiserver.store import FIRST_REVISION, Record, Snapshot, StoreError

# "npas" in ASCII: tells our files from other programs' (sqlite.org/pragma.html#pragma_application_id).
APPLICATION_ID = 0x6E706173
SCHEMA_VERSION = 1

_SCHEMA = f"""
CREATE TABLE objects (key TEXT NOT NULL PRIMARY KEY, revision INTEGER NOT NULL, value BLOB NOT NULL)
  STRICT, WITHOUT ROWID;
CREATE TABLE log (
  revision INTEGER PRIMARY KEY, key TEXT NOT NULL, value BLOB,
  previous BLOB, previous_revision INTEGER NOT NULL
) STRICT;
CREATE TABLE reached (revision INTEGER NOT NULL, compacted INTEGER NOT NULL) STRICT;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""


class SqliteStore:
    """A `Store` in the file at `path`, made when there is none; its directory is there.

    Raises:
        StoreError: the file is another server's, or not a store of ours.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._errors():
            # The server writes from a thread of its own; it hands the connection over, never shares it.
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0)
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise

    def load(self) -> Snapshot:
        """Read everything; see `Store`."""
        with self._errors():
            execute = self._connection.execute
            revision, compacted = execute("SELECT revision, compacted FROM reached").fetchone()
            objects = tuple(execute("SELECT key, revision, value FROM objects ORDER BY key"))
            log = tuple(Record(*row) for row in execute("SELECT * FROM log ORDER BY revision"))
        return Snapshot(revision, compacted, objects, log)

    def append(self, records: Sequence[Record]) -> None:
        """Write changes in one transaction; see `Store`."""
        if not records:
            return
        with self._transaction():
            for record in records:
                if record.value is None:
                    self._connection.execute("DELETE FROM objects WHERE key = ?", (record.key,))
                else:
                    self._connection.execute(
                        "INSERT OR REPLACE INTO objects VALUES (?, ?, ?)",
                        (record.key, record.revision, record.value),
                    )
            self._connection.executemany(
                "INSERT INTO log VALUES (?, ?, ?, ?, ?)",
                [(r.revision, r.key, r.value, r.previous, r.previous_revision) for r in records],
            )
            self._connection.execute("UPDATE reached SET revision = ?", (records[-1].revision,))

    def compact(self, revision: int) -> None:
        """Forget the log; see `Store`."""
        with self._transaction():
            self._connection.execute("DELETE FROM log WHERE revision <= ?", (revision,))
            self._connection.execute("UPDATE reached SET compacted = max(compacted, ?)", (revision,))

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _prepare(self) -> None:
        execute = self._connection.execute
        # One writer: its lock is taken by the first write and kept until the file is closed.
        # Set before the journal mode, so that SQLite needs no shared memory file beside the log.
        execute("PRAGMA locking_mode = EXCLUSIVE")
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = NORMAL")
        with self._transaction():
            found = tuple(
                execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
            )
            if found == (0, 0) and not execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
                # Statement by statement: executescript would commit first.
                for statement in _SCHEMA.split(";"):
                    execute(statement)
                execute("INSERT INTO reached VALUES (?, ?)", (FIRST_REVISION, FIRST_REVISION))
            elif found != (APPLICATION_ID, SCHEMA_VERSION):
                raise StoreError(f"{self._path} is a database, but not an API server's of this version")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                # After some errors (a full disk) SQLite has rolled back by itself.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as exc:
            # The low byte is the primary code: https://sqlite.org/rescode.html.
            code = getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                raise StoreError(f"{self._path} is in use by another server") from exc
            raise StoreError(f"{self._path}: {exc}") from exc
        except OSError as exc:
            raise StoreError(f"{exc.filename or self._path}: {exc.strerror}") from exc
