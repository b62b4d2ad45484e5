"""The agent's garbage collection: what it frees, and when."""

import asyncio
import itertools
import os
from pathlib import Path

import pytest

from cni.agent.collector import Collector, Round, keep_collecting
from ipam import keys
from ipam.allocator import Allocator
from ipam.boot import read_boot_id
from ipam.check import find_contradictions, read_snapshot
from ipam.datastore import open_datastore
from ipam.ledger import LedgerReader
from ipam.model import Policy, Pool
from tests.ipam.values import handle, network, request

POOL = Pool("default", network("10.0.0.0/26"), 28)
ALIVE = "/"
GONE = "/nowhere"
NODES = frozenset({"n1", "n2"})


class World:
    """A datastore, a node's collector, and the time."""

    def __init__(self, directory: Path) -> None:
        self.url = f"sqlite://{directory}/ipam.sqlite"
        self.now_s = 0.0
        self.numbers = itertools.count()

    def add(self, node: str = "n1", netns: str = GONE, **fields: object) -> str:
        """Give a pod an address; return its container."""
        number = next(self.numbers)
        with open_datastore(self.url) as datastore:
            Allocator(datastore, (POOL,)).assign(request(number, 1000, node, netns=netns, **fields))
        return f"c{number}"

    def held(self) -> set[str]:
        """Return the containers that hold addresses."""
        with open_datastore(self.url) as datastore:
            snapshot = datastore.read(read_snapshot)
        assert find_contradictions(snapshot) == []
        return {item.handle.container_id for item in snapshot.allocations}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    built = World(tmp_path)
    monkeypatch.setattr("cni.agent.collector.time.monotonic", lambda: built.now_s)
    monkeypatch.setattr("ipam.leaks.read_machine_id", lambda: "m")
    return built


def test_what_is_left_behind_is_freed_after_the_grace(world: World) -> None:
    alive, gone, others = world.add(netns=ALIVE), world.add(), world.add("n2")
    collecting = Collector("n1", world.url, 300)

    first = collecting.look(None)
    world.now_s = 299
    second = collecting.look(None)
    late = world.add()
    world.now_s = 300
    third = collecting.look(None)

    assert [len(done.candidates) for done in (first, second, third)] == [1, 1, 1]
    assert [
        [leak.allocation.handle.container_id for leak in done.freed] for done in (first, second, third)
    ] == [
        [],
        [],
        [gone],
    ]
    assert world.held() == {alive, others, late}


def test_a_pod_that_comes_back_keeps_its_address(world: World) -> None:
    """Its runtime asked again; what was seen was another state of it."""
    gone = world.add()
    collecting = Collector("n1", world.url, 300)
    collecting.look(None)
    with open_datastore(world.url) as datastore:
        Allocator(datastore, (POOL,)).assign(request(0, 1000, netns=ALIVE))
    world.now_s = 1000

    assert collecting.look(None).freed == ()
    assert world.held() == {gone}


def test_after_a_reboot_nobody_waits(world: World) -> None:
    """No namespace of the earlier boot is left; one that is there all the same is left alone."""
    machine_id = "m"
    world.add(boot_id="an earlier one", machine_id=machine_id)
    # Of whom only the name is ours.
    other = world.add(boot_id="an earlier one", machine_id="another")
    there = world.add(boot_id="an earlier one", machine_id=machine_id, netns=ALIVE)
    now = world.add(boot_id=Path("/proc/sys/kernel/random/boot_id").read_text().strip())

    assert len(Collector("n1", world.url, 300).look(None).freed) == 1
    assert world.held() == {there, now, other}


def test_the_first_node_cleans_up_after_those_that_are_gone(world: World) -> None:
    lost = [world.add("n3", ALIVE) for _ in range(3)]
    kept = world.add("n2", ALIVE)
    second, first = Collector("n2", world.url, 300), Collector("n1", world.url, 300)

    for world.now_s in (0, 301, 602):
        second.look(NODES)
    assert world.held() == {*lost, kept}
    for world.now_s in (1000, 1299):
        assert first.look(NODES).candidates == ()
    # Gone for long enough; its addresses are now seen for the first time, and wait in turn.
    world.now_s = 1300
    assert len(first.look(NODES).candidates) == 3
    world.now_s = 1600
    done = first.look(NODES)

    assert (len(done.freed), [item.verdict for item in done.reclaimed]) == (3, [])
    assert world.held() == {kept}


@pytest.mark.parametrize(
    "nodes",
    [
        pytest.param(None, id="not known"),
        pytest.param(frozenset(), id="none"),
        pytest.param(frozenset({"n2"}), id="another cluster's"),
    ],
)
def test_without_knowing_the_cluster_no_node_is_gone(nodes: frozenset[str] | None, world: World) -> None:
    lost = world.add("n3", ALIVE)
    collecting = Collector("n1", world.url, 0)

    for world.now_s in (0, 1, 2):
        collecting.look(nodes)

    assert world.held() == {lost}


def test_a_node_that_comes_back_in_time_keeps_all(world: World) -> None:
    there = world.add("n2", ALIVE)
    collecting = Collector("n1", world.url, 300)
    for world.now_s, nodes in ((0, {"n1"}), (299, {"n1"}), (300, {"n1", "n2"}), (301, {"n1"}), (600, {"n1"})):
        collecting.look(nodes)

    assert world.held() == {there}


