"""Nobody is answered before the disk has what he relies on, and nobody waits for more than that."""

import errno
import multiprocessing
import os
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest

from ipam.errors import DatastoreError
from ipam.ledger import Ledger
from ipam.log_sync import LogSync, after_sync, syncing_later
from ipam.stores.sqlite import SqliteStore
from ipam.transact import transact
from ipam.warm_store import keeping_open, opened
from tests.netns_fixture import eventually

MARK = "mark"
REFUSED = r"ipam\.sqlite-wal: Input/output error"


class Disk:
    """Takes what is synced when it is let; with `errno` set refuses, and says so once."""

    def __init__(self) -> None:
        self.errno = 0
        self.syncs = 0
        self.is_free = threading.Event()
        self.is_free.set()

    def sync(self, descriptor: int) -> None:
        self.syncs += 1
        os.fstat(descriptor)
        assert self.is_free.wait(60)
        if self.errno:
            refused, self.errno = self.errno, 0
            raise OSError(refused, os.strerror(refused))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(os, "fdatasync", disk.sync)
    return disk


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A datastore that is kept open, and where it is."""
    with keeping_open():
        yield f"sqlite://{tmp_path}/ipam.sqlite"


def put(url: str, value: bytes) -> None:
    with opened(url) as datastore:
        datastore.transact(lambda ledger: ledger.put_entry(MARK, value))


def revision(url: str) -> int:
    """Return the number of the last commit; an empty datastore has had one."""
    path = url.removeprefix("sqlite://")
    with closing(sqlite3.connect(path)) as connection:
        (found,) = connection.execute("SELECT revision FROM state").fetchone()
    return int(found)


def read(url: str) -> bytes | None:
    def step(ledger: Ledger) -> bytes | None:
        return ledger.entry(MARK)

    with opened(url) as datastore:
        return datastore.transact(step)


def test_a_request_waits_for_the_disk(url: str, disk: Disk) -> None:
    put(url, b"first")
    disk.is_free.clear()
    with ThreadPoolExecutor() as threads:
        writer = threads.submit(put, url, b"second")
        eventually(lambda: disk.syncs, lambda syncs: syncs == 2)
        # It holds up nobody's turn, but whoever reads what is on no disk yet waits for that too.
        reader = threads.submit(read, url)
        with opened(url) as other:
            seen = other.read(lambda ledger: ledger.entry(MARK))
        are_done = [writer.done(), reader.done()]
        disk.is_free.set()

        assert (seen, are_done, reader.result()) == (b"second", [False, False], b"second")


def test_one_sync_is_good_for_all_that_came_before_it(url: str, disk: Disk) -> None:
    put(url, b"first")
    disk.is_free.clear()
    with ThreadPoolExecutor(8) as threads:
        writers = [threads.submit(put, url, b"second")]
        eventually(lambda: disk.syncs, lambda syncs: syncs == 2)
        writers += [threads.submit(put, url, str(number).encode()) for number in range(6)]
        eventually(lambda: revision(url), lambda found: found == 2 + 1 + 6)
        disk.is_free.set()
        for each in writers:
            each.result()

    assert disk.syncs == 3


def test_what_the_disk_has_is_not_synced_again(url: str, disk: Disk) -> None:
    for _ in range(2):
        # One that was made is opened once more.
        put(url, b"first")
    before = disk.syncs
    for _ in range(3):
        assert read(url) == b"first"
    with opened(url) as datastore:
        datastore.blocks()

    assert disk.syncs == before


def test_what_a_killed_one_left_is_synced(url: str, disk: Disk) -> None:
    """Whether who had the file open before lived to sync it, nobody can know."""
    put(url, b"first")
    with keeping_open():
        assert read(url) == b"first"

    assert disk.syncs == 2


def test_what_others_left_meanwhile_is_synced(url: str, disk: Disk) -> None:
    """Another agent's process for calls, for example, that was killed."""
    for _ in range(2):
        # One that was made is opened once more.
        put(url, b"first")
    other = SqliteStore(Path(url.removeprefix("sqlite://")), syncs=False)
    transact(other, lambda transaction: transaction.put("other", b""))
    before = disk.syncs
    for _ in range(2):
        assert read(url) == b"first"
    other.close()

    assert disk.syncs == before + 1


