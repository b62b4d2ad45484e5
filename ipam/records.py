"""How IPAM's values lie in a store: the keys, and JSON that a person can read.

    pools                                             all pools: few, and read by each request
    blocks/<pool>/<network>                           Block
    allocations/<address>                             Allocation
    handles/<container id>/<interface>/<node>         the addresses that the handle holds

and, made from the blocks, so that a request finds its block by a few keys (`ipam.block_index`):

    nodes/<node>/<pool>                               the segments of the node's blocks
    nodes/<node>/<pool>/<segment>                     the node's blocks in one segment
    claims/<pool>/<level>/<word>                      which blocks are claimed (`ipam.claim_map`)
    spare/<pool>/<idle since>/<network>               a block that has an address to give, and its node
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import TypeVar

import msgspec

from ipam.errors import DatastoreError
from ipam.model import Address, Allocation, Block, Handle, Lent, Mode, Network, PodRef, Pool, Released, Use

T = TypeVar("T")

POOLS = "pools"
BLOCKS = "blocks/"
NODES = "nodes/"
CLAIMS = "claims/"
SPARE = "spare/"
ALLOCATIONS = "allocations/"
HANDLES = "handles/"
# Those of nodes' own addresses (`ipam.model.tunnel_handle`).
TUNNELS = f"{HANDLES}node:"
OURS = (POOLS, BLOCKS, NODES, CLAIMS, SPARE, ALLOCATIONS, HANDLES)


class _PoolRecord(msgspec.Struct, rename="camel"):
    name: str
    cidr: str
    block_size: int
    reserved: list[str] = []
    disabled: bool = False
    node_selector: str = ""
    namespace_selector: str = ""
    on_link: bool = False
    # Records of before 2026-11 have none.
    nat_outgoing: bool = False
    mode: Mode = "direct"


class _BlockRecord(msgspec.Struct, rename="camel"):
    cidr: str
    pool: str
    node: str
    fresh: int
    released: tuple[Released, ...]
    withheld: tuple[int, ...] = ()
    lent: tuple[Lent, ...] = ()
    sequence: int = 0


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
    network: str = ""
    boot_id: str = ""
    machine_id: str = ""
    renewals: int = 0
    use: Use = "pod"


class _HandleRecord(msgspec.Struct, rename="camel", omit_defaults=True):
    handle: Handle
    addresses: list[str]
    # It was given more, and lost them otherwise than by DEL.
    is_short: bool = False


def is_ours(key: str) -> bool:
    """Say whether a key is of a kind that we read."""
    return key.startswith(OURS)


def blocks_prefix(pool: str) -> str:
    """Return what the keys of a pool's blocks begin with."""
    return f"{BLOCKS}{pool}/"


def block_key(pool: str, network: Network) -> str:
    """Return the key of a block; the prefix length is set off with '-', as Calico writes it."""
    return f"{BLOCKS}{pool}/{_dashed(network)}"


def own_key(node: str, pool: str) -> str:
    """Return the key of the segments of a node's blocks; those of no node have an empty one."""
    return f"{NODES}{node}/{pool}"


def word_key(pool: str, level: int, index: int) -> str:
    """Return the key of a word of a pool's claim map."""
    return f"{CLAIMS}{pool}/{level}/{index:x}"


def spare_prefix(pool: str) -> str:
    """Return what the keys of a pool's blocks with free addresses begin with."""
    return f"{SPARE}{pool}/"


def spare_key(block: Block) -> str | None:
    """Return the key under which a block is known to have an address to give; None when it has none.

    The keys sort by how long ago that address was last in use.
    """
    since_s = block.idle_since_s
    return None if since_s is None else f"{spare_prefix(block.pool)}{since_s:011d}/{_dashed(block.network)}"


def decode_spare_key(key: str) -> tuple[int, Network]:
    """Return since when the block that such a key names is idle, and the block."""
    _, since_s, network = key.rsplit("/", 2)
    try:
        return int(since_s), ip_network(network.replace("-", "/"))
    except ValueError as exc:
        raise _not_ours(exc) from exc


def allocation_key(address: Address) -> str:
    """Return the key of an allocation."""
    return f"{ALLOCATIONS}{address}"


def attachment_prefix(handle: Handle) -> str:
    """Return what the keys of an attachment's handles begin with, whatever their node."""
    return f"{HANDLES}{handle.container_id}/{handle.interface}/"


def handle_key(handle: Handle) -> str:
    """Return the key of a handle."""
    return f"{attachment_prefix(handle)}{handle.node}"


