"""Which addresses a request may get, said from outside: from who has what, and who had it when.

Knows nothing of queues and indexes; it looks at the owners of blocks alone.
"""

from collections.abc import Collection, Mapping, Sequence
from ipaddress import ip_network

import msgspec

from ipam.model import Address, Block, Network, Policy, Pool
from ipam.pool_space import block_at


class World(msgspec.Struct):
    """What the oracle knows: blocks and their nodes, addresses in use, and until when others were."""

    blocks: Sequence[Block]
    used: Collection[Address]
    last_use_s: Mapping[Address, int]


def possible(world: World, pools: Sequence[Pool], policy: Policy, node: str, now_s: int) -> set[Address]:
    """Return what a node may be given out of these pools of one family; nothing when they are exhausted."""
    family = {pool.name for pool in pools}
    owned = sum(block.node == node and block.pool in family for block in world.blocks)
    may_claim = not policy.max_blocks_per_node or owned < policy.max_blocks_per_node
    choices = _Choices(world, policy, now_s)
    open_pools = [pool for pool in pools if not pool.disabled]
    for pool in open_pools:
        if found := choices.longest_idle(pool, [node], rested=True):
            return found
    for pool in open_pools if may_claim else ():
        if found := choices.unclaimed(pool):
            return found
    for pool in open_pools if may_claim else ():
        if found := choices.longest_idle(pool, [""], rested=True):
            return found
    others = [] if policy.strict_affinity else [item for item in choices.nodes if item != node]
    for pool in open_pools:
        if found := choices.heads(pool, others):
            return found
    nodes = [node, *([""] if may_claim else []), *others]
    found = set[Address]().union(*(choices.longest_idle(pool, nodes, rested=False) for pool in open_pools))
    return choices.oldest(found)


class _Choices:
    def __init__(self, world: World, policy: Policy, now_s: int) -> None:
        self._world = world
        self._rested_before_s = now_s - policy.rest_s
        self.nodes = sorted({block.node for block in world.blocks})

    def unclaimed(self, pool: Pool) -> set[Address]:
        taken = {block.network for block in self._world.blocks}
        blocks = (block_at(pool, number) for number in range(pool.block_count))
        return {address for item in blocks if item not in taken for address in self._usable(pool, item)}

    def heads(self, pool: Pool, nodes: Collection[str]) -> set[Address]:
        """Return the longest idle of each block, where it has rested."""
        heads = (self.oldest(set(self._free(pool, block))) for block in self._blocks(pool, nodes))
        return {address for head in heads for address in head if self._has_rested(address)}

    def longest_idle(self, pool: Pool, nodes: Collection[str], *, rested: bool) -> set[Address]:
        free = {address for block in self._blocks(pool, nodes) for address in self._free(pool, block)}
        return {item for item in self.oldest(free) if not rested or self._has_rested(item)}

    def oldest(self, addresses: Collection[Address]) -> set[Address]:
        since = {address: self._world.last_use_s.get(address, 0) for address in addresses}
        return {address for address in since if since[address] == min(since.values())}

    def _blocks(self, pool: Pool, nodes: Collection[str]) -> list[Block]:
        return [block for block in self._world.blocks if block.pool == pool.name and block.node in nodes]

    def _free(self, pool: Pool, block: Block) -> list[Address]:
        return [address for address in self._usable(pool, block.network) if address not in self._world.used]

    def _usable(self, pool: Pool, network: Network) -> list[Address]:
        reserved = [ip_network(str(item)) for item in pool.reserved]
        return [address for address in network if not any(address in item for item in reserved)]

    def _has_rested(self, address: Address) -> bool:
        since_s = self._world.last_use_s.get(address, 0)
        return since_s == 0 or since_s <= self._rested_before_s
