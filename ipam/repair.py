"""Put right what `ipam.check` found: one transaction for each finding, which looks again first.

What was found is of an earlier state. So a fix does not write what the finding expected, but what follows
from the records as they are in its own transaction; where nothing is wrong any more it writes nothing. An
allocation is always believed before a block, a handle or an index: an address in use must never come free.
"""

from collections.abc import Iterable
from ipaddress import ip_address, ip_network

import msgspec

from ipam import keys
from ipam.assign import is_free, ordinal_of, return_address
from ipam.check import find_contradictions, read_snapshot
from ipam.datastore import Datastore
from ipam.errors import UnreadableError
from ipam.finding import (
    Finding,
    Fix,
    RestoreBlock,
    SettleAddress,
    SettleEntry,
    SettleHandle,
    SettleKey,
    SettlePlace,
    SettleQueue,
)
from ipam.ledger import Ledger
from ipam.model import Address, Allocation, Block, Lent, Released
from ipam.stray_repair import settle_key

# A block that was restored shows what is wrong in it at the next look, and that its index entries at another.
_ROUNDS = 6


class Repaired(msgspec.Struct, frozen=True):
    """A finding, and what was done about it; empty when it had gone by itself, None when nothing can be."""

    finding: Finding
    done: str | None


def repair(datastore: Datastore, now_s: int) -> list[Repaired]:
    """Look and fix until there is nothing left that can be fixed; return all that was found."""
    repaired: list[Repaired] = []
    seen: set[Finding] = set()
    for _ in range(_ROUNDS):
        found = [item for item in find_contradictions(datastore.read(read_snapshot)) if item not in seen]
        if not found:
            break
        seen.update(found)
        repaired += apply_fixes(datastore, found, now_s)
    return repaired


def apply_fixes(datastore: Datastore, findings: Iterable[Finding], now_s: int) -> list[Repaired]:
    """Fix each finding that can be fixed, in a transaction of its own."""
    # What lies under a wrong key first: the other records are judged by it.
    ordered = sorted(findings, key=lambda item: not isinstance(item.fix, SettleKey))
    return [Repaired(item, _apply(datastore, item.fix, now_s)) for item in ordered]


def _apply(datastore: Datastore, fix: Fix | None, now_s: int) -> str | None:
    if fix is None:
        return None
    try:
        return datastore.transact(lambda ledger: _fix(ledger, fix, now_s))
    except UnreadableError:
        # What can't be read is a finding of its own, and what it says counts as if it were there.
        return None


def _fix(ledger: Ledger, fix: Fix, now_s: int) -> str | None:  # noqa: PLR0911  # one for each kind
    match fix:
        case SettleKey():
            return settle_key(ledger, fix.key, fix.seen, now_s)
        case SettlePlace():
            return _settle_place(ledger, fix)
        case SettleAddress():
            return _settle_address(ledger, fix, now_s)
        case SettleHandle():
            return _settle_handle(ledger, fix)
        case SettleQueue():
            return _settle_queue(ledger, fix)
        case RestoreBlock():
            return _restore_block(ledger, fix)
        case SettleEntry():
            return _settle_entry(ledger, fix)


def _settle_address(ledger: Ledger, fix: SettleAddress, now_s: int) -> str:
    address = ip_address(fix.address)
    block = ledger.block(fix.pool, ip_network(fix.block))
    if block is None:
        return ""
    allocation = ledger.allocation(address)
    if address not in block.network:
        return ""
    if allocation is not None:
        # Whatever block it names: the address is in use.
        settled, done = _with_allocation(block, allocation), "its block has it as in use"
    elif is_free(block, address):
        ordinal = ordinal_of(block, address)
        lent = tuple(item for item in block.lent if item.ordinal != ordinal)
        settled, done = msgspec.structs.replace(block, lent=lent), "its block has it as free alone"
    else:
        settled, done = return_address(block, address, now_s), "given back to its block"
    if settled == block:
        return ""
    ledger.put_block(block, msgspec.structs.replace(settled, sequence=block.sequence + 1))
    return done