def test_an_address_that_is_borrowed_is_looked_at_where_it_is_used(world: World) -> None:
    """n1's pods borrow out of n2's block, since a node may have no block of its own."""
    with open_datastore(world.url) as datastore:
        lender = Allocator(datastore, (POOL,))
        lender.assign(request(50, 1000, "n2", netns=ALIVE))
        borrower = Allocator(datastore, (POOL,), Policy(max_blocks_per_node=1))
        for number in range(17):
            borrower.assign(request(100 + number, 1000, "n1", netns=GONE))
        lent = [item for block in datastore.read(LedgerReader.blocks) for item in block.lent]
    assert [item.node for item in lent] == ["n1"]

    done = Collector("n1", world.url, 0).look(None)

    assert len(done.freed) == 17
    assert world.held() == {handle(50).container_id}


def test_empty_blocks_are_given_back(world: World) -> None:
    """All but one, once their addresses have rested: these were freed long ago."""
    with open_datastore(world.url) as datastore:
        allocator = Allocator(datastore, (POOL,), clock=lambda: 1000.0)
        for number in range(40):
            allocator.assign(request(number, 1000))
        for number in range(40):
            allocator.release(handle(number))

    done = Collector("n1", world.url, 300).look(None)

    assert [item.verdict for item in done.reclaimed] == ["give back", "give back"]
    with open_datastore(world.url) as datastore:
        assert len(datastore.blocks()) == 1


def test_nothing_to_do_is_no_write(world: World) -> None:
    world.add(netns=f"/proc/{os.getpid()}/ns/net")
    with open_datastore(world.url) as datastore:
        before = datastore.read(read_snapshot)
        assert Collector("n1", world.url, 0).look(NODES).reclaimed == ()
        assert datastore.read(read_snapshot) == before


def test_a_live_pod_under_a_name_that_is_no_node_is_kept(world: World) -> None:
    """The CNI configuration has the host name, and the Node object another."""
    here = world.add("host-a", ALIVE, boot_id=read_boot_id())
    # As the configuration is wrong here, it may be wrong there as well.
    there = world.add("host-b", ALIVE, boot_id="another machine's")
    collecting = Collector("n1", world.url, 300)

    for world.now_s in (0, 301, 602, 903):
        done = collecting.look(NODES)

    assert (done.freed, done.misnamed) == ((), ("host-a",))
    assert world.held() == {here, there}


@pytest.mark.parametrize("is_forced", [False, True])
def test_a_collector_that_sees_no_namespace_at_all_frees_none(is_forced: bool, world: World) -> None:
    """As in a container without the host's /run/netns."""
    held = {world.add(netns=f"/none/{number}", boot_id=read_boot_id()) for number in range(3)}
    collecting = Collector("n1", world.url, 0, is_forced=is_forced)

    done = collecting.look(None)

    assert done.blind == (() if is_forced else ("/none",))
    assert world.held() == (set() if is_forced else held)


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        pytest.param(
            {"node": "host-a", "netns": ALIVE},
            "pods of this machine have addresses as node host-a, which is no Node, and we are n1: set "
            "nodeName in the CNI configuration; until then no node counts as gone",
            id="misnamed",
        ),
        pytest.param(
            {"netns": "/none/1"},
            "/none is empty or not there, and so are all namespaces of this boot: nothing is freed for that; "
            "mount it, or set gcAllGone",
            id="blind",
        ),
    ],
)
def test_what_keeps_addresses_is_told_once(
    held: dict[str, str], expected: str, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """A line for as long as it lasts, and another one when it comes back."""
    container = world.add(boot_id=read_boot_id(), **held)
    rounds = iter(range(6))

    def take_round(_done: Round) -> None:
        match next(rounds):
            case 2:
                with open_datastore(world.url) as datastore:
                    Allocator(datastore, ()).release(handle(0, held.get("node", "n1")))
            case 3:
                with open_datastore(world.url) as datastore:
                    wish = request(
                        0, 1000, held.get("node", "n1"), netns=held["netns"], boot_id=read_boot_id()
                    )
                    Allocator(datastore, (POOL,)).assign(wish)
            case 5:
                raise _EnoughError

    with pytest.raises(_EnoughError):
        asyncio.run(keep_collecting(Collector("n1", world.url, 300), lambda: NODES, 0, take_round))

    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told == [f"addresses kept reason={expected!r}"] * 2
    assert world.held() == {container}


class _EnoughError(Exception):
    """Ends an endless collection."""


def test_what_can_not_be_read_keeps_nothing_else(world: World) -> None:
    kept, gone = world.add(), world.add()
    with open_datastore(world.url) as datastore:
        first = datastore.read(LedgerReader.allocations)[0]
        assert first.handle.container_id == kept
        key = keys.allocation_key(first.address)
        datastore.transact(lambda ledger: ledger.put_entry(key, b"{spoilt"))

    done = Collector("n1", world.url, 0).look(None)

    assert [leak.allocation.handle.container_id for leak in done.freed] == [gone]
