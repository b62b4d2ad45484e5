"""Others' writes to our table are noticed, our own and those to other tables are not."""

import asyncio
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeplane.datapath import netns
from nodeplane.datapath.nft.kernel import KernelTable
from nodeplane.datapath.nft.monitor import Disturbance, TableMonitor
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
        ports: set[int] = set()
        quiet = [monitor.read(data, ports) for data in read_all(monitor)]
        with subprocess.Popen(["nft", damage]) as writer:
            assert writer.wait(WITHIN_S) == 0

        told = asyncio.run(next_disturbance(monitor))

    assert (len(quiet) >= 5, any(quiet), ports) == (True, False, set())
    assert told.writer is not None
    assert (told.is_lost, told.writer.name) == (False, "nft")
    if is_in_first_pid_namespace():
        assert told.writer.pid == writer.pid


def is_in_first_pid_namespace() -> bool:
    """Say whether processes have the numbers here that the kernel tells (PROC_PID_INIT_INO)."""
    return os.stat("/proc/self/ns/pid").st_ino == 0xEFFFFFFC


async def next_disturbance(monitor: TableMonitor) -> Disturbance:
    async with aclosing(monitor.disturbances()) as told, asyncio.timeout(WITHIN_S):
        return await anext(told)


def read_all(monitor: TableMonitor) -> list[bytes]:
    found = []
    while data := monitor._listener.receive_more():
        found.append(data)
    return found


@pytest.mark.netns
def test_lost_notifications_may_be_a_disturbance() -> None:
    """A reader that was too slow does not know whose writes it missed, here our own; it hears the next."""
    many = {number.to_bytes(4, "little"): bytes(4) for number in range(200_000)}
    with namespace() as ns, netns.inside(ns), ours() as (edge, monitor):
        edge.replace(TABLE, {"numbers": many})

        assert asyncio.run(next_disturbance(monitor)) == Disturbance(is_lost=True)
        # The kernel tells a reader that lags behind nothing until it has read all that there was.
        assert run_in(ns, "nft", "add chain ip ours b").returncode == 0
        told = asyncio.run(next_disturbance(monitor))

    assert (told.is_lost, told.writer and told.writer.name) == (False, "nft")


@given(st.binary())
def test_garbage(data: bytes) -> None:
    """No bytes are an error; a generation without a write before it is nobody's."""
    with TableMonitor([("ip", "ours")], set()) as monitor:
        assert monitor.read(data, set()) is None


@pytest.mark.netns
def test_a_thread_that_may_write() -> None:
    """Our own in other processes are known by name; who comes right before or after them is not missed."""
    strange, known = {"numbers": ElementChange(add={b"\3\0\0\0": b"\3\0\0\0"})}, {b"\4\0\0\0": b"\4\0\0\0"}
    with namespace() as ns, netns.inside(ns), KernelTable("ip", "ours") as edge:
        edge.replace(TABLE, {})
        with TableMonitor([("ip", "ours")], (), {"a friend"}) as monitor:
            write_as("a friend", lambda: edge.update(TABLE, {"numbers": ElementChange(add=known)}))
            ports: set[int] = set()
            quiet = [monitor.read(data, ports) for data in read_all(monitor)]
            write_as("a stranger", lambda: edge.update(TABLE, strange))
            write_as("a friend", lambda: edge.update(TABLE, {"numbers": ElementChange(remove=known)}))

            told = asyncio.run(next_disturbance(monitor))

    assert set(quiet) == {None}
    assert told.writer is not None
    assert told.writer.name == "a stranger"


def write_as(name: str, step: Callable[[], None]) -> None:
    """Do a step in a thread of some name."""

    def work() -> None:
        Path("/proc/thread-self/comm").write_text(name)
        step()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(WITHIN_S)
