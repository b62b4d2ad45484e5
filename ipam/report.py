"""What ipamctl prints, as plain rows."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from ipam.finding import Finding
from ipam.leaks import Leak
from ipam.model import Address, Allocation, Block, Pool
from ipam.reclaim import Reclaim
from ipam.repair import Repaired
from nodeplane.runtime.output import Row

_MOST_NETWORKS = 16
_NO_ALLOCATION = dict.fromkeys(
    ("address", "pod", "node", "pool", "block", "handle", "use", "network", "netns", "assigned"), ""
)


def describe_allocations(allocations: Iterable[Allocation]) -> list[Row]:
    """Return a row for each address in use."""
    return [
        {
            "address": str(item.address),
            "pod": f"{item.pod.namespace}/{item.pod.name}" if item.pod.name else "",
            "node": item.node,
            "pool": item.pool,
            "block": str(item.block),
            "handle": str(item.handle),
            "use": item.use,
            "network": item.network,
            "netns": item.netns,
            "assigned": _when(item.assigned_at_s),
        }
        for item in allocations
    ]


def _when(unix_s: int) -> str:
    try:
        return datetime.fromtimestamp(unix_s, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        # Written by a clock that was far off; no calendar has it.
        return str(unix_s)


def describe_unreadable(address: Address, block: Block | None) -> Row:
    """Return the row of an address whose allocation nobody can read."""
    told = {**_NO_ALLOCATION, "address": str(address)}
    if block is not None:
        told |= {"node": block.node, "pool": block.pool, "block": str(block.network)}
    return {**told}


def describe_leaks(leaks: Iterable[Leak]) -> list[Row]:
    """Return a row for each address that is left behind, and why it is taken for that."""
    return [
        {**row, "reason": leak.reason} for leak in leaks for row in describe_allocations([leak.allocation])
    ]


def describe_blocks(blocks: Iterable[Block]) -> list[Row]:
    """Return a row for each block, with its use; `lent` is how many of the used are on other nodes."""
    return [
        {
            "block": str(block.network),
            "pool": block.pool,
            "node": block.node,
            "size": block.size,
            "used": block.used,
            "free": block.free,
            "lent": len(block.lent),
        }
        for block in blocks
    ]


def describe_reclaims(items: Iterable[Reclaim]) -> list[Row]:
    """Return a row for each block that is no longer needed as it is, and what becomes of it."""
    return [
        {
            "block": str(item.block.network),
            "pool": item.block.pool,
            "node": item.block.node,
            "verdict": item.verdict,
        }
        for item in items
    ]


def describe_use(
    pools: Iterable[Pool], blocks: Sequence[Block], allocations: Sequence[Allocation]
) -> list[Row]:
    """Return a row for each pool: the figures that the agent's metrics have too."""
    rows = []
    for pool in pools:
        own = [block for block in blocks if block.pool == pool.name]
        nodes = Counter(block.node for block in own)
        used = sum(block.used for block in own)
        reserved = sum(network.num_addresses for network in pool.reserved)
        rows.append(
            {
                "pool": pool.name,
                "cidr": str(pool.network),
                "size": pool.network.num_addresses,
                "reserved": reserved,
                "allocations": sum(item.pool == pool.name for item in allocations),
                "free": pool.network.num_addresses - used - reserved,
                "borrowed": sum(len(block.lent) for block in own),
                "tunnels": sum(item.pool == pool.name and item.use == "tunnel" for item in allocations),
                "blocks": len(own),
                "blocks_by_node": [f"{node or '(none)'} {count}" for node, count in sorted(nodes.items())],
            }
        )
    return rows


def describe_pools(pools: Iterable[Pool], blocks: Sequence[Block]) -> list[Row]:
    """Return a row for each pool, with its use and the space that no node has claimed."""
    # Only this needs set arithmetic on networks, and netaddr takes 60 ms to import.
    from netaddr import IPSet

    rows = []
    for pool in pools:
        own = [block for block in blocks if block.pool == pool.name]
        unclaimed = IPSet([str(pool.network)]) - IPSet(str(block.network) for block in own)
        rows.append(
            {
                "pool": pool.name,
                "cidr": str(pool.network),
                "block_size": pool.block_size,
                "blocks": f"{len(own)}/{pool.block_count}",
                "used": sum(block.used for block in own),
                "size": pool.network.num_addresses,
                "reserved": [str(network) for network in pool.reserved],
                "disabled": pool.disabled,
                "node_selector": pool.node_selector,
                "namespace_selector": pool.namespace_selector,
                "on_link": pool.on_link,
                "nat_outgoing": pool.nat_outgoing,
                "mode": pool.mode,
                "unclaimed": _shortened([str(network) for network in unclaimed.iter_cidrs()]),
            }
        )
    return rows


def _shortened(networks: list[str]) -> list[str]:
    """Leave out what is more than a person reads: a vast pool's space falls into many networks."""
    left = len(networks) - _MOST_NETWORKS
    return networks if left <= 0 else [*networks[:_MOST_NETWORKS], f"and {left} more networks"]


def describe_findings(findings: Iterable[Finding]) -> list[Row]:
    """Return a row for each contradiction."""
    return [{"subject": item.subject, "problem": item.problem} for item in findings]


def describe_repairs(repaired: Iterable[Repaired]) -> list[Row]:
    """Return a row for each contradiction that was put right, and how."""
    return [
        {"subject": item.finding.subject, "problem": item.finding.problem, "done": item.done}
        for item in repaired
    ]
