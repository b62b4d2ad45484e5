"""`coredns-lite run`: sockets answer while the asyncio loop follows the cluster and the Corefile.

    Corefile ─► Configuration: chains + Upkeep ─► ready ─► sockets opened ─► in force, the old ones drained

Decides when the program is ready: once every plugin has what it needs and every socket is bound. At the start
sockets are opened before that if a plugin says that it may take too long. And what a new Corefile does: its
configuration is built whole beside the old one and takes over when it is ready; one that can't be built,
whose tasks fail or that is not ready in time, leaves everything as it was. Old and new sockets share their
address for a moment (SO_REUSEPORT), so no query finds none; a new process beside an old one does the same.
While the old ones answer what they have, they follow the cluster; TCP connections go on with the new ones.
"""

import asyncio
import logging
import random
import signal
import sys
from collections.abc import Collection, Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import msgspec

from coredns_lite.chain import Chain, build_chains
from coredns_lite.config import Listener, decode_config
from coredns_lite.corefile.parser import Block, load_corefile
from coredns_lite.metrics import PLUGIN_ENABLED
from coredns_lite.pages import Pages
from coredns_lite.plugins import reload
from coredns_lite.probation import NotReadyError, Probation
from coredns_lite.server.memory import settle
from coredns_lite.serving import Server
from coredns_lite.upkeep import SiteSurroundings, Upkeep
from coredns_lite.zones import ZoneTable
from nodeplane.errors import NodeplaneError
from nodeplane.runtime.loading import end_loading
from nodeplane.runtime.sd_notify import notify

# How long a packet loop that wants the interpreter waits while the asyncio loop computes. Python's default is
# 5 ms: with a file of 1,500 Services read over and over, queries took 9 ms (p99 30 ms), so 0.6 ms (p99 5 ms).
_SWITCH_INTERVAL_S = 0.0005
log = logging.getLogger(__name__)


class Configuration(msgspec.Struct, frozen=True, eq=False):
    """What one reading of the Corefile says: listeners, what answers there, and what goes on besides.

    `servers` are those that are open, and are told what changes.
    """

    listeners: Sequence[Listener]
    chains: Sequence[ZoneTable[Chain]]
    upkeep: Upkeep
    servers: list[Server]


class InForce(msgspec.Struct, frozen=True, eq=False):
    """A configuration that queries are answered from; `mains` is the task of its Upkeep."""

    configuration: Configuration
    mains: asyncio.Task[None]
    serving: Sequence[asyncio.Task[None]]


