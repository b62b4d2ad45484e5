"""What the datastore remembers of pools, and what may be changed of them.

Nodes come with their own copies of the configuration. The record is what they agree on: two that differ
would cut the same addresses into blocks twice. Where configurations have no pools, the record is all there
is, and `ipamctl pools` changes it.
"""

from collections.abc import Iterable, Sequence
from functools import partial

from ipam.assign import settle
from ipam.datastore import Datastore
from ipam.ledger import Ledger
from ipam.model import Network, Pool
from ipam.pool_space import block_at, excluded, number_of
from nodeplane.cnispec import PLACE
from nodeplane.errors import ConfigError

# Blocks that are brought in line with a pool's reservations at once; a garbage collection gets the others.
_AT_ONCE = 8


def record_pools(ledger: Ledger, pools: Sequence[Pool]) -> bool:
    """Record the pools of a configuration, within one transaction; False, and no write, when they are known.

    Recorded pools that are in the way and have no blocks are forgotten.

    Raises:
        ConfigError: a pool that has blocks was moved or cut anew, or overlaps another that has.
    """
    recorded = {pool.name: pool for pool in ledger.pools()}
    changed = [pool for pool in pools if recorded.get(pool.name) != pool]
    left = _AT_ONCE
    for pool in changed:
        old = recorded.get(pool.name)
        if old is None or _cut(old) != _cut(pool):
            for other in _in_the_way(pool, recorded.values()):
                _expect_unused(ledger, other, PLACE, f"ipam.pools.{pool.name}", _expected(pool, other))
                del recorded[other.name]
        recorded[pool.name] = pool
        left -= _follow(ledger, old, pool, left)
    if changed:
        ledger.put_pools(recorded.values())
    return bool(changed)


def put_pool(ledger: Ledger, pool: Pool, place: str = "") -> None:
    """Put a pool into the datastore, or change it, within one transaction.

    Raises:
        ConfigError: it has blocks and would be moved or cut anew, or it overlaps another.
    """
    recorded = {item.name: item for item in ledger.pools()}
    old = recorded.get(pool.name)
    for other in _in_the_way(pool, recorded.values()):
        if other.name != pool.name:
            raise ConfigError(place, f"{pool.name}.cidr", _expected(pool, other))
        if _cut(other) != _cut(pool):
            _expect_unused(ledger, other, place, f"{pool.name}.cidr", _expected(pool, other))
    if old != pool:
        _follow(ledger, old, pool, _AT_ONCE)
        ledger.put_pools([*(item for item in recorded.values() if item.name != pool.name), pool])


def delete_pool(ledger: Ledger, name: str, place: str = "") -> None:
    """Take a pool out of the datastore, within one transaction.

    Raises:
        ConfigError: there is none of that name, or it has blocks.
    """
    pools = ledger.pools()
    pool = next((item for item in pools if item.name == name), None)
    if pool is None:
        known = ", ".join(item.name for item in pools) or "none"
        raise ConfigError(place, name, f"expected the name of a pool: {known}")
    expected = "expected a pool without blocks: disable it, and delete it when its pods are gone"
    _expect_unused(ledger, pool, place, name, expected)
    ledger.put_pools(item for item in pools if item.name != name)


def settle_blocks(datastore: Datastore, pool: Pool) -> None:
    """Bring all blocks of a pool in line with what it has reserved, a few in each transaction."""
    out = excluded(pool)
    blocks = datastore.read(lambda ledger: ledger.blocks(pool.name))
    due = [block.network for block in blocks if settle(block, out) is not block]
    for start in range(0, len(due), _AT_ONCE):
        some = due[start : start + _AT_ONCE]
        datastore.transact(partial(_settle, pool=pool, networks=some))


def _in_the_way(pool: Pool, others: Iterable[Pool]) -> list[Pool]:
    return [other for other in others if other.name == pool.name or other.network.overlaps(pool.network)]


def _expected(pool: Pool, other: Pool) -> str:
    was = f"{other.network} with blockSize {other.block_size}"
    if other.name == pool.name:
        return f"expected {was} as the datastore has it"
    return f"expected a CIDR apart from pool {other.name}, {was}"


def _expect_unused(ledger: Ledger, pool: Pool, place: str, field: str, expected: str) -> None:
    count = ledger.count_blocks(pool.name)
    if count:
        raise ConfigError(place, field, f"{expected}: it has {count} blocks in use")


def _follow(ledger: Ledger, old: Pool | None, new: Pool, limit: int) -> int:
    """Bring so many blocks in line with reservations that began or ended; return how many were looked at."""
    if old is None or _cut(old) != _cut(new):
        return 0
    changed = set(excluded(old)) ^ set(excluded(new))
    numbers = _numbers_in(new, changed)[:limit]
    _settle(ledger, new, [block_at(new, number) for number in numbers])
    return len(numbers)


def _settle(ledger: Ledger, pool: Pool, networks: Iterable[Network]) -> None:
    for network in networks:
        block = ledger.block(pool.name, network)
        if block is not None:
            settled = settle(block, excluded(pool))
            if settled is not block:
                ledger.put_block(block, settled)


def _numbers_in(pool: Pool, networks: Iterable[Network]) -> list[int]:
    """Return the first few blocks that these networks touch."""
    numbers: set[int] = set()
    for network in networks:
        first, last = number_of(pool, network.network_address), number_of(pool, network.broadcast_address)
        numbers.update(range(first, min(last + 1, first + _AT_ONCE)))
    return sorted(numbers)


def _cut(pool: Pool) -> tuple[object, ...]:
    return pool.network, pool.block_size
