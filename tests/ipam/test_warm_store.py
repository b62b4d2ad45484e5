"""A file that is kept open gives what a fresh look at it would give."""

import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest

from ipam.allocator import Allocator
from ipam.datastore import Datastore, open_datastore
from ipam.errors import DatastoreError, NoDatastoreError
from ipam.model import Handle, PodRef, Pool, Request
from ipam.warm_store import keeping_open, opened
from nodeplane.etcd.client import EtcdClient
from nodeplane.etcd.messages import DeleteRange, Operation, Txn
from tests.etcd.processes import EtcdCluster
from tests.ipam.stores.kinds import next_prefix
from tests.ipam.values import POOL

MARK = "mark"


def url(path: Path) -> str:
    return f"sqlite://{path}"


def put(datastore: Datastore, value: bytes) -> None:
    datastore.transact(lambda ledger: ledger.put_entry(MARK, value))


def read(path: Path) -> bytes | None:
    with opened(url(path)) as datastore:
        return datastore.transact(lambda ledger: ledger.entry(MARK))


def opened_briefly(where: str, *, create: bool) -> None:
    with opened(where, create=create):
        pass


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A datastore that says where it is."""
    made = tmp_path / "ipam.sqlite"
    with open_datastore(url(made)) as datastore:
        put(datastore, b"first")
    return made


def connections(path: Path) -> int:
    """Count this process's descriptors of a file."""
    found = (each.resolve() for each in Path("/proc/self/fd").iterdir())
    return sum(each == path for each in found)


def test_the_file_stays_open_until_the_end(path: Path) -> None:
    with keeping_open():
        for _ in range(3):
            assert read(path) == b"first"
            assert connections(path) == 1
    assert connections(path) == 0
    assert read(path) == b"first"
    assert connections(path) == 0


def test_what_others_write_is_seen(path: Path) -> None:
    with keeping_open():
        assert read(path) == b"first"
        with open_datastore(url(path)) as other:
            put(other, b"second")
        assert read(path) == b"second"


def test_a_backup_in_the_files_place_is_what_counts(path: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    shutil.copy(path, backup)
    with keeping_open():
        with opened(url(path)) as datastore:
            put(datastore, b"second")
        for name in ("", "-wal", "-shm"):
            Path(f"{path}{name}").unlink(missing_ok=True)
        backup.rename(path)
        assert read(path) == b"first"


def test_a_file_that_is_gone_is_not_used(path: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    shutil.copy(path, backup)
    with keeping_open():
        assert read(path) == b"first"
        for name in ("", "-wal", "-shm"):
            Path(f"{path}{name}").unlink(missing_ok=True)
        for create in (False, True):
            with pytest.raises(DatastoreError, match="was taken away while in use"):
                opened_briefly(url(path), create=create)
        assert not path.exists(), "an empty one would give the addresses of running pods out again"
        backup.rename(path)
        assert read(path) == b"first"


def test_keys_that_are_gone_are_not_made_anew(etcd: EtcdCluster) -> None:
    prefix = next_prefix()
    with keeping_open():
        with opened(etcd.url(prefix)) as datastore:
            put(datastore, b"first")
        with closing(EtcdClient(etcd.addresses)) as client:
            gone = DeleteRange(f"{prefix}/".encode(), f"{prefix}0".encode())
            client.txn(Txn((), (Operation(request_delete_range=gone),)))
        for create in (False, True):
            with pytest.raises(DatastoreError, match="was taken away while in use"):
                opened_briefly(etcd.url(prefix), create=create)


def test_one_that_never_was_there_is_made_for_who_makes_one(tmp_path: Path) -> None:
    path = tmp_path / "new.sqlite"
    with keeping_open():
        with pytest.raises(NoDatastoreError):
            opened_briefly(url(path), create=False)
        assert read(path) is None


def test_a_file_whose_log_is_gone_is_not_used(path: Path) -> None:
    """What we write into a log without a name nobody else sees, and gives out again."""
    with keeping_open():
        assert read(path) == b"first"
        Path(f"{path}-wal").unlink()
        with pytest.raises(DatastoreError, match="-wal was taken away while in use"):
            read(path)


def test_a_version_that_we_do_not_know_is_refused(path: Path) -> None:
    """A newer program brought the file to its own version; ours must not write into that."""
    with keeping_open():
        assert read(path) == b"first"
        other = sqlite3.connect(path)
        other.execute("PRAGMA user_version = 99")
        other.close()
        with pytest.raises(DatastoreError, match="schema version 99"):
            read(path)


def test_an_error_gives_the_file_up(path: Path) -> None:
    with keeping_open():
        with suppress(ZeroDivisionError), opened(url(path)) as datastore:
            put(datastore, b"second")
            _ = 1 // 0
        assert connections(path) == 0
        assert read(path) == b"second"


def test_requests_of_many_threads_get_addresses_of_their_own(path: Path) -> None:
    pool: Pool = POOL

    def ask(number: int) -> str:
        handle = Handle(f"c{number}", "eth0", "n1")
        request = Request(handle=handle, pod=PodRef(), node="n1", netns="", now_s=1)
        with opened(url(path)) as datastore:
            return str(Allocator(datastore, (pool,)).assign(request).ips[0].address)

    with keeping_open(), ThreadPoolExecutor(8) as threads:
        given = list(threads.map(ask, range(80)))
    assert len(set(given)) == 80
