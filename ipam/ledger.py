"""Typed reads and writes of one transaction: pools, blocks, allocations and handles, indexes kept right."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TypeVar

import msgspec

from ipam import keys, records
from ipam.block_index import PoolWords, best_own, count_by_pool, count_own, idle_own, update_index
from ipam.claim_map import clear_claimed, find_unclaimed, is_top_full, set_claimed, top_level
from ipam.errors import DatastoreError, InconsistentError, UnreadableError
from ipam.model import Address, Allocation, Block, Handle, Network, Pool
from ipam.pool_space import block_at, covering, excluded, number_of, start_of
from ipam.transact import Reader, Transaction

T = TypeVar("T")
# So many entries of a node's index are depended on at once: one for each pool and one for each segment in it.
_MOST_OWN = 40


class Spare(msgspec.Struct, frozen=True, order=True):
    """A block that has an address to give: since when that one is idle, and whose it is."""

    idle_since_s: int
    network: Network
    node: str


class LedgerReader:
    """What is stored, as values."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def pools(self) -> tuple[Pool, ...]:
        """Return all recorded pools, by name."""
        value = self._reader.get(keys.POOLS)
        return () if value is None else _decoded(records.decode_pools, keys.POOLS, value)

    def block(self, pool: str, network: Network) -> Block | None:
        """Return a block."""
        key = keys.block_key(pool, network)
        value = self._reader.get(key)
        return None if value is None else _decoded(records.decode_block, key, value)

    def blocks(self, pool: str | None = None) -> list[Block]:
        """Return all blocks, or those of one pool, by address."""
        prefix = keys.BLOCKS if pool is None else keys.blocks_prefix(pool)
        found = [_decoded(records.decode_block, key, value) for key, value in self._reader.scan(prefix)]
        return sorted(found, key=lambda block: (block.network.version, block.network))

    def count_blocks(self, pool: str) -> int:
        """Return how many blocks a pool has, depending on no more than whether it has any."""
        prefix = keys.blocks_prefix(pool)
        return len(self._reader.peek(prefix)) or 1 if self._reader.scan(prefix, 1) else 0

    def own_block(self, node: str, pool: str) -> Block | None:
        """Return the node's block that has the longest idle address; None when none has one to give.

        Raises:
            InconsistentError: the index names a block that is not there, or not in that state.
        """
        network = best_own(self._reader, node, pool)
        if network is None:
            return None
        block = self.block(pool, network)
        if block is None or block.node != node or block.idle_since_s is None:
            raise InconsistentError(
                f"the index of {node or 'no node'}'s blocks of pool {pool} is wrong at {network}: "
                "run ipamctl check"
            )
        return block

    def own_count(self, node: str, pool: str) -> int:
        """Return how many blocks of a pool a node has."""
        return count_own(self._reader, node, pool)

    def idle_pools(self, node: str) -> dict[str, int]:
        """Return the pools in which a node has an address to give, and since when the longest idle one is so.

        A look without guarantee, for when there are too many pools to depend on each.
        """
        found = idle_own(self._reader.peek(keys.own_key(node, "")))
        return {pool: since_s for pool, since_s in found.items() if since_s is not None}

    def own_counts(self, node: str) -> dict[str, int]:
        """Return how many blocks of each pool a node has.

        Of a node with very many, in very many pools, a look without guarantee: there are too many keys to
        depend on.
        """
        prefix = keys.own_key(node, "")
        found = self._reader.scan(prefix, _MOST_OWN)
        return count_by_pool(found if len(found) < _MOST_OWN else self._reader.peek(prefix))

    def is_full(self, pool: Pool) -> bool:
        """Say whether all blocks of a pool are claimed; without guarantee."""
        level = top_level(pool.block_count)
        key = keys.word_key(pool.name, level, 0)
        found = dict(self._reader.peek(key)).get(key)
        return found is not None and is_top_full(records.decode_word(found), pool.block_count)

    def spare(self, pool: str, limit: int | None) -> list[Spare]:
        """Return blocks of a pool that may have an address to give, the longest idle first.

        A look without guarantee: who takes one gets its block, and finds out.
        """
        return [
            Spare(*keys.decode_spare_key(key), value.decode())
            for key, value in self._reader.peek(keys.spare_prefix(pool), limit)
        ]

    def allocation(self, address: Address) -> Allocation | None:
        """Return the allocation of an address."""
        key = keys.allocation_key(address)
        value = self._reader.get(key)
        return None if value is None else _decoded(records.decode_allocation, key, value)

    def allocations(self) -> list[Allocation]:
        """Return all allocations, by address."""
        found = [
            _decoded(records.decode_allocation, key, value)
            for key, value in self._reader.scan(keys.ALLOCATIONS)
        ]
        return sorted(found, key=lambda item: (item.address.version, item.address))

    def sound_allocations(self) -> list[Allocation]:
        """Return those allocations that can be read and lie under their own key: for who collects garbage."""
        found = []
        for key, value in self._reader.scan(keys.ALLOCATIONS):
            with suppress(DatastoreError):
                item = records.decode_allocation(value)
                if keys.allocation_key(item.address) == key:
                    found.append(item)
        return sorted(found, key=lambda item: (item.address.version, item.address))

    def look_allocations(self) -> list[Allocation]:
        """Return those allocations that can be read; without guarantee."""
        found = []
        for _, value in self._reader.peek(keys.ALLOCATIONS):
            with suppress(DatastoreError):
                found.append(records.decode_allocation(value))
        return found

    def look_handles(self) -> list[tuple[Handle, tuple[Address, ...]]]:
        """Return those handles that can be read, with the addresses that they list; without guarantee."""
        found = []
        for _, value in self._reader.peek(keys.HANDLES):
            with suppress(DatastoreError):
                found.append(records.decode_handle(value))
        return found

    def sound_blocks(self) -> list[Block]:
        """Return those blocks that can be read and lie under their own key: for who collects garbage."""
        found = []
        for key, value in self._reader.scan(keys.BLOCKS):
            with suppress(DatastoreError):
                block = records.decode_block(value)
                if keys.block_key(block.pool, block.network) == key:
                    found.append(block)
        return sorted(found, key=lambda block: (block.network.version, block.network))

    def addresses(self, handle: Handle) -> tuple[Address, ...]:
        """Return the addresses that a handle holds; none when it is unknown."""
        key = keys.handle_key(handle)
        value = self._reader.get(key)
        return () if value is None else _decoded(records.decode_handle, key, value)[1]

    def is_short(self, handle: Handle) -> bool:
        """Say whether a handle lost a part of what it was given."""
        value = self._reader.get(keys.handle_key(handle))
        return value is not None and records.is_short(value)

    def handles(self) -> list[tuple[Handle, tuple[Address, ...]]]:
        """Return all handles with the addresses that they hold."""
        return [_decoded(records.decode_handle, key, value) for key, value in self._reader.scan(keys.HANDLES)]

    def entries(self) -> dict[str, bytes]:
        """Return all that is ours, as it lies there: for who holds it against one another."""
        return {key: value for prefix in keys.OURS for key, value in self._reader.scan(prefix)}

    def strangers(self) -> dict[str, bytes]:
        """Return all that is not ours."""
        return {key: value for key, value in self._reader.scan("") if not keys.is_ours(key)}

    def namesakes(self, handle: Handle) -> list[Handle]:
        """Return the handles of the same container id and interface, on whichever nodes."""
        found = self._reader.scan(keys.attachment_prefix(handle))
        return [records.decode_handle(value)[0] for _, value in found]

    def index(self) -> dict[str, bytes]:
        """Return all entries that follow from the blocks; see `ipam.block_index.build_indexes`."""
        prefixes = (keys.NODES, keys.CLAIMS, keys.SPARE)
        return {key: value for prefix in prefixes for key, value in self._reader.scan(prefix)}

    def entry(self, key: str) -> bytes | None:
        """Return an entry as it lies there."""
        return self._reader.get(key)


