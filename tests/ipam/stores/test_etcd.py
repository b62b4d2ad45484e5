"""The store in etcd: what a transaction costs, and what it knows."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from threading import Barrier

import pytest

from ipam.allocator import Allocator
from ipam.datastore import Datastore, open_store
from ipam.store import Counters
from ipam.stores.etcd import EtcdStore
from ipam.transact import Transaction, read, transact
from nodeplane.etcd.client import EtcdClient
from tests.etcd.processes import etcd_cluster
from tests.etcd.relay import relay
from tests.ipam.stores.raw_keys import add, keys
from tests.ipam.values import POOL, handle, request


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
