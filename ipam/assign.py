"""Which address a request gets: pure functions from (block, request) to (block, result).

Decides the order: within a block, addresses that were never in use, then the one released the longest ago,
so that whoever still talks to a dead pod's address does not reach a new pod.
"""

import zlib
from collections.abc import Callable, Collection, Iterator
from ipaddress import ip_interface

import msgspec

from ipam.model import Address, Allocation, Assignment, Block, Network, Pool, Released, Request


def take_address(
    block: Block, request: Request, reserved: Collection[Network] = ()
) -> tuple[Block, Allocation | None]:
    """Give one address of `block` to `request`; None, and the block as it was, when it has none to give."""
    chosen, rest = _choose_ordinal(block, reserved)
    if chosen is None:
        return block, None
    taken = msgspec.structs.replace(rest, sequence=block.sequence + 1)
    return taken, Allocation(
        address=block.network[chosen],
        block=block.network,
        pool=block.pool,
        node=request.node,
        handle=request.handle,
        pod=request.pod,
        netns=request.netns,
        assigned_at_s=request.now_s,
        sequence=taken.sequence,
    )


def return_address(block: Block, address: Address, now_s: int) -> Block:
    """Put an address that was taken from `block` at the end of its queue."""
    released = Released(ordinal_of(block, address), now_s)
    return msgspec.structs.replace(block, released=(*block.released, released), sequence=block.sequence + 1)


def is_free(block: Block, address: Address) -> bool:
    """Say whether `block` would give `address` out."""
    ordinal = ordinal_of(block, address)
    return ordinal >= block.fresh or any(item.ordinal == ordinal for item in block.released)


def ordinal_of(block: Block, address: Address) -> int:
    """Return the place of an address within its block."""
    return int(address) - int(block.network.network_address)


def choose_network(pool: Pool, node: str, is_claimed: Callable[[Network], bool]) -> Network | None:
    """Choose the block that `node` claims next; None when no block of the pool is left.

    Each node starts at a place of its own (a hash of its name) and takes the first that is neither claimed
    nor wholly reserved: nodes that claim at the same moment, as at the start of a cluster, seldom collide,
    and few blocks have to be looked at while the pool is not nearly full.
    """
    count = pool.block_count
    start = zlib.crc32(node.encode()) % count
    for network in _networks(pool, start):
        if not any(_covers(item, network) for item in pool.reserved) and not is_claimed(network):
            return network
    return None


def build_assignment(allocation: Allocation) -> Assignment:
    """Build what the pod gets to see of its allocation."""
    address = allocation.address
    return Assignment(ip_interface((address, address.max_prefixlen)), allocation.pool, allocation.block)


def _choose_ordinal(block: Block, reserved: Collection[Network]) -> tuple[int | None, Block]:
    """Choose an ordinal, and say what is left of the block without it."""

    def is_reserved(ordinal: int) -> bool:
        return any(block.network[ordinal] in network for network in reserved)

    for ordinal in range(block.fresh, block.size):
        if not is_reserved(ordinal):
            # What was passed over comes back into play should its reservation end.
            passed = tuple(Released(skipped, 0) for skipped in range(block.fresh, ordinal))
            return ordinal, msgspec.structs.replace(
                block, fresh=ordinal + 1, released=passed + block.released
            )
    for place, item in enumerate(block.released):
        if not is_reserved(item.ordinal):
            left = block.released[:place] + block.released[place + 1 :]
            return item.ordinal, msgspec.structs.replace(block, released=left)
    return None, block


def _networks(pool: Pool, start: int) -> Iterator[Network]:
    """Yield the blocks of a pool, in order from number `start`, once around."""
    first, size = int(pool.network.network_address), 1 << (pool.network.max_prefixlen - pool.block_size)
    kind = type(pool.network)
    for number in range(pool.block_count):
        yield kind((first + (start + number) % pool.block_count * size, pool.block_size))


def _covers(outer: Network, inner: Network) -> bool:
    return inner.network_address in outer and inner.broadcast_address in outer
