"""The daemon between a source and a table: when it writes, and when it must not."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import suppress

from kubeproxy.daemon import Daemon
from kubeproxy.layout import FRONTENDS, SLOTS
from kubeproxy.proxier import FamilyProxier, Proxier
from kubeproxy.skeleton import build_skeleton
from nodeplane.datapath.nft.fake import FakeTable
from nodeplane.datapath.nft.table import ElementChange
from nodeplane.kube.objects import Object
from nodeplane.kube.source import Batch
from nodeplane.kube.store import diff_objects
from tests.kubeproxy.objects import additions, endpoint, endpoint_slice, service

SKELETON = build_skeleton("ip")
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


def with_daemon(edge: FakeTable, scenario: Callable[[ScriptedSource], Awaitable[None]]) -> None:
    """Run a scenario beside a daemon over `edge`."""

    async def main() -> None:
        source = ScriptedSource()
        daemon = Daemon(Proxier("n1", [FamilyProxier("ip", edge)]), min_sync_interval_s=0)
        task = asyncio.create_task(daemon.run(source))
        try:
            await scenario(source)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    asyncio.run(main())


def table_of_another_time() -> FakeTable:
    edge = FakeTable()
    before = Proxier("n1", [FamilyProxier("ip", edge)])
    before.take(additions(WEB, BACKING))
    before.sync(full=True)
    return edge


def test_nothing_before_the_snapshot() -> None:
    """As long as the source has not delivered, the table of the last run stays in force (law 4)."""
    edge = table_of_another_time()

    async def scenario(source: ScriptedSource) -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        assert (frontends(edge), edge.batches) == (1, 1)
        source.deliver(())
        await until(lambda: edge.batches == 2)
        assert frontends(edge) == 0

    with_daemon(edge, scenario)


def test_restart_and_change() -> None:
    """A restart over a correct table is silent; the next change is one transaction (laws 2 and 5)."""
    edge = table_of_another_time()

    async def scenario(source: ScriptedSource) -> None:
        source.deliver(additions(WEB, BACKING))
        source.deliver(diff_objects({WEB.key: WEB}, {}))
        await until(lambda: frontends(edge) == 0)
        assert edge.batches == 2

    with_daemon(edge, scenario)


def test_damage_is_repaired() -> None:
    """Somebody's write is noticed without any change of the cluster (law 3)."""
    edge = FakeTable()

    async def scenario(source: ScriptedSource) -> None:
        source.deliver(additions(WEB, BACKING))
        await until(lambda: frontends(edge) == 1)
        state = edge.read(SKELETON)
        assert state is not None
        edge.update(SKELETON, {SLOTS: ElementChange(remove=list(state.elements[SLOTS]))})
        await until(lambda: edge.read(SKELETON) == state)

    with_daemon(edge, scenario)


def test_refused_change_is_followed_by_a_resync() -> None:
    """When the kernel is not what we believe, the next sync reads it and puts it right."""
    edge = FakeTable()

    async def scenario(source: ScriptedSource) -> None:
        source.deliver(additions(WEB, BACKING))
        await until(lambda: frontends(edge) == 1)
        edge.delete()
        source.deliver(diff_objects({}, {(other := service("other", "10.96.0.9")).key: other}))
        await until(lambda: frontends(edge) == 2)

    with_daemon(edge, scenario)
