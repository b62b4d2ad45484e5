"""How long the history is kept: for an interval, or for so many events if that is less."""

import asyncio
import logging

import msgspec

from netns_lab.apiserver.committer import Committer
from netns_lab.apiserver.history import State
from netns_lab.apiserver.store import StoreError

log = logging.getLogger(__name__)


class CompactionSettings(msgspec.Struct, frozen=True):
    """When history is forgotten.

    Attributes:
        interval_s: How long it is kept at least (upstream's --etcd-compaction-interval).
        limit: How many events are kept at most, whatever the interval: they are in memory.
    """

    interval_s: float = 300.0
    limit: int = 50_000
    check_interval_s: float = 1.0


async def compact_regularly(committer: Committer, state: State, settings: CompactionSettings) -> None:
    """Compact for as long as the task lives; what the store refuses is tried again with the next round."""
    loop = asyncio.get_running_loop()
    # As upstream's compactor: each round forgets what was there already in the round before.
    reached, due = state.revision, loop.time() + settings.interval_s
    while True:
        await asyncio.sleep(settings.check_interval_s)
        try:
            if state.revision - state.compacted > settings.limit:
                # By half, so that lists of events are shortened now and then and not at each step.
                await committer.compact(state.revision - settings.limit // 2)
            if loop.time() >= due:
                await committer.compact(reached)
                reached, due = state.revision, loop.time() + settings.interval_s
        except StoreError as exc:
            log.warning("history not compacted error=%r", str(exc))
