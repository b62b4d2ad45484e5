"""The SQLite file of a datastore: made once, whole; opened only if it is ours; brought to our schema version.

A file is made under another name and linked into place. Whatever is later found in its place that is not a
complete datastore of ours is an error, never a reason to start anew: an empty datastore would give the
addresses of running pods out again.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ipam import migrations
from ipam.errors import DatastoreBusyError, DatastoreError, NoDatastoreError
from ipam.migrations import SCHEMA_VERSION

# "npip" in ASCII: tells our files from other programs' (sqlite.org/pragma.html#pragma_application_id).
APPLICATION_ID = 0x6E706970
# At a millisecond each this stands for a line of tens of thousands of writers; container runtimes give a
# plugin two minutes.
BUSY_TIMEOUT_S = 60.0

# 16 MB of log, four times SQLite's default: entries of many nodes lie on many pages, each of which is written
# back only once for all that the log has of it.
_CHECKPOINT_PAGES = 4000

# `state` has one row: the revision of the last commit.
_ENTRIES = """
CREATE TABLE entries (
    key TEXT NOT NULL PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL DEFAULT 1
) STRICT, WITHOUT ROWID
"""
_STATE = "CREATE TABLE state (revision INTEGER NOT NULL) STRICT"
_FIRST_STATE = "INSERT INTO state VALUES (1)"
# Version 1 had entries without revisions. What SQLite adds to each row is a default in its schema, so that
# this costs the same for any number of rows.
_ADD_REVISION = "ALTER TABLE entries ADD COLUMN revision INTEGER NOT NULL DEFAULT 1"


def open_file(path: Path, *, create: bool, syncs: bool = True) -> sqlite3.Connection:
    """Open the datastore in a file, migrated to our schema version.

    Args:
        path: The file.
        create: Make it when there is none.
        syncs: Whether a commit waits for the disk; else its caller does (`ipam.log_sync`).

    Raises:
        NoDatastoreError: the file is not there and not to be made.
        DatastoreError: it is damaged, or is not a datastore of ours.
    """
    with errors(path):
        if not _exists(path):
            if not create:
                raise NoDatastoreError(f"{path}: there is no datastore")
            _create(path)
        connection = connect(path, "rw")
        try:
            # https://sqlite.org/pragma.html#pragma_synchronous: only FULL syncs the log at each commit.
            version = _schema_version(connection, path)
            connection.execute(f"PRAGMA synchronous = {'FULL' if syncs else 'NORMAL'}")
            if not syncs:
                # A copy (VACUUM INTO) has no log, and what has none syncs at each commit.
                connection.execute("PRAGMA journal_mode = WAL")
                # It is there with the first read.
                version = _schema_version(connection, path)
            connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
            if version != SCHEMA_VERSION:
                _migrate(connection, path)
            _require_revision(connection, path)
        except BaseException:
            connection.close()
            raise
        return connection


def expect_room(path: Path) -> None:
    """Find out whether a datastore that is not there could be made, without making anything.

    Raises:
        DatastoreError: the directory, or the nearest above it that is there, can't be written.
    """
    above = next(directory for directory in path.parents if os.path.lexists(directory))
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise DatastoreError(f"{path}: there is no datastore, and none can be made in {above}")


def read_identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from another one that takes its name; None when there is none."""
    try:
        state = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return state.st_dev, state.st_ino


