"""When a sync runs, and how; times are short, and nothing is measured but order and number."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from nodeplane.errors import ApiError
from nodeplane.reconcile.runner import Runner

LIMIT_S = 60
NEVER_S = 3600.0

T = TypeVar("T")


class Syncs:
    """A sync that notes how it was called, fails as told, and waits to be let on when it is held."""

    def __init__(self, *, failures: int = 0) -> None:
        self.calls: list[bool] = []
        self.held = False
        self._failures = failures
        self._called = asyncio.Condition()
        self._let_on = asyncio.Event()

    async def __call__(self, full: bool) -> None:
        async with self._called:
            self.calls.append(full)
            self._called.notify_all()
        if self.held:
            await self._let_on.wait()
            self._let_on.clear()
        if len(self.calls) <= self._failures:
            raise ApiError(f"failure {len(self.calls)}")

    def let_on(self) -> None:
        """End the sync that is held."""
        self._let_on.set()

    async def reach(self, calls: int) -> None:
        """Wait until the sync has been called so many times."""
        async with asyncio.timeout(LIMIT_S), self._called:
            await self._called.wait_for(lambda: len(self.calls) >= calls)


async def idle() -> None:
    """Let every task that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


def drive(runner: Runner, scenario: Coroutine[Any, Any, T]) -> "Coroutine[Any, Any, T]":
    """Run a scenario beside the runner, and end both."""

    async def both() -> T:
        running = asyncio.ensure_future(runner.run())
        try:
            return await scenario
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    return both()


def test_nothing_before_the_first_trigger() -> None:
    """Without a first snapshot there is nothing to sync to."""

    async def scenario() -> list[bool]:
        syncs = Syncs()
        runner = Runner(syncs, resync_interval_s=0.001)
        await drive(runner, asyncio.sleep(0.02))
        return syncs.calls

    assert asyncio.run(scenario()) == []


def test_a_trigger_before_the_start_counts() -> None:
    """The first sync is a full one."""

    async def scenario() -> list[bool]:
        syncs = Syncs()
        runner = Runner(syncs, resync_interval_s=NEVER_S)
        runner.trigger()
        await drive(runner, syncs.reach(1))
        return syncs.calls

    assert asyncio.run(scenario()) == [True]


@pytest.mark.parametrize(
    ("triggers", "calls"),
    [
        pytest.param([], [True], id="none: no other sync"),
        pytest.param([False], [True, False], id="one"),
        pytest.param([False] * 100, [True, False], id="many: one sync"),
        pytest.param([False, True, False], [True, True], id="a full one among them"),
    ],
)
def test_triggers_during_a_sync_coalesce(triggers: list[bool], calls: list[bool]) -> None:
    """However many triggers arrive while a sync runs, exactly one more follows."""

    async def scenario() -> list[bool]:
        syncs = Syncs()
        syncs.held = True
        runner = Runner(syncs, resync_interval_s=NEVER_S)

        async def burst() -> None:
            runner.trigger()
            await syncs.reach(1)
            for full in triggers:
                runner.trigger(full=full)
            syncs.held = False
            syncs.let_on()
            await syncs.reach(len(calls))
            await idle()

        await drive(runner, burst())
        return syncs.calls

    assert asyncio.run(scenario()) == calls


def test_min_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triggers within the minimal interval after a sync are one sync, when it is over."""
    sleep = asyncio.sleep

    async def scenario() -> tuple[list[bool], list[bool]]:
        syncs, over = Syncs(), asyncio.Event()

        async def wait(pause_s: float) -> None:
            await (over.wait() if pause_s else sleep(0))

        monkeypatch.setattr("nodeplane.reconcile.runner.asyncio.sleep", wait)
        runner = Runner(syncs, min_interval_s=1, resync_interval_s=NEVER_S)

        async def burst() -> list[bool]:
            runner.trigger()
            await syncs.reach(1)
            for _ in range(10):
                runner.trigger()
                await idle()
            within = list(syncs.calls)
            over.set()
            await syncs.reach(2)
            await idle()
            return within

        return await drive(runner, burst()), syncs.calls

    assert asyncio.run(scenario()) == ([True], [True, False])


def test_resync() -> None:
    """Without a trigger a sync follows after the interval, and it is full."""

    async def scenario() -> list[bool]:
        syncs = Syncs()
        runner = Runner(syncs, resync_interval_s=0.005)
        runner.trigger()
        await drive(runner, syncs.reach(3))
        return syncs.calls[:3]

    assert asyncio.run(scenario()) == [True, True, True]


def test_failures_are_retried(caplog: pytest.LogCaptureFixture) -> None:
    """A sync that failed is done again by itself, full, with growing pauses; then all is as before."""

    async def scenario() -> list[bool]:
        syncs = Syncs(failures=4)
        runner = Runner(syncs, resync_interval_s=NEVER_S, first_retry_s=0.002, max_retry_s=0.008)

        async def fail() -> None:
            runner.trigger()
            await syncs.reach(5)
            await idle()
            runner.trigger()
            await syncs.reach(6)

        await drive(runner, fail())
        return syncs.calls

    with caplog.at_level(logging.WARNING, "nodeplane.reconcile.runner"):
        assert asyncio.run(scenario()) == [True] * 5 + [False]

    assert [record.getMessage().split(" retry_s")[0] for record in caplog.records] == [
        f"sync failed, retrying error='failure {number}'" for number in (1, 2, 3, 4)
    ]


def test_pauses_between_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """They double from the first to the longest, with jitter, and begin anew after a success."""
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def note(pause_s: float) -> None:
        if pause_s:
            pauses.append(pause_s)
        await sleep(0)

    monkeypatch.setattr("nodeplane.reconcile.runner.asyncio.sleep", note)
    monkeypatch.setattr("nodeplane.reconcile.runner.random.uniform", lambda low, high: (low + high) / 2)

    async def scenario() -> None:
        failing = {1, 2, 3, 4, 5, 7}
        syncs = Syncs()

        async def sync(full: bool) -> None:
            await syncs(full)
            if len(syncs.calls) in failing:
                raise ApiError("x")

        runner = Runner(sync, resync_interval_s=NEVER_S, first_retry_s=1, max_retry_s=5)

        async def fail() -> None:
            runner.trigger()
            await syncs.reach(6)
            await idle()
            runner.trigger()
            await syncs.reach(8)

        await drive(runner, fail())

    asyncio.run(scenario())

    assert pauses == [0.75, 1.5, 3.0, 3.75, 3.75, 0.75]


def test_a_defect_rises() -> None:
    """What is no `NodeplaneError` is a defect, which no retry will mend."""

    async def sync(full: bool) -> None:
        raise ZeroDivisionError

    async def scenario() -> None:
        runner = Runner(sync)
        runner.trigger()
        async with asyncio.timeout(LIMIT_S):
            await runner.run()

    with pytest.raises(ZeroDivisionError):
        asyncio.run(scenario())


@pytest.mark.parametrize("turns", range(6))
def test_a_trigger_does_not_swallow_the_end(turns: int) -> None:
    """Cancelled right after a trigger, whatever the loop has done in between, the runner ends."""

    async def scenario() -> bool:
        syncs = Syncs()
        runner = Runner(syncs, resync_interval_s=NEVER_S)
        running = asyncio.ensure_future(runner.run())
        runner.trigger()
        await syncs.reach(1)
        await idle()
        runner.trigger()
        for _ in range(turns):
            await asyncio.sleep(0)
        running.cancel()
        await idle()
        ended = running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return ended

    assert asyncio.run(scenario())
