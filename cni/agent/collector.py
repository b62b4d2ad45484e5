"""The agent's garbage collection: addresses and blocks that were left behind, looked for now and then.

An agent frees what its own node left behind, which only it can see. What nodes that are gone left behind, the
agent of the first node by name frees for all: every agent would come to the same result, and one is enough.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress

import msgspec

from ipam.collection import Absence, Patience, collect, named_nodes
from ipam.datastore import open_datastore
from ipam.errors import IpamError, NoDatastoreError, UnreadableError
from ipam.leaks import Leak, find_blind, find_leaks, find_misnamed, is_alive, look_from, netns_exists
from ipam.ledger import LedgerReader
from ipam.model import Address, Allocation, Block
from ipam.reclaim import Reclaim, find_reclaimable, reclaim_all
from ipam.store_thread import store_thread

log = logging.getLogger(__name__)


class Round(msgspec.Struct, frozen=True):
    """What one look saw and did."""

    candidates: tuple[Allocation, ...] = ()
    freed: tuple[Leak, ...] = ()
    reclaimed: tuple[Reclaim, ...] = ()
    # Directories without which no namespace can be seen; nothing was freed for that.
    blind: tuple[str, ...] = ()
    # Names that are no Node's, under which pods of this machine have addresses.
    misnamed: tuple[str, ...] = ()


class Collector:
    """Looks for what was left behind, and frees what has been so for long enough.

    Args:
        node: The node that we are on.
        url: The datastore.
        grace_s: How long a leak must have been there.
        is_forced: Free also when not one namespace of this boot can be seen.
    """

    def __init__(self, node: str, url: str, grace_s: float, *, is_forced: bool = False) -> None:
        self._node = node
        self._url = url
        self._is_forced = is_forced
        self._patience = Patience(grace_s)
        self._absence = Absence(grace_s)
        self._here = look_from(node)

    @property
    def node(self) -> str:
        """The node that we are on."""
        return self._node

    def look(self, nodes: Collection[str] | None, ended: threading.Event | None = None) -> Round:
        """Look once; `nodes` are all nodes of the cluster, None when they are not known.

        Whoever sets `ended`, from another thread, has it wait for no server any more.

        Raises:
            DatastoreError: the datastore can't be used.
        """
        now_s = time.monotonic()
        with open_datastore(self._url, create=False, ended=ended) as datastore:
            blocks, pools = datastore.read(lambda ledger: (ledger.sound_blocks(), ledger.pools()))
            known = nodes if nodes and self._node in nodes else None
            wanted = [
                address
                for block in blocks
                for address in _used_on(block, lambda node: self._is_ours(node, known))
            ]
            allocations = datastore.read(lambda ledger: _read_allocations(ledger, wanted))
            misnamed = find_misnamed(allocations, self._here, netns_exists, known)
            # Where our own pods go by a name that no Node has, such names say nothing about others either.
            there = None if misnamed else self._there(known, blocks, now_s)
            leaks = find_leaks(allocations, self._here, netns_exists, nodes=there)
            blind = () if self._is_forced else find_blind(allocations, self._here, netns_exists)
            if blind:
                leaks = [leak for leak in leaks if leak.allocation.node != self._node or leak.is_certain]
            due = self._patience.judge(leaks, now_s)
            freed = collect(datastore, due, self._still, int(time.time())).freed
            self._patience.forget(leak.allocation for leak in freed)
            if freed:
                blocks = datastore.read(LedgerReader.sound_blocks)
            # Whoever cleans up after others takes care of the blocks of nobody as well.
            mine = [block for block in blocks if self._is_ours(block.node, there)]
            found = find_reclaimable(mine, pools, int(time.time()), nodes=there)
            reclaimed = tuple(reclaim_all(datastore, found))
        gone = {leak.allocation for leak in freed}
        return Round(
            tuple(leak.allocation for leak in leaks if leak.allocation not in gone),
            freed,
            reclaimed,
            blind,
            tuple(misnamed),
        )

    def _is_ours(self, node: str, there: Collection[str] | None) -> bool:
        return node == self._node or (there is not None and node not in there)

    def _there(
        self, nodes: Collection[str] | None, blocks: Collection[Block], now_s: float
    ) -> frozenset[str] | None:
        """Return the nodes that count as there; None when it is not for us to say.

        A cluster without our own node is not the one that we are in, and a node that is missed for less than
        the grace may be back.
        """
        if nodes is None or self._node != min(nodes):
            self._absence.forget()
            return None
        return self._absence.judge(nodes, named_nodes(blocks), now_s)

    def _still(self, leak: Leak) -> bool:
        """Look at a namespace of ours again."""
        return not is_alive(leak.allocation, self._here, netns_exists)


async def keep_collecting(
    collector: Collector,
    nodes: Callable[[], Collection[str] | None],
    interval_s: float,
    take_round: Callable[[Round], None],
) -> None:
    """Look now and then for as long as the task lives; `nodes` says what is known of the cluster."""
    loop = asyncio.get_running_loop()
    told: frozenset[str] = frozenset()
    # A thread of its own: a look at a large datastore must not keep a new block's route waiting.
    with store_thread("ipam-gc") as (executor, ended):
        while True:
            try:
                done = await loop.run_in_executor(executor, collector.look, nodes(), ended)
            except NoDatastoreError as exc:
                # Who follows the blocks makes it at the first start, and tells when it is gone.
                log.debug("addresses not collected error=%r", str(exc))
            except IpamError as exc:
                log.warning("addresses not collected, trying again error=%r", str(exc))
            else:
                take_round(done)
                _log_round(done)
                told = _warn(done, collector.node, told)
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


def _warn(done: Round, node: str, told: frozenset[str]) -> frozenset[str]:
    """Tell what keeps addresses from being freed, once for as long as it lasts; return what was told."""
    problems = {
        f"{where} is empty or not there, and so are all namespaces of this boot: nothing is freed for that; "
        "mount it, or set gcAllGone"
        for where in done.blind
    }
    problems |= {
        f"pods of this machine have addresses as node {name}, which is no Node, and we are {node}: set "
        "nodeName in the CNI configuration; until then no node counts as gone"
        for name in done.misnamed
    }
    for problem in sorted(problems - told):
        log.warning("addresses kept reason=%r", problem)
    return frozenset(problems)


def _used_on(block: Block, is_wanted: Callable[[str], bool]) -> Iterator[Address]:
    """Yield the addresses of a block that are in use on certain nodes: no need to read all there are."""
    free = {item.ordinal for item in block.released} | set(block.withheld)
    lent = {item.ordinal: item.node for item in block.lent}
    is_own = is_wanted(block.node)
    for ordinal in range(block.fresh):
        if ordinal not in free and (is_wanted(lent[ordinal]) if ordinal in lent else is_own):
            yield block.network[ordinal]


def _read_allocations(ledger: LedgerReader, addresses: Iterable[Address]) -> list[Allocation]:
    found = []
    for address in addresses:
        # What can't be read counts as in use, and keeps nothing else: `ipamctl check` tells of it.
        with suppress(UnreadableError):
            found.append(ledger.allocation(address))
    return [item for item in found if item is not None]
