"""Blocks that are given back, or parted from a node that is gone."""

from functools import partial

import msgspec
import pytest

from ipam.model import Block, Lent, Pool, Released
from ipam.reclaim import Reclaim, find_reclaimable, reclaim
from tests.ipam.stand import Stand
from tests.ipam.values import network

POOL = Pool("default", network("10.0.0.0/28"), 30, reserved=(network("10.0.0.0/32"),))
# Empty since second 900; the first has the reserved address.
EMPTY = (
    Block(network("10.0.0.0/30"), "default", "n1", 2, (Released(1, 900),), (0,)),
    *(
        Block(network(cidr), "default", "n1", 2, (Released(0, 900), Released(1, 100)))
        for cidr in ("10.0.0.4/30", "10.0.0.8/30")
    ),
)


def used(block: Block, **fields: object) -> Block:
    """Return the block with one address in use."""
    return msgspec.structs.replace(block, released=(), fresh=1, **fields)


@pytest.mark.parametrize(
    ("blocks", "nodes", "now_s", "expected"),
    [
        pytest.param([], None, 1000, [], id="nothing"),
        pytest.param(EMPTY[:1], None, 1000, [], id="a node keeps its only block in a pool"),
        pytest.param(
            EMPTY[:3],
            None,
            1000,
            ["10.0.0.4/30 give back", "10.0.0.8/30 give back"],
            id="and the first of several",
        ),
        pytest.param(
            [EMPTY[0], used(EMPTY[1])], None, 1000, ["10.0.0.0/30 give back"], id="or one that it uses"
        ),
        pytest.param(EMPTY[:3], None, 959, [], id="the last address has not rested"),
        pytest.param(
            [EMPTY[0], msgspec.structs.replace(EMPTY[1], node="n2")],
            None,
            1000,
            [],
            id="one each of two nodes",
        ),
        pytest.param(EMPTY[:1], ["n2"], 1000, ["10.0.0.0/30 give back"], id="of a node that is gone"),
        pytest.param(EMPTY[:1], ["n2"], 959, [], id="of a node that is gone, not rested"),
        pytest.param(EMPTY[:1], ["n1"], 1000, [], id="of a node that is there"),
        pytest.param(
            [used(EMPTY[1])], ["n2"], 1000, [], id="of a node that is gone: its allocations go first"
        ),
        pytest.param(
            [used(EMPTY[1], lent=(Lent(0, "n2"),))],
            ["n2"],
            1000,
            ["10.0.0.4/30 disown"],
            id="of a node that is gone, borrowed by another",
        ),
        pytest.param([used(EMPTY[1], lent=(Lent(0, "n2"),))], None, 1000, [], id="nodes are not known"),
        pytest.param(
            [used(EMPTY[1], node="", lent=(Lent(0, "n2"),))], ["n2"], 1000, [], id="of no node, still in use"
        ),
        pytest.param(
            [msgspec.structs.replace(EMPTY[1], node="")],
            None,
            1000,
            ["10.0.0.4/30 give back"],
            id="of no node",
        ),
        pytest.param(
            [msgspec.structs.replace(EMPTY[1], fresh=4, withheld=(3,))],
            None,
            1000,
            ["10.0.0.4/30 settle"],
            id="a reservation ended",
        ),
    ],
)
def test_find(blocks: list[Block], nodes: list[str] | None, now_s: int, expected: list[str]) -> None:
    found = find_reclaimable(blocks, (POOL,), now_s, nodes=nodes)

    assert [f"{item.block.network} {item.verdict}" for item in found] == expected


def collect(stand: Stand, nodes: list[str] | None = None) -> list[bool]:
    found = find_reclaimable(stand.datastore.blocks(), stand.pools, stand.now_s, nodes=nodes)
    return [stand.datastore.transact(partial(reclaim, item=item)) for item in found]


def test_what_is_given_back_any_node_may_claim() -> None:
    stand = Stand(POOL)
    stand.fill(range(15))
    for number in range(15):
        stand.delete(number)
    assert collect(stand) == []
    stand.now_s += 60

    assert collect(stand) == [True, True, True]
    assert stand.blocks() == {"10.0.0.0/30": "n1 0"}
    assert stand.add(20, "n5") == "10.0.0.4"


def test_blocks_of_a_node_that_is_gone() -> None:
    stand = Stand(POOL)
    stand.add(50, "n5")
    stand.fill(range(12), "n1")
    assert collect(stand, ["n1"]) == []

    # n1 borrows from n5, whose own pod is then freed.
    stand.delete(50)
    assert collect(stand, ["n1"]) == [True]
    assert stand.blocks()["10.0.0.4/30"].startswith(" ")
    for number in range(12):
        stand.delete(number)
    stand.now_s += 60
    assert collect(stand, []) == [True] * 4
    assert stand.blocks() == {}


def test_a_block_that_changed_since_it_was_seen_stays() -> None:
    stand = Stand(POOL)
    stand.add(1)
    seen = stand.datastore.blocks()[0]
    stand.add(2)

    assert not stand.datastore.transact(lambda ledger: reclaim(ledger, Reclaim(seen, "give back")))
    assert stand.blocks() == {"10.0.0.0/30": "n1 2"}
