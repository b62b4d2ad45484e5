"""A commit whose answer was lost is looked for, never assumed."""

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from ipam.errors import DatastoreError
from ipam.stores.etcd import EtcdStore
from ipam.stores.etcd_commit import CommitSlot
from ipam.transact import Transaction, read, transact
from nodeplane.etcd.client import EtcdClient
from nodeplane.etcd.messages import Range
from tests.etcd.processes import EtcdCluster, post
from tests.etcd.relay import Fault, Relay, relay


@pytest.fixture
def line(etcd: EtcdCluster) -> Iterator[Relay]:
    with relay(etcd.addresses[0]) as running:
        yield running


@pytest.fixture
def store(line: Relay, prefix: str) -> Iterator[EtcdStore]:
    """A store behind the relay."""
    found = EtcdStore(lambda: EtcdClient([line.address]), prefix)
    yield found
    found.close()


@pytest.fixture
def direct(store: EtcdStore, etcd: EtcdCluster, prefix: str) -> Iterator[EtcdStore]:
    """The same datastore, without the relay."""
    found = EtcdStore(lambda: EtcdClient(etcd.addresses), prefix)
    yield found
    found.close()


def add(transaction: Transaction) -> int:
    """Count up, and say how often."""
    count = int(transaction.get("count") or b"0") + 1
    transaction.put("count", b"%d" % count)
    return count


FAULTS: list[Fault] = ["lose the request", "lose the answer", "hold the request"]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("others", [0, 1, 5])
def test_a_lost_answer_counts_once(
    fault: Fault, others: int, store: EtcdStore, direct: EtcdStore, line: Relay
) -> None:
    """Whether the commit was carried out or not, the step happens once; others may go on in the same slot."""
    direct._writer._slot = CommitSlot(direct._layout, int(store._writer._slot.commit.rpartition(b"/")[2]))
    assert transact(store, add) == 1
    line.arm(fault)

    assert transact(store, add) == 2

    assert (line.faults, store.counters.resolved) == (1, 1)
    for number in range(others):
        assert transact(direct, add) == 3 + number
    assert transact(store, add) == 3 + others
    if fault == "hold the request":
        # It arrives late, and changes nothing.
        assert b'"succeeded":true' not in line.release()
    assert read(direct, lambda reader: reader.get("count")) == b"%d" % (3 + others)


def test_a_late_commit_that_nothing_else_would_stop(store: EtcdStore, direct: EtcdStore, line: Relay) -> None:
    """Nobody ever touches what it compares: the fence alone keeps it out."""
    line.arm("hold the request")

    with pytest.raises(LookupError):
        transact(store, once([]))

    assert b'"succeeded":true' not in line.release()
    assert read(direct, lambda reader: reader.scan("")) == []


def once(runs: list[int]) -> Callable[[Transaction], None]:
    """Return a step that writes at the first run, and has changed its mind at the second."""

    def step(transaction: Transaction) -> None:
        runs.append(1)
        if len(runs) > 1:
            raise LookupError
        transaction.put("new", b"")

    return step


def test_a_commit_among_many_of_its_slot(
    store: EtcdStore, direct: EtcdStore, line: Relay, etcd: EtcdCluster
) -> None:
    """Others have committed in the slot since: its id is found further back."""
    transact(store, add)
    slot = store._writer._slot
    known = store._reader.known_revision
    transact(store, add)
    mine = b"%s-%d" % (slot._own, slot._count)
    direct._writer._slot = CommitSlot(direct._layout, int(slot.commit.rpartition(b"/")[2]))
    for _ in range(3):
        transact(direct, add)

    client = EtcdClient(etcd.addresses)
    revision = slot.outcome(client, mine, known)
    assert revision is not None
    assert client.range(Range(slot.commit, revision=revision)).kvs[0].value == mine
    assert slot.outcome(client, b"never sent", known) is None
    client.close()


def test_an_outcome_that_nobody_can_tell_any_more(
    store: EtcdStore, direct: EtcdStore, etcd: EtcdCluster
) -> None:
    """History was compacted meanwhile: an error that says so, not a guess."""
    transact(store, add)
    slot, known = store._writer._slot, store._reader.known_revision
    direct._writer._slot = CommitSlot(direct._layout, int(slot.commit.rpartition(b"/")[2]))
    for _ in range(2):
        transact(direct, add)
    post(
        etcd.addresses[0], "/v3/kv/compaction", {"revision": direct._reader.known_revision, "physical": True}
    )

    client = EtcdClient(etcd.addresses)
    with pytest.raises(DatastoreError, match="would tell its outcome has been compacted: ask again"):
        slot.outcome(client, b"lost", known)
    client.close()


@pytest.mark.parametrize("fault", FAULTS)
def test_an_outcome_that_can_not_be_asked_for(
    fault: Fault, line: Relay, etcd: EtcdCluster, prefix: str
) -> None:
    """etcd stays away: the error says that nothing is known; whoever asks again finds out."""
    with closing(EtcdStore(lambda: EtcdClient([line.address], patience_s=0.0), prefix)) as store:
        transact(store, add)
        line.arm(fault, refuse=True)
        with pytest.raises(
            DatastoreError, match="a write was lost, and what became of it can't be found out"
        ):
            transact(store, add)
        line.accept()

        found = transact(store, lambda transaction: int(transaction.get("count") or b""))
        assert found == (2 if fault == "lose the answer" else 1)


def test_a_read_is_simply_asked_again(store: EtcdStore, line: Relay) -> None:
    """A transaction that writes nothing leaves nothing to find out."""
    transact(store, add)
    line.arm("lose the answer")

    assert transact(store, lambda transaction: transaction.get("count")) == b"1"
    assert (line.faults, store.counters.resolved) == (1, 0)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_first_commit_of_a_process(
    fault: Fault, direct: EtcdStore, line: Relay, etcd: EtcdCluster, prefix: str
) -> None:
    """It need not look back beyond its own start, however much of the history is gone."""
    for _ in range(3):
        transact(direct, add)
    number = int(direct._writer._slot.commit.rpartition(b"/")[2])
    post(
        etcd.addresses[0], "/v3/kv/compaction", {"revision": direct._reader.known_revision, "physical": True}
    )
    with closing(EtcdStore(lambda: EtcdClient([line.address]), prefix)) as store:
        store._writer._slot = CommitSlot(store._layout, number)
        line.arm(fault)

        assert transact(store, blind) is None
        assert store.counters.resolved == 1
    assert read(direct, lambda reader: reader.scan("")) == [("count", b"3"), ("new", b"")]


def blind(transaction: Transaction) -> None:
    transaction.put("new", b"")
