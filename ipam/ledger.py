"""Typed reads and writes of one transaction: pools, blocks, allocations and handles, indexes kept right."""

from collections.abc import Iterator
from ipaddress import ip_network

from ipam import records
from ipam.errors import InconsistentError
from ipam.model import Address, Allocation, Block, Handle, Network, Pool
from ipam.store import Reader, Transaction


class LedgerReader:
    """What is stored, as values."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def pool(self, name: str) -> Pool | None:
        """Return the pool of that name, as recorded."""
        value = self._reader.get(records.pool_key(name))
        return None if value is None else records.decode_pool(value)

    def pools(self) -> list[Pool]:
        """Return all recorded pools, by name."""
        return [records.decode_pool(value) for _, value in self._reader.scan(records.POOLS)]

    def block(self, pool: str, network: Network) -> Block | None:
        """Return a block."""
        value = self._reader.get(records.block_key(pool, network))
        return None if value is None else records.decode_block(value)

    def blocks(self, pool: str | None = None) -> list[Block]:
        """Return all blocks, or those of one pool, by address."""
        prefix = records.BLOCKS if pool is None else records.blocks_prefix(pool)
        found = [records.decode_block(value) for _, value in self._reader.scan(prefix)]
        return sorted(found, key=lambda block: (block.network.version, block.network))

    def allocation(self, address: Address) -> Allocation | None:
        """Return the allocation of an address."""
        value = self._reader.get(records.allocation_key(address))
        return None if value is None else records.decode_allocation(value)

    def allocations(self) -> list[Allocation]:
        """Return all allocations, by address."""
        found = [records.decode_allocation(value) for _, value in self._reader.scan(records.ALLOCATIONS)]
        return sorted(found, key=lambda item: (item.address.version, item.address))

    def addresses(self, handle: Handle) -> tuple[Address, ...]:
        """Return the addresses that a handle holds; none when it is unknown."""
        value = self._reader.get(records.handle_key(handle))
        return () if value is None else records.decode_handle(value)[1]

    def handles(self) -> list[tuple[Handle, tuple[Address, ...]]]:
        """Return all handles with the addresses that they hold."""
        return [records.decode_handle(value) for _, value in self._reader.scan(records.HANDLES)]

    def open_blocks(self, node: str, pool: str) -> Iterator[Block]:
        """Yield the blocks of a node that have free addresses, the longest idle address first.

        Raises:
            InconsistentError: the index names a block that is not there.
        """
        prefix = records.open_prefix(node, pool)
        # The first will do, save when all that it has left is reserved: only then are the others read.
        for limit, start in ((1, 0), (None, 1)):
            for key, value in self._reader.scan(prefix, limit)[start:]:
                block = self.block(pool, ip_network(value.decode()))
                if block is None or records.open_key(block) != key:
                    raise InconsistentError(f"the index of open blocks is wrong at {key}: run ipamctl check")
                yield block

    def open_keys(self) -> list[str]:
        """Return the keys of the index of blocks that have free addresses."""
        return [key for key, _ in self._reader.scan(records.OPEN)]


class Ledger(LedgerReader):
    """What is stored, and changes to it."""

    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction)
        self._transaction = transaction

    def put_pool(self, pool: Pool) -> None:
        """Record a pool."""
        self._transaction.put(records.pool_key(pool.name), records.encode_pool(pool))

    def delete_pool(self, name: str) -> None:
        """Forget a pool."""
        self._transaction.delete(records.pool_key(name))

    def put_block(self, old: Block | None, new: Block) -> None:
        """Write a block in place of the state that it had (None: it is new)."""
        self._transaction.put(records.block_key(new.pool, new.network), records.encode_block(new))
        before, after = old and records.open_key(old), records.open_key(new)
        if before == after:
            return
        if before:
            self._transaction.delete(before)
        if after:
            self._transaction.put(after, str(new.network).encode())

    def put_allocation(self, allocation: Allocation) -> None:
        """Write an allocation."""
        key = records.allocation_key(allocation.address)
        self._transaction.put(key, records.encode_allocation(allocation))

    def delete_allocation(self, address: Address) -> None:
        """Remove an allocation."""
        self._transaction.delete(records.allocation_key(address))

    def put_addresses(self, handle: Handle, addresses: tuple[Address, ...]) -> None:
        """Write which addresses a handle holds; a handle that holds none is forgotten."""
        key = records.handle_key(handle)
        if addresses:
            self._transaction.put(key, records.encode_handle(handle, addresses))
        else:
            self._transaction.delete(key)
