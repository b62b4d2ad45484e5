"""Which address of a block a request gets."""

from ipaddress import ip_address, ip_interface, ip_network

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipam.assign import (
    build_ip,
    has_rested,
    is_free,
    ordinal_of,
    return_address,
    settle,
    take_address,
    take_this,
)
from ipam.model import Address, AssignedIp, Block, Lent, Pool, Released
from tests.ipam.values import BLOCK, NETWORK, POOL, allocation, network, request

SMALL = Block(ip_network("10.0.0.4/30"), "default", "n1")
FULL = msgspec.structs.replace(SMALL, fresh=4)


@pytest.mark.parametrize(
    ("block", "reserved", "expected", "left"),
    [
        pytest.param(SMALL, (), "10.0.0.4", {"fresh": 1}, id="the network's own address is the first"),
        pytest.param(
            msgspec.structs.replace(SMALL, fresh=3),
            (),
            "10.0.0.7",
            {"fresh": 4},
            id="the broadcast address is the last",
        ),
        pytest.param(
            msgspec.structs.replace(SMALL, fresh=3, released=(Released(0, 5),)),
            (),
            "10.0.0.7",
            {"fresh": 4, "released": (Released(0, 5),)},
            id="never used goes before released",
        ),
        pytest.param(
            msgspec.structs.replace(FULL, released=(Released(2, 50), Released(0, 40))),
            (),
            "10.0.0.6",
            {"released": (Released(0, 40),)},
            id="the queue's order counts, not a clock that was set back",
        ),
        pytest.param(
            SMALL,
            ("10.0.0.4/31",),
            "10.0.0.6",
            {"fresh": 3, "withheld": (0, 1)},
            id="reserved ones are passed over and kept apart",
        ),
        pytest.param(
            msgspec.structs.replace(FULL, released=(Released(0, 0), Released(1, 7))),
            ("10.0.0.4/32",),
            "10.0.0.5",
            {"released": (), "withheld": (0,)},
            id="reserved in the queue",
        ),
        pytest.param(
            msgspec.structs.replace(SMALL, fresh=2),
            ("10.0.0.7/32",),
            "10.0.0.6",
            {"fresh": 4, "withheld": (3,)},
            id="what is left is reserved: the block says that it is full",
        ),
        pytest.param(
            msgspec.structs.replace(FULL, withheld=(0, 2), released=(Released(1, 9),)),
            ("10.0.0.6/32",),
            "10.0.0.4",
            {"withheld": (2,), "released": (Released(1, 9),)},
            id="a reservation that ended: never used, so it goes first",
        ),
        pytest.param(FULL, (), None, {}, id="full"),
        pytest.param(
            SMALL, ("10.0.0.0/24",), None, {"fresh": 4, "withheld": (0, 1, 2, 3)}, id="all reserved"
        ),
        pytest.param(
            Block(ip_network("fd00::40/122"), "default", "n1"), (), "fd00::40", {"fresh": 1}, id="IPv6"
        ),
    ],
)
def test_take_address(
    block: Block, reserved: tuple[str, ...], expected: str | None, left: dict[str, object]
) -> None:
    taken, result = take_address(block, request(1), [network(text) for text in reserved])

    changed = bool(left)
    assert taken == msgspec.structs.replace(block, **left, sequence=1 if changed else 0)
    assert result == (None if expected is None else allocation(1, expected, block=block))


@pytest.mark.parametrize(
    ("block", "address", "expected"),
    [
        pytest.param(
            SMALL,
            "10.0.0.6",
            {"fresh": 3, "released": (Released(0, 0), Released(1, 0))},
            id="fresh: those before it go out first",
        ),
        pytest.param(
            msgspec.structs.replace(FULL, released=(Released(0, 5), Released(2, 6), Released(3, 7))),
            "10.0.0.6",
            {"released": (Released(0, 5), Released(3, 7))},
            id="out of the middle of the queue",
        ),
        pytest.param(
            msgspec.structs.replace(FULL, withheld=(1, 2)), "10.0.0.6", {"withheld": ()}, id="once reserved"
        ),
        pytest.param(FULL, "10.0.0.6", None, id="in use"),
        pytest.param(SMALL, "10.0.0.7", None, id="reserved"),
    ],
)
def test_take_this(block: Block, address: str, expected: dict[str, object] | None) -> None:
    taken, result = take_this(block, ip_address(address), request(1), [network("10.0.0.7/32")])

    if expected is None:
        assert (taken, result) == (block, None)
    else:
        known = {"released": (), "withheld": (), **expected}
        if block.withheld:
            known["released"] = (Released(1, 0),)
        if known.get("fresh") == 3:
            # What comes next is reserved.
            known |= {"fresh": 4, "withheld": (3,)}
        assert taken == msgspec.structs.replace(block, **known, sequence=1)
        assert result == allocation(1, address, block=block)


