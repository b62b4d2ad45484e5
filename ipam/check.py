"""What can be wrong in a datastore: each record is held against the others.

Allocations, handles, blocks and the indexes of blocks say the same thing from several sides. As long as they
agree, no address can go out twice and none is lost. A finding names what would put it right, where anything
can; doing it is `ipam.repair`'s business.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from ipaddress import ip_network

import msgspec

from ipam.assign import is_free, ordinal_of
from ipam.block_index import build_indexes
from ipam.finding import (
    Finding,
    RestoreBlock,
    SettleAddress,
    SettleEntry,
    SettleHandle,
    SettleKey,
    SettlePlace,
    SettleQueue,
)
from ipam.keys import BLOCKS, CLAIMS
from ipam.ledger import LedgerReader
from ipam.model import Address, Allocation, Block, Handle, Network, Pool
from ipam.strays import Stray, doubtful_addresses, sort_entries


class Snapshot(msgspec.Struct, frozen=True):
    """All that a datastore holds, at one moment."""

    pools: tuple[Pool, ...] = ()
    blocks: tuple[Block, ...] = ()
    allocations: tuple[Allocation, ...] = ()
    handles: tuple[tuple[Handle, tuple[Address, ...]], ...] = ()
    index: Mapping[str, bytes] = {}
    strays: tuple[Stray, ...] = ()


def read_snapshot(ledger: LedgerReader) -> Snapshot:
    """Read all that the datastore holds."""
    found = sort_entries(ledger.entries())
    return Snapshot(
        pools=found.pools,
        blocks=tuple(found.blocks),
        allocations=tuple(found.allocations),
        handles=tuple(found.handles),
        index=found.index,
        strays=tuple(found.strays),
    )


def find_strangers(ledger: LedgerReader) -> list[Finding]:
    """Return a finding for each entry that is none of ours."""
    return list(_stray_findings(tuple(sort_entries(ledger.strangers()).strays)))


def find_contradictions(snapshot: Snapshot) -> list[Finding]:
    """Return what is wrong, by subject; nothing for a sound datastore."""
    found = {
        *_stray_findings(snapshot.strays),
        *_pool_findings(snapshot.pools),
        *_block_findings(snapshot),
        *_allocation_findings(snapshot),
        *_handle_findings(snapshot),
        *_index_findings(snapshot),
    }
    return sorted(found, key=lambda item: (item.subject, item.problem))


def _stray_findings(strays: tuple[Stray, ...]) -> Iterator[Finding]:
    for stray in strays:
        fix = None if stray.kind == "unknown" else SettleKey(stray.key, stray.value)
        yield Finding(f"key {stray.key}", stray.problem, fix)


def _pool_findings(pools: tuple[Pool, ...]) -> Iterator[Finding]:
    for first, second in _overlaps({pool.name: pool.network for pool in pools}):
        yield Finding(f"pool {second}", f"overlaps pool {first}")


def _block_findings(snapshot: Snapshot) -> Iterator[Finding]:
    pools = {pool.name: pool for pool in snapshot.pools}
    networks = {f"{block.network} of pool {block.pool}": block.network for block in snapshot.blocks}
    for first, second in _overlaps(networks):
        yield Finding(f"block {second}", f"overlaps block {first}")
    held = _by_network(snapshot)
    doubtful = doubtful_addresses(snapshot.strays)
    for block in snapshot.blocks:
        subject = f"block {block.network} of pool {block.pool}"
        pool = pools.get(block.pool)
        if pool is None:
            yield Finding(subject, "its pool is not known: put it back with ipamctl pools apply")
        elif not _is_block_of(block.network, pool):
            yield Finding(subject, f"is not a /{pool.block_size} inside {pool.network}")
        tidy = SettleQueue(block.pool, str(block.network))
        yield from (Finding(subject, problem, tidy) for problem in _queue_problems(block))
        yield from _address_findings(block, held[block.network], doubtful)


def _by_network(snapshot: Snapshot) -> Mapping[Network, dict[Address, Allocation]]:
    """Return the allocations in each block's network, whatever they say themselves where they lie."""
    blocks = {(block.pool, block.network) for block in snapshot.blocks}
    networks = {network for _, network in blocks}
    lengths = {(network.version, network.prefixlen) for network in networks}
    held: defaultdict[Network, dict[Address, Allocation]] = defaultdict(dict)
    for item in snapshot.allocations:
        if (item.pool, item.block) in blocks and item.address in item.block:
            held[item.block][item.address] = item
            continue
        for version, length in lengths:
            if version == item.address.version:
                network = ip_network((item.address, length), strict=False)
                if network in networks:
                    held[network][item.address] = item
    return held


def _queue_problems(block: Block) -> Iterator[str]:
    listed = Counter([item.ordinal for item in block.released] + list(block.withheld))
    if not 0 <= block.fresh <= block.size or any(not 0 <= ordinal < block.fresh for ordinal in listed):
        yield "its free addresses are out of range"
    if any(count > 1 for count in listed.values()):
        yield "lists a free address twice"


