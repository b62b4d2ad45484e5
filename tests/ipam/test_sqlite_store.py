"""The SQLite file: made once, never silently made anew."""

import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier

import pytest

from ipam import sqlite_store
from ipam.errors import DatastoreBusyError, DatastoreError
from ipam.sqlite_store import APPLICATION_ID, SqliteStore, write_ahead_log
from ipam.store import Reader, Transaction

RESTORE = "restore it from a backup; move it away only when no pod has an address from it"


def put(path: Path, key: str, value: bytes) -> None:
    with closing(SqliteStore(path)) as store:
        store.transact(lambda transaction: transaction.put(key, value))


def read_all(path: Path) -> list[tuple[str, bytes]]:
    with closing(SqliteStore(path, create=False)) as store:
        return store.read(lambda reader: reader.scan(""))


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

    assert values == ["wal", 2, APPLICATION_ID, 1]


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
        connection.execute("PRAGMA user_version = 2")


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
            "has schema version 2, this nodeplane knows 1: run the nodeplane that wrote it, or a newer one",
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


def fill(transaction: Transaction) -> None:
    for number in range(200):
        transaction.put(f"{number:05d}", b"v" * 900)


@pytest.mark.parametrize("damage", [bytes(4096), b"\xff" * 4096])
def test_verify_finds_what_no_query_met(damage: bytes, tmp_path: Path) -> None:
    path = tmp_path / "ipam.sqlite"
    with closing(SqliteStore(path)) as store:
        store.transact(fill)
    with path.open("r+b") as file:
        file.seek(20 * 4096)
        file.write(damage)

    with closing(SqliteStore(path)) as store:
        assert store.read(lambda reader: reader.get("00000")) == b"v" * 900
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
    monkeypatch.setattr(sqlite_store, "_BUSY_TIMEOUT_S", 0.0)
    writer, other = SqliteStore(path), SqliteStore(path)

    def step(transaction: Transaction) -> bytes | None:
        transaction.put("k", b"new")
        with pytest.raises(DatastoreBusyError) as caught:
            other.transact(lambda _: None)
        assert str(caught.value) == f"{path} was busy for 0 s: database is locked"
        return other.read(lambda reader: reader.get("k"))

    assert writer.transact(step) == b"old"
    assert other.read(lambda reader: reader.get("k")) == b"new"
    writer.close()
    other.close()


def test_a_read_sees_one_state(tmp_path: Path) -> None:
    path = tmp_path / "ipam.sqlite"
    put(path, "k", b"old")
    reader_store, writer_store = SqliteStore(path), SqliteStore(path)

    def step(reader: Reader) -> list[bytes | None]:
        first = reader.get("k")
        writer_store.transact(lambda transaction: transaction.put("k", b"new"))
        return [first, reader.get("k")]

    assert reader_store.read(step) == [b"old", b"old"]
    assert reader_store.read(lambda reader: reader.get("k")) == b"new"
    reader_store.close()
    writer_store.close()


def test_settled_version_moves_with_others_changes_only(tmp_path: Path) -> None:
    path = tmp_path / "ipam.sqlite"
    put(path, "k", b"old")
    watcher = SqliteStore(path)
    first = watcher.settled_version()
    assert watcher.settled_version() == first

    put(path, "k", b"new")

    assert watcher.settled_version() != first
    watcher.close()
