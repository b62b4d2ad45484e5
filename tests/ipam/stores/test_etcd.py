"""The store in etcd: what a transaction costs, what it knows, and which datastore it is."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from threading import Barrier

import pytest

from ipam import migrations
from ipam.allocator import Allocator
from ipam.datastore import Datastore, open_datastore, open_store
from ipam.errors import DatastoreError
from ipam.store import Counters
from ipam.stores.etcd import EtcdStore
from ipam.transact import Transaction, read, transact
from nodeplane.etcd.client import EtcdClient
from nodeplane.etcd.messages import DeleteRange, Operation, Put, Range, Txn
from tests.etcd.authority import Authority
from tests.etcd.processes import EtcdCluster, etcd_cluster, post
from tests.etcd.relay import relay
from tests.ipam.stores.kinds import next_prefix
from tests.ipam.values import POOL, handle, request


@pytest.fixture
def prefix() -> str:
    return next_prefix()


@pytest.fixture
def opened(etcd: EtcdCluster, prefix: str) -> Iterator[Callable[[], EtcdStore]]:
    """Opens the same datastore, each time with another store object."""
    stores: list[EtcdStore] = []

    def open_one() -> EtcdStore:
        stores.append(EtcdStore(lambda: EtcdClient(etcd.addresses), prefix))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


def add(transaction: Transaction, key: str = "count") -> int:
    count = int(transaction.get(key) or b"0") + 1
    transaction.put(key, b"%d" % count)
    return count


def cost(store: EtcdStore, work: Callable[[], object]) -> Counters:
    """Return what the store was asked to do by `work`."""
    before = Counters(*(getattr(store.counters, name) for name in Counters.__struct_fields__))
    work()
    return Counters(
        *(getattr(store.counters, name) - getattr(before, name) for name in Counters.__struct_fields__)
    )


def test_what_it_wrote_itself_it_need_not_read(opened: Callable[[], EtcdStore]) -> None:
    store = opened()
    assert cost(store, lambda: transact(store, add)) == Counters(transactions=1)
    assert cost(store, lambda: transact(store, add)) == Counters(transactions=1)


def test_what_others_wrote_comes_with_the_refusal(opened: Callable[[], EtcdStore]) -> None:
    """Two exchanges: one that is refused, and brings what is there; one that is not."""
    store, other = opened(), opened()
    transact(store, add)
    transact(other, add)

    assert cost(store, lambda: transact(store, add)) == Counters(transactions=2, conflicts=1)
    assert read(store, lambda reader: reader.get("count")) == b"3"


def test_a_scan_is_read_once(opened: Callable[[], EtcdStore]) -> None:
    """What its own transactions change in it comes back with them."""
    store = opened()

    def grow(transaction: Transaction) -> None:
        found = transaction.scan("a/", 10)
        transaction.put(f"a/{len(found)}", b"")
        if len(found) > 2:
            transaction.delete(found[0][0])

    assert cost(store, lambda: transact(store, grow)) == Counters(transactions=1, reads=1)
    for _ in range(5):
        assert cost(store, lambda: transact(store, grow)) == Counters(transactions=1)


def test_a_steady_allocation_is_one_transaction(opened: Callable[[], EtcdStore]) -> None:
    """A node that gives addresses out of its own block, and takes them back, asks etcd once for each."""
    store = opened()
    allocator = Allocator(Datastore(store), (POOL,))
    allocator.assign(request(0))

    def steady() -> None:
        for number in range(1, 41):
            allocator.assign(request(number))
        for number in range(1, 21):
            allocator.release(handle(number))

    assert cost(store, steady) == Counters(transactions=60)


def test_nodes_side_by_side_hardly_meet(opened: Callable[[], EtcdStore]) -> None:
    """Four nodes at once, each in its own blocks: at most 1.2 exchanges for an address, claims included."""
    stores = [opened() for _ in range(4)]
    pool = POOL.__class__("wide", POOL.network.supernet(new_prefix=20), 26)
    barrier = Barrier(len(stores))

    def fill(number: int) -> list[str]:
        allocator = Allocator(Datastore(stores[number]), (pool,))
        barrier.wait()
        wishes = [request(1000 * number + index, node=f"n{number}") for index in range(60)]
        return [str(allocator.assign(wish).ips[0].address) for wish in wishes]

    with ThreadPoolExecutor(len(stores)) as executor:
        given = [address for found in executor.map(fill, range(len(stores))) for address in found]

    assert len(set(given)) == len(given) == 240
    asked = sum(store.counters.transactions + store.counters.reads for store in stores)
    assert asked <= 1.2 * len(given)


def look_and_add(key: str, transaction: Transaction) -> None:
    transaction.scan(key)
    add(transaction, key)


def test_it_remembers_a_limited_amount(
    opened: Callable[[], EtcdStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ipam.stores.etcd_cache.MAX_ENTRIES", 10)
    monkeypatch.setattr("ipam.stores.etcd_cache.MAX_SCANS", 3)
    store = opened()
    for number in range(40):
        transact(store, partial(look_and_add, f"{number % 20}/k"))
        assert len(store._cache) <= 13

    assert read(store, lambda reader: {value for _, value in reader.scan("")}) == {b"2"}


def test_another_connection_may_be_another_history(tmp_path: Path) -> None:
    """As after etcd was restored from a snapshot: an equal revision is not the same entry any more."""
    with etcd_cluster(tmp_path / "one") as one, etcd_cluster(tmp_path / "two") as two:
        for cluster, value in ((one, b"10"), (two, b"20")):
            with closing(open_store(cluster.url())) as store:
                assert store.commit((), {"count": value})
        with relay(one.addresses[0]) as line:
            store = EtcdStore(lambda: EtcdClient([line.address]), "/nodeplane")
            assert transact(store, lambda transaction: transaction.get("count")) == b"10"
            line.switch(two.addresses[0])

            assert transact(store, add) == 21
            store.close()
        assert keys(one, "/nodeplane")["/data/count"] == b"10"
        assert keys(two, "/nodeplane")["/data/count"] == b"21"


def test_prefixes_are_apart(etcd: EtcdCluster, prefix: str) -> None:
    names = [prefix, f"{prefix}0", f"{prefix}/below", f"{prefix}-"]
    for name in names:
        with closing(open_store(etcd.url(name))) as store:
            transact(store, add)
    for name in names:
        with closing(open_store(etcd.url(name))) as store:
            assert read(store, lambda reader: reader.scan("")) == [("count", b"1")]


# --- which datastore it is ---


def put(etcd: EtcdCluster, key: str, value: bytes | None) -> None:
    with closing(EtcdClient(etcd.addresses)) as client:
        name = key.encode()
        operation = (
            Operation(request_delete_range=DeleteRange(name))
            if value is None
            else Operation(request_put=Put(name, value))
        )
        client.txn(Txn((), (operation,)))


def keys(etcd: EtcdCluster, prefix: str) -> dict[str, bytes]:
    with closing(EtcdClient(etcd.addresses)) as client:
        found = client.range(Range(f"{prefix}/".encode(), f"{prefix}0".encode())).kvs
        return {entry.key.decode().removeprefix(prefix): entry.value for entry in found}


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


# --- the whole way, from a URL ---


def test_tls_and_a_user_by_url(tmp_path: Path) -> None:
    server = Authority(tmp_path).files("server")
    (tmp_path / "password").write_text("secret\n")
    options = {
        "cert-file": server.cert,
        "key-file": server.key,
        "trusted-ca-file": server.ca,
        "client-cert-auth": "",
    }
    query = f"?ca={server.ca}&cert={server.cert}&key={server.key}"
    user = f"&user=root&passwordFile={tmp_path}/password"
    with etcd_cluster(tmp_path, options=options, scheme="https") as cluster:
        with open_datastore(cluster.url("/a/b", query)) as datastore:
            Allocator(datastore, (POOL,)).assign(request(1))
        enable_users(cluster, query)

        with open_datastore(cluster.url("/a/b", query + user)) as datastore:
            assert Allocator(datastore, (POOL,)).release(handle(1))
        with pytest.raises(DatastoreError, match=r"permission denied|user name is empty"):
            open_datastore(cluster.url("/a/b", query))


def enable_users(cluster: EtcdCluster, query: str) -> None:
    from ipam.datastore_url import EtcdUrl, decode_datastore
    from ipam.stores.etcd import _client

    url = decode_datastore(cluster.url("/a", query))
    assert isinstance(url, EtcdUrl)
    with closing(_client(url, None)) as client:
        for path, body in (
            ("user/add", {"name": "root", "password": "secret"}),
            ("user/grant", {"user": "root", "role": "root"}),
            ("enable", {}),
        ):
            client._ask(f"/v3/auth/{path}", body, dict, is_read=False)


def test_alarms_are_told(tmp_path: Path) -> None:
    with etcd_cluster(tmp_path) as cluster, open_datastore(cluster.url()) as datastore:
        assert datastore.verify() == []
        member = int(post(cluster.addresses[0], "/v3/maintenance/status", {})["header"]["member_id"])
        body = {"action": "ACTIVATE", "memberID": member, "alarm": "NOSPACE"}
        post(cluster.addresses[0], "/v3/maintenance/alarm", body)

        assert datastore.verify() == [f"etcd member {member:x}: alarm NOSPACE"]
        with pytest.raises(DatastoreError, match="database space exceeded"):
            Allocator(datastore, (POOL,)).assign(request(1))
