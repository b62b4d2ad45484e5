"""Schema 1 to 2: what becomes of all entries.

pools/<pool>                gathered into the one entry `pools`
open/…                      dropped: an index that 2 does without
blocks/…                    reserved addresses that were passed over are kept apart from released ones
allocations/…               as they were, with the fields that are new
handles/…                   with the node that their addresses are used on
nodes/…, claims/…, spare/…  computed from the blocks
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from ipam import keys, records
from ipam.assign import settle
from ipam.block_index import build_indexes
from ipam.errors import DatastoreError
from ipam.model import Handle, Pool
from ipam.pool_space import excluded

_POOLS = "pools/"
_OPEN = "open/"


def convert_1_to_2(entries: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the content of a datastore of schema 2 that says what one of schema 1 did.

    Raises:
        DatastoreError: there is an entry that schema 1 does not know.
    """
    pools: dict[str, Pool] = {}
    for value in _values(entries, _POOLS):
        # A pool's record grew only fields that may be missing.
        [pool] = records.decode_pools(b"[" + value + b"]")
        pools[pool.name] = pool
    blocks = []
    for value in _values(entries, keys.BLOCKS):
        block = records.decode_block(value)
        home = pools.get(block.pool)
        blocks.append(block if home is None else settle(block, excluded(home)))
    converted = build_indexes(pools.values(), blocks)
    if pools:
        ordered = sorted(pools.values(), key=lambda pool: pool.name)
        converted[keys.POOLS] = records.encode_pools(ordered)
    for block in blocks:
        converted[keys.block_key(block.pool, block.network)] = records.encode_block(block)
    nodes = {}
    for value in _values(entries, keys.ALLOCATIONS):
        held = records.decode_allocation(_with_node(value))
        nodes[held.address] = held.node
        held = msgspec.structs.replace(held, handle=_of_node(held.handle, held.node))
        converted[keys.allocation_key(held.address)] = records.encode_allocation(held)
    for value in _values(entries, keys.HANDLES):
        old, addresses = records.decode_handle(_with_node(value))
        handle = _of_node(old, next((nodes[item] for item in addresses if item in nodes), ""))
        converted[keys.handle_key(handle)] = records.encode_handle(handle, addresses)
    known = (_POOLS, _OPEN, keys.BLOCKS, keys.ALLOCATIONS, keys.HANDLES)
    for key in entries:
        if not key.startswith(known):
            raise DatastoreError(f"the datastore holds {key!r}, which schema version 1 does not have")
    return converted


def _of_node(handle: Handle, node: str) -> Handle:
    return msgspec.structs.replace(handle, node=node)


def _with_node(value: bytes) -> bytes:
    """Give the handle in a record an empty node; what is no such record is left for its decoder to refuse."""
    try:
        record = msgspec.json.decode(value, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return value
    if isinstance(record.get("handle"), dict):
        record["handle"].setdefault("node", "")
    return msgspec.json.encode(record)


def _values(entries: Mapping[str, bytes], prefix: str) -> list[bytes]:
    return [value for key, value in sorted(entries.items()) if key.startswith(prefix)]
