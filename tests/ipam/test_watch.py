"""A watcher learns of each change, and of nothing else."""

import asyncio
import shutil
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import msgspec
import pytest

from ipam.allocator import Allocator
from ipam.datastore import Datastore, open_datastore
from ipam.errors import DatastoreError, UnreadableError
from ipam.ledger import Ledger
from ipam.model import Block, Pool, tunnel_handle
from ipam.store import News
from ipam.watch import LedgerNews, changes, decode_news, follow, read_now
from nodeplane.errors import ConfigError
from nodeplane.etcd.client import PATIENCE_S
from tests.etcd.processes import EtcdCluster
from tests.ipam.stores.kinds import KINDS, url_of
from tests.ipam.values import network, request

POOL = Pool("default", network("10.0.0.0/24"), 32)
# Far beyond what is needed: a fact is awaited, this only ends a test that has failed.
LIMIT_S = 60

Watch = AsyncGenerator[None, None]


def add(url: str, number: int) -> None:
    with open_datastore(url) as datastore:
        Allocator(datastore, (POOL,)).assign(request(number))


async def wait(watch: Watch) -> None:
    await asyncio.wait_for(anext(watch), LIMIT_S)


async def wait_until(watch: Watch, datastore: Datastore, blocks: int) -> None:
    """Read after each change, as a watcher does, until all the blocks are there."""
    while len(datastore.blocks()) != blocks:
        await wait(watch)


def watched(url: str, scenario: Callable[[str, Watch], Awaitable[None]]) -> None:
    async def run() -> None:
        async with aclosing(changes(url)) as watch:
            await wait(watch)
            await scenario(url, watch)

    asyncio.run(run())


@pytest.mark.parametrize("kind", KINDS)
def test_no_change_is_missed(kind: str, tmp_path: Path, etcd: EtcdCluster) -> None:
    """Whatever the moment at which a writer commits, the watcher's last read comes after it."""

    async def scenario(url: str, watch: Watch) -> None:
        with open_datastore(url) as datastore:
            for number in range(40):
                writer = asyncio.create_task(asyncio.to_thread(add, url, number))
                await wait_until(watch, datastore, number + 1)
                await writer

    watched(url_of(kind, tmp_path, etcd), scenario)


def test_nothing_but_changes_wakes(tmp_path: Path) -> None:
    """Reads, transactions that failed and other files are no change: the first that wakes is the real one."""

    async def scenario(url: str, watch: Watch) -> None:
        with open_datastore(url) as datastore:
            add(url, 0)
            await wait_until(watch, datastore, 1)
            waiting = asyncio.create_task(wait(watch))
            datastore.blocks()
            with pytest.raises(LookupError):
                datastore.transact(fail)
            (tmp_path / "dir" / "other").write_text("x")
            # Let the watcher see the events so far; it has nothing else to do.
            for _ in range(100):
                await asyncio.sleep(0)
            add(url, 1)
            await waiting
            assert len(datastore.blocks()) == 2

    watched(f"sqlite://{tmp_path}/dir/ipam.sqlite", scenario)


def fail(ledger: Ledger) -> None:
    ledger.put_pools([POOL])
    raise LookupError


def take_file(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))


def replace_file(path: Path) -> None:
    other = path.with_name("other.sqlite")
    add(f"sqlite://{other}", 0)
    other.rename(path)


def take_directory(path: Path) -> None:
    shutil.rmtree(path.parent)


@pytest.mark.parametrize("take", [take_file, replace_file, take_directory])
def test_a_datastore_that_is_taken_away_is_an_error(take: Callable[[Path], None], tmp_path: Path) -> None:
    """A watcher must not go on with a file that nobody writes any more."""
    path = tmp_path / "dir" / "ipam.sqlite"

    async def scenario(url: str, watch: Watch) -> None:
        waiting = asyncio.create_task(wait(watch))
        await asyncio.to_thread(take, path)
        with pytest.raises(DatastoreError) as caught:
            await waiting
        assert str(caught.value) == f"{path} was taken away while in use"

    watched(f"sqlite://{tmp_path}/dir/ipam.sqlite", scenario)


