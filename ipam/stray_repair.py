"""Put right what lies under a wrong key or can't be read, from what the other records say of it.

An address that such an entry may stand for stays in use: where the others do not tell, nothing is done, and
a person may release it.
"""

from contextlib import suppress

import msgspec

from ipam import keys, records
from ipam.assign import is_free, return_address
from ipam.check import read_snapshot
from ipam.datastore import Datastore
from ipam.errors import DatastoreError, IpamError, UnreadableError
from ipam.ledger import Ledger
from ipam.model import Address, Allocation, Block, Handle, PodRef
from ipam.pool_space import block_at, number_of
from ipam.strays import address_of, block_of, handle_of


def settle_key(ledger: Ledger, key: str, seen: bytes, now_s: int) -> str | None:
    """Put right what lies under a key; return what was done: "" nothing any more, None nothing."""
    if ledger.entry(key) != seen:
        return ""
    if key == keys.POOLS:
        ledger.put_entry(key, None)
        return "removed: put the pools back with ipamctl pools apply"
    if key.startswith(keys.ALLOCATIONS):
        return _settle_allocation(ledger, key, seen, now_s)
    if key.startswith(keys.BLOCKS):
        return _settle_block(ledger, key)
    handle = handle_of(key)
    return None if handle is None else _settle_handle(ledger, handle)


def release_unreadable(datastore: Datastore, address: Address, now_s: int) -> Block | None:
    """Free an address whose allocation can't be read or is another's; return its block, if that is there.

    Raises:
        IpamError: other records may still tell whose it is, or the address goes with no known pool: to be
            repaired first.
    """
    handles = [stray.key for stray in datastore.read(read_snapshot).strays if handle_of(stray.key)]
    if handles:
        raise IpamError(f"{handles[0]} may list {address}: run ipamctl check --repair first")
    return datastore.transact(lambda ledger: _release_unreadable(ledger, address, now_s))


def _release_unreadable(ledger: Ledger, address: Address, now_s: int) -> Block | None:
    key = keys.allocation_key(address)
    value = ledger.entry(key)
    if value is None:
        raise IpamError(f"{address} is not allocated")
    meant = {address}
    with suppress(DatastoreError):
        meant.add(records.decode_allocation(value).address)
    for holder, held in ledger.look_handles():
        if meant.intersection(held) and meant.intersection(ledger.addresses(holder)):
            raise IpamError(f"{key} may be of {holder}, which lists it: run ipamctl check --repair first")
    pool = next((pool for pool in ledger.pools() if address in pool.network), None)
    if pool is None:
        raise IpamError(f"{address} is of no known pool: put it back first with ipamctl pools apply")
    block = ledger.block(pool.name, block_at(pool, number_of(pool, address)))
    if block is not None and not is_free(block, address):
        ledger.put_block(block, return_address(block, address, now_s))
    ledger.put_entry(key, None)
    return block


def _settle_allocation(ledger: Ledger, key: str, seen: bytes, now_s: int) -> str | None:
    address = address_of(key)
    if address is None:
        return None
    try:
        stray = records.decode_allocation(seen)
    except DatastoreError:
        return _rebuild(ledger, address, now_s)
    listed = _listed(ledger, stray.handle)
    if stray.address in listed and address not in listed:
        own = keys.allocation_key(stray.address)
        there = ledger.entry(own)
        if there is not None and ledger.allocation(stray.address) != stray:
            return None
        ledger.put_entry(own, seen)
        ledger.put_entry(key, None)
        return "moved to its own key" if there is None else "a copy: removed"
    if address in listed and stray.address not in listed and address in stray.block:
        ledger.put_allocation(msgspec.structs.replace(stray, address=address))
        return "its address is its key's"
    return None


def _rebuild(ledger: Ledger, address: Address, now_s: int) -> str | None:
    """Write an allocation anew for the handle that lists its address."""
    holder = next((handle for handle, held in ledger.look_handles() if address in held), None)
    pool = next((pool for pool in ledger.pools() if address in pool.network), None)
    if holder is None or pool is None or address not in ledger.addresses(holder):
        return None
    block = ledger.block(pool.name, block_at(pool, number_of(pool, address)))
    if block is None:
        return None
    lent = {block.network[item.ordinal]: item.node for item in block.lent}
    ledger.put_allocation(
        Allocation(
            address=address,
            block=block.network,
            pool=pool.name,
            node=lent.get(address, block.node),
            handle=holder,
            pod=PodRef(),
            # Without a namespace nobody takes it for a leak: its pod's DEL frees it.
            netns="",
            assigned_at_s=now_s,
            sequence=block.sequence,
            use="tunnel" if holder.container_id.startswith("node:") else "pod",
        )
    )
    return f"written anew for {holder}"


def _settle_block(ledger: Ledger, key: str) -> str | None:
    """Write a block anew, all in use; what is not so is found next."""
    place = block_of(key)
    if place is None:
        return None
    name, network = place
    pool = next((pool for pool in ledger.pools() if pool.name == name), None)
    if pool is None or network.prefixlen != pool.block_size or network.network_address not in pool.network:
        return None
    users = [item for item in ledger.look_allocations() if item.address in network]
    node = users[0].node if users else ""
    ledger.claim_block(pool, Block(network, name, node, fresh=network.num_addresses))
    return f"block written anew for {f'node {node}' if node else 'no node'}"


def _settle_handle(ledger: Ledger, handle: Handle) -> str:
    """Write a handle anew with the addresses that are allocated to it."""
    found = [item.address for item in ledger.look_allocations() if item.handle == handle]
    held = []
    for address in found:
        allocation = ledger.allocation(address)
        if allocation is not None and allocation.handle == handle:
            held.append(address)
    ledger.put_addresses(handle, tuple(held))
    return f"lists {', '.join(map(str, held))}" if held else "forgotten"


def _listed(ledger: Ledger, handle: Handle) -> tuple[Address, ...]:
    with suppress(UnreadableError):
        return ledger.addresses(handle)
    return ()
