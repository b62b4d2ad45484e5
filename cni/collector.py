"""The agent's garbage collection: addresses and blocks that were left behind, looked for now and then.

An agent frees what its own node left behind, which only it can see. What nodes that are gone left behind, the
agent of the first node by name frees for all: every agent would come to the same result, and one is enough.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import msgspec

from ipam.boot import read_boot_id
from ipam.collection import Patience, collect
from ipam.datastore import Datastore, open_datastore
from ipam.errors import IpamError
from ipam.leaks import Leak, find_leaks, netns_exists
from ipam.ledger import LedgerReader
from ipam.model import Address, Allocation, Block
from ipam.reclaim import Reclaim, find_reclaimable, reclaim

log = logging.getLogger(__name__)


class Round(msgspec.Struct, frozen=True):
    """What one look saw and did."""

    candidates: tuple[Allocation, ...] = ()
    freed: tuple[Leak, ...] = ()
    reclaimed: tuple[Reclaim, ...] = ()


class Collector:
    """Looks for what was left behind, and frees what has been so for long enough.

    Args:
        node: The node that we are on.
        url: The datastore.
        grace_s: How long a leak must have been there.
    """

    def __init__(self, node: str, url: str, grace_s: float) -> None:
        self._node = node
        self._url = url
        self._grace_s = grace_s
        self._patience = Patience(grace_s)
        self._gone_since_s: dict[str, float] = {}
        self._boot_id = read_boot_id()

    def look(self, nodes: Collection[str] | None) -> Round:
        """Look once; `nodes` are all nodes of the cluster, None when they are not known.

        Raises:
            DatastoreError: the datastore can't be used.
        """
        now_s = time.monotonic()
        with open_datastore(self._url) as datastore:
            blocks, pools = datastore.read(lambda ledger: (ledger.blocks(), ledger.pools()))
            there = self._there(nodes, blocks, now_s)
            wanted = [
                address
                for block in blocks
                for address in _used_on(block, lambda node: self._is_ours(node, there))
            ]
            allocations = datastore.read(lambda ledger: _read_allocations(ledger, wanted))
            leaks = find_leaks(allocations, self._node, netns_exists, boot_id=self._boot_id, nodes=there)
            due = self._patience.judge(leaks, now_s)
            freed = collect(datastore, due, self._still, int(time.time())).freed
            self._patience.forget(leak.allocation for leak in freed)
            if freed:
                blocks = datastore.read(LedgerReader.blocks)
            # Whoever cleans up after others takes care of the blocks of nobody as well.
            mine = [block for block in blocks if self._is_ours(block.node, there)]
            found = find_reclaimable(mine, pools, int(time.time()), nodes=there)
            reclaimed = tuple(item for item in found if _reclaim(datastore, item))
        gone = {leak.allocation for leak in freed}
        return Round(
            tuple(leak.allocation for leak in leaks if leak.allocation not in gone), freed, reclaimed
        )

    def _is_ours(self, node: str, there: frozenset[str] | None) -> bool:
        return node == self._node or (there is not None and node not in there)

    def _there(
        self, nodes: Collection[str] | None, blocks: Collection[Block], now_s: float
    ) -> frozenset[str] | None:
        """Return the nodes that count as there; None when it is not for us to say.

        A cluster without our own node is not the one that we are in, and a node that is missed for less than
        the grace may be back.
        """
        if not nodes or self._node not in nodes or self._node != min(nodes):
            self._gone_since_s = {}
            return None
        named = {block.node for block in blocks if block.node}
        named |= {item.node for block in blocks for item in block.lent}
        self._gone_since_s = {node: self._gone_since_s.get(node, now_s) for node in named.difference(nodes)}
        back = {node for node, since_s in self._gone_since_s.items() if now_s - since_s < self._grace_s}
        return frozenset(nodes) | back

    def _still(self, leak: Leak) -> bool:
        """Look at a namespace of ours again."""
        return leak.allocation.node != self._node or not netns_exists(leak.allocation.netns)


async def keep_collecting(
    collector: Collector,
    nodes: Callable[[], Collection[str] | None],
    interval_s: float,
    take_round: Callable[[Round], None],
) -> None:
    """Look now and then for as long as the task lives; `nodes` says what is known of the cluster."""
    loop = asyncio.get_running_loop()
    # A thread of its own: a look at a large datastore must not keep a new block's route waiting.
    with ThreadPoolExecutor(1, "ipam-gc") as executor:
        while True:
            try:
                done = await loop.run_in_executor(executor, collector.look, nodes())
            except IpamError as exc:
                log.warning("addresses not collected, trying again error=%r", str(exc))
            else:
                take_round(done)
                _log_round(done)
            await asyncio.sleep(interval_s)


def _log_round(done: Round) -> None:
    for leak in done.freed:
        item = leak.allocation
        log.info("address freed address=%s handle=%s reason=%r", item.address, item.handle, leak.reason)
    log.log(
        logging.INFO if done.freed or done.reclaimed else logging.DEBUG,
        "addresses collected freed=%d waiting=%d blocks=%d",
        len(done.freed), len(done.candidates), len(done.reclaimed),
    )  # fmt: skip


def _used_on(block: Block, is_wanted: Callable[[str], bool]) -> Iterator[Address]:
    """Yield the addresses of a block that are in use on certain nodes: no need to read all there are."""
    free = {item.ordinal for item in block.released} | set(block.withheld)
    lent = {item.ordinal: item.node for item in block.lent}
    is_own = is_wanted(block.node)
    for ordinal in range(block.fresh):
        if ordinal not in free and (is_wanted(lent[ordinal]) if ordinal in lent else is_own):
            yield block.network[ordinal]


def _read_allocations(ledger: LedgerReader, addresses: Iterable[Address]) -> list[Allocation]:
    found = (ledger.allocation(address) for address in addresses)
    return [item for item in found if item is not None]


def _reclaim(datastore: Datastore, item: Reclaim) -> bool:
    return datastore.transact(lambda ledger: reclaim(ledger, item))
