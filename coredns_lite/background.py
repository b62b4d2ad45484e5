"""Work that goes on beside the answers: health checks, refreshes, questions that several clients wait for."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

log = logging.getLogger(__name__)


class Background:
    """Holds its tasks for as long as they run; all on one asyncio loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, main: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run a task; an error of it is logged, whether or not somebody waits for it."""
        task = asyncio.get_running_loop().create_task(main)
        self._hold(task)
        return task

    async def drain(self, within_s: float) -> None:
        """Wait for what runs now, but no longer than that."""
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=within_s)

    def hand_over(self, successor: "Background") -> None:
        """Have another hold what runs."""
        for task in self._tasks:
            task.remove_done_callback(self._end)
            successor._hold(task)
        self._tasks.clear()

    def close(self) -> None:
        """Cancel what still runs."""
        for task in self._tasks:
            task.cancel()

    def _hold(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception():
            log.error("defect met in the background", exc_info=task.exception())
