"""What every source promises (see `nodeplane.kube.source`): one contract, run against each of them."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractContextManager, aclosing, contextmanager
from pathlib import Path
from typing import Protocol

import pytest

from nodeplane.kube.manifests import ManifestDirectory
from nodeplane.kube.objects import EndpointSlice, Object, ObjectKey, Service
from nodeplane.kube.source import Batch, Change, Source
from tests.kube.api_cluster import api_cluster
from tests.kube.changes import apply
from tests.kube.objects import endpoint_slice, keyed, manifest, namespace, service

KINDS = (Service, EndpointSlice)
LIMIT_S = 60


class Cluster(Protocol):
    """A cluster that a source reads: what people and controllers do to it."""

    @property
    def source(self) -> Source:
        """The source under test."""
        ...

    async def put(self, item: Object) -> None:
        """Bring an object in, or change it."""
        ...

    async def remove(self, item: Object) -> None:
        """Delete an object."""
        ...

    async def lose(self) -> None:
        """Make the cluster unreachable; it goes on changing."""
        ...

    async def restore(self) -> None:
        """Make it reachable again."""
        ...


class ManifestCluster:
    """A directory with one file for each object."""

    def __init__(self, directory: Path) -> None:
        self.source = ManifestDirectory(directory, reopen_interval_s=0.01)
        self._reachable, self._away = directory, directory.with_suffix(".away")
        self._current = directory

    def _path(self, item: Object) -> Path:
        return self._current / f"{str(item.key).replace('/', '.')}.yaml"

    async def put(self, item: Object) -> None:
        path = self._path(item)
        draft = path.with_name(f".{path.name}")
        draft.write_text(manifest(item))
        draft.rename(path)

    async def remove(self, item: Object) -> None:
        self._path(item).unlink()

    async def lose(self) -> None:
        self._current = self._reachable.rename(self._away)

    async def restore(self) -> None:
        self._current = self._away.rename(self._reachable)


@contextmanager
def manifest_cluster(folder: Path) -> Iterator[Cluster]:
    """Yield a cluster of manifests inside a folder."""
    directory = folder / "manifests"
    directory.mkdir()
    yield ManifestCluster(directory)


@pytest.fixture(
    params=[
        pytest.param(manifest_cluster, id="manifests"),
        pytest.param(api_cluster(streaming=True), id="API server"),
        pytest.param(api_cluster(streaming=False), id="API server without streaming lists"),
    ]
)
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    """Each kind of source, over an empty cluster."""
    make: Callable[[Path], AbstractContextManager[Cluster]] = request.param
    with make(tmp_path) as made:
        yield made


async def next_batch(batches: AsyncGenerator[Batch, None]) -> Batch:
    """Return the next batch, with a limit for a machine under load."""
    async with asyncio.timeout(LIMIT_S):
        return await anext(batches)


async def follow(
    batches: AsyncGenerator[Batch, None], state: dict[ObjectKey, Object], target: dict[ObjectKey, Object]
) -> None:
    """Apply batches, which may come in any number, until the state is the target."""
    while state != target:
        batch = await next_batch(batches)
        assert batch, "expected no empty batch after the first"
        apply(state, batch)


WEB, WEB_81, DB = service("web"), service("web", 81), service("db")
WEB_1 = endpoint_slice("web-1", "web", "10.0.0.1")


@pytest.mark.parametrize(
    ("there", "asked", "expected"),
    [
        pytest.param((), KINDS, (), id="empty"),
        pytest.param((WEB, DB, WEB_1), KINDS, (WEB, DB, WEB_1), id="all"),
        pytest.param((WEB, namespace("n"), WEB_1), (Service,), (WEB,), id="one kind"),
        pytest.param((namespace("n"),), KINDS, (), id="none of these kinds"),
    ],
)
def test_the_first_batch_is_the_snapshot(
    cluster: Cluster,
    there: tuple[Object, ...],
    asked: tuple[type[Object], ...],
    expected: tuple[Object, ...],
) -> None:
    """It holds all objects of the kinds asked for, as additions, also when there are none."""

    async def read() -> Batch:
        for item in there:
            await cluster.put(item)
        async with aclosing(cluster.source.batches(asked)) as batches:
            return await next_batch(batches)

    state = dict[ObjectKey, Object]()
    apply(state, asyncio.run(read()))

    assert state == keyed(*expected)


def test_changes_follow(cluster: Cluster) -> None:
    """Additions, changes and deletions arrive, each with the state before and after."""

    async def walk() -> None:
        await cluster.put(WEB)
        async with aclosing(cluster.source.batches(KINDS)) as batches:
            state = dict[ObjectKey, Object]()
            apply(state, await next_batch(batches))

            await cluster.put(WEB_1)
            await follow(batches, state, keyed(WEB, WEB_1))
            await cluster.put(WEB_81)
            await follow(batches, state, keyed(WEB_81, WEB_1))
            await cluster.remove(WEB_1)
            await cluster.put(DB)
            await follow(batches, state, keyed(WEB_81, DB))
            await cluster.remove(WEB_81)
            await cluster.remove(DB)
            await follow(batches, state, {})

    asyncio.run(walk())


def test_one_change(cluster: Cluster) -> None:
    """A single change is a batch of one."""

    async def change() -> Batch:
        await cluster.put(WEB)
        async with aclosing(cluster.source.batches(KINDS)) as batches:
            await next_batch(batches)
            await cluster.put(WEB_81)
            return await next_batch(batches)

    assert asyncio.run(change()) == (Change(WEB.key, WEB, WEB_81),)


def test_what_was_not_asked_for_is_not_delivered(cluster: Cluster) -> None:
    """Neither objects of other kinds nor an object written again as it was make a batch."""

    async def change() -> Batch:
        await cluster.put(WEB)
        async with aclosing(cluster.source.batches(KINDS)) as batches:
            await next_batch(batches)
            await cluster.put(namespace("n"))
            await cluster.put(WEB)
            await cluster.remove(namespace("n"))
            await cluster.put(DB)
            return await next_batch(batches)

    assert asyncio.run(change()) == (Change(DB.key, None, DB),)


def test_a_loss_delivers_nothing_and_its_end_what_has_changed(cluster: Cluster) -> None:
    """The state from before stays in force; what changed meanwhile, deletions too, is one batch."""

    async def lose() -> dict[ObjectKey, Object]:
        await cluster.put(WEB)
        await cluster.put(WEB_1)
        async with aclosing(cluster.source.batches(KINDS)) as batches:
            state = dict[ObjectKey, Object]()
            apply(state, await next_batch(batches))
            await cluster.lose()
            await cluster.put(DB)
            await cluster.put(WEB_81)
            await cluster.remove(WEB_1)
            await cluster.restore()
            apply(state, await next_batch(batches))
            return state

    assert asyncio.run(lose()) == keyed(WEB_81, DB)


def test_changes_follow_after_a_loss(cluster: Cluster) -> None:
    """A loss in which nothing changed makes no batch, and what comes later is seen as before."""

    async def lose() -> Batch:
        await cluster.put(WEB)
        async with aclosing(cluster.source.batches(KINDS)) as batches:
            await next_batch(batches)
            reading = asyncio.ensure_future(next_batch(batches))
            await cluster.lose()
            await asyncio.sleep(0)
            await cluster.restore()
            await asyncio.sleep(0)
            await cluster.put(WEB_81)
            return await reading

    assert asyncio.run(lose()) == (Change(WEB.key, WEB, WEB_81),)


def test_two_readers(cluster: Cluster) -> None:
    """Each reader has a state of its own, from its own first batch on."""

    async def read() -> None:
        one, other = dict[ObjectKey, Object](), dict[ObjectKey, Object]()
        await cluster.put(WEB)
        async with aclosing(cluster.source.batches(KINDS)) as first:
            apply(one, await next_batch(first))
            assert one == keyed(WEB)
            await cluster.put(DB)
            async with aclosing(cluster.source.batches([Service])) as second:
                apply(other, await next_batch(second))
                assert other == keyed(WEB, DB)
            await follow(first, one, keyed(WEB, DB))

    asyncio.run(read())


def test_reading_ends_when_it_is_cancelled(cluster: Cluster) -> None:
    """A reader that waits for a change can be stopped at any time; another one can begin."""

    async def read() -> Batch:
        batches = cluster.source.batches(KINDS)
        await next_batch(batches)
        waiting = asyncio.ensure_future(next_batch(batches))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await cluster.put(WEB)
        async with aclosing(cluster.source.batches(KINDS)) as again:
            return await next_batch(again)

    assert asyncio.run(read()) == (Change(WEB.key, None, WEB),)