def test_who_comes_alone_syncs_what_he_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repeated ADD without the agent, whose process was killed before the disk had the first one."""
    path = tmp_path / "ipam.sqlite"
    killed = SqliteStore(path, syncs=False)
    transact(killed, lambda transaction: transaction.put(MARK, b"first"))
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))

    assert (read(f"sqlite://{path}"), synced) == (b"first", [f"{path}-wal", str(tmp_path)])
    killed.close()


def test_other_things_may_be_done_meanwhile(url: str, disk: Disk) -> None:
    for _ in range(2):
        # One that was made is opened once more.
        put(url, b"first")
    before = disk.syncs
    disk.is_free.clear()
    with ThreadPoolExecutor() as threads, syncing_later() as await_disk:
        for value in (b"second", b"third"):
            put(url, value)
        waiting: Future[None] = threads.submit(await_disk)
        eventually(lambda: disk.syncs, lambda syncs: syncs == before + 1)
        assert not waiting.done()
        disk.is_free.set()
        waiting.result()


@pytest.mark.parametrize("is_later", [False, True], ids=["at once", "later"])
def test_a_disk_that_refuses(url: str, disk: Disk, tmp_path: Path, is_later: bool) -> None:
    put(url, b"first")
    disk.errno = errno.EIO
    if is_later:
        with syncing_later() as await_disk:
            put(url, b"second")
            with pytest.raises(DatastoreError, match=REFUSED):
                await_disk()
    else:
        with pytest.raises(DatastoreError, match=REFUSED):
            put(url, b"second")

    assert (read(url), disk.syncs) == (b"second", 3)


@pytest.mark.parametrize("is_given_up", [False, True], ids=["kept open", "given up meanwhile"])
def test_what_a_disk_refused_is_carried_over(url: str, disk: Disk, tmp_path: Path, is_given_up: bool) -> None:
    """It may be lost to the log, with all that comes after it there, and no later sync speaks of it."""
    put(url, b"first")
    with closing(sqlite3.connect(tmp_path / "ipam.sqlite")) as other:
        # Somebody has it open all the time, so that no end of ours empties the log.
        other.execute("SELECT * FROM state").fetchall()
        disk.errno = errno.EIO
        with pytest.raises(DatastoreError, match=REFUSED):
            put(url, b"second")
        if is_given_up:
            with suppress(ZeroDivisionError), opened(url):
                _ = 1 // 0

        assert read(url) == b"second"
        assert (tmp_path / "ipam.sqlite-wal").stat().st_size == 0


def test_all_who_wait_for_a_disk_hear_that_it_refuses(url: str, disk: Disk) -> None:
    """The kernel tells it one of them."""
    put(url, b"first")
    disk.is_free.clear()
    disk.errno = errno.EIO
    with ThreadPoolExecutor(8) as threads:
        writers = [threads.submit(put, url, str(number).encode()) for number in range(4)]
        eventually(lambda: revision(url), lambda found: found == 2 + 4)
        disk.is_free.set()
        found = [type(each.exception()) for each in writers]

    assert found == [DatastoreError] * 4


def test_a_log_that_is_given_up_is_synced_first(url: str, disk: Disk) -> None:
    """Its descriptor may be another file's by the time that who wrote comes to sync."""
    put(url, b"first")
    with opened(url) as datastore:
        datastore.blocks()
    log = LogSync(Path(f"{url.removeprefix('sqlite://')}-wal"))
    log.reach((1, 1))
    before = disk.syncs
    log.close()
    log.wait((1, 1))

    assert disk.syncs == before + 1


def test_a_copy_without_a_log_gets_one(disk: Disk, tmp_path: Path) -> None:
    copy = tmp_path / "copy.sqlite"
    put(f"sqlite://{tmp_path}/ipam.sqlite", b"first")
    with closing(sqlite3.connect(tmp_path / "ipam.sqlite")) as made:
        made.execute("VACUUM INTO ?", (str(copy),))
    assert read(f"sqlite://{copy}") == b"first"
    with keeping_open():
        put(f"sqlite://{copy}", b"second")

        assert disk.syncs == 1


def test_the_end_of_a_block_waits_too(url: str, disk: Disk) -> None:
    """What is undone after an error finds nothing under way."""
    disk.is_free.clear()

    def fail() -> None:
        with syncing_later():
            put(url, b"first")
            _ = 1 // 0

    with ThreadPoolExecutor() as threads:
        failing = threads.submit(fail)
        eventually(lambda: disk.syncs, lambda syncs: syncs == 1)
        assert not failing.done()
        disk.is_free.set()

        assert isinstance(failing.exception(), ZeroDivisionError)


def put_later(url: str, value: bytes) -> None:
    with keeping_open(), syncing_later() as await_disk:
        put(url, value)
        await_disk()


@pytest.mark.parametrize(
    ("refusal", "expected"), [pytest.param(0, True, id="taken"), pytest.param(errno.EIO, False, id="refused")]
)
def test_what_is_done_after_the_disk(url: str, disk: Disk, refusal: int, expected: bool) -> None:
    told: list[bool] = []
    put(url, b"0")
    with suppress(DatastoreError), syncing_later() as await_disk:
        after_sync(told.append)
        # Nothing has been written in this block.
        assert told == [True]
        disk.is_free.clear()
        put(url, b"1")
        after_sync(told.append)
        assert told == [True]
        disk.errno = refusal
        disk.is_free.set()
        await_disk()
    eventually(lambda: len(told), lambda count: count == 2)
    assert told == [True, expected]


def test_a_fork_has_threads_of_its_own(url: str) -> None:
    put_later(url, b"first")
    child = multiprocessing.get_context("fork").Process(target=put_later, args=(url, b"second"))
    child.start()
    child.join(60)
    try:
        assert child.exitcode == 0
    finally:
        child.kill()
        child.join()
