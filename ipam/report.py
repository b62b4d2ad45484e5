"""What ipamctl prints, as plain rows."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from ipam.check import Finding
from ipam.model import Allocation, Block, Pool
from nodeplane.runtime.output import Row


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
            "netns": item.netns,
            "assigned": datetime.fromtimestamp(item.assigned_at_s, UTC).isoformat(),
        }
        for item in allocations
    ]


def describe_blocks(blocks: Iterable[Block]) -> list[Row]:
    """Return a row for each block, with its use."""
    return [
        {
            "block": str(block.network),
            "pool": block.pool,
            "node": block.node,
            "size": block.size,
            "used": block.size - block.free,
            "free": block.free,
        }
        for block in blocks
    ]


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
                "used": sum(block.size - block.free for block in own),
                "size": pool.network.num_addresses,
                "reserved": [str(network) for network in pool.reserved],
                "unclaimed": [str(network) for network in unclaimed.iter_cidrs()],
            }
        )
    return rows


def describe_findings(findings: Iterable[Finding]) -> list[Row]:
    """Return a row for each contradiction."""
    return [{"subject": item.subject, "problem": item.problem} for item in findings]
