"""Blocking calls in a thread of their own."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cni.edge import open_edge


class Log:
    """What has been called, each with the thread that did it."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.threads: set[int] = set()

    def add(self, name: str) -> str:
        self.calls.append(name)
        self.threads.add(threading.get_ident())
        return name


@contextmanager
def opened(log: Log) -> Iterator[Log]:
    log.add("open")
    try:
        yield log
    finally:
        log.add("close")


def slow(log: Log) -> str:
    time.sleep(0.02)
    return log.add("slow")


def test_one_thread_does_all_in_order() -> None:
    log = Log()

    async def main() -> list[str]:
        async with open_edge("edge", lambda: opened(log)) as call:
            return list(await asyncio.gather(call(slow), call(lambda edge: edge.add("fast"))))

    assert asyncio.run(main()) == ["slow", "fast"]
    assert log.calls == ["open", "slow", "fast", "close"]
    assert len(log.threads) == 1
    assert threading.get_ident() not in log.threads


def test_an_error_of_a_step_is_its_callers_and_the_edge_is_closed() -> None:
    log = Log()

    async def main() -> None:
        async with open_edge("edge", lambda: opened(log)) as call:
            await call(lambda _: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        asyncio.run(main())
    assert log.calls == ["open", "close"]
