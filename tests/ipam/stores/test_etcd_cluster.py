"""Three members, of which the leader dies in the middle of it: no step is lost, none happens twice."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Event

import pytest

from ipam.stores.etcd import EtcdStore
from ipam.transact import Transaction, read, transact
from nodeplane.etcd.client import EtcdClient
from tests.etcd.processes import EtcdCluster, etcd_cluster

# Far beyond what is needed: a fact is awaited, this only ends a test that has failed.
LIMIT_S = 120


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with etcd_cluster(tmp_path_factory.mktemp("cluster"), 3) as found:
        yield found


def open_store(cluster: EtcdCluster) -> EtcdStore:
    # A member that waits for a dead leader keeps its answer back: found out sooner than in production.
    return EtcdStore(lambda: EtcdClient(cluster.addresses, timeout_s=1.0, patience_s=LIMIT_S), "/test")


class Counter:
    """Counts up in a thread until told to stop; each writer its own key, and one that all share."""

    def __init__(self, cluster: EtcdCluster, name: str) -> None:
        self._cluster = cluster
        self._name = name
        self.count = 0
        self.resolved = 0

    def run(self, stop: Event) -> None:
        with closing(open_store(self._cluster)) as store:
            while not stop.is_set():
                transact(store, self._step)
                self.count += 1
            self.resolved = store.counters.resolved

    def _step(self, transaction: Transaction) -> None:
        for key in (self._name, "shared"):
            transaction.put(key, b"%d" % (int(transaction.get(key) or b"0") + 1))


def wait_for_progress(counters: list[Counter]) -> None:
    """Return when each has counted ten more."""
    before = [counter.count for counter in counters]
    event = Event()
    for _ in range(LIMIT_S * 100):
        if all(counter.count >= count + 10 for counter, count in zip(counters, before, strict=True)):
            return
        event.wait(0.01)
    raise AssertionError([counter.count for counter in counters])


def test_the_leader_dies_twice(cluster: EtcdCluster) -> None:
    """What was answered is there, and nothing is there twice, whatever became of the answers."""
    counters = [Counter(cluster, f"writer/{number}") for number in range(3)]
    stop = Event()
    with ThreadPoolExecutor(len(counters)) as executor:
        running = [executor.submit(counter.run, stop) for counter in counters]
        try:
            for _ in range(2):
                wait_for_progress(counters)
                number = cluster.kill_leader()
                # Two of three are a majority.
                wait_for_progress(counters)
                cluster.start(number)
                cluster.await_health()
        finally:
            stop.set()
        for work in running:
            work.result(LIMIT_S)

    with closing(open_store(cluster)) as store:
        found = dict(read(store, lambda reader: reader.scan("")))
    expected = {f"writer/{number}": b"%d" % counter.count for number, counter in enumerate(counters)}
    assert found == expected | {"shared": b"%d" % sum(counter.count for counter in counters)}
    assert sum(counter.resolved for counter in counters) > 0


def test_a_member_that_is_lost_is_passed_over(cluster: EtcdCluster) -> None:
    """Whichever member a store uses, it goes on with another."""
    for number in range(3):
        with closing(open_store(cluster)) as store:
            transact(store, lambda transaction: transaction.put("k", b"before"))
            cluster.kill(number)
            transact(store, lambda transaction: transaction.put("k", b"after"))
            assert read(store, lambda reader: reader.get("k")) == b"after"
        cluster.start(number)
        cluster.await_health()
