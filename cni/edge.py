"""A blocking edge in a thread of its own, so that its calls stay in order and the loop stays free."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Protocol, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
R = TypeVar("R")


class Calls(Protocol[T_co]):
    """Runs a step on the edge, in the edge's thread."""

    def __call__(self, step: Callable[[T_co], R], /) -> Awaitable[R]:
        """Run `step` after those before it and return what it returns."""
        ...


@asynccontextmanager
async def open_edge(name: str, open_it: Callable[[], AbstractContextManager[T]]) -> AsyncIterator[Calls[T]]:
    """Open an edge in a new thread (rtnetlink sockets belong to their thread); close it there at the end."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1, name) as executor:
        manager = await loop.run_in_executor(executor, open_it)
        edge = await loop.run_in_executor(executor, manager.__enter__)

        def call(step: Callable[[T], R], /) -> Awaitable[R]:
            return loop.run_in_executor(executor, step, edge)

        try:
            yield call
        finally:
            await loop.run_in_executor(executor, manager.__exit__, None, None, None)
