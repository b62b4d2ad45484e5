"""Addresses for nodes: each request is one transaction of read, pure choice, write.

All addresses of a request, their handle and the blocks are written together: a pod has all or none, and a
caller that died before it got its answer asks again and gets the same. Which address it is, is decided in
`ipam.placement`.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from ipam.datastore import Datastore
from ipam.errors import ExhaustedError, InconsistentError, UnsettledError
from ipam.exhaustion import explain, explain_none
from ipam.handles import NothingLeftError, assign, release_handle
from ipam.ledger import Ledger
from ipam.model import (
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
from ipam.pool_record import settle_blocks

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
        except NothingLeftError as exc:
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


class _ProbedError(Exception):
    """It would have worked: ends the transaction, so that nothing is written."""