def test_what_another_node_takes_is_lent_until_it_comes_back() -> None:
    borrower = request(1, node="n2")
    taken, result = take_address(SMALL, borrower)

    assert taken.lent == (Lent(0, "n2"),)
    assert result is not None
    assert result.node == "n2"
    again, _ = take_address(taken, request(2, node="n1"))
    assert again.lent == (Lent(0, "n2"),)
    assert return_address(again, result.address, 7).lent == ()


@pytest.mark.parametrize(
    ("block", "excluded", "expected"),
    [
        pytest.param(SMALL, (), {}, id="nothing to do"),
        pytest.param(SMALL, ("10.9.0.0/24",), {}, id="elsewhere"),
        pytest.param(SMALL, ("10.0.0.6/32",), {}, id="not yet: the next is another"),
        pytest.param(SMALL, ("10.0.0.4/32",), {"fresh": 1, "withheld": (0,)}, id="the next"),
        pytest.param(
            msgspec.structs.replace(FULL, released=(Released(1, 5), Released(0, 9))),
            ("10.0.0.5/32",),
            {"released": (Released(0, 9),), "withheld": (1,)},
            id="the next in the queue",
        ),
        pytest.param(
            msgspec.structs.replace(FULL, withheld=(1,)), ("10.0.0.5/32",), {}, id="withheld already"
        ),
        pytest.param(
            msgspec.structs.replace(FULL, withheld=(1, 3), released=(Released(0, 9),)),
            ("10.0.0.5/32",),
            {"withheld": (1,), "released": (Released(3, 0), Released(0, 9))},
            id="withheld no longer",
        ),
    ],
)
def test_settle(block: Block, excluded: tuple[str, ...], expected: dict[str, object]) -> None:
    settled = settle(block, [network(text) for text in excluded])

    assert settled == msgspec.structs.replace(block, **expected, sequence=1 if expected else 0)
    assert (settled is block) == (not expected)


@pytest.mark.parametrize(
    ("idle_since_s", "expected"),
    [
        pytest.param(0, True, id="never used"),
        pytest.param(940, True, id="long enough"),
        pytest.param(941, False, id="not yet"),
        pytest.param(1001, False, id="in the future"),
        pytest.param(1_000_000, True, id="in a far future"),
    ],
)
def test_has_rested(idle_since_s: int, expected: bool) -> None:
    assert has_rested(idle_since_s, 1000, 60) == expected


def test_return_address_queues_it_last() -> None:
    block = msgspec.structs.replace(FULL, released=(Released(1, 10),), sequence=9)

    returned = return_address(block, ip_address("10.0.0.7"), 20)

    assert returned == msgspec.structs.replace(
        block, released=(Released(1, 10), Released(3, 20)), sequence=10
    )


@pytest.mark.parametrize(
    ("block", "idle_since_s", "free", "used"),
    [
        pytest.param(SMALL, 0, 4, 0, id="new"),
        pytest.param(FULL, None, 0, 4, id="full"),
        pytest.param(
            msgspec.structs.replace(FULL, released=(Released(1, 7), Released(0, 9))), 7, 2, 2, id="used"
        ),
        pytest.param(msgspec.structs.replace(SMALL, fresh=3, released=(Released(1, 7),)), 0, 2, 2, id="both"),
        pytest.param(msgspec.structs.replace(FULL, withheld=(1, 2)), None, 0, 2, id="some are reserved"),
    ],
)
def test_block_tells_what_it_has(block: Block, idle_since_s: int | None, free: int, used: int) -> None:
    assert (block.idle_since_s, block.free, block.used) == (idle_since_s, free, used)


@given(st.lists(st.one_of(st.none(), st.integers(0, 63)), max_size=300))
@settings(deadline=None)
def test_a_block_never_gives_an_address_twice(steps: list[int | None]) -> None:
    """None takes an address; a number returns one of those in use. What is in use and what is free add up."""
    block, used = BLOCK, list[Address]()
    last_use: dict[Address, int] = {}
    for now_s, step in enumerate(steps, start=1):
        if step is None:
            free_since = {address: last_use.get(address, 0) for address in NETWORK if address not in used}
            block, result = take_address(block, request(1, now_s))
            assert (result is None) == (not free_since)
            if result is not None:
                assert result.address not in used
                assert free_since[result.address] == min(free_since.values())
                used.append(result.address)
        elif used:
            address = used.pop(step % len(used))
            block = return_address(block, address, now_s)
            last_use[address] = now_s
        assert block.free == block.size - len(used)
        assert [address for address in NETWORK if not is_free(block, address)] == sorted(used, key=int)


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        pytest.param(POOL, "10.0.0.65/32", id="routed"),
        pytest.param(Pool("default", POOL.network, 26, on_link=True), "10.0.0.65/24", id="on a link"),
        pytest.param(None, "10.0.0.65/32", id="a pool that is gone"),
    ],
)
def test_build_ip(pool: Pool | None, expected: str) -> None:
    assert build_ip(allocation(1, "10.0.0.65"), pool) == AssignedIp(
        ip_interface(expected), "default", NETWORK
    )


def test_ordinal_of() -> None:
    assert [ordinal_of(SMALL, address) for address in SMALL.network] == [0, 1, 2, 3]
