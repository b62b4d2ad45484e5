"""Addresses for one node: each request is one transaction of read, pure choice, write.

Decides the order over blocks: the node's own that have an address to give, then a new one. The allocation,
its handle and the block are written together, so that a caller that died before it got its answer asks again
and gets the same address.
"""

import time
from collections.abc import Callable, Sequence

import msgspec

from ipam.assign import build_assignment, choose_network, is_free, return_address, take_address
from ipam.datastore import Datastore
from ipam.errors import ExhaustedError, InconsistentError
from ipam.ledger import Ledger, LedgerReader
from ipam.model import Address, Allocation, Assignment, Block, Handle, PodRef, Pool, Request
from ipam.pool_record import record_pools


class Allocator:
    """Gives addresses of `pools`, the first that has one, to the pods of `node_name`.

    Args:
        datastore: Where all nodes' state is.
        node_name: The node that claims blocks.
        pools: In order of preference.
        clock: Unix time in seconds.
    """

    def __init__(
        self,
        datastore: Datastore,
        node_name: str,
        pools: Sequence[Pool],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._datastore = datastore
        self._node_name = node_name
        self._pools = tuple(pools)
        self._clock = clock

    def assign(self, handle: Handle, pod: PodRef, netns: str) -> Assignment:
        """Give `handle` an address; the one that it has when it has one.

        Args:
            handle: Who holds the address.
            pod: For people, and for policy.
            netns: Path of the pod's network namespace; once it is gone, so is the claim (`ipamctl gc`).

        Raises:
            ExhaustedError: no pool has an address left for this node.
            ConfigError: a pool was changed under its blocks.
            DatastoreError: the datastore can't be used; nothing was written.
            InconsistentError: the datastore contradicts itself; nothing was written.
        """
        request = Request(handle, pod, self._node_name, netns, int(self._clock()))
        allocation = self._datastore.transact(lambda ledger: assign(ledger, self._pools, request))
        if allocation is None:
            # Counted on its own, so that the writers in line need not wait for it.
            usages = self._datastore.read(
                lambda ledger: [_usage(ledger, pool, request.node) for pool in self._pools]
            )
            raise ExhaustedError("; ".join(usages))
        return build_assignment(allocation)

    def release(self, handle: Handle) -> bool:
        """Free what `handle` holds; False when it held nothing, which is fine.

        Raises:
            DatastoreError: the datastore can't be used; nothing was written.
        """
        now_s = int(self._clock())
        return bool(self._datastore.transact(lambda ledger: release_handle(ledger, handle, now_s)))

    def blocks(self) -> list[Block]:
        """Return the blocks of this node, by address."""
        return [block for block in self._datastore.blocks() if block.node == self._node_name]


def assign(ledger: Ledger, pools: Sequence[Pool], request: Request) -> Allocation | None:
    """Find or make the allocation of a request's handle, within one transaction; None when all is in use."""
    held = ledger.addresses(request.handle)
    if held:
        return _renew(ledger, request, held[0])
    record_pools(ledger, pools)
    for pool in pools:
        allocation = _take_from(ledger, pool, request)
        if allocation is not None:
            ledger.put_allocation(allocation)
            ledger.put_addresses(request.handle, (allocation.address,))
            return allocation
    return None


def release_handle(ledger: Ledger, handle: Handle, now_s: int) -> list[Allocation]:
    """Free all addresses of a handle, within one transaction; return what it held."""
    held = [ledger.allocation(address) for address in ledger.addresses(handle)]
    freed = [allocation for allocation in held if allocation is not None and allocation.handle == handle]
    for allocation in freed:
        _give_back(ledger, allocation, now_s)
    # Also when an allocation was missing: a DEL leaves nothing behind that could make the next ADD fail.
    ledger.put_addresses(handle, ())
    return freed


def release_allocation(ledger: Ledger, allocation: Allocation, now_s: int) -> bool:
    """Free one address, provided that it is still this very allocation, within one transaction.

    Whoever decided on the release has looked at an earlier state; since then the address may have been freed
    and given to another.
    """
    if ledger.allocation(allocation.address) != allocation:
        return False
    left = tuple(item for item in ledger.addresses(allocation.handle) if item != allocation.address)
    _give_back(ledger, allocation, now_s)
    ledger.put_addresses(allocation.handle, left)
    return True


def _renew(ledger: Ledger, request: Request, address: Address) -> Allocation:
    """Return what the handle has; note where its pod lives now, for that is what `gc` looks at."""
    allocation = ledger.allocation(address)
    if allocation is None or allocation.handle != request.handle:
        raise InconsistentError(
            f"{request.handle} holds {address}, which is not allocated to it: run ipamctl check"
        )
    renewed = msgspec.structs.replace(allocation, pod=request.pod, netns=request.netns)
    if renewed != allocation:
        ledger.put_allocation(renewed)
    return renewed


def _take_from(ledger: Ledger, pool: Pool, request: Request) -> Allocation | None:
    """Take an address out of the node's blocks of a pool, or out of a new one."""
    for block in ledger.open_blocks(request.node, pool.name):
        allocation = _take(ledger, block, block, pool, request)
        if allocation is not None:
            return allocation
    network = choose_network(pool, request.node, lambda network: ledger.block(pool.name, network) is not None)
    if network is None:
        return None
    return _take(ledger, None, Block(network, pool.name, request.node), pool, request)


def _take(ledger: Ledger, old: Block | None, block: Block, pool: Pool, request: Request) -> Allocation | None:
    taken, allocation = take_address(block, request, pool.reserved)
    if allocation is None:
        return None
    # The block says free; a second record must agree before an address goes out.
    other = ledger.allocation(allocation.address)
    if other is not None:
        raise InconsistentError(
            f"{allocation.address} is free in block {block.network}, yet allocated to "
            f"{other.handle}: run ipamctl check"
        )
    ledger.put_block(old, taken)
    return allocation


def _give_back(ledger: Ledger, allocation: Allocation, now_s: int) -> None:
    ledger.delete_allocation(allocation.address)
    block = ledger.block(allocation.pool, allocation.block)
    if block is not None and not is_free(block, allocation.address):
        ledger.put_block(block, return_address(block, allocation.address, now_s))


def _usage(ledger: LedgerReader, pool: Pool, node: str) -> str:
    """Say why a pool has nothing for a node, and what to do."""
    blocks = ledger.blocks(pool.name)
    in_use = sum(block.size - block.free for block in blocks)
    others = sum(block.node != node for block in blocks)
    return (
        f"pool {pool.name} is exhausted for node {node}: {in_use} of {pool.network.num_addresses} addresses "
        f"of {pool.network} in use, {others} of {pool.block_count} blocks (/{pool.block_size}) are other "
        "nodes'; add a pool, or free the addresses of dead pods with ipamctl gc"
    )
