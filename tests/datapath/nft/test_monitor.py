"""Others' writes to our table are noticed, our own and those to other tables are not."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing, contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeplane.datapath import netns
from nodeplane.datapath.nft.kernel import KernelTable
from nodeplane.datapath.nft.monitor import TableMonitor
from nodeplane.datapath.nft.table import Chain, ElementChange, Map, Table
from tests.netns_fixture import namespace, run_in

TABLE = Table(
    family="ip",
    name="ours",
    comment="test",
    chains=(Chain("a", ""),),
    maps=(Map("numbers", "", ("mark",), ("mark",)),),
    rules=(),
    fixed={},
)
WITHIN_S = 30


@contextmanager
def ours() -> Iterator[tuple[KernelTable, TableMonitor]]:
    with KernelTable("ip", "ours") as edge, TableMonitor([("ip", "ours")], {edge.port}) as monitor:
        yield edge, monitor


@pytest.mark.netns
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param("flush ruleset", id="everything"),
        pytest.param("delete table ip ours", id="the table"),
        pytest.param("add chain ip ours b", id="a chain"),
        pytest.param("add rule ip ours a accept", id="a rule"),
        pytest.param("delete element ip ours numbers { 1 }", id="an element"),
    ],
)
def test_others_are_noticed(damage: str) -> None:
    """Each kind of damage is told, after writes of our own and of others that are not."""
    with namespace() as ns, netns.inside(ns), ours() as (edge, monitor):
        edge.replace(TABLE, {"numbers": {b"\1\0\0\0": b"\1\0\0\0"}})
        edge.update(TABLE, {"numbers": ElementChange(add={b"\2\0\0\0": b"\2\0\0\0"})})
        for other in ("add table ip theirs", "add table ip6 ours", "add table ip ours2"):
            assert run_in(ns, "nft", other).returncode == 0
        quiet = [monitor.is_disturbance(data) for data in read_all(monitor)]
        assert run_in(ns, "nft", damage).returncode == 0

        reason = asyncio.run(next_reason(monitor))

    assert (len(quiet) >= 5, any(quiet), reason) == (True, False, "another program wrote to our table")


async def next_reason(monitor: TableMonitor) -> str:
    async with aclosing(monitor.disturbances()) as told, asyncio.timeout(WITHIN_S):
        return await anext(told)


def read_all(monitor: TableMonitor) -> list[bytes]:
    found = []
    while data := monitor._listener.receive_more():
        found.append(data)
    return found


@pytest.mark.netns
def test_lost_notifications_are_a_disturbance() -> None:
    """A reader that was too slow does not know what it missed."""
    many = {number.to_bytes(4, "little"): bytes(4) for number in range(200_000)}
    with namespace() as ns, netns.inside(ns), ours() as (edge, monitor):
        edge.replace(TABLE, {"numbers": many})

        assert asyncio.run(next_reason(monitor)) == "notifications were lost"


@given(st.binary())
def test_garbage(data: bytes) -> None:
    """Any bytes are an answer."""
    with TableMonitor([("ip", "ours")], set()) as monitor:
        assert monitor.is_disturbance(data) in {True, False}