class Ledger(LedgerReader):
    """What is stored, and changes to it."""

    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction)
        self._transaction = transaction

    def put_pools(self, pools: Iterable[Pool]) -> None:
        """Record these pools, and no others."""
        ordered = sorted(pools, key=lambda pool: pool.name)
        self._transaction.put(keys.POOLS, records.encode_pools(ordered))

    def unclaimed(self, pool: Pool, node: str) -> Network | None:
        """Choose the block of a pool that a node claims next; None when there is none left.

        Raises:
            InconsistentError: the map has a block as unclaimed that is there.
        """

        def past(number: int) -> int:
            # A block that lies in what is excluded has nothing to give: go on behind that.
            outer = covering(excluded(pool), block_at(pool, number))
            return number if outer is None else number_of(pool, outer.broadcast_address) + 1

        words = PoolWords(self._transaction, pool.name)
        number = find_unclaimed(words, pool.block_count, start_of(pool, node), past)
        if number is None:
            return None
        network = block_at(pool, number)
        if self.block(pool.name, network) is not None:
            raise InconsistentError(
                f"the map of pool {pool.name} has block {network} as unclaimed: run ipamctl check"
            )
        return network

    def claim_block(self, pool: Pool, block: Block) -> None:
        """Write a block that no node had."""
        self._transaction.put(keys.block_key(block.pool, block.network), records.encode_block(block))
        update_index(self._transaction, None, block)
        number = number_of(pool, block.network.network_address)
        set_claimed(PoolWords(self._transaction, pool.name), pool.block_count, number)

    def put_block(self, old: Block, new: Block) -> None:
        """Write a block in place of the state that it had."""
        self._transaction.put(keys.block_key(new.pool, new.network), records.encode_block(new))
        update_index(self._transaction, old, new)

    def delete_block(self, pool: Pool | None, block: Block) -> None:
        """Forget a block, so that any node may claim it; None: its pool is not known any more."""
        self._transaction.delete(keys.block_key(block.pool, block.network))
        update_index(self._transaction, block, None)
        if pool is not None:
            number = number_of(pool, block.network.network_address)
            clear_claimed(PoolWords(self._transaction, pool.name), pool.block_count, number)

    def put_allocation(self, allocation: Allocation) -> None:
        """Write an allocation."""
        key = keys.allocation_key(allocation.address)
        self._transaction.put(key, records.encode_allocation(allocation))

    def delete_allocation(self, address: Address) -> None:
        """Remove an allocation."""
        self._transaction.delete(keys.allocation_key(address))

    def put_addresses(
        self, handle: Handle, addresses: tuple[Address, ...], *, is_short: bool = False
    ) -> None:
        """Write which addresses a handle holds; a handle that holds none is forgotten."""
        key = keys.handle_key(handle)
        if addresses:
            self._transaction.put(key, records.encode_handle(handle, addresses, is_short=is_short))
        else:
            self._transaction.delete(key)

    def put_entry(self, key: str, value: bytes | None) -> None:
        """Write an entry as it should be (None: it should not be there): for repair."""
        if value is None:
            self._transaction.delete(key)
        else:
            self._transaction.put(key, value)


def _decoded(decode: Callable[[bytes], T], key: str, value: bytes) -> T:
    try:
        return decode(value)
    except DatastoreError as exc:
        raise UnreadableError(f"{key}: {exc}: run ipamctl check") from exc
