"""Which address a request gets, and which block a node claims."""

from ipaddress import IPv4Address, ip_address, ip_interface, ip_network

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipam.assign import (
    build_assignment,
    choose_network,
    is_free,
    ordinal_of,
    return_address,
    take_address,
)
from ipam.model import Address, Assignment, Block, Network, Pool, Released
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
            {"fresh": 3, "released": (Released(0, 0), Released(1, 0))},
            id="reserved ones are passed over and kept",
        ),
        pytest.param(
            msgspec.structs.replace(FULL, released=(Released(0, 0), Released(1, 7))),
            ("10.0.0.4/32",),
            "10.0.0.5",
            {"released": (Released(0, 0),)},
            id="reserved in the queue",
        ),
        pytest.param(FULL, (), None, {}, id="full"),
        pytest.param(SMALL, ("10.0.0.0/24",), None, {}, id="all reserved"),
        pytest.param(
            Block(ip_network("fd00::40/122"), "default", "n1"), (), "fd00::40", {"fresh": 1}, id="IPv6"
        ),
    ],
)
def test_take_address(
    block: Block, reserved: tuple[str, ...], expected: str | None, left: dict[str, object]
) -> None:
    taken, result = take_address(block, request(1), [network(text) for text in reserved])

    if expected is None:
        assert (taken, result) == (block, None)
    else:
        assert taken == msgspec.structs.replace(block, **left, sequence=1)
        assert result == allocation(1, expected, block=block)


def test_return_address_queues_it_last() -> None:
    block = msgspec.structs.replace(FULL, released=(Released(1, 10),), sequence=9)

    returned = return_address(block, ip_address("10.0.0.7"), 20)

    assert returned == msgspec.structs.replace(
        block, released=(Released(1, 10), Released(3, 20)), sequence=10
    )


@pytest.mark.parametrize(
    ("block", "idle_since_s", "free"),
    [
        pytest.param(SMALL, 0, 4, id="new"),
        pytest.param(FULL, None, 0, id="full"),
        pytest.param(
            msgspec.structs.replace(FULL, released=(Released(1, 7), Released(0, 9))), 7, 2, id="used"
        ),
        pytest.param(msgspec.structs.replace(SMALL, fresh=3, released=(Released(1, 7),)), 0, 2, id="both"),
    ],
)
def test_block_tells_what_it_has(block: Block, idle_since_s: int | None, free: int) -> None:
    assert (block.idle_since_s, block.free) == (idle_since_s, free)


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
    ("pool", "claimed", "expected"),
    [
        # crc32(b"n5") % 4 == 1
        pytest.param(POOL, (), "10.0.0.64/26", id="a place of the node's own"),
        pytest.param(POOL, ("10.0.0.64/26", "10.0.0.128/26"), "10.0.0.192/26", id="the next that is free"),
        pytest.param(
            POOL, ("10.0.0.64/26", "10.0.0.128/26", "10.0.0.192/26"), "10.0.0.0/26", id="around the end"
        ),
        pytest.param(
            POOL, tuple(str(item) for item in POOL.network.subnets(new_prefix=26)), None, id="none left"
        ),
        pytest.param(
            msgspec.structs.replace(POOL, reserved=(network("10.0.0.64/26"), network("10.0.0.128/32"))),
            (),
            "10.0.0.128/26",
            id="wholly reserved ones are left out",
        ),
        pytest.param(Pool("p", network("10.0.0.0/26"), 26), (), "10.0.0.0/26", id="a pool of one block"),
        pytest.param(Pool("p", network("fd00::/120"), 122), (), "fd00::40/122", id="IPv6"),
    ],
)
def test_choose_network(pool: Pool, claimed: tuple[str, ...], expected: str | None) -> None:
    taken = {network(text) for text in claimed}

    chosen = choose_network(pool, "n5", taken.__contains__)

    assert chosen == (None if expected is None else network(expected))


@given(st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1), st.integers(20, 26))
@settings(deadline=None)
def test_every_block_is_chosen_once(node: str, length: int) -> None:
    """Claim after claim, a node gets the pool's blocks, each once, until none is left."""
    pool = Pool("p", ip_network((IPv4Address("10.0.0.0"), length)), 26)
    claimed = set[Network]()
    while (chosen := choose_network(pool, node, claimed.__contains__)) is not None:
        assert chosen not in claimed
        claimed.add(chosen)

    assert claimed == set(pool.network.subnets(new_prefix=26))


def test_nodes_start_apart() -> None:
    """A hundred nodes that claim at one moment in a pool of a thousand blocks hardly meet."""
    pool = Pool("p", ip_network("10.0.0.0/16"), 26)

    chosen = {choose_network(pool, f"node-{number}", lambda _: False) for number in range(100)}

    assert len(chosen) > 90


def test_build_assignment() -> None:
    assert build_assignment(allocation(1, "10.0.0.65")) == Assignment(
        ip_interface("10.0.0.65/32"), "default", NETWORK
    )


def test_ordinal_of() -> None:
    assert [ordinal_of(SMALL, address) for address in SMALL.network] == [0, 1, 2, 3]
