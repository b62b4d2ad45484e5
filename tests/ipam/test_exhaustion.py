"""What is said when there is no address: pool, size, use, and what to do."""

from typing import Any

import msgspec
import pytest

from ipam.errors import AddressRefusedError, ExhaustedError
from ipam.model import Policy, Pool
from tests.ipam.stand import Stand
from tests.ipam.values import network

# n1 begins with 10.0.0.0/30, n5 with 10.0.0.4/30.
POOL = Pool("default", network("10.0.0.0/28"), 30)
OFF = msgspec.structs.replace(POOL, disabled=True)
EAST = Pool("east", network("10.5.0.0/28"), 30, node_selector="zone=east")
RED = Pool("red", network("10.6.0.0/28"), 30, namespace_selector="team=red")


def error(stand: Stand, **fields: Any) -> str:
    """Return what a request of n1 is told; it must not have changed anything."""
    before = stand.allocations(), stand.blocks()
    with pytest.raises(ExhaustedError) as caught:
        stand.add(99, **fields)
    assert (stand.allocations(), stand.blocks()) == before
    return str(caught.value)


def test_full() -> None:
    stand = Stand(POOL)
    stand.fill(range(20, 24), "n5")
    stand.fill(range(12), "n1")

    assert error(stand) == (
        "pool default is exhausted for node n1: 16 of 16 addresses of 10.0.0.0/28 in use, 1 of 4 blocks "
        "(/30) are "
        "other nodes', none is left to claim; add a pool, or free the addresses of dead pods with ipamctl gc"
    )


def test_full_but_for_what_is_reserved() -> None:
    link = Pool("link", network("10.8.0.0/30"), 30, reserved=(network("10.8.0.1/32"),), on_link=True)
    stand = Stand(link)
    stand.add(1)

    assert error(stand) == (
        "pool link is exhausted for node n1: 1 of 4 addresses of 10.8.0.0/30 in use, 3 reserved, 0 of 1 "
        "blocks (/30) are other nodes', none is left to claim; add a pool, or free the addresses of dead "
        "pods with ipamctl gc"
    )


def test_strict_affinity() -> None:
    stand = Stand(POOL)
    stand.policy = Policy(strict_affinity=True)
    stand.add(20, "n5")
    stand.fill(range(12), "n1")

    assert error(stand) == (
        "pool default is exhausted for node n1: 13 of 16 addresses of 10.0.0.0/28 in use, 1 of 4 blocks "
        "(/30) are "
        "other nodes', none is left to claim, strictAffinity keeps the node from 3 free addresses in other "
        "nodes' "
        "blocks; add a pool, turn strictAffinity off, or free the addresses of dead pods with ipamctl gc"
    )


def test_no_more_blocks_for_the_node() -> None:
    stand = Stand(POOL)
    stand.policy = Policy(max_blocks_per_node=1)
    stand.fill(range(4), "n1")

    assert error(stand) == (
        "pool default is exhausted for node n1: 4 of 16 addresses of 10.0.0.0/28 in use, the node has 1 "
        "blocks and "
        "maxBlocksPerNode is 1; raise maxBlocksPerNode, or free the addresses of dead pods with ipamctl gc"
    )


def test_disabled() -> None:
    stand = Stand(POOL)
    stand.fill([1, 2])
    stand.pools = (OFF,)

    assert error(stand) == (
        "pool default is disabled: 2 of 16 addresses of 10.0.0.0/28 in use; enable it, or add another"
    )


@pytest.mark.parametrize(
    ("pool", "fields", "expected"),
    [
        pytest.param(
            EAST,
            {"node_labels": {"zone": "west"}},
            "no pool is for node n1 and namespace default: pool east (10.5.0.0/28) has nodeSelector "
            "'zone=east', "
            "which does not select node n1; label it, or add a pool",
            id="node",
        ),
        pytest.param(
            EAST,
            {},
            "no pool is for node n1 and namespace default: pool east (10.5.0.0/28) has nodeSelector "
            "'zone=east', "
            "but the labels of node n1 are not known; give access to the API server, or add a pool",
            id="labels of the node unknown",
        ),
        pytest.param(
            RED,
            {"namespace_labels": {"team": "blue"}},
            "no pool is for node n1 and namespace default: pool red (10.6.0.0/28) has namespaceSelector "
            "'team=red', which does not select namespace default; label it, or add a pool",
            id="namespace",
        ),
        pytest.param(
            RED,
            {"families": (4,), "namespace_labels": {}},
            "pool red (10.6.0.0/28) has namespaceSelector 'team=red', which does not select namespace "
            "default; "
            "label it, or add a pool",
            id="the family was asked for",
        ),
        pytest.param(
            POOL, {"families": (4, 6)}, "there is no IPv6 pool: add one, or do not ask for IPv6", id="family"
        ),
    ],
)
def test_no_pool_for_it(pool: Pool, fields: dict[str, object], expected: str) -> None:
    assert error(Stand(pool), **fields) == expected


def test_no_pool_at_all() -> None:
    assert error(Stand()) == (
        "there is no pool, neither in the configuration nor in the datastore: name one in ipam.pools, or "
        "put one "
        "into the datastore with ipamctl pools apply"
    )


def test_each_pool_has_its_reason() -> None:
    stand = Stand(Pool("one", network("10.9.0.0/32"), 32), EAST, OFF)
    stand.add(1)

    assert error(stand, node_labels={}).split("; ")[::2] == [
        "pool one is exhausted for node n1: 1 of 1 addresses of 10.9.0.0/32 in use, 0 of 1 blocks (/32) "
        "are other "
        "nodes', none is left to claim",
        "pool east (10.5.0.0/28) has nodeSelector 'zone=east', which does not select node n1",
        "pool default is disabled: 0 of 16 addresses of 10.0.0.0/28 in use",
    ]


def test_a_pool_that_is_not_there() -> None:
    with pytest.raises(AddressRefusedError) as caught:
        Stand(POOL, EAST).add(1, ipv4_pools=("default", "blue"))

    assert str(caught.value) == (
        "there is no IPv4 pool blue: the pools are default 10.0.0.0/28, east 10.5.0.0/28"
    )
