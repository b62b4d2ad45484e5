"""How IPAM's values are written in a store: JSON that a person can read.

Under which keys they lie, `ipam.keys` says.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import TypeVar

import msgspec

from ipam.keys import not_ours
from ipam.model import Address, Allocation, Block, Handle, Lent, Mode, Network, PodRef, Pool, Released, Use
from nodeplane.json_decoder import decode_json

T = TypeVar("T")


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
        raise not_ours(exc) from exc


def encode_table(table: Mapping[str, T]) -> bytes:
    """Encode a part of an index."""
    return msgspec.json.encode(table)


def decode_table(value: bytes, kind: type[T]) -> T:
    """Decode a part of an index."""
    return _decode(value, kind)


def _decode(value: bytes, kind: type[T]) -> T:
    try:
        return decode_json(value, kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise not_ours(exc) from exc


def _address(text: str) -> Address:
    try:
        return ip_address(text)
    except ValueError as exc:
        raise not_ours(exc) from exc


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as exc:
        raise not_ours(exc) from exc
