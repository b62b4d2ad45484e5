"""Which datastore there is in etcd: made, refused, migrated."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier

import pytest

from ipam import migrations
from ipam.datastore import open_store
from ipam.errors import DatastoreError
from ipam.stores.etcd import EtcdStore
from ipam.transact import read, transact
from nodeplane.etcd.client import EtcdClient
from nodeplane.etcd.messages import Operation, Put, Txn
from tests.etcd.processes import EtcdCluster
from tests.ipam.stores.raw_keys import add, keys, put


def test_prefixes_are_apart(etcd: EtcdCluster, prefix: str) -> None:
    names = [prefix, f"{prefix}0", f"{prefix}/below", f"{prefix}-"]
    for name in names:
        with closing(open_store(etcd.url(name))) as store:
            transact(store, add)
    for name in names:
        with closing(open_store(etcd.url(name))) as store:
            assert read(store, lambda reader: reader.scan("")) == [("count", b"1")]


@pytest.mark.parametrize(
    ("there", "message"),
    [
        pytest.param({}, "{place}: there is no datastore", id="nothing"),
        pytest.param(
            {"/data/blocks/x": b"{}"},
            "{place} is damaged (there are keys, but no {prefix}/meta/schema): restore etcd from a snapshot; "
            "use another prefix only when no pod has an address from this one",
            id="the schema is lost",
        ),
        pytest.param(
            {"/meta/schema": b"x", "/data/x": b""},
            "{place} is damaged ({prefix}/meta/schema: JSON is malformed: invalid character (byte 0)): "
            "restore etcd from a snapshot; use another prefix only when no pod has an address from this one",
            id="no schema",
        ),
        pytest.param(
            {"/meta/schema": b'{"version":3}'},
            "{place} has schema version 3, this nodeplane knows 2: run the nodeplane that wrote it, or a "
            "newer one",
            id="newer",
        ),
        pytest.param(
            {"/meta/schema": b'{"version":2,"target":3}'},
            "{place} has schema version 3, this nodeplane knows 2: run the nodeplane that wrote it, or a "
            "newer one",
            id="becomes newer at the moment",
        ),
    ],
)
def test_what_is_not_a_whole_datastore_is_refused_and_left_alone(
    there: Mapping[str, bytes], message: str, etcd: EtcdCluster, prefix: str
) -> None:
    for key, value in there.items():
        put(etcd, f"{prefix}{key}", value)

    with pytest.raises(DatastoreError) as caught:
        # What is there is refused also by who would make what is not.
        open_store(etcd.url(prefix), create=bool(there)).close()

    place = f"etcd at {etcd.addresses[0]}, {prefix}"
    assert str(caught.value) == message.format(place=place, prefix=prefix)
    assert keys(etcd, prefix) == there


def test_many_make_it_at_once(etcd: EtcdCluster, prefix: str) -> None:
    barrier = Barrier(8)

    def work(number: int) -> None:
        barrier.wait()
        with closing(open_store(etcd.url(prefix))) as store:
            transact(store, lambda transaction: add(transaction, f"k{number}"))

    with ThreadPoolExecutor(8) as executor:
        list(executor.map(work, range(8)))

    with closing(open_store(etcd.url(prefix), create=False)) as store:
        assert read(store, lambda reader: len(reader.scan(""))) == 8


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        pytest.param(None, "was taken away while in use", id="gone"),
        pytest.param(b'{"version":3}', "has schema version 3, this nodeplane knows 2", id="newer"),
    ],
)
def test_a_datastore_that_changes_under_a_program_is_left_alone(
    schema: bytes | None, message: str, etcd: EtcdCluster, prefix: str, opened: Callable[[], EtcdStore]
) -> None:
    """Who has it open when another version takes over writes no more."""
    store = opened()
    transact(store, add)
    put(etcd, f"{prefix}/meta/schema", schema)

    with pytest.raises(DatastoreError, match=message):
        transact(store, add)

    assert keys(etcd, prefix)["/data/count"] == b"1"


def test_a_schema_that_was_only_touched(
    etcd: EtcdCluster, prefix: str, opened: Callable[[], EtcdStore]
) -> None:
    store = opened()
    put(etcd, f"{prefix}/meta/schema", b'{"version":2}')

    assert transact(store, add) == 1


OLD = {f"k/{number:04}": b"v%d" % number for number in range(1200)}


def renamed(entries: Mapping[str, bytes]) -> dict[str, bytes]:
    """Convert entries as a migration may: changed, gone, new, and so many that it takes several requests."""
    changed = {key: value + b"!" for key, value in entries.items() if key < "k/0300"}
    return {**entries, **changed, "index": b"%d" % len(entries)} | {"k/0000": b""}


def make_version_1(etcd: EtcdCluster, prefix: str) -> None:
    with closing(EtcdClient(etcd.addresses)) as client:
        items = list(OLD.items())
        for start in range(0, len(items), 100):
            operations = [
                Operation(request_put=Put(f"{prefix}/data/{key}".encode(), value))
                for key, value in items[start : start + 100]
            ]
            client.txn(Txn((), tuple(operations)))
    put(etcd, f"{prefix}/meta/schema", b'{"version":1}')


class Killed(BaseException):
    """Stands for the end of the process."""


class DyingClient(EtcdClient):
    """Ends after so many transactions."""

    left = 0

    def txn(self, request: Txn) -> object:  # type: ignore[override]
        if DyingClient.left == 0:
            raise Killed
        DyingClient.left -= 1
        return super().txn(request)


def test_a_migration_is_finished_by_whoever_comes_next(
    etcd: EtcdCluster, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is interrupted before each of its requests in turn, and nobody sees a mixture."""
    monkeypatch.setitem(migrations.MIGRATIONS, 1, renamed)
    make_version_1(etcd, prefix)
    for _ in range(8):
        DyingClient.left = 1
        try:
            EtcdStore(lambda: DyingClient(etcd.addresses), prefix).close()
        except Killed:
            continue
        break

    DyingClient.left = 100
    with closing(open_store(etcd.url(prefix), create=False)) as store:
        assert dict(read(store, lambda reader: reader.scan(""))) == renamed(OLD)
    assert keys(etcd, prefix)["/meta/schema"] == b'{"version":2}'


def test_many_migrate_it_at_once(etcd: EtcdCluster, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(migrations.MIGRATIONS, 1, renamed)
    make_version_1(etcd, prefix)
    barrier = Barrier(4)

    def work(number: int) -> None:
        barrier.wait()
        with closing(open_store(etcd.url(prefix))) as store:
            transact(store, lambda transaction: add(transaction, f"new/{number}"))

    with ThreadPoolExecutor(4) as executor:
        list(executor.map(work, range(4)))

    with closing(open_store(etcd.url(prefix))) as store:
        found = dict(read(store, lambda reader: reader.scan("")))
    assert found == renamed(OLD) | {f"new/{number}": b"1" for number in range(4)}
