"""Addresses for nodes: each request is one transaction of read, pure choice, write.

All addresses of a request, their handle and the blocks are written together: a pod has all or none, and a
caller that died before it got its answer asks again and gets the same. Which address it is, is decided in
`ipam.placement`.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import msgspec

from ipam.assign import build_ip, is_free, return_address
from ipam.datastore import Datastore
from ipam.errors import ExhaustedError, InconsistentError, UnsettledError
from ipam.exhaustion import explain, explain_none
from ipam.ledger import Ledger
from ipam.model import (
    Address,
    Allocation,
    AssignedIp,
    Assignment,
    Handle,
    Labels,
    PodRef,
    Policy,
    Pool,
    Request,
    tunnel_handle,
)
from ipam.placement import place
from ipam.pool_choice import Slot, build_slots, usable
from ipam.pool_record import record_pools, settle_blocks
from ipam.wanted_address import take_wanted

_DEFAULT_POLICY = Policy()
# Others may change what a pool reserves meanwhile; but not for ever.
_MOST_SETTLED = 16


class Allocator:
    """Gives addresses to pods and nodes.

    Args:
        datastore: Where all nodes' state is.
        pools: As the configuration has them, in order of preference; when it has none, those that were
            put into the datastore are used, by name.
        policy: What the operator decided about blocks.
        clock: Unix time in seconds.
    """

    def __init__(
        self,
        datastore: Datastore,
        pools: Sequence[Pool],
        policy: Policy = _DEFAULT_POLICY,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._datastore = datastore
        self._pools = tuple(pools)
        self._policy = policy
        self._clock = clock

    def assign(self, request: Request) -> Assignment:
        """Give a request its addresses; those that its handle has when it has any.

        Raises:
            ExhaustedError: no pool has an address left for this node.
            AddressInUseError: the address that it asks for is somebody else's.
            AddressRefusedError: the address or pool that it asks for can't be given.
            ConfigError: a pool was changed under its blocks.
            DatastoreError: the datastore can't be used; nothing was written.
            InconsistentError: the datastore contradicts itself; nothing was written.
        """
        ips: tuple[AssignedIp, ...] | None = None
        settled: Counter[str] = Counter()
        with self._explained(request):
            while ips is None:
                try:
                    ips = self._datastore.transact(
                        lambda ledger: assign(ledger, self._pools, self._policy, request)
                    )
                except UnsettledError as exc:
                    settled[exc.pool.name] += 1
                    if settled[exc.pool.name] > _MOST_SETTLED:
                        raise InconsistentError(
                            f"the index of pool {exc.pool.name} is wrong: run ipamctl check"
                        ) from exc
                    settle_blocks(self._datastore, exc.pool)
        return Assignment(ips)

    def probe(self, request: Request) -> None:
        """Find out whether a request could be served now; nothing is written.

        Raises:
            The same as `assign`.
        """

        def step(ledger: Ledger) -> None:
            if assign(ledger, self._pools, self._policy, request) is None:
                # As if the pools had been recorded before.
                assign(ledger, self._pools, self._policy, request)
            raise _ProbedError

        # What is to be settled first has an address to give in most cases: an ADD will see.
        with self._explained(request), suppress(_ProbedError, UnsettledError):
            self._datastore.transact(step)

    def assign_tunnel(self, node: str, pool: Pool, node_labels: Labels | None = None) -> Assignment:
        """Give a node its own address in a pool, for its end of the tunnels to the others; always the same.

        It is no pod's, and comes free with `release(tunnel_handle(node, pool.name))`, or once the cluster has
        the node no more. Each call writes: a collector that missed the node must see that it is back. So ask
        at a start, not in a loop that the datastore's watch wakes.

        Raises:
            The same as `assign`.
        """
        version = pool.network.version
        request = Request(
            handle=tunnel_handle(node, pool.name),
            pod=PodRef(),
            node=node,
            netns="",
            now_s=int(self._clock()),
            families=(version,),
            ipv4_pools=(pool.name,) if version == 4 else (),
            ipv6_pools=(pool.name,) if version == 6 else (),
            node_labels=node_labels,
            use="tunnel",
        )
        return self.assign(request)

    def release(self, handle: Handle, is_own: Callable[[Allocation], bool] | None = None) -> bool:
        """Free what `handle` holds; False when it held nothing, which is fine.

        Args:
            handle: Whose addresses.
            is_own: When its node has none, those of another node name are freed that this says are its own.

        Raises:
            DatastoreError: the datastore can't be used; nothing was written.
        """
        now_s = int(self._clock())

        def step(ledger: Ledger) -> list[Allocation]:
            freed = release_handle(ledger, handle, now_s)
            if freed or is_own is None:
                return freed
            for other in ledger.namesakes(handle):
                held = [item for item in map(ledger.allocation, ledger.addresses(other)) if item is not None]
                if held and all(map(is_own, held)):
                    freed += release_handle(ledger, other, now_s)
            return freed

        return bool(self._datastore.transact(step))

    @contextmanager
    def _explained(self, request: Request) -> Iterator[None]:
        """Say of what could not be served why, with numbers from the datastore."""
        try:
            yield
        except _NothingLeftError as exc:
            slot = exc.slot
        else:
            return
        # Counted on its own, so that the writers in line need not wait for it.
        raise ExhaustedError(
            self._datastore.read(
                lambda ledger: (
                    explain_none(self._pools or ledger.pools(), request)
                    if slot is None
                    else explain(ledger, slot, self._policy, request)
                )
            )
        )


class _NothingLeftError(Exception):
    """A slot can't be filled, or (None) there is none: ends the transaction, so that nothing is written."""

    def __init__(self, slot: Slot | None) -> None:
        super().__init__()
        self.slot = slot


class _ProbedError(Exception):
    """It would have worked: ends the transaction, so that nothing is written."""


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
            raise _NothingLeftError(None)
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
        raise _NothingLeftError(slot)
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
