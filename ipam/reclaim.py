"""Blocks that nobody needs where they are: given back to their pool, or parted from a node that is gone.

    claimed ──▶ of a node ──(empty, rested, not its only one in the pool)──▶ given back: any node may claim it
                    │
                    └─(node gone, only others' pods in it)──▶ of no node ──(empty, rested)──▶ given back

What is empty waits until its last address has rested: a block that is claimed anew knows no past, and would
hand a just-freed address out. Whoever collects garbage calls this now and then; what was decided on a state
is done only while the block is still in it.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from functools import partial
from typing import Literal

import msgspec

from ipam.assign import has_rested, settle
from ipam.datastore import Datastore
from ipam.ledger import Ledger
from ipam.model import Block, Pool
from ipam.pool_space import excluded

Verdict = Literal["give back", "disown", "settle"]


class Reclaim(msgspec.Struct, frozen=True):
    """A block as it was seen, and what is to become of it."""

    block: Block
    verdict: Verdict


def find_reclaimable(
    blocks: Iterable[Block],
    pools: Iterable[Pool],
    now_s: int,
    *,
    nodes: Collection[str] | None = None,
    rest_s: int = 60,
) -> list[Reclaim]:
    """Decide on blocks; those that stay as they are are not named.

    Args:
        blocks: All blocks, or those of one node: then its only one in a pool is known for that.
        pools: All pools.
        now_s: Unix time.
        nodes: All nodes that there are; None when they are not known: then no node counts as gone.
        rest_s: For so long the addresses of an empty block rest before another node may have them.
    """
    found = sorted(blocks, key=lambda block: (block.network.version, block.network))
    known = {pool.name: pool for pool in pools}
    # Of several empty ones the first stays.
    left = Counter((block.node, block.pool) for block in found)
    decided = []
    for block in reversed(found):
        is_gone = not block.node or (nodes is not None and block.node not in nodes)
        verdict = _judge(block, known.get(block.pool), now_s, rest_s, is_gone=is_gone)
        pool = known.get(block.pool)
        # A pool that is disabled, so that it can be deleted once it is empty, keeps none.
        if verdict == "give back" and not is_gone and pool is not None and not pool.disabled:
            if left[block.node, block.pool] == 1:
                continue
            left[block.node, block.pool] -= 1
        if verdict is not None:
            decided.append(Reclaim(block, verdict))
    return decided[::-1]


def reclaim(ledger: Ledger, item: Reclaim) -> bool:
    """Do what was decided on a block, within one transaction; False when it is no longer as it was seen."""
    block = ledger.block(item.block.pool, item.block.network)
    if block is None or block != item.block:
        return False
    pool = next((pool for pool in ledger.pools() if pool.name == block.pool), None)
    match item.verdict:
        case "give back":
            ledger.delete_block(pool, block)
        case "disown":
            ledger.put_block(block, disowned(block))
        case "settle" if pool is not None:
            ledger.put_block(block, settle(block, excluded(pool)))
    return True


def reclaim_all(datastore: Datastore, found: Iterable[Reclaim]) -> list[Reclaim]:
    """Reclaim blocks, each in a transaction of its own; return those that still were as they were seen."""
    return [item for item in found if datastore.transact(partial(reclaim, item=item))]


def disowned(block: Block) -> Block:
    """Return the block as one of no node: all that is in use of it is lent."""
    return msgspec.structs.replace(block, node="", sequence=block.sequence + 1)


def _judge(block: Block, pool: Pool | None, now_s: int, rest_s: int, *, is_gone: bool) -> Verdict | None:
    if not block.used:
        last_s = max((item.at_s for item in block.released), default=0)
        return "give back" if has_rested(last_s, now_s, rest_s) else None
    if is_gone and block.node and block.used == len(block.lent):
        return "disown"
    if pool is not None and settle(block, excluded(pool)) != block:
        # A reservation began or ended while nobody looked at the block.
        return "settle"
    return None
