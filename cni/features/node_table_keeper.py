"""When our table is looked after: at the agent's start, when pools change, and after somebody else's writing.

Word of a write comes from the kernel at once (`datapath.nft.monitor`); what was written is found by reading.
As with the pods' links, no ADD or DEL waits before there is something to do; then they are held off while it
is found once more and done, so that no element is missed or removed that one of them is about to write.
"""

import asyncio
import logging
from collections.abc import Iterable
from contextlib import aclosing
from pathlib import Path

from cni.call_lock import locked
from cni.edge import open_edge
from cni.features.feature import all_elements
from cni.features.masquerade_rules import build_pool_elements
from cni.features.node_table import NAME, NODE_TABLE, WRITER, diff, join_elements, mend
from ipam.model import Pool
from nodeplane.datapath.nft.kernel import KernelTable, TableEdge
from nodeplane.datapath.nft.monitor import TableMonitor, Writer
from nodeplane.datapath.nft.table import Elements
from nodeplane.reconcile.runner import Runner

# Bounds a fight with somebody who deletes what we write.
_MIN_INTERVAL_S = 0.2
_RESYNC_INTERVAL_S = 600.0
_LOCK_WAIT_S = 10.0
_EVERY_MAP = frozenset(declared.name for declared in NODE_TABLE.maps)

log = logging.getLogger(__name__)


class NodeTableKeeper:
    """Keeps the table of one node; `lock` is the plugin's, beside which features remember."""

    def __init__(self, lock: Path) -> None:
        self._runner = Runner(
            self._sync, min_interval_s=_MIN_INTERVAL_S, resync_interval_s=_RESYNC_INTERVAL_S
        )
        self._lock = lock
        self._pools: Elements | None = None
        self._writer: Writer | None = None

    def take_pools(self, pools: Iterable[Pool]) -> None:
        """Take all pools in; before the first ones nothing is written."""
        elements = build_pool_elements(pools)
        if elements != self._pools:
            self._pools = elements
            self._runner.trigger()

    async def run(self) -> None:
        """Keep the table for as long as the task lives.

        Raises:
            KernelError: netlink can't be had.
        """
        own_ports: set[int] = set()
        with TableMonitor([("inet", NAME)], own_ports, {WRITER}) as monitor:
            async with open_edge("table", lambda: KernelTable("inet", NAME)) as self._kernel:
                own_ports.add(await self._kernel(lambda edge: edge.port))
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._follow(monitor))
                    tasks.create_task(self._runner.run())

    async def _follow(self, monitor: TableMonitor) -> None:
        async with aclosing(monitor.disturbances()) as disturbances:
            async for disturbance in disturbances:
                self._writer = disturbance.writer
                if self._pools is not None:
                    self._runner.trigger()

    async def _sync(self, full: bool) -> None:
        del full  # the table is always read: there is nothing else to go by
        writer, self._writer = self._writer, None
        pools = self._pools or {}
        if await self._kernel(lambda edge: self._work(edge, pools)):
            log.info("table written table=%s disturbed_by=%s", NAME, writer or "nobody")

    def _work(self, edge: TableEdge, pools: Elements) -> bool:
        """Put the table right; say whether it was wrong."""
        if _is_right(edge, self._desired(pools)):
            return False
        with locked(self._lock, "", _LOCK_WAIT_S):
            desired = self._desired(pools)
            # An ADD that went on when we looked first may have ended since.
            return not _is_right(edge, desired) and mend(edge, desired, _EVERY_MAP)

    def _desired(self, pools: Elements) -> Elements:
        return join_elements([all_elements(self._lock.parent), pools])


def _is_right(edge: TableEdge, desired: Elements) -> bool:
    state = edge.read(NODE_TABLE)
    if state is None:
        # A node without pods and without masquerade has no table.
        return not any(desired.values())
    return state.holds(NODE_TABLE) and not diff(state, desired, _EVERY_MAP)
