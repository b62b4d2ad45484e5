"""What can be wrong in a datastore: each record is held against the others.

Allocations, handles, blocks and the index of open blocks say the same thing from four sides. As long as they
agree, no address can go out twice and none is lost.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

import msgspec

from ipam.assign import is_free
from ipam.ledger import LedgerReader
from ipam.model import Address, Allocation, Block, Handle, Network, Pool
from ipam.records import open_key


class Snapshot(msgspec.Struct, frozen=True):
    """All that a datastore holds, at one moment."""

    pools: tuple[Pool, ...] = ()
    blocks: tuple[Block, ...] = ()
    allocations: tuple[Allocation, ...] = ()
    handles: tuple[tuple[Handle, tuple[Address, ...]], ...] = ()
    open_keys: tuple[str, ...] = ()


class Finding(msgspec.Struct, frozen=True, order=True):
    """One contradiction: what it is about, and what is wrong with it."""

    subject: str
    problem: str


def read_snapshot(ledger: LedgerReader) -> Snapshot:
    """Read all that the datastore holds."""
    return Snapshot(
        pools=tuple(ledger.pools()),
        blocks=tuple(ledger.blocks()),
        allocations=tuple(ledger.allocations()),
        handles=tuple(ledger.handles()),
        open_keys=tuple(ledger.open_keys()),
    )


def find_contradictions(snapshot: Snapshot) -> list[Finding]:
    """Return what is wrong, by subject; nothing for a sound datastore."""
    allocations = {item.address: item for item in snapshot.allocations}
    return sorted(
        {
            *_pool_findings(snapshot.pools),
            *_block_findings(snapshot, allocations),
            *_allocation_findings(snapshot),
            *_handle_findings(snapshot, allocations),
            *_index_findings(snapshot),
        }
    )


def _pool_findings(pools: tuple[Pool, ...]) -> Iterator[Finding]:
    for first, second in _overlaps({pool.name: pool.network for pool in pools}):
        yield Finding(f"pool {second}", f"overlaps pool {first}")


def _block_findings(snapshot: Snapshot, allocations: Mapping[Address, Allocation]) -> Iterator[Finding]:
    pools = {pool.name: pool for pool in snapshot.pools}
    networks = {f"{block.network} of pool {block.pool}": block.network for block in snapshot.blocks}
    for first, second in _overlaps(networks):
        yield Finding(f"block {second}", f"overlaps block {first}")
    used: defaultdict[Network, set[Address]] = defaultdict(set)
    for item in snapshot.allocations:
        used[item.block].add(item.address)
    for block in snapshot.blocks:
        subject = f"block {block.network} of pool {block.pool}"
        pool = pools.get(block.pool)
        if pool is None:
            yield Finding(subject, "its pool is not known")
        elif not _is_block_of(block.network, pool):
            yield Finding(subject, f"is not a /{pool.block_size} inside {pool.network}")
        yield from (Finding(subject, problem) for problem in _queue_problems(block))
        for address in (block.network[ordinal] for ordinal in range(block.size)):
            if is_free(block, address) and address in used[block.network]:
                yield Finding(f"address {address}", "is allocated, and free in its block")
            elif not is_free(block, address) and address not in allocations:
                yield Finding(f"address {address}", "is lost: neither allocated nor free in its block")


def _queue_problems(block: Block) -> Iterator[str]:
    ordinals = Counter(item.ordinal for item in block.released)
    if not 0 <= block.fresh <= block.size or any(not 0 <= ordinal < block.fresh for ordinal in ordinals):
        yield "its free addresses are out of range"
    if any(count > 1 for count in ordinals.values()):
        yield "lists a free address twice"


def _allocation_findings(snapshot: Snapshot) -> Iterator[Finding]:
    blocks = {(block.pool, block.network): block for block in snapshot.blocks}
    handles = dict(snapshot.handles)
    counts = Counter(item.address for item in snapshot.allocations)
    for item in snapshot.allocations:
        subject = f"address {item.address}"
        if counts[item.address] > 1:
            yield Finding(subject, "is allocated twice")
        if item.address not in item.block:
            yield Finding(subject, f"lies outside its block {item.block}")
        if (item.pool, item.block) not in blocks:
            yield Finding(subject, f"its block {item.block} of pool {item.pool} is not known")
        if item.address not in handles.get(item.handle, ()):
            yield Finding(subject, f"is not listed by its handle {item.handle}")


def _handle_findings(snapshot: Snapshot, allocations: Mapping[Address, Allocation]) -> Iterator[Finding]:
    for handle, addresses in snapshot.handles:
        for address in addresses:
            allocation = allocations.get(address)
            if allocation is None:
                yield Finding(f"handle {handle}", f"lists {address}, which is not allocated")
            elif allocation.handle != handle:
                yield Finding(f"handle {handle}", f"lists {address}, which {allocation.handle} holds")


def _index_findings(snapshot: Snapshot) -> Iterator[Finding]:
    expected = {open_key(block) for block in snapshot.blocks} - {None}
    for key in expected ^ set(snapshot.open_keys):
        yield Finding(f"index {key}", "is missing" if key in expected else "names no block in that state")


def _overlaps(networks: Mapping[str, Network]) -> Iterator[tuple[str, str]]:
    """Yield the names of networks that overlap one before them in address order."""
    ordered = sorted(networks.items(), key=lambda item: (item[1].version, item[1]))
    widest: tuple[str, Network] | None = None
    for name, network in ordered:
        if widest is not None and widest[1].overlaps(network):
            yield widest[0], name
        else:
            # Networks nest or are apart: the last that overlapped nobody covers all that follow inside it.
            widest = (name, network)


def _is_block_of(network: Network, pool: Pool) -> bool:
    return network.prefixlen == pool.block_size and network.network_address in pool.network
