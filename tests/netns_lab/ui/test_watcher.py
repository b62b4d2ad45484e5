"""What pages are told while the lab can be read, and while it can't."""

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from netns_lab.state import StateDirectory
from netns_lab.topology import Topology
from netns_lab.ui import watcher
from netns_lab.ui.rates import Count, Link
from netns_lab.ui.watcher import Watcher
from nodeplane.errors import NodeplaneError
from tests.netns_lab.ui.test_view import TOPOLOGY


class _Scripted(Watcher):
    """A watcher that reads what it is told to: a view, or why there is none."""

    def __init__(self, folder: Path, readings: list[dict[str, Any] | str]) -> None:
        super().__init__(StateDirectory(TOPOLOGY.name, folder))
        self._readings = readings

    async def _current_view(self) -> dict[str, Any]:
        reading = self._readings.pop(0)
        if isinstance(reading, str):
            raise NodeplaneError(reading)
        return reading

    def _read_counters(self) -> dict[Link, Count]:
        return {}

    def _topology(self) -> Topology:
        return TOPOLOGY


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "_RATES_S", 0)
    monkeypatch.setattr(watcher, "_VIEW_S", 0)


@pytest.mark.parametrize(
    ("readings", "told"),
    [
        pytest.param([{"state": "up"}] * 3, ["view", "rates", "rates", "rates"], id="the same view, once"),
        pytest.param(
            [{"state": "up"}, {"state": "incomplete"}], ["view", "rates", "view", "rates"], id="another view"
        ),
        pytest.param(
            [{"state": "up"}, "away", {"state": "up"}],
            ["view", "rates", "trouble", "view", "rates"],
            id="the same view behind trouble: the page is to say that it is over",
        ),
    ],
)
def test_events(readings: list[dict[str, Any] | str], told: list[str], tmp_path: Path) -> None:
    async def listen() -> list[str]:
        found: list[str] = []
        watching = _Scripted(tmp_path, list(readings))
        async with aclosing(watching.events()) as events:
            async for kind, _ in events:
                found.append(kind)
                if len(found) == len(told):
                    break
        watching.close()
        return found

    assert asyncio.run(listen()) == told


def test_a_link_of_a_place_that_is_gone(tmp_path: Path) -> None:
    watching = _Scripted(tmp_path, [])

    with pytest.raises(NodeplaneError, match=r"^n1 is not there: its namespace is gone$"):
        asyncio.run(watching.find_link("n1", "eth0"))
    watching.close()
