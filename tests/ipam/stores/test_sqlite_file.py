"""The SQLite file: made once, never silently made anew, brought to our schema version whole."""

import itertools
import os
import sqlite3
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from threading import Barrier

import pytest

from ipam import migrations
from ipam.errors import DatastoreBusyError, DatastoreError
from ipam.store import Entry
from ipam.stores import sqlite_file
from ipam.stores.sqlite import SqliteStore
from ipam.stores.sqlite_file import APPLICATION_ID, errors, write_ahead_log
from tests.ipam.stores.dying import dies_at

RESTORE = "restore it from a backup; move it away only when no pod has an address from it"


def put(path: Path, key: str, value: bytes) -> None:
    with closing(SqliteStore(path)) as store:
        assert store.commit((), {key: value})


def read_all(path: Path) -> list[tuple[str, bytes]]:
    with closing(SqliteStore(path, create=False)) as store, store.snapshot() as view:
        return [(entry.key, entry.value) for entry in view.scan("").entries]


def test_what_was_written_is_there_for_the_next(tmp_path: Path) -> None:
    path = tmp_path / "made" / "too" / "odd ?#%name.sqlite"
    put(path, "k", b"v")

    assert read_all(path) == [("k", b"v")]
    assert os.listdir(path.parent) == [path.name]


def test_durable_as_promised(tmp_path: Path) -> None:
    """Write-ahead log, synced at each commit, tagged as ours."""
    store = SqliteStore(tmp_path / "f")
    names = ("journal_mode", "synchronous", "application_id", "user_version")
    values = [store._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names]
    store.close()

    assert values == ["wal", 2, APPLICATION_ID, 2]


def zeroed_page(path: Path) -> None:
    put(path, "k", b"v" * 10_000)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(bytes(4096))


