"""Changes: numbered in one order, never on top of what they have not seen, shown once they are written."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import pytest

from netns_lab.apiserver.committer import Committer, StaleRevisionError
from netns_lab.apiserver.history import State
from netns_lab.apiserver.memory_store import MemoryStore
from netns_lab.apiserver.resources import NODES
from netns_lab.apiserver.store import MAX_RECORDS, MAX_VALUE_BYTES, Record, Snapshot, StoreError

T = TypeVar("T")


class CountingStore(MemoryStore):
    """Remembers the sizes of the groups; fails on demand."""

    def __init__(self) -> None:
        super().__init__()
        self.groups: list[int] = []
        self.fails = False

    def append(self, records: Sequence[Record]) -> None:
        if self.fails:
            raise StoreError("the disk is full")
        self.groups.append(len(records))
        super().append(records)


class Writer:
    """A committer at work."""

    def __init__(self) -> None:
        self.store = CountingStore()
        self.state = State(Snapshot())
        self.seen: list[int] = []
        self.committer = Committer(
            self.store, self.state, [lambda _, event: self.seen.append(event.revision)]
        )

    async def put(self, name: str, expected: int, label: str = "") -> int:
        stored = b'{"metadata":{"name":"%b","labels":{"l":"%b"}}}' % (name.encode(), label.encode())
        return (await self.committer.commit(NODES, "", name, expected=expected, value=stored)).revision

    async def delete(self, name: str, expected: int) -> int:
        return (await self.committer.commit(NODES, "", name, expected=expected, value=None)).revision

    def names(self) -> list[tuple[str, int]]:
        return [(item.name, item.revision) for item in self.state.history(NODES).items()]


def run(scenario: Callable[[Writer], Awaitable[T]]) -> T:
    async def main() -> T:
        writer = Writer()
        task = asyncio.create_task(writer.committer.run())
        try:
            async with asyncio.timeout(60):
                return await scenario(writer)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    return asyncio.run(main())


def test_changes_are_numbered_one_by_one() -> None:
    async def scenario(writer: Writer) -> Any:
        revisions = [await writer.put("a", 0), await writer.put("a", 2), await writer.delete("a", 3)]
        return [*revisions, await writer.put("a", 0)], writer.names(), writer.seen

    assert run(scenario) == ([2, 3, 4, 5], [("a", 5)], [2, 3, 4, 5])


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        pytest.param(False, 7, id="there is none"),
        pytest.param(True, 0, id="there is one"),
        pytest.param(True, 1, id="an older one"),
    ],
)
def test_stale_changes_are_refused(there: bool, expected: int) -> None:
    async def scenario(writer: Writer) -> None:
        if there:
            await writer.put("a", 0)
        with pytest.raises(StaleRevisionError):
            await writer.put("a", expected)

    run(scenario)


def test_one_of_many_at_once_wins() -> None:
    async def scenario(writer: Writer) -> Any:
        await writer.put("a", 0)
        results = await asyncio.gather(*(writer.put("a", 2) for _ in range(20)), return_exceptions=True)
        return [result for result in results if isinstance(result, int)], len(results)

    assert run(scenario) == ([3], 20)


def test_what_waits_is_written_together() -> None:
    async def scenario(writer: Writer) -> Any:
        revisions = await asyncio.gather(*(writer.put(f"n{number:03}", 0) for number in range(100)))
        return revisions, writer.store.groups, writer.store.load().revision

    assert run(scenario) == (list(range(2, 102)), [MAX_RECORDS, MAX_RECORDS, 100 - 2 * MAX_RECORDS], 101)


@pytest.mark.parametrize(
    ("sizes", "groups"),
    [
        pytest.param([1, 1, 1], [3], id="small ones together"),
        pytest.param([2, 2, 2, 2], [2, 2], id="as many as there is room for"),
        pytest.param([1, 5, 1], [1, 1, 1], id="one that is larger than the room goes alone"),
    ],
)
def test_a_group_is_no_larger_than_a_store_takes(sizes: list[int], groups: list[int]) -> None:
    """Sizes in fifths of the limit, and a bit less."""

    async def scenario(writer: Writer) -> Any:
        labels = ["x" * (size * MAX_VALUE_BYTES // 5 - 100) for size in sizes]
        await asyncio.gather(*(writer.put(f"n{i}", 0, label) for i, label in enumerate(labels)))
        return writer.store.groups

    assert run(scenario) == groups


def test_what_is_not_written_is_not_shown() -> None:
    async def scenario(writer: Writer) -> Any:
        await writer.put("a", 0)
        writer.store.fails = True
        with pytest.raises(StoreError, match="the disk is full"):
            await writer.put("a", 2)
        writer.store.fails = False
        return writer.names(), await writer.put("a", 2)

    assert run(scenario) == ([("a", 2)], 3)


def test_a_compaction_reaches_the_state_and_the_store() -> None:
    async def scenario(writer: Writer) -> Any:
        await writer.put("a", 0)
        await writer.put("a", 2)
        await writer.committer.compact(2)
        return writer.state.compacted, writer.store.load().compacted

    assert run(scenario) == (2, 2)


def test_another_server_on_the_store_ends_this_one() -> None:
    async def main() -> None:
        writer = Writer()
        task = asyncio.create_task(writer.committer.run())
        writer.store.append([Record(2, "nodes//other", b'{"metadata":{"name":"other"}}')])
        with pytest.raises(StoreError, match="another server has written"):
            await writer.put("a", 0)
        with pytest.raises(StoreError, match="another server has written"):
            await task

    asyncio.run(main())
