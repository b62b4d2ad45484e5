"""How IPAM's values lie in a store: the keys, and JSON that a person can read.

    pools/<pool>                                      Pool
    blocks/<pool>/<network>                           Block
    open/<node>/<pool>/<idle since>/<network>         a block of the node that has an address to give
    allocations/<address>                             Allocation
    handles/<container id>/<interface>                the addresses that the handle holds

`open` is an index, so that a request finds its block without reading the full ones: its keys sort by how
long ago the block's next address was last in use. Cost per request does not grow with what is stored.
"""

from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from typing import TypeVar

import msgspec

from ipam.errors import DatastoreError
from ipam.model import Address, Allocation, Block, Handle, Network, PodRef, Pool, Released

T = TypeVar("T")

POOLS = "pools/"
BLOCKS = "blocks/"
OPEN = "open/"
ALLOCATIONS = "allocations/"
HANDLES = "handles/"


class _PoolRecord(msgspec.Struct, rename="camel"):
    name: str
    cidr: str
    block_size: int
    reserved: list[str] = []


class _BlockRecord(msgspec.Struct, rename="camel"):
    cidr: str
    pool: str
    node: str
    fresh: int
    released: tuple[Released, ...]
    sequence: int


class _AllocationRecord(msgspec.Struct, rename="camel"):
    address: str
    block: str
    pool: str
    node: str
    handle: Handle
    pod: PodRef
    netns: str
    assigned_at_s: int = msgspec.field(name="assignedAt")
    sequence: int = 0


class _HandleRecord(msgspec.Struct, rename="camel"):
    handle: Handle
    addresses: list[str]


def pool_key(name: str) -> str:
    """Return the key of a pool."""
    return f"{POOLS}{name}"


def blocks_prefix(pool: str) -> str:
    """Return what the keys of a pool's blocks begin with."""
    return f"{BLOCKS}{pool}/"


def block_key(pool: str, network: Network) -> str:
    """Return the key of a block; the prefix length is set off with '-', as Calico writes it."""
    return f"{BLOCKS}{pool}/{_dashed(network)}"


def open_prefix(node: str, pool: str) -> str:
    """Return what the keys of a node's blocks with free addresses begin with."""
    return f"{OPEN}{node}/{pool}/"


def open_key(block: Block) -> str | None:
    """Return the key under which a block is known to have an address to give; None when it has none."""
    since_s = block.idle_since_s
    if since_s is None:
        return None
    return f"{open_prefix(block.node, block.pool)}{since_s:011d}/{_dashed(block.network)}"


def allocation_key(address: Address) -> str:
    """Return the key of an allocation."""
    return f"{ALLOCATIONS}{address}"


def handle_key(handle: Handle) -> str:
    """Return the key of a handle."""
    return f"{HANDLES}{handle.container_id}/{handle.interface}"


def encode_pool(pool: Pool) -> bytes:
    """Encode a pool."""
    return msgspec.json.encode(
        _PoolRecord(pool.name, str(pool.network), pool.block_size, [str(item) for item in pool.reserved])
    )


def decode_pool(value: bytes) -> Pool:
    """Decode a pool."""
    record = _decode(value, _PoolRecord)
    reserved = tuple(ip_network(item) for item in record.reserved)
    return Pool(record.name, ip_network(record.cidr), record.block_size, reserved)


def encode_block(block: Block) -> bytes:
    """Encode a block."""
    return msgspec.json.encode(
        _BlockRecord(str(block.network), block.pool, block.node, block.fresh, block.released, block.sequence)
    )


def decode_block(value: bytes) -> Block:
    """Decode a block."""
    record = _decode(value, _BlockRecord)
    return Block(
        ip_network(record.cidr), record.pool, record.node, record.fresh, record.released, record.sequence
    )


def encode_allocation(allocation: Allocation) -> bytes:
    """Encode an allocation."""
    return msgspec.json.encode(
        _AllocationRecord(
            address=str(allocation.address),
            block=str(allocation.block),
            pool=allocation.pool,
            node=allocation.node,
            handle=allocation.handle,
            pod=allocation.pod,
            netns=allocation.netns,
            assigned_at_s=allocation.assigned_at_s,
            sequence=allocation.sequence,
        )
    )


def decode_allocation(value: bytes) -> Allocation:
    """Decode an allocation."""
    record = _decode(value, _AllocationRecord)
    return Allocation(
        address=ip_address(record.address),
        block=ip_network(record.block),
        pool=record.pool,
        node=record.node,
        handle=record.handle,
        pod=record.pod,
        netns=record.netns,
        assigned_at_s=record.assigned_at_s,
        sequence=record.sequence,
    )


def encode_handle(handle: Handle, addresses: Sequence[Address]) -> bytes:
    """Encode which addresses a handle holds."""
    return msgspec.json.encode(_HandleRecord(handle, [str(address) for address in addresses]))


def decode_handle(value: bytes) -> tuple[Handle, tuple[Address, ...]]:
    """Decode a handle and the addresses that it holds."""
    record = _decode(value, _HandleRecord)
    return record.handle, tuple(ip_address(address) for address in record.addresses)


def _dashed(network: Network) -> str:
    return f"{network.network_address}-{network.prefixlen}"


def _decode(value: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(value, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise DatastoreError(f"the datastore holds a value that is not ours: {exc}") from exc