def has_our_version(connection: sqlite3.Connection) -> bool:
    """Say whether nobody has brought an open datastore to another schema version."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return bool(version == SCHEMA_VERSION)


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """Open a file as it is."""
    # In a URI these three are special; importing urllib for them would cost a pod start 3 ms.
    name = str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    # Which thread uses it is up to the owner: one at a time.
    return sqlite3.connect(
        f"file:{name}?mode={mode}",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )


def write_ahead_log(path: Path) -> Path:
    """Return the file that SQLite appends each transaction to."""
    return path.with_name(path.name + "-wal")


@contextmanager
def transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    """Run the block in a transaction: committed at its end, unless it has been, rolled back if it raises."""
    connection.execute(begin)
    try:
        yield
        if connection.in_transaction:
            connection.execute("COMMIT")
    except BaseException:
        # After some errors (a full disk) SQLite has rolled back by itself.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def errors(path: Path) -> Iterator[None]:
    """Translate what SQLite and the file system say, by code."""
    try:
        yield
    except sqlite3.Error as exc:
        # The low byte is the primary code: https://sqlite.org/rescode.html.
        code = getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            raise DatastoreBusyError(f"{path} was busy for {BUSY_TIMEOUT_S:.0f} s: {exc}") from exc
        if code in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}:
            raise DatastoreError(_damaged(path, str(exc))) from exc
        if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _is_full(path)):
            what = f"{path}: the disk is full, nothing was written: make room in {path.parent}"
            raise DatastoreError(what) from exc
        if code == sqlite3.SQLITE_CANTOPEN and path.is_dir():
            raise DatastoreError(f"{path}: expected a file, is a directory") from exc
        if code == sqlite3.SQLITE_CANTOPEN and path.exists() and not os.access(path, os.W_OK):
            # To read takes a log and shared memory beside it.
            raise DatastoreError(f"{path}: expected a file that can be written, also to read it") from exc
        raise DatastoreError(f"{path}: {exc}") from exc
    except OSError as exc:
        raise DatastoreError(f"{exc.filename or path}: {exc.strerror}") from exc


def _is_full(path: Path) -> bool:
    """Say whether a file system has no room left: SQLite tells it of some writes as an error of any kind."""
    try:
        state = os.statvfs(path.parent)
    except OSError:
        return False
    return state.f_bavail == 0


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


def _schema_version(connection: sqlite3.Connection, path: Path) -> int:
    """Return the version of the file.

    Raises:
        DatastoreError: it is not ours, or of a version that we do not know.
    """
    application_id, version = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("application_id", "user_version")
    )
    if application_id != APPLICATION_ID:
        raise DatastoreError(
            f"{path} is a database, but not an IPAM datastore: name another file, or restore this "
            "one from a backup"
        )
    if not 1 <= version <= SCHEMA_VERSION:
        raise DatastoreError(
            f"{path} has schema version {version}, this nodeplane knows {SCHEMA_VERSION}: "
            "run the nodeplane that wrote it, or a newer one"
        )
    return version


def _require_revision(connection: sqlite3.Connection, path: Path) -> None:
    if connection.execute("SELECT revision FROM state").fetchone() is None:
        raise DatastoreError(_damaged(path, "its revision is lost"))


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the file to our version, in one transaction: whoever dies in it leaves the old one whole."""
    with transaction(connection, "BEGIN IMMEDIATE"):
        # Another process may have done it while this one waited for the lock.
        version = _schema_version(connection, path)
        if version == SCHEMA_VERSION:
            return
        if version == 1:
            # A program of version 1 that still has the file open finds a column too many when it writes.
            for statement in (_ADD_REVISION, _STATE, _FIRST_STATE):
                connection.execute(statement)
        before = dict(connection.execute("SELECT key, value FROM entries").fetchall())
        after = migrations.convert(before, version)
        gone = [(key,) for key in before.keys() - after.keys()]
        changed = [(key, value) for key, value in after.items() if before.get(key) != value]
        connection.executemany("DELETE FROM entries WHERE key = ?", gone)
        connection.executemany("INSERT OR REPLACE INTO entries (key, value) VALUES (?, ?)", changed)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _create(path: Path) -> None:
    """Make a complete, empty datastore and link it into place; whoever comes second uses the first's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name that no one else uses, nor a process that died here: SQLite would replay a log left under it.
    draft = path.with_name(f".{path.name}.{os.urandom(8).hex()}.new")
    try:
        connection = connect(draft, "rwc")
        try:
            for statement in (
                "PRAGMA synchronous = FULL",
                "PRAGMA journal_mode = WAL",
                _ENTRIES,
                _STATE,
                _FIRST_STATE,
                f"PRAGMA application_id = {APPLICATION_ID}",
                f"PRAGMA user_version = {SCHEMA_VERSION}",
            ):
                connection.execute(statement)
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