def _with_allocation(block: Block, allocation: Allocation) -> Block:
    """Return a block as it is when this address of it is in use."""
    ordinal = ordinal_of(block, allocation.address)
    passed = tuple(Released(skipped, 0) for skipped in range(block.fresh, ordinal))
    return msgspec.structs.replace(
        block,
        fresh=max(block.fresh, ordinal + 1),
        released=passed + tuple(item for item in block.released if item.ordinal != ordinal),
        withheld=tuple(item for item in block.withheld if item != ordinal),
        lent=_expected_lent(block, allocation),
    )


def _settle_handle(ledger: Ledger, fix: SettleHandle) -> str:
    listed = ledger.addresses(fix.handle)
    asked = tuple(ip_address(text) for text in fix.addresses)
    held = tuple(address for address in dict.fromkeys((*listed, *asked)) if _holds(ledger, fix, address))
    is_known = ledger.entry(keys.handle_key(fix.handle)) is not None
    if held == listed and (held or not is_known):
        return ""
    is_short = len(held) < len(listed) or ledger.is_short(fix.handle)
    ledger.put_addresses(fix.handle, held, is_short=is_short)
    return f"lists {', '.join(map(str, held))}" if held else "forgotten"


def _holds(ledger: Ledger, fix: SettleHandle, address: Address) -> bool:
    allocation = ledger.allocation(address)
    return allocation is not None and allocation.handle == fix.handle


def _settle_place(ledger: Ledger, fix: SettlePlace) -> str:
    allocation = ledger.allocation(ip_address(fix.address))
    block = ledger.block(fix.pool, ip_network(fix.block))
    if allocation is None or block is None or allocation.address not in block.network:
        return ""
    if (allocation.pool, allocation.block) == (block.pool, block.network):
        return ""
    ledger.put_allocation(msgspec.structs.replace(allocation, pool=block.pool, block=block.network))
    return f"it names block {block.network} of pool {block.pool}"


def _settle_queue(ledger: Ledger, fix: SettleQueue) -> str:
    block = ledger.block(fix.pool, ip_network(fix.block))
    if block is None:
        return ""
    fresh = min(max(block.fresh, 0), block.size)
    # The last time that an address was freed is the one that counts for its rest.
    last = {item.ordinal: item for item in block.released if 0 <= item.ordinal < fresh}
    withheld = {ordinal for ordinal in block.withheld if 0 <= ordinal < fresh and ordinal not in last}
    released = tuple(sorted(last.values(), key=lambda item: item.at_s))
    settled = msgspec.structs.replace(block, fresh=fresh, released=released, withheld=tuple(sorted(withheld)))
    if settled == block:
        return ""
    ledger.put_block(block, msgspec.structs.replace(settled, sequence=block.sequence + 1))
    return "its free addresses are listed once each"


def _restore_block(ledger: Ledger, fix: RestoreBlock) -> str:
    network = ip_network(fix.block)
    pool = next((pool for pool in ledger.pools() if pool.name == fix.pool), None)
    if pool is None or ledger.block(fix.pool, network) is not None:
        return ""
    ledger.claim_block(pool, Block(network, fix.pool, fix.node, fresh=network.num_addresses))
    return f"block written anew for node {fix.node}"


def _settle_entry(ledger: Ledger, fix: SettleEntry) -> str:
    if ledger.entry(fix.key) != fix.seen:
        return ""
    ledger.put_entry(fix.key, fix.expected)
    return "written as the blocks have it"


def _expected_lent(block: Block, allocation: Allocation) -> tuple[Lent, ...]:
    """Return what a block has lent once this allocation of it is taken into account."""
    ordinal = ordinal_of(block, allocation.address)
    others = [item for item in block.lent if item.ordinal != ordinal]
    if allocation.node != block.node:
        others.append(Lent(ordinal, allocation.node))
    return tuple(sorted(others))