def _address_findings(
    block: Block, held: Mapping[Address, Allocation], doubtful: Collection[Address]
) -> Iterator[Finding]:
    """Say what a block and the allocations in it do not agree about."""
    lent = {item.ordinal: item.node for item in block.lent}
    touched = {block.network[ordinal] for ordinal in range(min(max(block.fresh, 0), block.size))}
    touched |= {address for address in held if address in block.network}
    touched |= {block.network[ordinal] for ordinal in lent if 0 <= ordinal < block.size}
    for address in touched:
        fix = SettleAddress(block.pool, str(block.network), str(address))
        allocation, ordinal = held.get(address), ordinal_of(block, address)
        subject = f"address {address}"
        if allocation is None:
            if address in doubtful:
                continue
            if not is_free(block, address):
                yield Finding(subject, "is lost: neither allocated nor free in its block", fix)
            elif ordinal in lent:
                yield Finding(subject, f"is free, and lent to {lent[ordinal]} by its block", fix)
            continue
        if is_free(block, address):
            yield Finding(subject, "is allocated, and free in its block", fix)
        borrower = allocation.node if allocation.node != block.node else None
        if lent.get(ordinal) != borrower:
            told = lent.get(ordinal) or f"{block.node or 'no node'}, its own"
            yield Finding(subject, f"is in use on {allocation.node}; its block has it on {told}", fix)


def _allocation_findings(snapshot: Snapshot) -> Iterator[Finding]:
    blocks = {(block.pool, block.network): block for block in snapshot.blocks}
    pools = {pool.name: pool for pool in snapshot.pools}
    handles = dict(snapshot.handles)
    named: defaultdict[Network, list[str]] = defaultdict(list)
    for block in snapshot.blocks:
        named[block.network].append(block.pool)
    containing: defaultdict[Address, list[tuple[str, str]]] = defaultdict(list)
    for network, held in _by_network(snapshot).items():
        for address in held:
            containing[address] += [(pool, str(network)) for pool in named[network]]
    counts = Counter(item.address for item in snapshot.allocations)
    for item in snapshot.allocations:
        subject = f"address {item.address}"
        if counts[item.address] > 1:
            yield Finding(subject, "is allocated twice")
        is_known = (item.pool, item.block) in blocks
        if not is_known or item.address not in item.block:
            around = containing.get(item.address, [])
            place = SettlePlace(str(item.address), *around[0]) if len(around) == 1 else None
        if is_known and item.address not in item.block:
            yield Finding(subject, f"lies outside its block {item.block}", place)
        if not is_known:
            pool = pools.get(item.pool)
            can = pool is not None and _is_block_of(item.block, pool) and item.address in item.block
            restored = RestoreBlock(item.pool, str(item.block), item.node) if can else None
            fix = place or restored
            yield Finding(subject, f"its block {item.block} of pool {item.pool} is not known", fix)
        if item.address not in handles.get(item.handle, ()):
            fix_handle = SettleHandle(item.handle, (str(item.address),))
            yield Finding(subject, f"is not listed by its handle {item.handle}", fix_handle)


def _handle_findings(snapshot: Snapshot) -> Iterator[Finding]:
    allocations = {item.address: item for item in snapshot.allocations}
    doubtful = doubtful_addresses(snapshot.strays)
    for handle, addresses in snapshot.handles:
        fix = SettleHandle(handle, ())
        if not addresses:
            yield Finding(f"handle {handle}", "holds nothing", fix)
        for address in addresses:
            allocation = allocations.get(address)
            if address in doubtful:
                continue
            if allocation is None:
                yield Finding(f"handle {handle}", f"lists {address}, which is not allocated", fix)
            elif allocation.handle != handle:
                yield Finding(f"handle {handle}", f"lists {address}, which {allocation.handle} holds", fix)


def _index_findings(snapshot: Snapshot) -> Iterator[Finding]:
    if any(stray.key.startswith(BLOCKS) for stray in snapshot.strays):
        # What the indexes should have is not known: a block must not come free while it can't be read.
        return
    # Nor where a pool's size is not known, which the map follows from.
    known = {pool.name for pool in snapshot.pools}
    kept = tuple({f"{CLAIMS}{block.pool}/" for block in snapshot.blocks if block.pool not in known})
    expected, actual = build_indexes(snapshot.pools, snapshot.blocks), snapshot.index
    for key in sorted(expected.keys() | actual.keys()):
        if expected.get(key) == actual.get(key) or key.startswith(kept):
            continue
        fix = SettleEntry(key, actual.get(key), expected.get(key))
        if key not in actual:
            problem = "is missing"
        elif key not in expected:
            problem = "names no block in that state"
        else:
            problem = "is not what the blocks have"
        yield Finding(f"index {key}", problem, fix)


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
