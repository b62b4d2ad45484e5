"""A datastore in which many nodes have pods already."""

import itertools
from collections.abc import Iterator

from bench.ipam_clients import POOL
from ipam import keys, records
from ipam.block_index import build_indexes
from ipam.datastore import open_store
from ipam.model import Allocation, Block, Handle, PodRef
from ipam.pool_space import block_at

PODS_PER_NODE = 100
_CHUNK_KEYS = 90


def filled(nodes: int) -> Iterator[tuple[str, bytes]]:
    """Yield the entries of a pool in which each node has 100 pods: a full block and a part of another."""
    blocks = []
    networks = (block_at(POOL, number) for number in itertools.count())
    for number in range(nodes):
        node, left = f"filled-{number}", PODS_PER_NODE
        while left:
            network, used = next(networks), min(left, 64)
            block = Block(network, POOL.name, node, used, sequence=used)
            blocks.append(block)
            left -= used
            yield keys.block_key(block.pool, network), records.encode_block(block)
            for ordinal in range(used):
                handle = Handle(f"{node}-{left}-{ordinal}", "eth0", node)
                item = Allocation(
                    network[ordinal],
                    network,
                    POOL.name,
                    node,
                    handle,
                    PodRef("default", "p"),
                    "/n",
                    1,
                    ordinal,
                )
                yield keys.allocation_key(item.address), records.encode_allocation(item)
                yield keys.handle_key(handle), records.encode_handle(handle, (item.address,))
    yield keys.POOLS, records.encode_pools([POOL])
    yield from build_indexes([POOL], blocks).items()


def fill(url: str, nodes: int) -> None:
    """Write such a pool into an empty store."""
    store = open_store(url)
    try:
        entries = iter(filled(nodes))
        while chunk := dict(itertools.islice(entries, _CHUNK_KEYS)):
            assert store.commit([], chunk)
    finally:
        store.close()
