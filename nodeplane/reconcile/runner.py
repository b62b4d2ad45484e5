"""The loop that turns triggers into syncs: coalesced, level-triggered, retried.

Decides when to sync, never what: however many triggers arrive while a sync runs, one more sync follows.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from functools import partial

from nodeplane.errors import NodeplaneError

log = logging.getLogger(__name__)


class Runner:
    """Run `sync` after each trigger, after `resync_interval_s` without one, and again after a failure.

    Without a `resync_interval_s` it waits for a trigger as long as it takes.

    `sync(full)` brings the world to the desired state: with `full` it first reads what is there, without
    it trusts its own memory. The first sync, a periodic one and one after a failure are full.
    """

    def __init__(
        self,
        sync: Callable[[bool], Awaitable[None]],
        *,
        min_interval_s: float = 0.0,
        resync_interval_s: float | None = 3600.0,
        first_retry_s: float = 0.1,
        max_retry_s: float = 30.0,
    ) -> None:
        self._sync = sync
        self._min_interval_s = min_interval_s
        self.resync_interval_s = resync_interval_s
        self._first_retry_s = first_retry_s
        self._max_retry_s = max_retry_s
        self._wanted = asyncio.Event()
        self._full = True

    def trigger(self, *, full: bool = False) -> None:
        """Ask for a sync; `full` asks for one that reads the world first."""
        self._full = self._full or full
        self._wanted.set()

    async def run(self) -> None:
        """Sync for as long as the task lives; the first sync waits for the first trigger.

        Errors that are not a `NodeplaneError` are defects and rise.
        """
        await self._wanted.wait()
        loop = asyncio.get_running_loop()
        retry_s = self._first_retry_s
        while True:
            full, self._full = self._full, False
            self._wanted.clear()
            try:
                await self._sync(full)
            except NodeplaneError as exc:
                self._full = True
                # Jitter, so that a thousand nodes do not come back in step.
                pause_s = retry_s * random.uniform(0.5, 1.0)
                log.warning("sync failed, retrying error=%r retry_s=%.1f", str(exc), pause_s)
                await asyncio.sleep(pause_s)
                retry_s = min(retry_s * 2, self._max_retry_s)
                continue
            retry_s = self._first_retry_s
            ended_s = loop.time()
            await self._wait()
            # Most triggers come after a quiet moment: they wait for nothing, and no timer runs for them.
            rest_s = ended_s + self._min_interval_s - loop.time()
            if rest_s > 0:
                await asyncio.sleep(rest_s)

    async def _wait(self) -> None:
        timer = None
        if self.resync_interval_s is not None:
            loop = asyncio.get_running_loop()
            timer = loop.call_later(self.resync_interval_s, partial(self.trigger, full=True))
        try:
            await self._wanted.wait()
        finally:
            if timer is not None:
                timer.cancel()
