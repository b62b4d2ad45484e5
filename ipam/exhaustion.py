"""Why there is no address for a request, and what to do: one line with each pool, its size and its use."""

from collections.abc import Sequence

from ipam.ledger import LedgerReader
from ipam.model import Policy, Pool, Request
from ipam.pool_choice import Slot, is_for_namespace, is_for_node, usable
from ipam.pool_space import excluded

_FREE_SOME = "free the addresses of dead pods with ipamctl gc"


def explain_none(pools: Sequence[Pool], request: Request) -> str:
    """Say why no pool counts for a request."""
    if not pools:
        return (
            "there is no pool, neither in the configuration nor in the datastore: name one in ipam.pools, or "
            "put one into the datastore with ipamctl pools apply"
        )
    return f"no pool is for {_who(request)}: " + "; ".join(_why_not(pool, request) for pool in pools)


def explain(ledger: LedgerReader, slot: Slot, policy: Policy, request: Request) -> str:
    """Say why none of a slot's pools has an address for a request."""
    if not slot.pools:
        return f"there is no {slot.what} pool: add one, or do not ask for {slot.what}"
    good = usable(slot, request)
    reasons = [
        _full(ledger, pool, policy, request) if pool in good else _unusable(ledger, pool, request)
        for pool in slot.pools
    ]
    return "; ".join(reasons)


def _full(ledger: LedgerReader, pool: Pool, policy: Policy, request: Request) -> str:
    """Say why a pool has nothing for a node, and what to do."""
    node, blocks = request.node, ledger.blocks(pool.name)
    size = f"(/{pool.block_size})"
    others = sum(block.node != node for block in blocks)
    family = [item.name for item in ledger.pools() if item.network.version == pool.network.version]
    own = sum(ledger.own_count(node, name) for name in family)
    reasons, todo = [], ["add a pool"]
    if policy.max_blocks_per_node and own >= policy.max_blocks_per_node:
        reasons.append(f"the node has {own} blocks and maxBlocksPerNode is {policy.max_blocks_per_node}")
        if len(blocks) < pool.block_count:
            todo = ["raise maxBlocksPerNode"]
    else:
        reasons.append(
            f"{others} of {pool.block_count} blocks {size} are other nodes', none is left to claim"
        )
    if policy.strict_affinity:
        free = sum(block.free for block in blocks if block.node != node)
        reasons.append(f"strictAffinity keeps the node from {free} free addresses in other nodes' blocks")
        todo.append("turn strictAffinity off")
    return (
        f"pool {pool.name} is exhausted for node {node}: {_use(ledger, pool)}, {', '.join(reasons)}; "
        f"{', '.join(todo)}, or {_FREE_SOME}"
    )


def _unusable(ledger: LedgerReader, pool: Pool, request: Request) -> str:
    if pool.disabled:
        return f"pool {pool.name} is disabled: {_use(ledger, pool)}; enable it, or add another"
    return _why_not(pool, request)


def _why_not(pool: Pool, request: Request) -> str:
    """Say which selector of a pool does not take a request, and what to do."""
    if not is_for_node(pool, request):
        field, selector, labels, of = "nodeSelector", pool.node_selector, request.node_labels, "node"
    elif not is_for_namespace(pool, request):
        field, selector, of = "namespaceSelector", pool.namespace_selector, "namespace"
        labels = request.namespace_labels
    else:
        return f"pool {pool.name} is for it"
    of = f"{of} {request.node if of == 'node' else request.pod.namespace}".rstrip()
    does = f"the labels of {of} are not known" if labels is None else f"does not select {of}"
    todo = "give access to the API server" if labels is None else "label it"
    return (
        f"pool {pool.name} ({pool.network}) has {field} {selector!r}, {'but' if labels is None else 'which'} "
        f"{does}; {todo}, or add a pool"
    )


def _use(ledger: LedgerReader, pool: Pool) -> str:
    used = sum(block.used for block in ledger.blocks(pool.name))
    text = f"{used} of {pool.network.num_addresses} addresses of {pool.network} in use"
    reserved = sum(network.num_addresses for network in excluded(pool))
    return f"{text}, {reserved} reserved" if reserved else text


def _who(request: Request) -> str:
    namespace = f" and namespace {request.pod.namespace}" if request.pod.namespace else ""
    return f"node {request.node}{namespace}"
