"""A model of a cluster: nodes that add, delete, borrow, crash and collect, in any order, over every store.

Each node has its own connection to the datastore, and with it its own idea of what is there. After each step:
no address twice, none lost, none outside its pool, each in a block whose node is who the indexes say, both
families or neither. And each address given out is one that the order of choices allows, as an oracle says
that knows nothing of queues and indexes (`tests.ipam.choice_oracle`).
"""

from contextlib import suppress
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from ipam.allocator import Allocator
from ipam.check import find_contradictions, read_snapshot
from ipam.collection import by_handle, collect
from ipam.datastore import Datastore, open_store
from ipam.errors import AddressInUseError, AddressRefusedError, ExhaustedError
from ipam.leaks import Leak
from ipam.ledger import LedgerReader
from ipam.model import Address, Allocation, Handle, Policy, Pool
from ipam.pool_space import block_at, number_of
from ipam.reclaim import find_reclaimable, reclaim
from tests.etcd.processes import EtcdCluster
from tests.ipam.choice_oracle import World, possible
from tests.ipam.dying_store import DiedError, DyingStore, Moment
from tests.ipam.stores.kinds import KINDS, Open, url_of
from tests.ipam.values import handle, network, request

# Fewer blocks than nodes, and fewer addresses than containers: nodes are soon in one another's way.
FOUR = Pool("four", network("10.0.0.0/29"), 30, (network("10.0.0.5/32"),))
SPARE = Pool("spare", network("10.9.0.0/31"), 31)
SIX = Pool("six", network("fd00::/124"), 126)
POOLS = (FOUR, SPARE, SIX)
RESERVED = [(), (network("10.0.0.5/32"),), (network("10.0.0.0/31"), network("10.0.0.6/32"))]

NODES = ["n1", "n2", "n5"]
CONTAINER_COUNT = 15
CONTAINERS = st.integers(0, CONTAINER_COUNT - 1)
FAMILIES = st.sampled_from([(4, 6), (4,), (6,)])
MOMENTS: st.SearchStrategy[Moment] = st.sampled_from(["before", "after"])
POLICIES = st.builds(Policy, strict_affinity=st.booleans(), max_blocks_per_node=st.sampled_from([0, 1, 2]))


def home(number: int) -> str:
    """Return the node that a container is on: whoever asks for it again asks from there."""
    return NODES[number % len(NODES)]


