"""A daemon between a source that a test fills and a table in memory."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass

from kubeproxy.config.settings import Settings
from kubeproxy.daemon import Daemon
from kubeproxy.family_proxier import FamilyProxier
from kubeproxy.health.proxy_health import ProxyHealth
from kubeproxy.metrics import Metrics
from kubeproxy.proxier import Proxier
from kubeproxy.rule_inputs import Options
from kubeproxy.rules.layout import FRONTENDS
from kubeproxy.rules.skeleton import build_skeleton
from nodeplane.datapath.local_addresses import FakeAddresses
from nodeplane.datapath.nft.fake import FakeTable
from nodeplane.datapath.nft.monitor import FakeMonitor
from nodeplane.kube.objects import Object
from nodeplane.kube.source import Batch
from tests.kubeproxy.objects import additions, endpoint, endpoint_slice, service

SKELETON = build_skeleton("ip")
DEFAULT = Settings(min_sync_interval_s=0)
WEB, BACKING = service(), endpoint_slice(endpoint("10.244.0.1"))


class ScriptedSource:
    """Delivers what a test puts in, when it puts it in."""

    def __init__(self) -> None:
        self._batches: asyncio.Queue[Batch] = asyncio.Queue()

    def deliver(self, batch: Batch) -> None:
        self._batches.put_nowait(batch)

    async def batches(self, kinds: Collection[type[Object]]) -> AsyncGenerator[Batch, None]:
        while True:
            yield await self._batches.get()


def frontends(edge: FakeTable) -> int:
    state = edge.read(SKELETON)
    return len(state.elements[FRONTENDS]) if state else 0


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not fact():
            await asyncio.sleep(0.005)


@dataclass
class Seen:
    """What a scenario can do and look at."""

    source: ScriptedSource
    edge: FakeTable
    addresses: FakeAddresses
    watch: FakeMonitor
    metrics: Metrics
    health: ProxyHealth
    built: list[Options]
    task: "asyncio.Task[None]"

    def deliver(self, batch: Batch) -> None:
        self.source.deliver(batch)

    def elements(self, name: str) -> set[bytes]:
        state = self.edge.read(build_skeleton("ip"))
        return set(state.elements[name]) if state else set()


def with_daemon(
    edge: FakeTable, scenario: Callable[[Seen], Awaitable[None]], settings: Settings = DEFAULT
) -> None:
    """Run a scenario beside a daemon over `edge`."""

    async def main() -> None:
        source, addresses = ScriptedSource(), FakeAddresses("127.0.0.1", "10.0.0.1")
        metrics, health = Metrics(), ProxyHealth(("ip",), limit_s=60.0)
        built: list[Options] = []

        def build(options: Options) -> Proxier:
            built.append(options)
            return Proxier("n1", [FamilyProxier("ip", edge, options["ip"])])

        watch = FakeMonitor()
        daemon = Daemon(
            "n1",
            build,
            settings,
            addresses=addresses,
            open_watch=lambda: watch,
            metrics=metrics,
            health=health,
        )
        task = asyncio.create_task(daemon.run(source))
        seen = Seen(source, edge, addresses, watch, metrics, health, built, task)
        try:
            await scenario(seen)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError, BaseExceptionGroup):
                await task

    asyncio.run(main())


def table_of_another_time() -> FakeTable:
    edge = FakeTable()
    before = Proxier("n1", [FamilyProxier("ip", edge)])
    before.take(additions(WEB, BACKING))
    before.sync(full=True)
    return edge