def encode_pools(pools: Sequence[Pool]) -> bytes:
    """Encode all pools."""
    return msgspec.json.encode(
        [
            _PoolRecord(
                name=pool.name,
                cidr=str(pool.network),
                block_size=pool.block_size,
                reserved=[str(item) for item in pool.reserved],
                disabled=pool.disabled,
                node_selector=pool.node_selector,
                namespace_selector=pool.namespace_selector,
                on_link=pool.on_link,
                nat_outgoing=pool.nat_outgoing,
                mode=pool.mode,
            )
            for pool in pools
        ]
    )


# A daemon asks at each request; pools seldom change, and parsing networks is the slowest of it.
@lru_cache(maxsize=4)
def decode_pools(value: bytes) -> tuple[Pool, ...]:
    """Decode all pools."""
    return tuple(
        Pool(
            name=record.name,
            network=_network(record.cidr),
            block_size=record.block_size,
            reserved=tuple(_network(item) for item in record.reserved),
            disabled=record.disabled,
            node_selector=record.node_selector,
            namespace_selector=record.namespace_selector,
            on_link=record.on_link,
            nat_outgoing=record.nat_outgoing,
            mode=record.mode,
        )
        for record in _decode(value, list[_PoolRecord])
    )


def encode_block(block: Block) -> bytes:
    """Encode a block."""
    return msgspec.json.encode(
        _BlockRecord(
            cidr=str(block.network),
            pool=block.pool,
            node=block.node,
            fresh=block.fresh,
            released=block.released,
            withheld=block.withheld,
            lent=block.lent,
            sequence=block.sequence,
        )
    )


def decode_block(value: bytes) -> Block:
    """Decode a block."""
    record = _decode(value, _BlockRecord)
    return Block(
        network=_network(record.cidr),
        pool=record.pool,
        node=record.node,
        fresh=record.fresh,
        released=record.released,
        withheld=record.withheld,
        lent=record.lent,
        sequence=record.sequence,
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
            network=allocation.network,
            boot_id=allocation.boot_id,
            machine_id=allocation.machine_id,
            renewals=allocation.renewals,
            use=allocation.use,
        )
    )


def decode_allocation(value: bytes) -> Allocation:
    """Decode an allocation."""
    record = _decode(value, _AllocationRecord)
    return Allocation(
        address=_address(record.address),
        block=_network(record.block),
        pool=record.pool,
        node=record.node,
        handle=record.handle,
        pod=record.pod,
        netns=record.netns,
        assigned_at_s=record.assigned_at_s,
        sequence=record.sequence,
        network=record.network,
        boot_id=record.boot_id,
        machine_id=record.machine_id,
        renewals=record.renewals,
        use=record.use,
    )


def encode_handle(handle: Handle, addresses: Sequence[Address], *, is_short: bool = False) -> bytes:
    """Encode which addresses a handle holds; `is_short`: not all that it was given."""
    return msgspec.json.encode(_HandleRecord(handle, [str(address) for address in addresses], is_short))


def decode_handle(value: bytes) -> tuple[Handle, tuple[Address, ...]]:
    """Decode a handle and the addresses that it holds."""
    record = _decode(value, _HandleRecord)
    return record.handle, tuple(_address(address) for address in record.addresses)


def is_short(value: bytes) -> bool:
    """Say of an encoded handle whether it lost a part of what it was given."""
    return _decode(value, _HandleRecord).is_short


def encode_word(word: int) -> bytes:
    """Encode a word of a claim map."""
    return f"{word:016x}".encode()


def decode_word(value: bytes) -> int:
    """Decode a word of a claim map."""
    try:
        return int(value, 16)
    except ValueError as exc:
        raise _not_ours(exc) from exc


def encode_table(table: Mapping[str, T]) -> bytes:
    """Encode a part of an index."""
    return msgspec.json.encode(table)


def decode_table(value: bytes, kind: type[T]) -> T:
    """Decode a part of an index."""
    return _decode(value, kind)


def _dashed(network: Network) -> str:
    return f"{network.network_address}-{network.prefixlen}"


def _decode(value: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(value, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise _not_ours(exc) from exc


def _address(text: str) -> Address:
    try:
        return ip_address(text)
    except ValueError as exc:
        raise _not_ours(exc) from exc


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as exc:
        raise _not_ours(exc) from exc


def _not_ours(exc: Exception) -> DatastoreError:
    return DatastoreError(f"the datastore holds a value that is not ours: {exc}")
