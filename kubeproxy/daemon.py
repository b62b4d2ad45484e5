"""`kubeproxy run`: the source feeds the proxier, the runner syncs it, a watcher notices others' writes."""

import asyncio
import logging
from contextlib import aclosing

from kubeproxy.proxier import WATCHED, Proxier
from nodeplane.errors import KernelError
from nodeplane.kube.source import Batch, Source
from nodeplane.reconcile.runner import Runner
from nodeplane.runtime.sd_notify import notify

_WATCH_INTERVAL_S = 1.0
# Others may write all the time, and looking at the whole table costs 0.3 s at 10,000 services: as long as
# nothing is found wrong, look less often.
_MAX_WATCH_INTERVAL_S = 30.0
_RESYNC_INTERVAL_S = 3600.0

log = logging.getLogger(__name__)


class Daemon:
    """What `run` keeps between syncs."""

    def __init__(self, proxier: Proxier, *, min_sync_interval_s: float) -> None:
        self._proxier = proxier
        self._runner = Runner(
            self._sync, min_interval_s=min_sync_interval_s, resync_interval_s=_RESYNC_INTERVAL_S
        )
        self._is_ready = False
        self._watch_interval_s = _WATCH_INTERVAL_S

    async def run(self, source: Source) -> None:
        """Keep the kernel in step with the source for as long as the task lives."""
        async with asyncio.TaskGroup() as tasks, aclosing(source.batches(WATCHED)) as batches:
            tasks.create_task(self._runner.run())
            # Only after the first complete snapshot: before it nothing is ours to judge (law 4).
            self._take(await anext(batches))
            tasks.create_task(self._watch_ruleset())
            async for batch in batches:
                self._take(batch)

    def _take(self, batch: Batch) -> None:
        self._proxier.take(batch)
        self._runner.trigger()

    async def _sync(self, full: bool) -> None:
        report = self._proxier.sync(full=full)
        if full:
            longer_s = min(self._watch_interval_s * 2, _MAX_WATCH_INTERVAL_S)
            self._watch_interval_s = _WATCH_INTERVAL_S if report.transactions else longer_s
        if not self._is_ready:
            self._is_ready = True
            notify("READY=1")

    async def _watch_ruleset(self) -> None:
        """Ask for a full sync when somebody else has written to the ruleset (law 3)."""
        while True:
            await asyncio.sleep(self._watch_interval_s)
            try:
                is_disturbed = self._proxier.is_disturbed()
            except KernelError as exc:
                log.warning("ruleset's generation not read, checking ours error=%r", str(exc))
                is_disturbed = True
            if is_disturbed:
                log.info("ruleset changed by another program, checking ours")
                self._runner.trigger(full=True)
            else:
                self._watch_interval_s = _WATCH_INTERVAL_S
