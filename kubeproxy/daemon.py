"""`kubeproxy run`: the source feeds the proxier, the runner syncs it, a watcher notices others' writes."""

import asyncio
import logging

from kubeproxy.proxier import WATCHED, Proxier
from nodeplane.kube.source import Source
from nodeplane.reconcile.runner import Runner
from nodeplane.runtime.sd_notify import notify

_WATCH_INTERVAL_S = 1.0
_RESYNC_INTERVAL_S = 3600.0

log = logging.getLogger(__name__)


async def run(source: Source, proxier: Proxier, *, min_sync_interval_s: float) -> None:
    """Keep the kernel in step with the source for as long as the task lives."""
    ready = False

    async def sync(full: bool) -> None:
        nonlocal ready
        proxier.sync(full=full)
        if not ready:
            ready = True
            notify("READY=1")

    runner = Runner(sync, min_interval_s=min_sync_interval_s, resync_interval_s=_RESYNC_INTERVAL_S)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(runner.run())
        started = False
        async for batch in source.batches(WATCHED):
            proxier.take(batch)
            runner.trigger()
            if not started:
                # Only after the first complete snapshot: before it nothing is ours to judge (law 4).
                started = True
                tasks.create_task(_watch_ruleset(proxier, runner))


async def _watch_ruleset(proxier: Proxier, runner: Runner) -> None:
    """Ask for a full sync when somebody else has written to the ruleset (law 3)."""
    while True:
        await asyncio.sleep(_WATCH_INTERVAL_S)
        if proxier.is_disturbed():
            log.info("ruleset changed by another program, checking ours")
            runner.trigger(full=True)