class Daemon:
    """Serves a Corefile for as long as `run` does."""

    def __init__(self, corefile: Path) -> None:
        self._corefile = corefile
        self._force: InForce | None = None
        self._is_ready_said = False

    def leave(self) -> float:
        """Say to whoever asks that the end is near; return for how many seconds to go on."""
        if not self._force:
            return 0.0
        upkeep = self._force.configuration.upkeep
        upkeep.is_leaving = True
        return upkeep.lameduck_s

    async def run(self) -> None:
        """Serve for as long as the task lives.

        Raises:
            ConfigError: the Corefile is wrong, or the first snapshot of a cluster can't be had.
            KernelError: an address can't be listened on, or its socket failed.
        """
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        blocks, digest = load_corefile(self._corefile)
        configuration = self._build(blocks)
        async with asyncio.TaskGroup() as tasks:
            pages = Pages(tasks)
            # Whoever waits for the program is told what it waits for.
            pages.show(configuration.upkeep.pages)
            mains = tasks.create_task(configuration.upkeep.run())
            await configuration.upkeep.until_start()
            end_loading()
            with _on_signal(signal.SIGUSR1) as asked:
                self._force = await self._enforce(configuration, mains, tasks)
                # This frame outlives them.
                del blocks, configuration, mains
                await self._follow(digest, asked, tasks, pages)

    async def _follow(
        self, digest: str, asked: asyncio.Event, tasks: asyncio.TaskGroup, pages: Pages
    ) -> None:
        """Adopt each new Corefile: as often as the plugin `reload` looks, and when SIGUSR1 asks."""
        reload.VERSION.labels("sha512", digest).set(1)
        seen = digest
        while True:
            await _until(asked, self._interval_s())
            was_asked = asked.is_set()
            asked.clear()
            state = ""
            try:
                blocks, state = load_corefile(self._corefile)
                if state == seen and not was_asked:
                    continue
                await self._reload(self._build(blocks), tasks, pages)
            except NodeplaneError as exc:
                state = state or str(exc)
                if state == seen and not was_asked:
                    # What is wrong is said once, not each time that the plugin looks.
                    continue
                reload.FAILED.inc()
                log.error("not reloaded, the old configuration stays in force error=%r", str(exc))
                if isinstance(exc, NotReadyError):
                    # Nothing is wrong with the Corefile: it is tried again.
                    state = ""
            else:
                reload.VERSION.clear()
                reload.VERSION.labels("sha512", state).set(1)
                log.info("reloaded corefile=%s sha512=%s", self._corefile, state)
            seen = state
            # What has ended is in nobody's frame any more.
            settle(anew=True)

    def _interval_s(self) -> float | None:
        """Return when to look at the Corefile next; None without the plugin `reload`."""
        for listener in self._force.configuration.listeners if self._force else ():
            for site in listener.sites:
                for config in site.plugins.get("reload", ()):
                    # Not all replicas at once.
                    return float(config.interval_s + random.uniform(0, config.jitter_s))
        return None

    def _build(self, blocks: Sequence[Block]) -> Configuration:
        listeners = decode_config(blocks)
        servers: list[Server] = []
        upkeep = Upkeep(partial(_publish, servers))

        async def say_ready() -> None:
            await upkeep.until_ready()
            if not self._is_ready_said:
                self._is_ready_said = True
                notify("READY=1")

        upkeep.late_mains.append(say_ready)
        chains = [
            build_chains(listener, lambda of, site: SiteSurroundings(of, site, upkeep))
            for listener in listeners
        ]
        return Configuration(listeners, chains, upkeep, servers)

    async def _reload(self, configuration: Configuration, tasks: asyncio.TaskGroup, pages: Pages) -> None:
        """Bring a configuration up beside the one in force, then put it in its place.

        Raises:
            NodeplaneError: it did not come up; everything is as it was.
        """
        old = self._force
        probation = Probation(configuration.upkeep)
        mains = tasks.create_task(probation.run())
        try:
            await probation.until_ready()
            self._force = await self._enforce(configuration, mains, tasks)
        except BaseException:
            await _end(configuration.upkeep, [mains])
            raise
        probation.is_over = True
        pages.show(configuration.upkeep.pages)
        # The new sockets answer: the old ones may go once they are empty.
        if old:
            for new in configuration.servers:
                for server in old.configuration.servers:
                    new.take_over(server)
            await _drain(old.configuration.servers, old.serving)
            await _end(old.configuration.upkeep, [old.mains])

    async def _enforce(
        self, configuration: Configuration, mains: asyncio.Task[None], tasks: asyncio.TaskGroup
    ) -> InForce:
        """Open the sockets of a configuration, all or none, and answer from it."""
        loop = asyncio.get_running_loop()
        serving: list[asyncio.Task[None]] = []
        opened = self._force.configuration.listeners if self._force else ()
        places = {(listener.scheme, listener.address, listener.port) for listener in opened}
        # First those that may be another's: the others' queries still come to the old sockets alone.
        plan = sorted(
            zip(configuration.listeners, configuration.chains, strict=True),
            key=lambda each: (each[0].scheme, each[0].address, each[0].port) in places,
        )
        try:
            for listener, chains in plan:
                server = Server(listener, chains, loop, configuration.upkeep.crews.get(listener.name))
                configuration.servers.append(server)
                serving.append(tasks.create_task(server.run()))
        except BaseException:
            # Queries that have come to those that were opened came to nobody else.
            await _drain(configuration.servers, serving)
            raise
        configuration.upkeep.is_serving.set()
        PLUGIN_ENABLED.clear()
        for listener in configuration.listeners:
            for site in listener.sites:
                for name in site.plugins:
                    PLUGIN_ENABLED.labels(listener.name, site.zone, "", name).set(1)
        return InForce(configuration, mains, serving)


def _publish(servers: Sequence[Server], about: Collection[Hashable] | None) -> None:
    for server in servers:
        server.publish(about)


async def _drain(servers: Sequence[Server], serving: Sequence[asyncio.Task[None]]) -> None:
    """End servers side by side, once they have answered what has come."""
    if not servers:
        return
    # A task that is cancelled before it has begun would leave its sockets open.
    await asyncio.sleep(0)
    await asyncio.gather(*(server.drain() for server in servers))
    for task in serving:
        task.cancel()
    await asyncio.wait(serving)


async def _end(upkeep: Upkeep, tasks: Sequence[asyncio.Task[None]]) -> None:
    """End the tasks of a configuration, and let go of what they had."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    upkeep.clear()


async def _until(event: asyncio.Event, within_s: float | None) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await event.wait()


@contextmanager
def _on_signal(number: signal.Signals) -> Iterator[asyncio.Event]:
    """Have an event set by a signal."""
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    loop.add_signal_handler(number, event.set)
    try:
        yield event
    finally:
        loop.remove_signal_handler(number)
