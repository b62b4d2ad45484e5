"""Hundreds of pools and blocks, and reservations over many of them: within the keys of one transaction."""

from functools import partial
from ipaddress import ip_address, ip_network

import msgspec
import pytest

from ipam.errors import ExhaustedError
from ipam.model import Policy, Pool
from ipam.pool_record import delete_pool, put_pool
from ipam.store import Counters
from ipam.stores.memory import MemoryStore
from nodeplane.errors import ConfigError
from tests.ipam.dying_store import DyingStore
from tests.ipam.stand import Stand
from tests.ipam.values import network


def many(count: int, length: int = 24, block_size: int = 26) -> list[Pool]:
    return [
        Pool(f"p{number:03d}", network(f"10.{number // 256}.{number % 256}.0/{length}"), block_size)
        for number in range(count)
    ]


@pytest.mark.parametrize("policy", [Policy(), Policy(max_blocks_per_node=5)])
@pytest.mark.parametrize("count", [1, 5, 95, 300])
def test_a_first_address_out_of_one_of_many_pools(count: int, policy: Policy) -> None:
    stand = Stand(*many(count))
    stand.policy = policy

    first, second = stand.add(1), stand.add(2)

    assert int(ip_address(second)) == int(ip_address(first)) + 1
    assert len(stand.datastore.blocks()) == 1


def test_all_of_many_pools_are_used_up_one_after_the_other() -> None:
    stand = Stand(*many(120, 32, 32))

    given = stand.fill(range(120))

    assert given == [f"10.0.{number}.0" for number in range(120)]
    with pytest.raises(ExhaustedError):
        stand.add(200)
    stand.delete(77)
    stand.now_s += 10
    assert stand.add(201) == "10.0.77.0"
    stand.delete(33)
    assert stand.add(202, "n2") == "10.0.33.0"


def test_a_steady_request_reads_few_keys() -> None:
    stand = Stand(*many(300))
    stand.add(1)
    before = msgspec.structs.replace(stand.datastore.counters)

    stand.add(2)

    now = stand.datastore.counters
    assert now == Counters(before.transactions + 1, before.conflicts, before.reads, before.resolved)


@pytest.mark.parametrize("change", ["delete", "cut anew"])
def test_a_pool_of_many_blocks_is_in_use(change: str) -> None:
    pool = Pool("p", network("10.8.0.0/20"), 30)
    stand = Stand(pool)
    for number in range(130):
        stand.add(number, f"n{number}")
    moved = msgspec.structs.replace(pool, network=ip_network("10.8.0.0/19"))

    step = (lambda it: delete_pool(it, "p")) if change == "delete" else (lambda it: put_pool(it, moved))

    with pytest.raises(ConfigError, match="it has 130 blocks in use"):
        stand.datastore.transact(step)


@pytest.mark.parametrize("count", [1, 4])
def test_what_is_reserved_everywhere_but_in_the_last_block_is_borrowed(count: int) -> None:
    """All lenders that are found first have nothing to lend any more."""
    stand = Stand(*many(count, 24, 30))
    given = [stand.add(number) for number in range(256 * count)]
    for address in given[::4]:
        stand.delete(given.index(address))
    stand.now_s += 100
    free = given[::4]
    kept = free[-1]
    stand.pools = tuple(
        msgspec.structs.replace(
            pool,
            reserved=tuple(
                ip_network(text)
                for text in sorted(free, key=ip_network)
                if ip_network(text).subnet_of(pool.network) and text != kept  # type: ignore[arg-type]  # one family
            ),
        )
        for pool in stand.pools
    )

    assert stand.add(5000, "n2") == kept
    with pytest.raises(ExhaustedError):
        stand.add(5001, "n2")


@pytest.mark.parametrize("count", [2, 4, 5, 60])
def test_two_requests_at_once_do_not_get_past_the_limit_of_blocks(count: int) -> None:
    """Each for a pool of its own, so that they meet nowhere but in what the node has."""
    pools = many(count)
    store = DyingStore(MemoryStore())
    stand = Stand(*pools, store=store)
    stand.datastore.transact(lambda ledger: ledger.put_pools(pools))
    stand.policy = Policy(max_blocks_per_node=1, strict_affinity=True)
    other = Stand(*pools, store=store.store)
    other.policy = stand.policy
    store.meanwhile = partial(other.add, 2, ipv4_pools=("p001",))

    with pytest.raises(ExhaustedError):
        stand.add(1, ipv4_pools=("p000",))

    assert [*stand.blocks().values()] == ["n1 1"]


def test_a_node_with_very_many_blocks_in_very_many_pools_gets_another() -> None:
    """More entries than one transaction depends on: the limit is looked at without guarantee."""
    stand = Stand(*many(70, 32, 32))
    stand.policy = Policy(max_blocks_per_node=60, strict_affinity=True)

    stand.fill(range(60))

    with pytest.raises(ExhaustedError):
        stand.add(60)
