"""The very address that a request asks for: given, or refused with the reason."""

from ipam.assign import take_this
from ipam.errors import AddressInUseError, AddressRefusedError
from ipam.ledger import Ledger
from ipam.model import Address, Allocation, Block, Policy, Pool, Request
from ipam.placement import adopted, keep, may_claim
from ipam.pool_choice import Slot, is_for_namespace, is_for_node
from ipam.pool_space import block_at, excluded, number_of


def take_wanted(ledger: Ledger, slot: Slot, address: Address, policy: Policy, request: Request) -> Allocation:
    """Take an address, from whichever block it is in.

    Raises:
        AddressInUseError: somebody else has it.
        AddressRefusedError: it can't be given to this request; says why.
        InconsistentError: the datastore contradicts itself.
    """
    pool = next((item for item in slot.pools if address in item.network), None)
    if pool is None:
        pools = ", ".join(f"{item.name} {item.network}" for item in slot.pools) or "none"
        raise AddressRefusedError(f"{address} lies in no pool: the pools for {slot.what} are {pools}")
    reason = _reason(pool, address, request)
    if reason:
        raise AddressRefusedError(f"{address} can't be given out: {reason}")
    holder = ledger.allocation(address)
    if holder is not None:
        raise AddressInUseError(f"{address} is in use {_describe(holder)}")
    network = block_at(pool, number_of(pool, address))
    old = ledger.block(pool.name, network)
    block = _block(ledger, old, Block(network, pool.name, request.node), policy, request)
    taken, allocation = take_this(block, address, request, excluded(pool))
    if allocation is None:
        # In use by its block, and by no allocation: lost.
        raise AddressRefusedError(f"{address} is neither allocated nor free in its block: run ipamctl check")
    return keep(ledger, old, pool, taken, allocation)


def _reason(pool: Pool, address: Address, request: Request) -> str:
    """Say why a pool does not give an address to a request; empty when it does."""
    if pool.disabled:
        return f"pool {pool.name} is disabled"
    if not is_for_node(pool, request):
        return f"pool {pool.name} is not for node {request.node}, its nodeSelector is {pool.node_selector!r}"
    if not is_for_namespace(pool, request):
        return (
            f"pool {pool.name} is not for namespace {request.pod.namespace or 'none'}, its namespaceSelector "
            f"is {pool.namespace_selector!r}"
        )
    if any(address in network for network in pool.reserved):
        return f"it is reserved in pool {pool.name}"
    if any(address in network for network in excluded(pool)):
        return f"it is an edge of {pool.network}, which pool {pool.name} has on a link"
    return ""


def _block(ledger: Ledger, old: Block | None, new: Block, policy: Policy, request: Request) -> Block:
    """Return the block as the address is taken out of it: own, new, taken over or another's."""
    network = new.network
    if old is not None and old.node == request.node:
        return old
    if old is None or not old.node:
        if may_claim(ledger, network.version, policy, request):
            return new if old is None else adopted(old, request.node)
        if old is None:
            raise AddressRefusedError(
                f"block {network} has no node, and node {request.node} has all "
                f"{policy.max_blocks_per_node} blocks that maxBlocksPerNode allows"
            )
    if policy.strict_affinity:
        raise AddressRefusedError(
            f"block {network} is {f'of node {old.node}' if old.node else 'of no node'}, and strictAffinity "
            f"keeps node {request.node} from it"
        )
    return old


def _describe(holder: Allocation) -> str:
    if holder.use == "tunnel":
        return f"as the tunnel address of node {holder.node}"
    pod = f"pod {holder.pod.namespace}/{holder.pod.name} " if holder.pod.name else ""
    return f"by {pod}({holder.handle}) on node {holder.node}"
