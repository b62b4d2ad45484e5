"""Addresses for nodes: the order over blocks and pools, idempotence, exhaustion; and a model of it all."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import ip_address, ip_interface
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ipam.allocator import Allocator, release_allocation
from ipam.check import find_contradictions, read_snapshot
from ipam.datastore import Datastore
from ipam.errors import ExhaustedError, InconsistentError
from ipam.ledger import Ledger, LedgerReader
from ipam.memory_store import MemoryStore
from ipam.model import Address, Allocation, Assignment, Block, PodRef, Pool
from ipam.sqlite_store import SqliteStore
from ipam.store import Reader, Store, Transaction
from nodeplane.errors import ConfigError
from tests.ipam.values import WEB, handle, network

T = TypeVar("T")

# Four blocks of four addresses: n1 starts at the first (crc32 % 4 == 0), n5 at the second.
POOL = Pool("default", network("10.0.0.0/28"), 30)
SPARE = Pool("spare", network("10.9.0.0/30"), 30)


class Clock:
    """A second passes at each look."""

    def __init__(self) -> None:
        self.now_s = 1000

    def __call__(self) -> float:
        self.now_s += 1
        return self.now_s


@pytest.fixture
def datastore() -> Datastore:
    return Datastore(MemoryStore())


def allocator(datastore: Datastore, node: str = "n1", pools: Sequence[Pool] = (POOL,)) -> Allocator:
    return Allocator(datastore, node, pools, Clock())


def assign(source: Allocator, numbers: Sequence[int]) -> list[str]:
    return [str(source.assign(handle(number), WEB, f"/run/netns/p{number}").address) for number in numbers]


def addresses(last: Sequence[int]) -> list[str]:
    return [f"10.0.0.{number}/32" for number in last]


def test_own_blocks_first_then_a_new_one(datastore: Datastore) -> None:
    n1, n5 = allocator(datastore, "n1"), allocator(datastore, "n5")

    assert assign(n1, range(4)) == addresses([0, 1, 2, 3])
    assert assign(n5, range(10, 12)) == addresses([4, 5])
    # The second block is n5's, so n1 goes on to the third.
    assert assign(n1, range(4, 6)) == addresses([8, 9])
    assert [(str(block.network), block.node, block.free) for block in datastore.blocks()] == [
        ("10.0.0.0/30", "n1", 0),
        ("10.0.0.4/30", "n5", 2),
        ("10.0.0.8/30", "n1", 2),
    ]
    assert [str(block.network) for block in n5.blocks()] == ["10.0.0.4/30"]


def test_a_handle_has_one_address_however_often_it_asks(datastore: Datastore) -> None:
    n1 = allocator(datastore)
    first = n1.assign(handle(1), WEB, "/run/netns/old")

    again = n1.assign(handle(1), PodRef("default", "web-1", "uid-2"), "/run/netns/new")

    assert again == first == Assignment(ip_interface("10.0.0.0/32"), "default", network("10.0.0.0/30"))
    held = datastore.read(LedgerReader.allocations)
    assert [(item.netns, item.pod.uid, item.assigned_at_s) for item in held] == [
        ("/run/netns/new", "uid-2", 1001)
    ]


def test_the_interfaces_of_a_container_are_apart(datastore: Datastore) -> None:
    n1 = allocator(datastore)
    other = msgspec.structs.replace(handle(1), interface="eth1")

    assert assign(n1, [1]) == addresses([0])
    assert n1.assign(other, WEB, "/n").address == ip_interface("10.0.0.1/32")
    assert n1.release(other)
    assert datastore.read(lambda ledger: ledger.addresses(handle(1))) == (ip_address("10.0.0.0"),)


def test_release(datastore: Datastore) -> None:
    n1 = allocator(datastore)
    assign(n1, [1])

    assert [n1.release(handle(1)), n1.release(handle(1)), n1.release(handle(2))] == [True, False, False]
    assert datastore.read(LedgerReader.allocations) == []
    assert datastore.read(LedgerReader.handles) == []


def test_the_longest_free_address_of_all_own_blocks_comes_first(datastore: Datastore) -> None:
    n1 = allocator(datastore)
    assign(n1, range(8))
    for number in (6, 1, 4, 0):
        n1.release(handle(number))

    # Container 6 had 10.0.0.6, 1 had 10.0.0.1 …
    assert assign(n1, range(20, 24)) == addresses([6, 1, 4, 0])


def test_pools_are_used_in_their_order(datastore: Datastore) -> None:
    n1 = allocator(datastore, pools=(SPARE, POOL))

    assert assign(n1, range(5)) == ["10.9.0.0/32", "10.9.0.1/32", "10.9.0.2/32", "10.9.0.3/32", "10.0.0.0/32"]


def test_reserved_addresses_are_never_given_out(datastore: Datastore) -> None:
    reserved = (network("10.0.0.0/31"), network("10.0.0.4/30"), network("10.0.0.9/32"))
    n1 = allocator(datastore, pools=(msgspec.structs.replace(POOL, reserved=reserved),))

    assert assign(n1, range(9)) == addresses([2, 3, 8, 10, 11, 12, 13, 14, 15])
    with pytest.raises(ExhaustedError):
        assign(n1, [9])


def test_a_reservation_that_ends_frees_its_addresses(datastore: Datastore) -> None:
    reserved = (network("10.0.0.0/31"),)
    assign(allocator(datastore, pools=(msgspec.structs.replace(POOL, reserved=reserved),)), range(14))

    assert assign(allocator(datastore), range(14, 16)) == addresses([0, 1])


def test_exhaustion_says_what_is_in_use_and_what_to_do(datastore: Datastore) -> None:
    assign(allocator(datastore, "n1"), range(12))
    assign(allocator(datastore, "n5"), [20])
    before = datastore.read(read_snapshot)

    with pytest.raises(ExhaustedError) as caught:
        assign(allocator(datastore, "n1"), [12])

    assert str(caught.value) == (
        "pool default is exhausted for node n1: 13 of 16 addresses of 10.0.0.0/28 in use, 1 of 4 "
        "blocks (/30) are other nodes'; add a pool, or free the addresses of dead pods with ipamctl gc"
    )
    assert datastore.read(read_snapshot) == before


@pytest.mark.parametrize(
    ("pools", "message"),
    [
        pytest.param(
            (Pool("default", network("10.1.0.0/28"), 30),),
            "ipam.pools.default: expected 10.0.0.0/28 with blockSize 30 as the datastore has it: "
            "it has 1 blocks in use",
            id="CIDR",
        ),
        pytest.param(
            (Pool("default", network("10.0.0.0/28"), 31),),
            "ipam.pools.default: expected 10.0.0.0/28 with blockSize 30 as the datastore has it: "
            "it has 1 blocks in use",
            id="blockSize",
        ),
        pytest.param(
            (Pool("other", network("10.0.0.8/29"), 30),),
            "ipam.pools.other: expected a CIDR apart from pool default, 10.0.0.0/28 with blockSize 30: "
            "it has 1 blocks in use",
            id="overlap",
        ),
    ],
)
def test_a_pool_is_not_changed_under_its_blocks(
    pools: tuple[Pool, ...], message: str, datastore: Datastore
) -> None:
    assign(allocator(datastore), [1])
    before = datastore.read(read_snapshot)

    with pytest.raises(ConfigError) as caught:
        assign(allocator(datastore, pools=pools), [2])

    assert str(caught.value) == f"network configuration: {message}"
    assert datastore.read(read_snapshot) == before


def test_a_pool_without_blocks_may_change(datastore: Datastore) -> None:
    assign(allocator(datastore, pools=(SPARE, POOL)), [1])
    moved = Pool("other", network("10.0.0.0/27"), 31)

    assert assign(allocator(datastore, pools=(moved, SPARE)), [2]) == ["10.0.0.24/32"]
    assert datastore.read(LedgerReader.pools) == [moved, SPARE]


def test_a_release_that_was_decided_on_an_older_allocation_is_refused(datastore: Datastore) -> None:
    n1 = allocator(datastore, pools=(Pool("one", network("10.0.0.0/32"), 32),))
    assign(n1, [1])
    [seen] = datastore.read(LedgerReader.allocations)
    n1.release(handle(1))
    assign(n1, [1])

    assert not datastore.transact(lambda ledger: release_allocation(ledger, seen, 2000))
    [now] = datastore.read(LedgerReader.allocations)
    assert now.sequence > seen.sequence
    assert datastore.transact(lambda ledger: release_allocation(ledger, now, 2000))


def drop_allocation(ledger: Ledger) -> None:
    ledger.delete_allocation(ip_address("10.0.0.0"))


def drop_block(ledger: Ledger) -> None:
    """Leave what a release that was half written would: the block has the address, so has the pod."""
    block = ledger.block("default", network("10.0.0.0/30"))
    assert block is not None
    ledger.put_block(block, msgspec.structs.replace(block, fresh=0))


def lose_open_block(ledger: Ledger) -> None:
    ledger._transaction.delete("blocks/default/10.0.0.0-30")


@pytest.mark.parametrize(
    ("damage", "container", "message"),
    [
        pytest.param(
            drop_allocation, 1, "c1/eth0 holds 10.0.0.0, which is not allocated to it", id="allocation lost"
        ),
        pytest.param(
            drop_block,
            2,
            "10.0.0.0 is free in block 10.0.0.0/30, yet allocated to c1/eth0",
            id="block says free",
        ),
        pytest.param(
            lose_open_block,
            2,
            "the index of open blocks is wrong at open/n1/default/00000000000/10.0.0.0-30",
            id="block lost",
        ),
    ],
)
def test_nothing_is_given_out_of_a_datastore_that_contradicts_itself(
    damage: Callable[[Ledger], None], container: int, message: str, datastore: Datastore
) -> None:
    assign(allocator(datastore), [1])
    datastore.transact(damage)

    with pytest.raises(InconsistentError) as caught:
        assign(allocator(datastore), [container])

    assert str(caught.value) == f"{message}: run ipamctl check"


def test_a_release_of_what_is_free_already_mends(datastore: Datastore) -> None:
    """A DEL must succeed, and must not queue an address twice."""
    n1 = allocator(datastore)
    assign(n1, [1])
    datastore.transact(drop_block)

    assert n1.release(handle(1))
    assert find_contradictions(datastore.read(read_snapshot)) == []
    assert assign(n1, range(2, 6)) == addresses([0, 1, 2, 3])


class CrashError(Exception):
    """The process died."""


class CrashingStore:
    """A store whose process dies in the next transaction, before or after the commit, when told so."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.crash: str | None = None

    def read(self, step: Callable[[Reader], T]) -> T:
        return self.store.read(step)

    def transact(self, step: Callable[[Transaction], T]) -> T:
        crash, self.crash = self.crash, None

        def dying(transaction: Transaction) -> T:
            result = step(transaction)
            if crash == "before commit":
                raise CrashError
            return result

        result = self.store.transact(dying)
        if crash == "after commit":
            raise CrashError
        return result

    def verify(self) -> list[str]:
        return self.store.verify()

    def close(self) -> None:
        self.store.close()