class Cluster(RuleBasedStateMachine):
    """Nodes over one datastore, and what they must have been given.

    Args:
        open_one: Opens the datastore once more.
        may_overlap: Transactions of one thread may overlap: the store does not lock.
    """

    def __init__(self, open_one: Open, *, may_overlap: bool) -> None:
        super().__init__()
        self.open_one = open_one
        self.may_overlap = may_overlap
        self.nodes = {node: DyingStore(open_one()) for node in NODES}
        self.observer = Datastore(open_one())
        self.policy = Policy()
        self.pools = POOLS
        self.now_s = 1000
        self.held: dict[int, tuple[Address, ...]] = {}
        self.last_use_s: dict[Address, int] = {}
        self.observed: list[Allocation] = []
        # Containers whose namespace is gone.
        self.dead: set[int] = set()

    @initialize(policy=POLICIES)
    def begin(self, policy: Policy) -> None:
        """Begin with nothing, under some policy."""
        self.policy = policy

    @rule(seconds=st.sampled_from([1, 35, 61]))
    def wait(self, seconds: int) -> None:
        """Let time pass."""
        self.now_s += seconds

    @rule(number=CONTAINERS, families=FAMILIES)
    def add(self, number: int, families: tuple[int, ...]) -> None:
        """Give a container its addresses, or those that it has; or say that there are none."""
        node = home(number)
        before = self.world()
        choices = [self.possible(before, node, family) for family in families]
        try:
            got = self.assign(node, number, families)
        except ExhaustedError:
            assert number not in self.held
            assert not all(choices)
            return
        if number in self.held:
            assert got == self.held[number]
            return
        assert len(got) == len(families)
        for address, allowed in zip(got, choices, strict=True):
            assert address in allowed
        self.held[number] = got

    @rule(first=CONTAINERS, families=FAMILIES)
    def add_several(self, first: int, families: tuple[int, ...]) -> None:
        """Fill a block of one node, and begin the next."""
        for number in range(first, first + 5 * len(NODES), len(NODES)):
            self.add(number % CONTAINER_COUNT, families)

    @rule(node=st.sampled_from(NODES), first=CONTAINERS)
    def delete_several(self, node: str, first: int) -> None:
        """Empty blocks."""
        for number in range(first, first + 5):
            self.delete(node, number % CONTAINER_COUNT)

    @rule(
        number=CONTAINERS,
        wanted=st.sampled_from([f"10.0.0.{last}" for last in range(8)]),
    )
    def add_wanted(self, number: int, wanted: str) -> None:
        """Give a container the very address that it asks for, unless there is a reason not to."""
        node = home(number)
        address = ip_address(wanted)
        is_refused = self.is_refused(address, node)
        try:
            got = self.assign(node, number, (4,), (address,))
        except AddressInUseError:
            assert address in self.used()
            return
        except AddressRefusedError:
            assert is_refused
            return
        if number in self.held:
            assert got == self.held[number]
            return
        assert got == (address,)
        assert not is_refused
        assert address not in self.used()
        self.held[number] = got

    @rule(node=st.sampled_from(NODES), number=CONTAINERS)
    def delete(self, node: str, number: int) -> None:
        """Free what a container holds, known or not; a DEL may come from anywhere."""
        assert self.allocator(node).release(self.handle_of(number)) == (number in self.held)
        self.forget(number)

    @rule(number=CONTAINERS, moment=MOMENTS)
    def add_and_die(self, number: int, moment: Moment) -> None:
        """Die in the middle of an ADD; what was committed is found by the next."""
        node = home(number)
        self.nodes[node].dies = moment
        with suppress(DiedError, ExhaustedError):
            self.assign(node, number, ())
        self.restart(node)
        self.adopt(number)

    @rule(node=st.sampled_from(NODES), number=CONTAINERS, moment=MOMENTS)
    def delete_and_die(self, node: str, number: int, moment: Moment) -> None:
        """Die in the middle of a DEL."""
        self.nodes[node].dies = moment
        with suppress(DiedError):
            self.allocator(node).release(self.handle_of(number))
        self.restart(node)
        self.adopt(number)

    @rule(number=CONTAINERS, other_number=CONTAINERS, other_adds=st.booleans())
    def add_while(self, number: int, other_number: int, other_adds: bool) -> None:
        """Add while another node adds or deletes, between the look and the commit."""
        node, other = home(number), home(other_number)
        if node == other or not self.may_overlap:
            return
        self.nodes[node].meanwhile = partial(self.add_any if other_adds else self.delete, other, other_number)
        self.add_any(node, number)
        self.nodes[node].meanwhile = None

    @rule(node=st.sampled_from(NODES))
    def restart(self, node: str) -> None:
        """Start a node's program anew."""
        self.nodes[node].close()
        self.nodes[node] = DyingStore(self.open_one())

    @rule()
    def observe(self) -> None:
        """Take the look that a collector decides by."""
        self.observed = self.observer.read(LedgerReader.allocations)

    @rule(number=CONTAINERS)
    def end(self, number: int) -> None:
        """Let a container's namespace go without a DEL; an ADD may bring it back under the same path."""
        self.dead.add(number)

    @rule(node=st.sampled_from(NODES), data=st.data(), comes_back=st.booleans())
    def collect(self, node: str, data: st.DataObject, comes_back: bool) -> None:
        """Free what a handle was observed to hold; not when its pod came back meanwhile, same path or not."""
        if not self.observed:
            return
        group = data.draw(st.sampled_from(by_handle(self.observed)))
        [number] = [number for number in range(CONTAINER_COUNT) if group[0].handle == self.handle_of(number)]
        alive_before = number not in self.dead
        current = self.observer.read(lambda ledger: [ledger.allocation(item.address) for item in group])

        def come_back() -> None:
            with suppress(ExhaustedError):
                self.assign(group[0].node, number, ())
            self.dead.discard(number)
            self.adopt(number)

        if comes_back and self.may_overlap and group[0].node != node and number in self.held:
            self.nodes[node].meanwhile = come_back
        due = [Leak(item, "its namespace is gone") for item in group]
        done = collect(Datastore(self.nodes[node]), due, lambda _: number in self.dead, self.now_s)
        self.nodes[node].meanwhile = None
        if alive_before or number not in self.dead:
            assert done.freed == ()
        else:
            assert bool(done.freed) == (current == group)
        if done.freed:
            gone = {item.address for item in group}
            left = tuple(item for item in self.held[number] if item not in gone)
            self.last_use_s.update(dict.fromkeys(gone, self.now_s))
            self.held[number] = left
            if not left:
                del self.held[number]

    @rule(node=st.sampled_from(NODES), alive=st.sets(st.sampled_from(NODES)))
    def give_back(self, node: str, alive: set[str]) -> None:
        """Give empty blocks back, and part blocks from nodes that are gone."""
        datastore = Datastore(self.nodes[node])
        found = find_reclaimable(self.observer.blocks(), self.pools, self.now_s, nodes=alive)
        for item in found:
            assert datastore.transact(partial(reclaim, item=item))
            if item.verdict == "give back":
                for address in item.block.network:
                    # Whoever claims it anew knows no past.
                    self.last_use_s.pop(address, None)

    @rule(reserved=st.sampled_from(RESERVED), disabled=st.booleans())
    def configure(self, reserved: tuple[()], disabled: bool) -> None:
        """Change what a pool has reserved, and whether another is in use; the next ADD brings it along."""
        for block in self.observer.blocks():
            # What was withheld counts as never used once it no longer is.
            for ordinal in block.withheld:
                self.last_use_s.pop(block.network[ordinal], None)
        self.pools = (
            msgspec.structs.replace(FOUR, reserved=reserved),
            msgspec.structs.replace(SPARE, disabled=disabled),
            SIX,
        )

    @invariant()
    def holds(self) -> None:
        """No address twice, none lost, none outside its pool; all records agree, also with us."""
        snapshot = self.observer.read(read_snapshot)
        assert find_contradictions(snapshot) == []
        assert {(item.handle, item.address) for item in snapshot.allocations} == {
            (self.handle_of(number), address)
            for number, addresses in self.held.items()
            for address in addresses
        }
        pools = {pool.name: pool for pool in self.pools}
        blocks = {block.network: block for block in snapshot.blocks}
        for item in snapshot.allocations:
            assert item.address in pools[item.pool].network
            assert item.address in item.block
            lent = {one.ordinal: one.node for one in blocks[item.block].lent}
            ordinal = int(item.address) - int(item.block.network_address)
            assert lent.get(ordinal, blocks[item.block].node) == item.node

    def allocator(self, node: str) -> Allocator:
        return Allocator(Datastore(self.nodes[node]), self.pools, self.policy, lambda: self.now_s)

    def assign(
        self, node: str, number: int, families: tuple[int, ...], wanted: tuple[Address, ...] = ()
    ) -> tuple[Address, ...]:
        # Whoever asks has made the namespace anew.
        self.dead.discard(number)
        wish = request(number, self.now_s, node, families=families, addresses=wanted)
        return tuple(ip.address.ip for ip in self.allocator(node).assign(wish).ips)

    def add_any(self, node: str, number: int) -> None:
        """Add without a look at which address it is."""
        with suppress(ExhaustedError):
            self.assign(node, number, ())
        self.adopt(number)

    def handle_of(self, number: int) -> Handle:
        return handle(number, home(number))

    def used(self) -> set[Address]:
        return {address for addresses in self.held.values() for address in addresses}

    def world(self) -> World:
        return World(self.observer.blocks(), self.used(), dict(self.last_use_s))

    def possible(self, world: World, node: str, family: int) -> set[Address]:
        pools = [pool for pool in self.pools if pool.network.version == family]
        return possible(world, pools, self.policy, node, self.now_s)

    def is_refused(self, address: Address, node: str) -> bool:
        pool = self.pools[0]
        blocks = self.observer.blocks()
        where = block_at(pool, number_of(pool, address))
        owner = next((block.node for block in blocks if block.network == where), None)
        owned = sum(block.node == node and block.network.version == 4 for block in blocks)
        may_claim = not self.policy.max_blocks_per_node or owned < self.policy.max_blocks_per_node
        is_strict = self.policy.strict_affinity
        allowed = {None: may_claim, "": may_claim or not is_strict, node: True}.get(owner, not is_strict)
        return not allowed or any(address in item for item in pool.reserved)

    def adopt(self, number: int) -> None:
        """Learn from the datastore whether a request that got no answer took place."""
        found = self.observer.read(lambda ledger: ledger.addresses(self.handle_of(number)))
        if found:
            assert self.held.setdefault(number, found) == found
        else:
            self.forget(number)

    def forget(self, number: int) -> None:
        for address in self.held.pop(number, ()):
            self.last_use_s[address] = self.now_s

    def teardown(self) -> None:
        for store in self.nodes.values():
            store.close()
        self.observer.close()


EXAMPLES = {"memory": 100, "sqlite": 12, "etcd": 12}


@pytest.mark.parametrize("kind", KINDS)
def test_a_cluster_keeps_its_promises(kind: str, tmp_path: Path, etcd: EtcdCluster) -> None:
    class Anew(Cluster):
        """A cluster over a datastore that nobody else has."""

        def __init__(self) -> None:
            open_one = partial(open_store, url_of(kind, tmp_path, etcd))
            super().__init__(open_one, may_overlap=kind != "sqlite")

    run_state_machine_as_test(
        Anew,
        settings=settings(
            deadline=None,
            max_examples=EXAMPLES[kind],
            stateful_step_count=60,
            suppress_health_check=list(HealthCheck),
        ),
    )
