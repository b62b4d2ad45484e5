"""Find a node's best block, or one to borrow from, by a few keys: three indexes that follow the blocks.

    nodes/n1/default          {"a3c9": [2, 0]}      segment → how many blocks, the longest idle since
    nodes/n1/default/a3c9     {"10.244.7.64/26": 0, "10.244.7.128/26": null}      block → idle since
    spare/default/01700000050/10.244.8.0-26    n1

(0: has addresses that were never in use; null: is full).
The first two are read by key alone and grow with no more than the node's own blocks (32 to a segment), so
that a store can validate what was read, and the cost of a request stays flat. Only who borrows looks at
`spare`; whoever changes a block writes its own entry there without reading any.
"""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_network

from ipam import keys, records
from ipam.claim_map import set_claimed
from ipam.model import Block, Network, Pool
from ipam.pool_space import number_of
from ipam.transact import Reader, Transaction

_SEGMENT_BITS = 5

_Segments = dict[str, tuple[int, int | None]]
_Segment = dict[str, int | None]


def best_own(reader: Reader, node: str, pool: str) -> Network | None:
    """Return the node's block that has the longest idle address; None when none has one to give."""
    segments = _read_segments(reader, node, pool)
    name = _longest_idle({name: since_s for name, (_, since_s) in segments.items()})
    if name is None:
        return None
    network = _longest_idle(_read_segment(reader, node, pool, name))
    return None if network is None else ip_network(network)


def count_own(reader: Reader, node: str, pool: str) -> int:
    """Return how many blocks of a pool a node has."""
    return sum(count for count, _ in _read_segments(reader, node, pool).values())


def idle_own(entries: Iterable[tuple[str, bytes]]) -> dict[str, int | None]:
    """Return for each pool in a node's entries since when its longest idle address is so; None for none."""
    found: dict[str, int | None] = {}
    for pool, segments in _segments_by_pool(entries):
        idle = [since_s for _, since_s in segments.values() if since_s is not None]
        found[pool] = min(idle, default=None)
    return found


def count_by_pool(entries: Iterable[tuple[str, bytes]]) -> dict[str, int]:
    """Return for each pool in a node's entries how many blocks the node has."""
    return {pool: sum(count for count, _ in found.values()) for pool, found in _segments_by_pool(entries)}


def update_index(transaction: Transaction, old: Block | None, new: Block | None) -> None:
    """Follow a block from one state to the next (None: it is not there)."""
    old_spare, new_spare = old and keys.spare_key(old), new and keys.spare_key(new)
    if old is not None and old_spare and old_spare != new_spare:
        transaction.delete(old_spare)
    if new is not None and new_spare and (old is None or (old_spare, old.node) != (new_spare, new.node)):
        transaction.put(new_spare, new.node.encode())
    if old is not None and (new is None or old.node != new.node):
        _change_own(transaction, old, present=False)
    if new is not None and (old is None or (old.node, old.idle_since_s) != (new.node, new.idle_since_s)):
        _change_own(transaction, new, present=True)


class PoolWords:
    """The words of a pool's claim map, as they lie in a store."""

    def __init__(self, transaction: Transaction, pool: str) -> None:
        self._transaction = transaction
        self._pool = pool

    def get_word(self, level: int, index: int) -> int:
        """Return a word; see `ipam.claim_map.Words`."""
        value = self._transaction.get(keys.word_key(self._pool, level, index))
        return 0 if value is None else records.decode_word(value)

    def put_word(self, level: int, index: int, word: int) -> None:
        """Set a word; see `ipam.claim_map.Words`."""
        key = keys.word_key(self._pool, level, index)
        if word:
            self._transaction.put(key, records.encode_word(word))
        else:
            self._transaction.delete(key)


def build_indexes(pools: Iterable[Pool], blocks: Iterable[Block]) -> dict[str, bytes]:
    """Return all index entries that belong to these blocks; those of unknown pools have no claim map."""
    entries = _Entries()
    known = {pool.name: pool for pool in pools}
    for block in blocks:
        update_index(entries, None, block)
        pool = known.get(block.pool)
        if pool is not None and block.network.network_address in pool.network:
            number = number_of(pool, block.network.network_address)
            set_claimed(PoolWords(entries, pool.name), pool.block_count, number)
    return dict(entries)


class _Entries(dict[str, bytes]):
    """Entries that are no store's yet: as much of a transaction as an index needs."""

    def scan(self, prefix: str, limit: int | None = None) -> list[tuple[str, bytes]]:
        return [item for item in sorted(self.items()) if item[0].startswith(prefix)][:limit]

    def peek(self, prefix: str, limit: int | None = None) -> list[tuple[str, bytes]]:
        return self.scan(prefix, limit)

    def put(self, key: str, value: bytes) -> None:
        self[key] = value

    def delete(self, key: str) -> None:
        self.pop(key, None)


def _change_own(transaction: Transaction, block: Block, *, present: bool) -> None:
    """Note in the index of a block's node what the block has, or that the node has it no more."""
    node, pool, name = block.node, block.pool, _segment_of(block.network)
    segment, segments = _read_segment(transaction, node, pool, name), _read_segments(transaction, node, pool)
    network = str(block.network)
    if not present:
        segment.pop(network, None)
    elif network in segment:
        segment[network] = block.idle_since_s
    else:
        # In the order of their addresses, so that the state does not depend on the way there.
        segment = dict(sorted([*segment.items(), (network, block.idle_since_s)], key=_place))
    best = _longest_idle(segment)
    after: _Segments = {**segments, name: (len(segment), None if best is None else segment[best])}
    key = keys.own_key(node, pool)
    if segment:
        transaction.put(f"{key}/{name}", records.encode_table(segment))
    else:
        transaction.delete(f"{key}/{name}")
        del after[name]
    if not after:
        transaction.delete(key)
    elif after != segments:
        ordered = sorted(after.items(), key=lambda item: int(item[0], 16))
        transaction.put(key, records.encode_table(dict(ordered)))


def _segments_by_pool(entries: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, _Segments]]:
    for key, value in entries:
        # nodes/NODE/POOL; those with one part more are the segments themselves.
        if key.count("/") == 2:
            yield key.rpartition("/")[2], records.decode_table(value, _Segments)


def _read_segments(reader: Reader, node: str, pool: str) -> _Segments:
    value = reader.get(keys.own_key(node, pool))
    return {} if value is None else records.decode_table(value, _Segments)


def _read_segment(reader: Reader, node: str, pool: str, name: str) -> _Segment:
    value = reader.get(f"{keys.own_key(node, pool)}/{name}")
    return {} if value is None else records.decode_table(value, _Segment)


def _longest_idle(since_s: Mapping[str, int | None]) -> str | None:
    """Return the first of those that were idle for longest; None when none has anything to give."""
    idle = {name: since for name, since in since_s.items() if since is not None}
    return min(idle, key=lambda name: idle[name], default=None)


def _segment_of(network: Network) -> str:
    number = int(network.network_address) >> (network.max_prefixlen - network.prefixlen)
    return f"{number >> _SEGMENT_BITS:x}"


def _place(item: tuple[str, int | None]) -> int:
    return int(ip_network(item[0]).network_address)
