"""A reader of a source that applies what it is told and checks what it was promised."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from contextlib import aclosing, asynccontextmanager

from nodeplane.kube.objects import Object, ObjectKey
from nodeplane.kube.source import Batch, Source
from tests.kube.changes import apply

LIMIT_S = 60


class Reader:
    """Holds the state that a source's batches lead to; `always` are objects that must be in it every time."""

    def __init__(self, batches: AsyncGenerator[Batch, None], always: Collection[Object]) -> None:
        self.state: dict[ObjectKey, Object] = {}
        self.batches = 0
        self._source = batches
        self._always = always

    async def next(self) -> Batch:
        """Take the next batch in."""
        async with asyncio.timeout(LIMIT_S):
            batch = await anext(self._source)
        assert batch or not self.batches, "expected no empty batch after the first"
        self.batches += 1
        apply(self.state, batch)
        for item in self._always:
            assert self.state.get(item.key) == item
        return batch

    async def until(self, target: Mapping[ObjectKey, Object]) -> None:
        """Take batches in until they have led to a state."""
        while self.state != target:
            await self.next()


@asynccontextmanager
async def reading(
    source: Source, *kinds: type[Object], always: Collection[Object] = ()
) -> AsyncIterator[Reader]:
    """Read a source; the first batch has been taken in."""
    async with aclosing(source.batches(kinds)) as batches:
        reader = Reader(batches, always)
        await reader.next()
        yield reader
