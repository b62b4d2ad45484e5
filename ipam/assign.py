"""Which address a request gets: pure functions from (block, request) to (block, result).

Decides the order within a block: addresses that were never in use, then the one released the longest ago, so
that whoever still talks to a dead pod's address does not reach a new pod.
"""

from collections.abc import Collection
from ipaddress import ip_interface

import msgspec

from ipam.model import Address, Allocation, AssignedIp, Block, Lent, Network, Pool, Released, Request


def settle(block: Block, excluded: Collection[Network]) -> Block:
    """Bring a block in line with what is excluded now; the very same block when nothing is to be done.

    Afterwards the next address to give is not an excluded one, and what was withheld but no longer is
    excluded can be given again.
    """
    settled = _settled(block, excluded)
    return block if settled == block else msgspec.structs.replace(settled, sequence=block.sequence + 1)


def take_address(
    block: Block, request: Request, excluded: Collection[Network] = ()
) -> tuple[Block, Allocation | None]:
    """Give the next address of a block to a request; None when it has none to give."""
    settled = _settled(block, excluded)
    if settled.fresh < settled.size:
        ordinal = settled.fresh
        left = msgspec.structs.replace(settled, fresh=ordinal + 1)
    elif settled.released:
        ordinal = settled.released[0].ordinal
        left = msgspec.structs.replace(settled, released=settled.released[1:])
    else:
        return settle(block, excluded), None
    return _give(_settled(left, excluded), ordinal, request)


def take_this(
    block: Block, address: Address, request: Request, excluded: Collection[Network] = ()
) -> tuple[Block, Allocation | None]:
    """Give this address of a block to a request; None when it is in use or excluded."""
    ordinal = ordinal_of(block, address)
    if not is_free(block, address) or any(address in network for network in excluded):
        return block, None
    # What is passed over was never in use, so it goes out before all that was.
    passed = tuple(Released(skipped, 0) for skipped in range(block.fresh, ordinal))
    left = msgspec.structs.replace(
        block,
        fresh=max(block.fresh, ordinal + 1),
        released=passed + tuple(item for item in block.released if item.ordinal != ordinal),
        withheld=tuple(item for item in block.withheld if item != ordinal),
    )
    return _give(_settled(left, excluded), ordinal, request)


def return_address(block: Block, address: Address, now_s: int) -> Block:
    """Put an address that was taken from `block` at the end of its queue."""
    ordinal = ordinal_of(block, address)
    return msgspec.structs.replace(
        block,
        released=(*block.released, Released(ordinal, now_s)),
        lent=tuple(item for item in block.lent if item.ordinal != ordinal),
        sequence=block.sequence + 1,
    )


def is_free(block: Block, address: Address) -> bool:
    """Say whether nobody has `address`, as far as its block knows."""
    ordinal = ordinal_of(block, address)
    return (
        ordinal >= block.fresh
        or ordinal in block.withheld
        or any(item.ordinal == ordinal for item in block.released)
    )


def has_rested(idle_since_s: int, now_s: int, rest_s: int) -> bool:
    """Say whether an address that was in use until `idle_since_s` may go out again (0: it never was).

    A time that is further to come than a rest was written by a clock that was ahead: nobody can wait for it.
    """
    return idle_since_s == 0 or abs(now_s - idle_since_s) >= rest_s


def ordinal_of(block: Block, address: Address) -> int:
    """Return the place of an address within its block."""
    return int(address) - int(block.network.network_address)


def build_ip(allocation: Allocation, pool: Pool | None) -> AssignedIp:
    """Build what a pod gets to see of its allocation: routed on its own, or on the link of its pool."""
    address = allocation.address
    length = pool.network.prefixlen if pool is not None and pool.on_link else address.max_prefixlen
    return AssignedIp(ip_interface((address, length)), allocation.pool, allocation.block)


def _settled(block: Block, excluded: Collection[Network]) -> Block:
    near = [network for network in excluded if network.overlaps(block.network)]
    if not near and not block.withheld:
        return block

    def is_excluded(ordinal: int) -> bool:
        return any(block.network[ordinal] in network for network in near)

    withheld = {ordinal for ordinal in block.withheld if is_excluded(ordinal)}
    back = tuple(Released(ordinal, 0) for ordinal in block.withheld if ordinal not in withheld)
    fresh, released = block.fresh, back + block.released
    while fresh < block.size and is_excluded(fresh):
        withheld.add(fresh)
        fresh += 1
    while fresh == block.size and released and is_excluded(released[0].ordinal):
        withheld.add(released[0].ordinal)
        released = released[1:]
    return msgspec.structs.replace(block, fresh=fresh, released=released, withheld=tuple(sorted(withheld)))


def _give(left: Block, ordinal: int, request: Request) -> tuple[Block, Allocation]:
    """Say what becomes of a block that `ordinal` was taken out of, and who has it."""
    lent = left.lent
    if request.node != left.node:
        lent = tuple(sorted((*lent, Lent(ordinal, request.node))))
    taken = msgspec.structs.replace(left, lent=lent, sequence=left.sequence + 1)
    return taken, Allocation(
        address=left.network[ordinal],
        block=left.network,
        pool=left.pool,
        node=request.node,
        handle=request.handle,
        pod=request.pod,
        netns=request.netns,
        assigned_at_s=request.now_s,
        sequence=taken.sequence,
        network=request.network,
        boot_id=request.boot_id,
        machine_id=request.machine_id,
        use=request.use,
    )
