"""A datastore that is away, at the start or later, is waited for; each reason is said once."""

import asyncio
from collections.abc import AsyncGenerator
from typing import cast

import pytest

from cni.agent import daemon
from cni.agent.agent import Agent
from cni.agent.ipam_metrics import IpamMetrics
from cni.features.node_table_keeper import NodeTableKeeper
from ipam.errors import DatastoreError
from ipam.watch import LedgerNews

NEWS = LedgerNews({}, {}, (), is_whole=True)
AWAY, NEWER = DatastoreError("away"), DatastoreError("made by a newer version")


class Heard:
    """An agent, its metrics and its table at once: takes what comes."""

    def __init__(self) -> None:
        self.router = self.desired = self
        self.pools = self.blocks = ()
        self.news: list[LedgerNews] = []

    @property
    def has_blocks(self) -> bool:
        return bool(self.news)

    def take_news(self, news: LedgerNews) -> None:
        self.news.append(news)

    def take_blocks(self, *_: object) -> None:
        return

    def take_pools(self, *_: object) -> None:
        return


@pytest.mark.parametrize(
    ("tries", "creates", "lines"),
    [
        pytest.param(
            [AWAY, AWAY, NEWER, NEWS],
            [True] * 4,
            ["all stays as it is until then error='away'", "until then error='made by a newer version'"],
            id="at the start",
        ),
        pytest.param(
            [NEWS, AWAY, AWAY, NEWS, AWAY, NEWS],
            [True, False, False, False, False, False],
            ["the last blocks stay in force error='away'"] * 2,
            id="later, twice",
        ),
    ],
)
def test_it_is_waited_for(
    tries: list[DatastoreError | LedgerNews],
    creates: list[bool],
    lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked: list[bool] = []
    over = asyncio.Event()

    async def follow(_url: str, *, create: bool, rest_s: float) -> AsyncGenerator[LedgerNews, None]:
        assert rest_s == daemon._FEED_REST_S
        asked.append(create)
        found = tries[len(asked) - 1]
        if isinstance(found, DatastoreError):
            raise found
        yield found
        if len(asked) == len(tries):
            over.set()
            await asyncio.Event().wait()

    monkeypatch.setattr(daemon, "follow", follow)
    monkeypatch.setattr(daemon, "_REOPEN_S", 0.0)
    heard = Heard()

    async def run() -> None:
        task = asyncio.create_task(
            daemon._follow_blocks(
                cast("Agent", heard), "", cast("IpamMetrics", heard), cast("NodeTableKeeper", heard)
            )
        )
        await asyncio.wait_for(over.wait(), 30)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())

    assert asked == creates
    said = [item.getMessage() for item in caplog.records]
    assert len(said) == len(lines)
    assert all(end in line for line, end in zip(said, lines, strict=True))
