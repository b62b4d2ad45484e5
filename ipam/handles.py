"""What a handle holds: given, completed, renewed and taken back, each within one transaction."""

from collections.abc import Sequence

import msgspec

from ipam.assign import build_ip, is_free, return_address
from ipam.errors import InconsistentError
from ipam.ledger import Ledger
from ipam.model import (
    Address,
    Allocation,
    AssignedIp,
    Handle,
    Policy,
    Pool,
    Request,
)
from ipam.placement import place
from ipam.pool_choice import Slot, build_slots, usable
from ipam.pool_record import record_pools
from ipam.wanted_address import take_wanted


class NothingLeftError(Exception):
    """A slot can't be filled, or (None) there is none: ends the transaction, so that nothing is written."""

    def __init__(self, slot: Slot | None) -> None:
        super().__init__()
        self.slot = slot


def assign(
    ledger: Ledger, pools: Sequence[Pool], policy: Policy, request: Request
) -> tuple[AssignedIp, ...] | None:
    """Find or make the allocations of a request's handle, within one transaction.

    None: all that was done is to record the pools, which had changed. To be called again: who borrows looks
    at what others have to lend, and would not see what this very transaction changes there.
    """
    if request.handle.node != request.node:
        # The attachment is this node's, whoever built the request.
        handle = msgspec.structs.replace(request.handle, node=request.node)
        request = msgspec.structs.replace(request, handle=handle)
    allocations = [_renew(ledger, request, address) for address in ledger.addresses(request.handle)]
    if not allocations or ledger.is_short(request.handle):
        if record_pools(ledger, pools):
            return None
        slots = build_slots(pools or ledger.pools(), request)
        if not slots:
            raise NothingLeftError(None)
        allocations = _complete(ledger, slots, allocations, policy, request)
        ledger.put_addresses(request.handle, tuple(item.address for item in allocations))
    known = {pool.name: pool for pool in ledger.pools()}
    return tuple(build_ip(item, known.get(item.pool)) for item in allocations)


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
    return release_allocations(ledger, [allocation], now_s)


def release_allocations(ledger: Ledger, allocations: Sequence[Allocation], now_s: int) -> bool:
    """Free addresses of one handle, provided that all still are these very allocations; all or none.

    Should the handle hold more, it is short of them: its next request is completed, or fails.
    """
    if any(ledger.allocation(item.address) != item for item in allocations):
        return False
    handle = allocations[0].handle
    gone = {item.address for item in allocations}
    left = tuple(address for address in ledger.addresses(handle) if address not in gone)
    for item in allocations:
        _give_back(ledger, item, now_s)
    ledger.put_addresses(handle, left, is_short=True)
    return True


def _complete(
    ledger: Ledger, slots: Sequence[Slot], held: Sequence[Allocation], policy: Policy, request: Request
) -> list[Allocation]:
    """Fill the slots that nothing held fits in; what fits nowhere (any more) is kept all the same."""
    left, filled = list(held), []
    for slot in slots:
        kept = next((item for item in left if _fits(item, slot)), None)
        if kept is None:
            kept = _fill(ledger, slot, policy, request)
        else:
            left.remove(kept)
        filled.append(kept)
    return filled + left


def _fits(item: Allocation, slot: Slot) -> bool:
    if slot.address is not None:
        return item.address == slot.address
    return slot.what == f"IPv{item.address.version}" or item.pool in {pool.name for pool in slot.pools}


def _fill(ledger: Ledger, slot: Slot, policy: Policy, request: Request) -> Allocation:
    """Take the address of a slot, and write it down."""
    if slot.address is not None:
        allocation: Allocation | None = take_wanted(ledger, slot, slot.address, policy, request)
    else:
        allocation = place(ledger, usable(slot, request), policy, request)
    if allocation is None:
        raise NothingLeftError(slot)
    ledger.put_allocation(allocation)
    return allocation


def _renew(ledger: Ledger, request: Request, address: Address) -> Allocation:
    """Return what the handle has; note where its pod lives now, for that is what `gc` looks at."""
    allocation = ledger.allocation(address)
    if allocation is None or allocation.handle != request.handle:
        raise InconsistentError(
            f"{request.handle} holds {address}, which is not allocated to it: run ipamctl check"
        )
    renewed = msgspec.structs.replace(
        allocation,
        pod=request.pod,
        netns=request.netns,
        network=request.network,
        boot_id=request.boot_id,
        machine_id=request.machine_id,
        renewals=allocation.renewals + 1,
    )
    # Always another record, also when all is as before: a collector that saw the pod dead must not free what
    # was answered since.
    ledger.put_allocation(renewed)
    return renewed


def _give_back(ledger: Ledger, allocation: Allocation, now_s: int) -> None:
    ledger.delete_allocation(allocation.address)
    block = ledger.block(allocation.pool, allocation.block)
    if block is not None and not is_free(block, allocation.address):
        ledger.put_block(block, return_address(block, allocation.address, now_s))
