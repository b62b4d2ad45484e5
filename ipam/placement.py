"""Out of which block a request gets its address: the order of choices, within one transaction.

    1. an own block                                                     in each step the pools in their
    2. a new block, unless the node has as many as it may               order, and only addresses that
    3. a block whose node is gone, which the node takes over            have rested since their last use
    4. another node's block, unless affinity is strict
    5. nothing has rested: whatever was idle for longest, of its own or of others

All but 4 and 5 read single keys, mostly the node's own, so that nodes do not get into each other's way.
"""

import zlib
from collections.abc import Callable, Sequence

import msgspec

from ipam.assign import has_rested, settle, take_address
from ipam.errors import InconsistentError
from ipam.ledger import Ledger, Spare
from ipam.model import Allocation, Block, Policy, Pool, Request
from ipam.pool_space import excluded

# So many blocks are looked at before a pool counts as having nothing to lend.
_LENDERS = 32


def place(ledger: Ledger, pools: Sequence[Pool], policy: Policy, request: Request) -> Allocation | None:
    """Take an address out of one of these pools; None when none has any for the node."""

    def is_ready(idle_since_s: int) -> bool:
        return has_rested(idle_since_s, request.now_s, policy.rest_s)

    return (
        _from_own(ledger, pools, request, is_ready)
        or _from_new(ledger, pools, policy, request)
        or _from_unowned(ledger, pools, policy, request, is_ready)
        or _from_others(ledger, pools, policy, request, is_ready)
        or _from_longest_idle(ledger, pools, policy, request)
    )


def may_claim(ledger: Ledger, family: int, policy: Policy, request: Request) -> bool:
    """Say whether the node may have one more block of a family."""
    if not policy.max_blocks_per_node:
        return True
    names = [pool.name for pool in ledger.pools() if pool.network.version == family]
    return sum(ledger.own_count(request.node, name) for name in names) < policy.max_blocks_per_node


def keep(ledger: Ledger, old: Block | None, pool: Pool, taken: Block, allocation: Allocation) -> Allocation:
    """Write a block that an address was taken out of; None: the block is claimed with it.

    Raises:
        InconsistentError: the address has another allocation.
    """
    # The block says free; a second record must agree before an address goes out.
    other = ledger.allocation(allocation.address)
    if other is not None:
        raise InconsistentError(
            f"{allocation.address} is free in block {taken.network}, yet allocated to "
            f"{other.handle}: run ipamctl check"
        )
    if old is None:
        ledger.claim_block(pool, taken)
    else:
        ledger.put_block(old, taken)
    return allocation


def adopted(block: Block, node: str) -> Block:
    """Return the block of a node that is gone as another node's own."""
    lent = tuple(item for item in block.lent if item.node != node)
    return msgspec.structs.replace(block, node=node, lent=lent)


def _from_own(
    ledger: Ledger, pools: Sequence[Pool], request: Request, is_ready: Callable[[int], bool]
) -> Allocation | None:
    for pool in pools:
        block = _best(ledger, request.node, pool)
        if block is not None and _is_ready(block, is_ready):
            return _take(ledger, pool, block, block, request)
    return None


def _from_new(ledger: Ledger, pools: Sequence[Pool], policy: Policy, request: Request) -> Allocation | None:
    for pool in pools:
        if not may_claim(ledger, pool.network.version, policy, request):
            continue
        network = ledger.unclaimed(pool, request.node)
        if network is not None:
            return _take(ledger, pool, None, Block(network, pool.name, request.node), request)
    return None


def _from_unowned(
    ledger: Ledger,
    pools: Sequence[Pool],
    policy: Policy,
    request: Request,
    is_ready: Callable[[int], bool],
) -> Allocation | None:
    for pool in pools:
        block = _best(ledger, "", pool)
        if (
            block is not None
            and _is_ready(block, is_ready)
            and may_claim(ledger, pool.network.version, policy, request)
        ):
            return _take(ledger, pool, block, adopted(block, request.node), request)
    return None


def _from_others(
    ledger: Ledger,
    pools: Sequence[Pool],
    policy: Policy,
    request: Request,
    is_ready: Callable[[int], bool],
) -> Allocation | None:
    for pool in pools:
        ready = [item for item in _lenders(ledger, pool, policy, request) if is_ready(item.idle_since_s)]
        # Each node begins at a place of its own: borrowers would else all want the same address.
        start = zlib.crc32(request.node.encode()) % len(ready) if ready else 0
        for item in ready[start:] + ready[:start]:
            block = _settled(ledger, pool, ledger.block(pool.name, item.network))
            if block is not None and _is_ready(block, is_ready):
                return _take(ledger, pool, block, block, request)
    return None


def _from_longest_idle(
    ledger: Ledger, pools: Sequence[Pool], policy: Policy, request: Request
) -> Allocation | None:
    found: list[tuple[int, int, Pool, Block]] = []
    for pool in pools:
        # Own blocks first where two are equal, then those of no node, then others'.
        blocks = [_best(ledger, request.node, pool), None, _longest_idle_other(ledger, pool, policy, request)]
        if may_claim(ledger, pool.network.version, policy, request):
            blocks[1] = _best(ledger, "", pool)
        found += [
            (block.idle_since_s, rank, pool, block)
            for rank, block in enumerate(blocks)
            if block is not None and block.idle_since_s is not None
        ]
    if not found:
        return None
    _, rank, pool, block = min(found, key=lambda item: item[:2])
    return _take(ledger, pool, block, adopted(block, request.node) if rank == 1 else block, request)


def _longest_idle_other(ledger: Ledger, pool: Pool, policy: Policy, request: Request) -> Block | None:
    for item in _lenders(ledger, pool, policy, request):
        block = _settled(ledger, pool, ledger.block(pool.name, item.network))
        if block is not None and block.idle_since_s is not None:
            return block
    return None


def _best(ledger: Ledger, node: str, pool: Pool) -> Block | None:
    """Return the node's block whose next address was idle for longest."""
    while (block := ledger.own_block(node, pool.name)) is not None:
        settled = _settled(ledger, pool, block)
        if settled is block:
            return block
        # What the index promised is reserved now: it knows better, so ask again.
    return None


def _settled(ledger: Ledger, pool: Pool, block: Block | None) -> Block | None:
    """Bring a block in line with what its pool has reserved since it was written."""
    if block is None:
        return None
    settled = settle(block, excluded(pool))
    if settled is not block:
        ledger.put_block(block, settled)
    return settled


def _lenders(ledger: Ledger, pool: Pool, policy: Policy, request: Request) -> list[Spare]:
    if policy.strict_affinity:
        return []
    return [item for item in ledger.spare(pool.name, _LENDERS) if item.node != request.node]


def _is_ready(block: Block, is_ready: Callable[[int], bool]) -> bool:
    return block.idle_since_s is not None and is_ready(block.idle_since_s)


def _take(ledger: Ledger, pool: Pool, old: Block | None, block: Block, request: Request) -> Allocation | None:
    taken, allocation = take_address(block, request, excluded(pool))
    return None if allocation is None else keep(ledger, old, pool, taken, allocation)
