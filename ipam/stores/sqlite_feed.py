"""What changes in a SQLite file, found by looking at what changed alone.

Who follows some prefixes puts into the file what that takes: an index of their revisions, and a trigger that
notes which of their keys were deleted, as a row that is gone has no revision. Nobody else needs to know it:
SQLite keeps both right whoever writes, and who never follows pays nothing.

    entries(key, value, revision)    index: revision, of the keys below a prefix
    deletions(revision, key)         the latest of them; a feed that slept through more reads everything again
"""

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from string import Template
from threading import Lock
from zlib import crc32

from ipam.store import News, prefix_end
from ipam.stores.sqlite_file import errors, open_file, transaction
from ipam.stores.sqlite_watch import SqliteWatch

# A feed sees most of them within milliseconds.
_KEPT_REVISIONS = 100_000

# SQLite uses an index of a part of the rows where it can see that a query asks for no others: so `$below` are
# literals, the same in each statement.
_TABLE = """
CREATE TABLE IF NOT EXISTS deletions (
    revision INTEGER NOT NULL, key TEXT NOT NULL, PRIMARY KEY (revision, key)
) STRICT, WITHOUT ROWID
"""
_INDEX = Template("CREATE INDEX IF NOT EXISTS $name ON entries (revision) WHERE $below")
_TRIGGER = Template("""
CREATE TRIGGER IF NOT EXISTS ${name}_deleted AFTER DELETE ON entries WHEN $old_below BEGIN
    INSERT OR REPLACE INTO deletions VALUES ((SELECT revision FROM state), old.key);
    DELETE FROM deletions WHERE revision <= (SELECT revision FROM state) - $kept;
END
""")
_CHANGED = Template("SELECT key, value FROM entries INDEXED BY $name WHERE revision > ?1 AND $below")
_DELETED = "SELECT key, NULL FROM deletions WHERE revision > ?1"


class SqliteFeed:
    """A `Feed` of the file at `path`, which is there.

    Raises:
        DatastoreError: the file can't be read, written or watched.
    """

    def __init__(self, path: Path, prefixes: Sequence[str]) -> None:
        self._path = path
        self._prefixes = tuple(prefixes)
        # One statement: at each commit anywhere it is run by the agent of each node.
        changed = (_CHANGED.substitute(_names(prefix)) for prefix in prefixes)
        self._query = " UNION ALL ".join((*changed, _DELETED))
        self._revision: int | None = None
        self._reading = Lock()
        self._is_closed = False
        self._connection = open_file(path, create=False)
        try:
            with errors(path):
                _prepare(self._connection, self._prefixes)
            self._watch = SqliteWatch(path)
        except BaseException:
            self._connection.close()
            raise

    def next(self) -> News | None:
        """Wait for the next change; see `Feed`."""
        while True:
            if self._revision is not None and not self._watch.wait():
                return None
            with self._reading:
                if self._is_closed:
                    return None
                with errors(self._path), transaction(self._connection, "BEGIN"):
                    news = self._read()
            if news.entries or news.is_whole:
                return news

    def close(self) -> None:
        """End it; see `Feed`."""
        self._watch.close()
        with self._reading:
            self._is_closed = True
            self._connection.close()

    def _read(self) -> News:
        (revision,) = self._connection.execute("SELECT revision FROM state").fetchone()
        before, self._revision = self._revision, revision
        if before is None or not revision - _KEPT_REVISIONS < before <= revision:
            return News({key: value for prefix in self._prefixes for key, value in self._all(prefix)}, True)
        entries: dict[str, bytes | None] = {}
        for key, value in self._connection.execute(self._query, (before,)):
            if value is not None:
                entries[key] = value
            # A deleted one that was written again since is among the others.
            elif key.startswith(self._prefixes) and not self._is_there(key):
                entries[key] = None
        return News(entries, False)

    def _all(self, prefix: str) -> Iterator[tuple[str, bytes]]:
        query = "SELECT key, value FROM entries WHERE key >= ? AND key < ?"
        return self._connection.execute(query, (prefix, prefix_end(prefix)))

    def _is_there(self, key: str) -> bool:
        return self._connection.execute("SELECT 1 FROM entries WHERE key = ?", (key,)).fetchone() is not None


def _prepare(connection: sqlite3.Connection, prefixes: Sequence[str]) -> None:
    """Put into the file what it takes to follow these prefixes, unless it is there."""
    there = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
    if there >= {f"{_names(prefix)['name']}_deleted" for prefix in prefixes}:
        # Without the write lock: each agent comes by here at its start.
        return
    with transaction(connection, "BEGIN IMMEDIATE"):
        connection.execute(_TABLE)
        for prefix in prefixes:
            connection.execute(_INDEX.substitute(_names(prefix)))
            connection.execute(_TRIGGER.substitute(_names(prefix), kept=_KEPT_REVISIONS))


def _names(prefix: str) -> dict[str, str]:
    """Return what stands for a prefix in statements."""
    first, end = (text.replace("'", "''") for text in (prefix, prefix_end(prefix)))
    return {
        "name": f"followed_{crc32(prefix.encode()):08x}",
        "below": f"key >= '{first}' AND key < '{end}'",
        "old_below": f"old.key >= '{first}' AND old.key < '{end}'",
    }
