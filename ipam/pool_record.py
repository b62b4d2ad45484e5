"""What the datastore remembers of pools, and what a configuration may change of them.

Nodes come with their own copies of the configuration. The record is what they agree on: two that differ
would cut the same addresses into blocks twice.
"""

from collections.abc import Iterable

from ipam.ledger import Ledger
from ipam.model import Pool
from nodeplane.cnispec import PLACE
from nodeplane.errors import ConfigError


def record_pools(ledger: Ledger, pools: Iterable[Pool]) -> None:
    """Record the pools of a configuration, within one transaction; nothing is written when they are known.

    Raises:
        ConfigError: a pool that has blocks was moved or cut anew, or overlaps another that has.
    """
    for pool in pools:
        recorded = ledger.pool(pool.name)
        if recorded == pool:
            continue
        if recorded is None or _cut(recorded) != _cut(pool):
            for other in ledger.pools():
                _make_room(ledger, pool, other)
        ledger.put_pool(pool)


def _make_room(ledger: Ledger, pool: Pool, other: Pool) -> None:
    """Forget a recorded pool that is in the way, unless it has blocks."""
    if other.name != pool.name and not other.network.overlaps(pool.network):
        return
    count = len(ledger.blocks(other.name))
    if count:
        was = f"{other.network} with blockSize {other.block_size}"
        expected = (
            f"expected {was} as the datastore has it"
            if other.name == pool.name
            else f"expected a CIDR apart from pool {other.name}, {was}"
        )
        raise ConfigError(PLACE, f"ipam.pools.{pool.name}", f"{expected}: it has {count} blocks in use")
    ledger.delete_pool(other.name)


def _cut(pool: Pool) -> tuple[object, ...]:
    return pool.network, pool.block_size
