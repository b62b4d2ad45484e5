"""What the plugins of one configuration have going on besides their answers.

    build_chains ─► Upkeep ─► run: the plugins' tasks   (until the next configuration is adopted)
                       ├────► until_start: what they wait for, for as long as a first start may
                       └────► until_ready: what they wait for

A configuration's Upkeep lives from its decoding to the reload that replaces it; then it is cleared.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Hashable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from coredns_lite.config import Listener, Site
from nodeplane.runtime.listen import ListenAddress
from nodeplane.runtime.page import Handler

if TYPE_CHECKING:
    from coredns_lite.workers.crew import Crew

V = TypeVar("V")
Main = Callable[[], Coroutine[Any, Any, None]]


class _Awaited(msgspec.Struct, frozen=True, eq=False):
    what: str
    within_s: float | None
    event: asyncio.Event


class Upkeep:
    """The tasks, pages and waits of one configuration."""

    def __init__(self, publish: Callable[[Collection[Hashable] | None], None]) -> None:
        self.changed = publish
        self.mains: list[Main] = []
        self.late_mains: list[Main] = []
        self.is_serving = asyncio.Event()
        self.pages: dict[ListenAddress, dict[str, Handler]] = {}
        self.crews: dict[str, Crew] = {}
        """The processes that answer for a server, by its name."""
        self.lameduck_s = 0.0
        self.is_leaving = False
        self._shared: dict[Hashable, Any] = {}
        self._awaited: list[_Awaited] = []

    def shared(self, key: Hashable, make: Callable[[], V]) -> V:
        """Return what is kept under a key, made by the first that asks."""
        if key not in self._shared:
            self._shared[key] = make()
        found: V = self._shared[key]
        return found

    def wait_for(self, what: str, within_s: float | None) -> Callable[[], None]:
        """Have the program wait until what is returned is called.

        It starts without it after `within_s` seconds, but is not ready.
        """
        event = asyncio.Event()
        self._awaited.append(_Awaited(what, within_s, event))
        return event.set

    def unready(self) -> tuple[str, ...]:
        """Return what is still waited for, each once; also that the program is about to end."""
        names = [awaited.what for awaited in self._awaited if not awaited.event.is_set()]
        return tuple(dict.fromkeys([*names, *(["lameduck"] if self.is_leaving else [])]))

    def clear(self) -> None:
        """Let go of what the plugins have, once their tasks have ended: these know this, and it them."""
        self.mains.clear()
        self.late_mains.clear()
        self._shared.clear()

    async def run(self) -> None:
        """Run the plugins' tasks until they end or the task is cancelled; one that fails ends all."""
        async with asyncio.TaskGroup() as tasks:
            for main in self.mains:
                tasks.create_task(main())
            await self.is_serving.wait()
            for main in self.late_mains:
                tasks.create_task(main())

    async def until_ready(self) -> None:
        """Wait for all that is waited for, for as long as it takes."""
        for awaited in self._awaited:
            await awaited.event.wait()

    async def until_start(self) -> None:
        """Wait for all that is waited for, each for as long as it says: queries better fail than wait."""
        began = asyncio.get_running_loop().time()
        for awaited in self._awaited:
            with suppress(TimeoutError):
                until = None if awaited.within_s is None else began + awaited.within_s
                async with asyncio.timeout_at(until):
                    await awaited.event.wait()


class SiteSurroundings:
    """What the plugins of one site are built into (`coredns_lite.plugin.Surroundings`)."""

    def __init__(self, listener: Listener, site: Site, upkeep: Upkeep) -> None:
        self.server = listener.name
        self.zone = site.zone
        self._upkeep = upkeep

    def run(self, main: Callable[[], Coroutine[Any, Any, None]], *, when_serving: bool = False) -> None:
        """Have a task run for as long as this configuration is in force."""
        (self._upkeep.late_mains if when_serving else self._upkeep.mains).append(main)

    def changed(self, about: Collection[Hashable] | None = None) -> None:
        """Say that answers given before no longer hold, all or those about something."""
        self._upkeep.changed(about)

    def shared(self, key: Hashable, make: Callable[[], V]) -> V:
        """Return what is kept under a key, made by the first that asks."""
        return self._upkeep.shared(key, make)

    def wait_for(self, what: str, within_s: float | None = None) -> Callable[[], None]:
        """Keep the program from being ready until what is returned is called."""
        return self._upkeep.wait_for(what, within_s)

    def unready(self) -> tuple[str, ...]:
        """Return what the program still waits for."""
        return self._upkeep.unready()

    def serve_page(self, address: ListenAddress, path: str, handler: Handler) -> None:
        """Have an HTTP page at an address for as long as this configuration is served."""
        self._upkeep.pages.setdefault(address, {})[path] = handler

    def serve_by(self, crew: "Crew") -> None:
        """Have the server's UDP queries answered by processes."""
        self._upkeep.crews[self.server] = crew

    def leave_after(self, seconds: float) -> None:
        """Have the program go on for this long when it is asked to end."""
        self._upkeep.lameduck_s = max(self._upkeep.lameduck_s, seconds)