def other_program(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (x)")


def newer_schema(path: Path) -> None:
    put(path, "k", b"v")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 3")


def without_revision(path: Path) -> None:
    put(path, "k", b"v")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM state")
        connection.commit()


def log_without_file(path: Path) -> None:
    write_ahead_log(path).write_bytes(b"x")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(
            lambda path: path.write_bytes(b"x" * 8192),
            "is damaged (file is not a database): " + RESTORE,
            id="garbage",
        ),
        pytest.param(
            lambda path: path.write_bytes(b""), "is damaged (the file is empty): " + RESTORE, id="empty"
        ),
        pytest.param(
            zeroed_page, "is damaged (database disk image is malformed): " + RESTORE, id="a page is lost"
        ),
        pytest.param(
            without_revision, "is damaged (its revision is lost): " + RESTORE, id="a table is emptied"
        ),
        pytest.param(
            log_without_file,
            "is damaged (its write-ahead log is there, the file is not): " + RESTORE,
            id="the log is left alone",
        ),
        pytest.param(
            other_program,
            "is a database, but not an IPAM datastore: name another file, or restore this one from a backup",
            id="another program's",
        ),
        pytest.param(
            newer_schema,
            "has schema version 3, this nodeplane knows 2: run the nodeplane that wrote it, or a newer one",
            id="a newer nodeplane's",
        ),
    ],
)
def test_what_is_not_a_whole_datastore_is_refused_and_left_alone(
    damage: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "ipam.sqlite"
    damage(path)
    before = {entry: (tmp_path / entry).read_bytes() for entry in os.listdir(tmp_path)}

    with pytest.raises(DatastoreError) as caught:
        put(path, "k", b"new")

    assert str(caught.value) == f"{path} {message}"
    assert {entry: (tmp_path / entry).read_bytes() for entry in os.listdir(tmp_path)} == before


@pytest.mark.parametrize("damage", [bytes(4096), b"\xff" * 4096])
def test_verify_finds_what_no_query_met(damage: bytes, tmp_path: Path) -> None:
    path = tmp_path / "ipam.sqlite"
    with closing(SqliteStore(path)) as store:
        for number in range(200):
            store.commit((), {f"{number:05d}": b"v" * 900})
    with path.open("r+b") as file:
        file.seek(20 * 4096)
        file.write(damage)

    with closing(SqliteStore(path)) as store:
        with store.snapshot() as view:
            entry = view.get("00000")
        assert entry is not None
        assert entry.value == b"v" * 900
        assert store.verify() != []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("none.sqlite", "{path}: there is no datastore", id="not there"),
        pytest.param("file/ipam.sqlite", "{path}: there is no datastore", id="in a file"),
    ],
)
def test_nothing_is_made_unasked(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / name

    with pytest.raises(DatastoreError) as caught:
        SqliteStore(path, create=False)

    assert str(caught.value) == message.format(path=path)
    assert os.listdir(tmp_path) == ["file"]


def test_a_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(DatastoreError) as caught:
        SqliteStore(tmp_path)
    assert str(caught.value) == f"{tmp_path}: expected a file, is a directory"


def test_what_can_not_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read-only file system, of which SQLite says no more than that it can't open the file."""
    path = tmp_path / "ipam.sqlite"
    put(path, "k", b"v")
    monkeypatch.setattr(os, "access", lambda _path, mode: mode != os.W_OK)
    failure = sqlite3.OperationalError("unable to open database file")
    failure.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
    with pytest.raises(DatastoreError) as caught, errors(path):
        raise failure
    assert str(caught.value) == f"{path}: expected a file that can be written, also to read it"


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(DatastoreError) as caught:
        SqliteStore(tmp_path / "file" / "ipam.sqlite")

    assert str(caught.value) == f"{tmp_path}/file: File exists"


def test_many_make_it_at_once(tmp_path: Path) -> None:
    """Each finds the same file, and none of them loses what it wrote."""
    path = tmp_path / "ipam.sqlite"
    count = 12
    barrier = Barrier(count)

    def make(number: int) -> None:
        barrier.wait()
        put(path, f"k{number:02d}", b"v")

    with ThreadPoolExecutor(count) as executor:
        list(executor.map(make, range(count)))

    assert read_all(path) == [(f"k{number:02d}", b"v") for number in range(count)]
    assert os.listdir(tmp_path) == [path.name]


def test_a_reader_waits_for_nobody_and_a_writer_gives_up_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ipam.sqlite"
    put(path, "k", b"old")
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT_S", 0.0)
    writer, other = SqliteStore(path), SqliteStore(path)

    with writer.attempt() as attempt:
        with pytest.raises(DatastoreBusyError) as caught, other.attempt():
            pass
        assert str(caught.value) == f"{path} was busy for 0 s: database is locked"
        with other.snapshot() as view:
            assert view.get("k") == Entry("k", b"old", 2)
        assert attempt.commit((), {"k": b"new"})
    with other.snapshot() as view:
        assert view.get("k") == Entry("k", b"new", 3)
    writer.close()
    other.close()


OLD: Mapping[str, bytes] = {f"k/{number}": b"v%d" % number for number in range(500)}


def make_version_1(path: Path) -> None:
    """Write a file as the first nodeplane did, whose log is not yet in its pages."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(
            "PRAGMA journal_mode = WAL;"
            "CREATE TABLE entries (key TEXT NOT NULL PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;"
            f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1;"
        )
        connection.executemany("INSERT INTO entries VALUES (?, ?)", OLD.items())


def renamed(entries: Mapping[str, bytes]) -> dict[str, bytes]:
    """Convert entries as a migration may: one changed, one gone, one new, the rest as they were."""
    kept = {key: value for key, value in entries.items() if key not in {"k/0", "k/1"}}
    return {**kept, "k/1": b"changed", "index": b"%d" % len(entries)}


@pytest.fixture
def _old_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(migrations.MIGRATIONS, 1, renamed)


@pytest.mark.usefixtures("_old_entries")
def test_version_1_becomes_version_2(tmp_path: Path) -> None:
    path = tmp_path / "ipam.sqlite"
    make_version_1(path)

    with closing(SqliteStore(path, create=False)) as store, store.snapshot() as view:
        found = view.scan("")

    assert {entry.key: entry.value for entry in found.entries} == renamed(OLD)
    assert {entry.revision for entry in found.entries} == {found.revision} == {1}
    assert version(path) == 2
    assert dict(read_all(path)) == renamed(OLD)
    put(path, "k/2", b"new")
    with closing(SqliteStore(path)) as store, store.snapshot() as view:
        assert view.get("k/2") == Entry("k/2", b"new", 2)
        assert store.verify() == []


@pytest.mark.usefixtures("_old_entries")
def test_a_program_of_version_1_can_write_no_more(tmp_path: Path) -> None:
    """It may have had the file open all the time."""
    path = tmp_path / "ipam.sqlite"
    make_version_1(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        old.execute("INSERT OR REPLACE INTO entries VALUES (?, ?)", ("k/7", OLD["k/7"]))
        SqliteStore(path).close()
        with pytest.raises(sqlite3.OperationalError, match="has 3 columns but 2 values"):
            old.execute("INSERT OR REPLACE INTO entries VALUES (?, ?)", ("k/7", b"late"))

    assert dict(read_all(path)) == renamed(OLD)


@pytest.mark.usefixtures("_old_entries")
def test_many_migrate_it_at_once(tmp_path: Path) -> None:
    path = tmp_path / "ipam.sqlite"
    make_version_1(path)
    barrier = Barrier(8)

    def work(number: int) -> None:
        barrier.wait()
        put(path, f"new/{number}", b"v")

    with ThreadPoolExecutor(8) as executor:
        list(executor.map(work, range(8)))

    assert dict(read_all(path)) == renamed(OLD) | {f"new/{number}": b"v" for number in range(8)}


@pytest.mark.usefixtures("_old_entries")
def test_death_in_a_migration_leaves_either_version_whole(tmp_path: Path) -> None:
    """The process is killed before each statement in turn, until it gets through."""
    seen = []
    for point in itertools.count():
        path = tmp_path / f"{point}" / "ipam.sqlite"
        path.parent.mkdir()
        make_version_1(path)
        has_died = dies_at(point, partial(SqliteStore, path))
        with closing(sqlite3.connect(path)) as connection:
            entries = dict(connection.execute("SELECT key, value FROM entries").fetchall())
            seen.append(int(connection.execute("PRAGMA user_version").fetchone()[0]))
        assert entries == (OLD if seen[-1] == 1 else renamed(OLD))
        assert dict(read_all(path)) == renamed(OLD)
        if not has_died:
            break

    assert len(seen) > 10
    assert seen == sorted(seen)
    assert seen[-1] == 2


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def test_a_backup_of_a_file_in_use_is_a_datastore(tmp_path: Path) -> None:
    """As `sqlite3 FILE ".backup COPY"` makes it, while somebody is writing."""
    path, copy = tmp_path / "ipam.sqlite", tmp_path / "copy.sqlite"
    with closing(SqliteStore(path)) as store:
        store.commit((), {"k": b"v"})
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        store.commit((), {"k": b"later"})

    assert read_all(copy) == [("k", b"v")]