NODES = ("n1", "n2", "n5")
CONTAINERS = st.integers(0, 19)


class Cluster(RuleBasedStateMachine):
    """Nodes that add, delete, crash and collect, over one pool of four blocks of four addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = TemporaryDirectory()
        self.store = CrashingStore(self.open())
        self.datastore = Datastore(self.store)
        self.clock = Clock()
        self.held: dict[int, tuple[str, Address]] = {}
        self.last_use: dict[Address, int] = {}
        self.observed: list[Allocation] = []

    def open(self) -> Store:
        return MemoryStore()

    def allocator(self, node: str) -> Allocator:
        return Allocator(self.datastore, node, (POOL,), self.clock)

    @initialize()
    def pool(self) -> None:
        """Begin with nothing."""
        assert self.datastore.blocks() == []

    @rule(node=st.sampled_from(NODES), number=CONTAINERS)
    def add(self, node: str, number: int) -> None:
        """Give a container an address, or the one that it has; or say that there is none."""
        own = [block for block in self.datastore.blocks() if block.node == node]
        free = self.free(own)
        claimable = len(self.datastore.blocks()) < POOL.block_count
        try:
            got = self.allocator(node).assign(handle(number), WEB, "/n")
        except ExhaustedError:
            assert number not in self.held
            assert not free
            assert not claimable
            return
        address = got.address.ip
        if number in self.held:
            assert address == self.held[number][1]
            return
        assert address not in {other for _, other in self.held.values()}
        if free:
            assert self.last_use.get(address, 0) == min(self.last_use.get(item, 0) for item in free)
        self.held[number] = (node, address)

    @rule(number=CONTAINERS)
    def delete(self, number: int) -> None:
        """Free what a container holds, known or not."""
        assert self.allocator("n1").release(handle(number)) == (number in self.held)
        self.forget(number)

    @rule(
        node=st.sampled_from(NODES),
        number=CONTAINERS,
        moment=st.sampled_from(["before commit", "after commit"]),
    )
    def add_and_die(self, node: str, number: int, moment: str) -> None:
        """Die in the middle of an ADD; what was committed is found by the next."""
        self.store.crash = moment
        with suppress(CrashError, ExhaustedError):
            self.allocator(node).assign(handle(number), WEB, "/n")
        self.store.crash = None
        self.adopt(number)

    @rule(number=CONTAINERS, moment=st.sampled_from(["before commit", "after commit"]))
    def delete_and_die(self, number: int, moment: str) -> None:
        """Die in the middle of a DEL."""
        self.store.crash = moment
        with suppress(CrashError):
            self.allocator("n1").release(handle(number))
        self.store.crash = None
        self.adopt(number)

    @rule()
    def observe(self) -> None:
        """Take the look that a collector decides by."""
        self.observed = self.datastore.read(LedgerReader.allocations)

    @rule(data=st.data())
    def collect(self, data: st.DataObject) -> None:
        """Free an allocation as it was observed: it goes if it is still that one, and no other does."""
        if not self.observed:
            return
        seen = data.draw(st.sampled_from(self.observed))
        current = self.datastore.read(lambda ledger: ledger.allocation(seen.address))
        now_s = int(self.clock())
        assert self.datastore.transact(lambda ledger: release_allocation(ledger, seen, now_s)) == (
            current == seen
        )
        for number in [number for number in self.held if handle(number) == seen.handle and current == seen]:
            self.forget(number)

    @invariant()
    def holds(self) -> None:
        """No address twice, none lost, none outside its block; all records agree, also with us."""
        snapshot = self.datastore.read(read_snapshot)
        assert find_contradictions(snapshot) == []
        assert {(item.handle, item.address) for item in snapshot.allocations} == {
            (handle(number), address) for number, (_, address) in self.held.items()
        }
        owner = {block.network: block.node for block in snapshot.blocks}
        assert all(owner[item.block] == item.node for item in snapshot.allocations)

    def free(self, blocks: Sequence[Block]) -> list[Address]:
        used = {address for _, address in self.held.values()}
        return [address for block in blocks for address in block.network if address not in used]

    def adopt(self, number: int) -> None:
        """Learn from the datastore whether a request that got no answer took place."""
        found = self.datastore.read(lambda ledger: ledger.addresses(handle(number)))
        if not found:
            self.forget(number)
        elif number not in self.held:
            holder = self.datastore.read(lambda ledger: ledger.allocation(found[0]))
            assert holder is not None
            self.held[number] = (holder.node, found[0])

    def forget(self, number: int) -> None:
        if number in self.held:
            self.last_use[self.held.pop(number)[1]] = self.clock.now_s

    def teardown(self) -> None:
        self.store.close()
        self.directory.cleanup()


class DurableCluster(Cluster):
    """The same over SQLite, where the process can also start anew."""

    def open(self) -> Store:
        return SqliteStore(Path(self.directory.name) / "ipam.sqlite")

    @rule()
    def restart(self) -> None:
        """Close the datastore and open it again."""
        self.store.close()
        self.store.store = self.open()


TestCluster = Cluster.TestCase
TestCluster.settings = settings(deadline=None, max_examples=60, stateful_step_count=40)
TestDurableCluster = DurableCluster.TestCase
TestDurableCluster.settings = settings(deadline=None, max_examples=25, stateful_step_count=40)
