"""All that a datastore holds, sorted: what can be read and lies under its own key, and what strays from that.

One entry that nobody can read must not keep the others from being looked at, nor an address that it may stand
for from counting as in use.
"""

from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address, ip_network
from typing import Literal, TypeVar

import msgspec

from ipam import keys, records
from ipam.errors import DatastoreError
from ipam.model import Address, Allocation, Block, Handle, Network, Pool

_INDEX = (keys.NODES, keys.CLAIMS, keys.SPARE)

T = TypeVar("T")
Kind = Literal["unreadable", "misplaced", "unknown"]


class Stray(msgspec.Struct, frozen=True):
    """An entry that can't be read, lies under another's key, or is none of ours."""

    key: str
    value: bytes
    kind: Kind
    problem: str


class Sorted(msgspec.Struct):
    """What is sound, by kind; and what strays."""

    pools: tuple[Pool, ...] = ()
    blocks: list[Block] = []
    allocations: list[Allocation] = []
    handles: list[tuple[Handle, tuple[Address, ...]]] = []
    index: dict[str, bytes] = {}
    strays: list[Stray] = []


def sort_entries(entries: Mapping[str, bytes]) -> Sorted:
    """Sort all entries of a datastore."""
    found = Sorted()
    for key, value in sorted(entries.items()):
        try:
            stray = _take(found, key, value)
        except DatastoreError as exc:
            stray = Stray(key, value, "unreadable", f"can't be read ({exc}){_remedy(key)}")
        if stray is not None:
            found.strays.append(stray)
    found.blocks.sort(key=lambda block: (block.network.version, block.network))
    found.allocations.sort(key=lambda item: (item.address.version, item.address))
    return found


def doubtful_addresses(strays: Iterable[Stray]) -> set[Address]:
    """Return the addresses that strays may stand for: they count as in use."""
    found: set[Address] = set()
    for stray in strays:
        address = address_of(stray.key)
        if address is not None:
            found.add(address)
            if stray.kind == "misplaced":
                found.add(records.decode_allocation(stray.value).address)
    return found


def address_of(key: str) -> Address | None:
    """Return the address of an allocation's key; None when it is not one."""
    try:
        return ip_address(key.removeprefix(keys.ALLOCATIONS)) if key.startswith(keys.ALLOCATIONS) else None
    except ValueError:
        return None


def block_of(key: str) -> tuple[str, Network] | None:
    """Return pool and network of a block's key; None when it is not one."""
    pool, slash, network = key.removeprefix(keys.BLOCKS).partition("/")
    try:
        return (pool, ip_network(network.replace("-", "/"))) if slash else None
    except ValueError:
        return None


def handle_of(key: str) -> Handle | None:
    """Return the handle of a handle's key; None when it is not one."""
    parts = key.removeprefix(keys.HANDLES).split("/")
    handle = Handle(*parts) if len(parts) == 3 else None
    return handle if handle is not None and keys.handle_key(handle) == key else None


def _take(found: Sorted, key: str, value: bytes) -> Stray | None:
    """Put an entry to its like; return it when it strays."""
    if key == keys.POOLS:
        found.pools = records.decode_pools(value)
    elif key.startswith(keys.BLOCKS):
        block = records.decode_block(value)
        own = keys.block_key(block.pool, block.network)
        return _put(found.blocks.append, block, key, own, value)
    elif key.startswith(keys.ALLOCATIONS):
        item = records.decode_allocation(value)
        return _put(found.allocations.append, item, key, keys.allocation_key(item.address), value)
    elif key.startswith(keys.HANDLES):
        holder = records.decode_handle(value)
        return _put(found.handles.append, holder, key, keys.handle_key(holder[0]), value)
    elif key.startswith(_INDEX):
        found.index[key] = value
    else:
        return Stray(key, value, "unknown", "is none of ours: nothing of IPAM reads it")
    return None


def _put(put: Callable[[T], None], item: T, key: str, own: str, value: bytes) -> Stray | None:
    if key == own:
        put(item)
        return None
    return Stray(key, value, "misplaced", f"has what belongs under {own}")


def _remedy(key: str) -> str:
    address = address_of(key)
    if address is not None:
        return (
            f"; {address} counts as in use; check --repair writes it anew if a handle lists it, "
            f"else ipamctl release {address} frees it"
        )
    if key == keys.POOLS:
        return "; check --repair removes it, then put the pools back with ipamctl pools apply"
    return ""
