"""What is wrong in a datastore: each contradiction has its finding."""

from collections.abc import Callable
from ipaddress import ip_address

import msgspec
import pytest

from ipam.block_index import build_indexes
from ipam.check import Snapshot, find_contradictions
from ipam.model import Handle, Lent, Pool, Released
from tests.ipam.values import BLOCK, POOL, allocation, handle, network

# Two of three addresses that were ever given out are in use.
USED = msgspec.structs.replace(BLOCK, fresh=3, released=(Released(1, 50),))
FULL = msgspec.structs.replace(BLOCK, network=network("10.0.0.0/32"), fresh=1)
FIRST, THIRD = allocation(1, "10.0.0.64"), allocation(2, "10.0.0.66")
SOUND = Snapshot(
    pools=(POOL,),
    blocks=(USED,),
    allocations=(FIRST, THIRD),
    handles=((handle(1), (FIRST.address,)), (handle(2), (THIRD.address,))),
    index=build_indexes((POOL,), (USED,)),
)
SUBJECT = "block 10.0.0.64/26 of pool default"
SPARE = "spare/default/00000000000/10.0.0.64-26"


def change(**fields: object) -> Callable[[], Snapshot]:
    return lambda: msgspec.structs.replace(SOUND, **fields)


def with_block(**fields: object) -> Callable[[], Snapshot]:
    block = msgspec.structs.replace(USED, **fields)
    return change(blocks=(block,), index=build_indexes((POOL,), (block,)))


def with_index(**entries: bytes | None) -> Callable[[], Snapshot]:
    merged = {**SOUND.index, **entries}
    return change(index={key: value for key, value in merged.items() if value is not None})


MOVED = msgspec.structs.replace(POOL, network=network("10.9.0.0/24"))
CUT = msgspec.structs.replace(POOL, block_size=27)
OUTER = msgspec.structs.replace(BLOCK, network=network("10.0.0.0/24"), pool="b")
TWO_POOLS = (Pool("b", network("10.0.0.0/24"), 24), POOL)
BORROWED = msgspec.structs.replace(THIRD, node="n2")


