"""Out of which block a request gets its address: the order of choices, within one transaction.

    1. an own block                                                     in each step the pools in their
    2. a new block, unless the node has as many as it may               order, and only addresses that
    3. a block whose node is gone, which the node takes over            have rested since their last use
    4. another node's block, unless affinity is strict
    5. nothing has rested: whatever was idle for longest, of its own or of others

All but 4 and 5 read single keys, mostly the node's own, so that nodes do not get into each other's way. Of
the pools after the first few, however many, only a look without guarantee says which of them to read: a
transaction depends on a limited number of keys.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence

import msgspec

from ipam.assign import has_rested, settle, take_address
from ipam.errors import InconsistentError, UnsettledError
from ipam.ledger import Ledger, Spare
from ipam.model import Allocation, Block, Policy, Pool, Request
from ipam.pool_space import excluded

# So many pools are read in turn, before there is a look at which of the others are worth it.
_FEW = 4
# So many entries of those that have something to lend are looked at first; all when none of these has.
_LENDERS = 32
# So many of them may be no longer so, until they are put right before going on.
_MOST_MISSED = 4
# Whose block it is, in the order of preference after the node itself.
_UNOWNED, _OTHERS = 1, 2


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
    if len(names) <= _FEW:
        count = sum(ledger.own_count(request.node, name) for name in names)
    else:
        counts = ledger.own_counts(request.node)
        count = sum(counts.get(name, 0) for name in names)
    return count < policy.max_blocks_per_node


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
    for pool in _worth_reading(ledger, request.node, pools, is_ready):
        block = _best(ledger, request.node, pool)
        if block is not None and _is_ready(block, is_ready):
            return _take(ledger, pool, block, block, request)
    return None


def _from_new(ledger: Ledger, pools: Sequence[Pool], policy: Policy, request: Request) -> Allocation | None:
    versions = {pool.network.version for pool in pools}
    allowed = {version for version in versions if may_claim(ledger, version, policy, request)}
    for number, pool in enumerate(pools):
        if pool.network.version not in allowed:
            continue
        if number >= _FEW and ledger.is_full(pool):
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
    for pool in _worth_reading(ledger, "", pools, is_ready):
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
        for missed, item in enumerate(ready[start:] + ready[:start]):
            _expect_few(pool, missed)
            block = _settled(pool, ledger.block(pool.name, item.network))
            if block is not None and _is_ready(block, is_ready):
                return _take(ledger, pool, block, block, request)
    return None


def _from_longest_idle(
    ledger: Ledger, pools: Sequence[Pool], policy: Policy, request: Request
) -> Allocation | None:
    # Own blocks first where two are equal, then those of no node, then others'.
    ranked: list[tuple[int, int, int]] = []
    for rank, node in enumerate((request.node, "")):
        idle = ledger.idle_pools(node)
        ranked += [
            (idle[pool.name], rank, place)
            for place, pool in enumerate(pools)
            if pool.name in idle
            and (rank != _UNOWNED or may_claim(ledger, pool.network.version, policy, request))
        ]
    for place, pool in enumerate(pools):
        lent = _lenders(ledger, pool, policy, request)[:1]
        ranked += [(item.idle_since_s, _OTHERS, place) for item in lent]
    for missed, (_, rank, place) in enumerate(sorted(ranked)):
        pool = pools[place]
        _expect_few(pool, missed)
        block = _longest_idle(ledger, pool, rank, policy, request)
        if block is not None and block.idle_since_s is not None:
            return _take(
                ledger, pool, block, adopted(block, request.node) if rank == _UNOWNED else block, request
            )
    return None


def _longest_idle(ledger: Ledger, pool: Pool, rank: int, policy: Policy, request: Request) -> Block | None:
    if rank != _OTHERS:
        return _best(ledger, "" if rank == _UNOWNED else request.node, pool)
    for missed, item in enumerate(_lenders(ledger, pool, policy, request)):
        _expect_few(pool, missed)
        block = _settled(pool, ledger.block(pool.name, item.network))
        if block is not None and block.idle_since_s is not None:
            return block
    return None


def _worth_reading(
    ledger: Ledger, node: str, pools: Sequence[Pool], is_ready: Callable[[int], bool]
) -> Iterator[Pool]:
    """Yield the pools in which a node may have an address: the first few, and then those that look so."""
    yield from pools[:_FEW]
    if len(pools) > _FEW:
        idle = ledger.idle_pools(node)
        yield from (pool for pool in pools[_FEW:] if pool.name in idle and is_ready(idle[pool.name]))


def _best(ledger: Ledger, node: str, pool: Pool) -> Block | None:
    """Return the node's block whose next address was idle for longest."""
    return _settled(pool, ledger.own_block(node, pool.name))


def _settled(pool: Pool, block: Block | None) -> Block | None:
    """Return a block that is in line with what its pool has reserved.

    Raises:
        UnsettledError: it is not. Then the indexes promise what is not to be had, for any number of blocks,
            so that they are all put right before going on.
    """
    if block is not None and settle(block, excluded(pool)) is not block:
        raise UnsettledError(pool)
    return block


def _lenders(ledger: Ledger, pool: Pool, policy: Policy, request: Request) -> list[Spare]:
    if policy.strict_affinity:
        return []
    found = ledger.spare(pool.name, _LENDERS)
    lenders = [item for item in found if item.node != request.node]
    if not lenders and len(found) == _LENDERS:
        return [item for item in ledger.spare(pool.name, None) if item.node != request.node]
    return lenders


def _expect_few(pool: Pool, missed: int) -> None:
    """Go on only while few blocks were not as the index has them: each is one more to depend on.

    Raises:
        UnsettledError: too many; look again. It counts only if all that was read is so, as each error does.
    """
    if missed >= _MOST_MISSED:
        raise UnsettledError(pool)


def _is_ready(block: Block, is_ready: Callable[[int], bool]) -> bool:
    return block.idle_since_s is not None and is_ready(block.idle_since_s)


def _take(ledger: Ledger, pool: Pool, old: Block | None, block: Block, request: Request) -> Allocation | None:
    taken, allocation = take_address(block, request, excluded(pool))
    return None if allocation is None else keep(ledger, old, pool, taken, allocation)