@pytest.mark.parametrize(
    ("url", "error"),
    [
        pytest.param("redis://h:1", ConfigError, id="unknown scheme"),
        pytest.param("sqlite:///proc/self/status", DatastoreError, id="not a datastore"),
    ],
)
def test_what_can_not_be_watched(url: str, error: type[Exception]) -> None:
    async def run() -> None:
        async with aclosing(changes(url)) as watch:
            await wait(watch)

    with pytest.raises(error):
        asyncio.run(run())


@pytest.mark.parametrize("kind", KINDS)
def test_what_follows_is_what_routes_are_made_of(kind: str, tmp_path: Path, etcd: EtcdCluster) -> None:
    """Blocks, pools and the nodes' own addresses: all of them first, then each as it changes."""
    url = url_of(kind, tmp_path, etcd)
    add(url, 0)
    known: dict[str, Block | None] = {}

    async def run() -> None:
        async with aclosing(follow(url)) as all_news:
            first = await asyncio.wait_for(anext(all_news), LIMIT_S)
            assert (first.is_whole, first.pools, len(first.blocks), first.tunnels) == (True, (POOL,), 1, {})
            assert first == replace_known(first, read_now(url))
            known.update(first.blocks)

            await asyncio.to_thread(add, url, 1)
            second = await asyncio.wait_for(anext(all_news), LIMIT_S)
            assert (second.is_whole, second.pools, len(second.blocks)) == (False, None, 1)
            known.update(second.blocks)
            with open_datastore(url) as datastore:
                assert sorted(known) == sorted(
                    f"blocks/default/{str(block.network).replace('/', '-')}" for block in datastore.blocks()
                )
                Allocator(datastore, (POOL,)).assign_tunnel("n1", POOL)
            third = await asyncio.wait_for(anext(all_news), LIMIT_S)
            (tunnel,) = third.tunnels.values()
            assert tunnel is not None
            assert (tunnel.node, tunnel.pool) == ("n1", "default")
            assert tunnel.address in POOL.network

            with open_datastore(url) as datastore:
                Allocator(datastore, (POOL,)).release(tunnel_handle("n1", "default"))
            fourth = await asyncio.wait_for(anext(all_news), LIMIT_S)
            assert list(fourth.tunnels.values()) == [None]

    asyncio.run(run())


def replace_known(first: LedgerNews, now: LedgerNews) -> LedgerNews:
    """Return what is there now, which is what was there first."""
    assert now.is_whole
    return msgspec.structs.replace(first, blocks=now.blocks, pools=now.pools, tunnels=now.tunnels)


def test_an_entry_that_can_not_be_read() -> None:
    with pytest.raises(UnreadableError, match=r"blocks/default/x: .*: run ipamctl check"):
        decode_news(News({"blocks/default/x": b"{"}, is_whole=False))


def test_one_that_can_not_be_read_does_not_hide_the_others() -> None:
    entries = {"blocks/default/x": b"{", "blocks/default/y": None}

    news = decode_news(News(entries, is_whole=False), is_lenient=True)

    assert (news.blocks, [*news.unreadable]) == ({"blocks/default/y": None}, ["blocks/default/x"])
    with pytest.raises(UnreadableError):
        decode_news(News({"pools": b"{"}, is_whole=True), is_lenient=True)


def test_there_is_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(DatastoreError, match="there is no datastore"):
        read_now(f"sqlite://{tmp_path}/none.sqlite")


@pytest.mark.parametrize("begin", [changes, follow])
def test_the_end_waits_for_no_server(begin: Callable[[str], AsyncGenerator[object, None]]) -> None:
    """A daemon that is told to end does so, though its datastore does not answer."""

    asked = asyncio.Event()

    def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        asked.set()

    async def end_it() -> float:
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with aclosing(begin(f"etcd://127.0.0.1:{port}/np")) as found:
            task = asyncio.ensure_future(anext(found))
            await asyncio.wait_for(asked.wait(), LIMIT_S)
            server.close()
            started_s = loop.time()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        return loop.time() - started_s

    assert asyncio.run(end_it()) < PATIENCE_S / 2
