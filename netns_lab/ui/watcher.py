"""The edge that reads the lab for the page, for as long as somebody looks.

All that blocks runs in one thread, so that nothing is read twice at once; traces have a thread of their own,
for one may wait for seconds.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from netns_lab.execute import find_place, place_namespace
from netns_lab.faults.present import load_present
from netns_lab.live import read_live
from netns_lab.state import StateDirectory
from netns_lab.status import read_status
from netns_lab.topology import Topology
from netns_lab.trace.report import describe
from netns_lab.trace.run import trace
from netns_lab.trace.target import parse_target
from netns_lab.ui.rates import Count, Link, rates, read_counters
from netns_lab.ui.view import build_rates, build_view
from nodeplane.errors import ConfigError, NodeplaneError

_RATES_S = 1.0
_VIEW_S = 3.0
_TRACE_LIMIT_S = 2.0

T = TypeVar("T")

Event = tuple[str, dict[str, Any]]
"""A kind, and what it says."""


class Watcher:
    """One lab, read for all pages that are open."""

    def __init__(self, state: StateDirectory) -> None:
        self._state = state
        self._reader = ThreadPoolExecutor(1, "lab-reader")
        self._tracer = ThreadPoolExecutor(1, "lab-tracer")
        self._view: tuple[float, dict[str, Any]] | None = None
        self._reading = asyncio.Lock()

    def close(self) -> None:
        """End the threads; what they are doing is done first."""
        self._reader.shutdown()
        self._tracer.shutdown()

    async def events(self) -> AsyncGenerator[Event, None]:
        """Yield the whole view whenever it has changed, and the links' rates each second."""
        shown: dict[str, Any] | None = None
        before: dict[Link, Count] = {}
        at = 0.0
        while True:
            try:
                view = await self._current_view()
                after = await self._run(self._read_counters)
            except NodeplaneError as exc:
                yield "trouble", {"message": str(exc)}
                # Behind it the same view is news again.
                shown = None
                await asyncio.sleep(_VIEW_S)
                continue
            if view != shown:
                shown = view
                yield "view", view
            now = time.monotonic()
            yield "rates", build_rates(rates(before, after, now - at))
            before, at = after, now
            await asyncio.sleep(_RATES_S)

    async def trace(self, source: str, target: str) -> dict[str, Any]:
        """Follow one packet.

        Raises:
            NodeplaneError: the place or the target is none, or the lab can't be read.
        """
        return await asyncio.get_running_loop().run_in_executor(self._tracer, self._trace, source, target)

    async def find_link(self, place: str, link: str) -> str:
        """Return the namespace of a place that has a link of that name.

        Raises:
            ConfigError: there is no such place or link.
            NodeplaneError: the place is gone.
        """
        topology = await self._run(self._topology)
        namespace = place_namespace(self._state.lab, find_place(topology, place))
        links = {name for _, name in await self._run(lambda: read_counters({place: namespace}))}
        if not links:
            raise NodeplaneError(f"{place} is not there: its namespace is gone")
        if link not in links:
            raise ConfigError(place, link, f"expected one of its links: {', '.join(sorted(links))}")
        return namespace

    @property
    def lab(self) -> str:
        """The lab's name."""
        return self._state.lab

    async def _current_view(self) -> dict[str, Any]:
        """Return the view; pages that ask at the same time share one reading."""
        async with self._reading:
            if self._view is None or time.monotonic() - self._view[0] > _VIEW_S:
                view = await self._run(self._read_view)
                self._view = (time.monotonic(), view)
            return self._view[1]

    async def _run(self, read: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._reader, read)

    def _read_view(self) -> dict[str, Any]:
        topology = self._topology()
        return build_view(topology, read_live(self._state, topology), read_status(self._state))

    def _read_counters(self) -> dict[Link, Count]:
        topology = self._topology()
        places = {host.name: host for host in (*topology.hosts, *topology.routers)}
        pods = {pod.key: pod for pod in topology.pods}
        lab = self._state.lab
        return read_counters(
            {name: place_namespace(lab, place) for name, place in {**places, **pods}.items()}
        )

    def _topology(self) -> Topology:
        topology = load_present(self._state)
        if topology is None:
            raise NodeplaneError(f"lab {self._state.lab} is down, or half-built: run `up`")
        return topology

    def _trace(self, source: str, target: str) -> dict[str, Any]:
        topology = self._topology()
        place = find_place(topology, source)
        parsed = parse_target(target)
        case = trace(self._state, topology, place, parsed, limit_s=_TRACE_LIMIT_S)
        report, _ = describe(case, "json")
        return report