@pytest.mark.parametrize(
    ("snapshot", "expected"),
    [
        pytest.param(change(), [], id="sound"),
        pytest.param(Snapshot, [], id="empty"),
        pytest.param(
            change(
                pools=(POOL, Pool("b", network("10.0.0.0/23"), 26), Pool("c", network("10.0.1.0/25"), 26))
            ),
            [("pool c", "overlaps pool b"), ("pool default", "overlaps pool b")],
            id="pools overlap",
        ),
        pytest.param(
            change(pools=(), index=build_indexes((), (USED,))),
            [(SUBJECT, "its pool is not known: put it back with ipamctl pools apply")],
            id="block without a pool",
        ),
        pytest.param(
            change(pools=(MOVED,), index=build_indexes((MOVED,), (USED,))),
            [(SUBJECT, "is not a /26 inside 10.9.0.0/24")],
            id="block outside its pool",
        ),
        pytest.param(
            change(pools=(CUT,), index=build_indexes((CUT,), (USED,))),
            [(SUBJECT, "is not a /27 inside 10.0.0.0/24")],
            id="block of another size",
        ),
        pytest.param(
            change(blocks=(OUTER, USED), pools=TWO_POOLS, index=build_indexes(TWO_POOLS, (OUTER, USED))),
            [
                ("block 10.0.0.64/26 of pool default", "overlaps block 10.0.0.0/24 of pool b"),
                ("pool default", "overlaps pool b"),
            ],
            id="blocks overlap",
        ),
        pytest.param(
            with_block(released=(Released(1, 50), Released(1, 60))),
            [(SUBJECT, "lists a free address twice")],
            id="free twice",
        ),
        pytest.param(
            with_block(withheld=(1,)), [(SUBJECT, "lists a free address twice")], id="free and withheld"
        ),
        pytest.param(
            with_block(released=(Released(1, 50), Released(9, 60))),
            [(SUBJECT, "its free addresses are out of range")],
            id="free and fresh",
        ),
        pytest.param(
            with_block(released=()),
            [("address 10.0.0.65", "is lost: neither allocated nor free in its block")],
            id="lost",
        ),
        pytest.param(
            with_block(released=(Released(1, 50), Released(2, 60))),
            [("address 10.0.0.66", "is allocated, and free in its block")],
            id="allocated and free",
        ),
        pytest.param(
            with_block(lent=(Lent(2, "n2"),)),
            [("address 10.0.0.66", "is in use on n1; its block has it on n2")],
            id="lent, and used at home",
        ),
        pytest.param(
            with_block(lent=(Lent(1, "n2"),)),
            [("address 10.0.0.65", "is free, and lent to n2 by its block")],
            id="lent, and free",
        ),
        pytest.param(
            change(allocations=(FIRST, BORROWED)),
            [("address 10.0.0.66", "is in use on n2; its block has it on n1, its own")],
            id="borrowed, and not lent",
        ),
        pytest.param(
            change(allocations=(FIRST,)),
            [
                ("address 10.0.0.66", "is lost: neither allocated nor free in its block"),
                ("handle c2/eth0", "lists 10.0.0.66, which is not allocated"),
            ],
            id="handle without an allocation",
        ),
        pytest.param(
            change(handles=SOUND.handles[:1]),
            [("address 10.0.0.66", "is not listed by its handle c2/eth0")],
            id="allocation without a handle",
        ),
        pytest.param(
            change(handles=(*SOUND.handles, (Handle("c3", "eth0", "n1"), (THIRD.address,)))),
            [("handle c3/eth0", "lists 10.0.0.66, which c2/eth0 holds")],
            id="two handles for an address",
        ),
        pytest.param(
            change(handles=(*SOUND.handles, (Handle("c3", "eth0", "n1"), ()))),
            [("handle c3/eth0", "holds nothing")],
            id="handle of nothing",
        ),
        pytest.param(
            change(allocations=(FIRST, THIRD, allocation(1, "10.0.0.66"))),
            [
                ("address 10.0.0.66", "is allocated twice"),
                ("address 10.0.0.66", "is not listed by its handle c1/eth0"),
                ("handle c2/eth0", "lists 10.0.0.66, which c1/eth0 holds"),
            ],
            id="an address twice",
        ),
        pytest.param(
            change(
                allocations=(FIRST, THIRD, allocation(3, "10.0.0.130")),
                handles=(*SOUND.handles, (handle(3), (ip_address("10.0.0.130"),))),
            ),
            [("address 10.0.0.130", "lies outside its block 10.0.0.64/26")],
            id="outside its block",
        ),
        pytest.param(
            change(blocks=(), index={}),
            [
                ("address 10.0.0.64", "its block 10.0.0.64/26 of pool default is not known"),
                ("address 10.0.0.66", "its block 10.0.0.64/26 of pool default is not known"),
            ],
            id="block lost",
        ),
        pytest.param(
            with_index(**{SPARE: None}), [(f"index {SPARE}", "is missing")], id="block not in the index"
        ),
        pytest.param(
            with_index(**{"spare/default/00000000009/10.0.0.64-26": b"n1"}),
            [("index spare/default/00000000009/10.0.0.64-26", "names no block in that state")],
            id="index of the past",
        ),
        pytest.param(
            with_index(**{SPARE: b"n2"}), [(f"index {SPARE}", "is not what the blocks have")], id="wrong node"
        ),
    ],
)
def test_find_contradictions(snapshot: Callable[[], Snapshot], expected: list[tuple[str, str]]) -> None:
    assert [(item.subject, item.problem) for item in find_contradictions(snapshot())] == expected


def test_a_full_block_is_no_contradiction() -> None:
    pool = Pool("default", network("10.0.0.0/32"), 32)
    held = allocation(1, "10.0.0.0", block=FULL)
    handles = ((handle(1), (held.address,)),)

    snapshot = Snapshot((pool,), (FULL,), (held,), handles, build_indexes((pool,), (FULL,)))

    assert find_contradictions(snapshot) == []
