"""The tasks of a configuration that is not in force yet: their failure is not the program's."""

import asyncio
from typing import Any

from coredns_lite.upkeep import Upkeep
from nodeplane.errors import NodeplaneError

# A new configuration that is not ready by then is given up for now: the cluster that it names can't be had.
_READY_LIMIT_S = 60.0


class NotReadyError(NodeplaneError):
    """A new configuration does not have what it needs; it may at another time."""


class Probation:
    """Runs the tasks of a configuration that is not in force yet: their failure is not the program's."""

    def __init__(self, upkeep: Upkeep) -> None:
        self.is_over = False
        self._upkeep = upkeep
        self._failed: asyncio.Future[NodeplaneError] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Run the tasks; one that fails ends them, and the program once the time of probation is over."""
        try:
            await self._upkeep.run()
        except* NodeplaneError as group:
            if self.is_over:
                raise
            if not self._failed.done():
                self._failed.set_result(_first(group))

    async def until_ready(self) -> None:
        """Wait until the configuration is ready.

        Raises:
            NotReadyError: it took too long.
            NodeplaneError: one of its tasks failed.
        """
        ready = asyncio.ensure_future(self._upkeep.until_ready())
        either: set[asyncio.Future[Any]] = {ready, self._failed}
        try:
            await asyncio.wait(either, timeout=_READY_LIMIT_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        if self._failed.done():
            raise self._failed.result()
        unready = self._upkeep.unready()
        if unready and not ready.done():
            raise NotReadyError(f"not ready within {_READY_LIMIT_S:.0f} s: {', '.join(unready)}")


def _first(group: BaseExceptionGroup[NodeplaneError]) -> NodeplaneError:
    for exc in group.exceptions:
        return _first(exc) if isinstance(exc, BaseExceptionGroup) else exc
    raise AssertionError("an exception group is never empty")
