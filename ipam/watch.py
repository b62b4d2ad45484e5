"""Learn what has changed in the datastore: for daemons that turn blocks into routes."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Mapping
from functools import partial
from typing import TypeVar

import msgspec

from ipam import keys, records
from ipam.datastore import open_store
from ipam.errors import DatastoreError, UnreadableError
from ipam.model import Address, Block, Handle, Pool
from ipam.store import Feed, News, Store, Watch
from ipam.store_thread import store_thread
from nodeplane.cnispec import PLACE

T = TypeVar("T")

_PREFIXES = (keys.BLOCKS, keys.TUNNELS, keys.POOLS)


class Tunnel(msgspec.Struct, frozen=True):
    """A node's own address in a pool."""

    node: str
    pool: str
    address: Address


class LedgerNews(msgspec.Struct, frozen=True):
    """What has changed of that which routes are made of; by its key in the store, None for what is gone.

    With `is_whole` it is all there is. `pools` is None while the pools are as they were. `unreadable` has the
    keys of what is there and can't be read, and why: whoever knows what they said before goes on with that.
    """

    blocks: Mapping[str, Block | None]
    tunnels: Mapping[str, Tunnel | None]
    pools: tuple[Pool, ...] | None
    is_whole: bool
    unreadable: Mapping[str, str] = {}


async def changes(url: str, prefix: str = "", *, create: bool = True) -> AsyncGenerator[None, None]:
    """Yield once when the watch stands, then after each change; several changes may come as one.

    `prefix` is what the keys of interest begin with; a store may tell of others too.

    Read the state after each: what was read before the first is not watched. With `create` the
    datastore is made when there is none. Use with `contextlib.aclosing`.

    Raises:
        ConfigError: the URL is not one that we know.
        DatastoreError: the datastore is damaged or not ours, or was taken away while it was watched.
    """
    loop = asyncio.get_running_loop()
    # A store's calls block (for a writer, a disk, the network).
    with store_thread("ipam-watch") as (executor, ended):
        opening = partial(_open, url, prefix, create=create, ended=ended)
        store, watch = await loop.run_in_executor(executor, opening)
        try:
            yield
            while await loop.run_in_executor(executor, watch.wait):
                yield
        finally:
            ended.set()
            # Ends a wait that is still under way in the executor, so that what follows gets its turn.
            await asyncio.to_thread(watch.close)
            await loop.run_in_executor(executor, store.close)


def _open(url: str, prefix: str, *, create: bool, ended: threading.Event) -> tuple[Store, Watch]:
    store = open_store(url, create=create, ended=ended)
    try:
        return store, store.watch(prefix)
    except BaseException:
        store.close()
        raise


async def follow(url: str, *, create: bool = True, rest_s: float = 0.0) -> AsyncGenerator[LedgerNews, None]:
    """Yield all there is, then what changes; several changes may come as one.

    The cost of a change does not grow with what there is. With `create` the datastore is made when there is
    none; what changes within `rest_s` after a change comes as one. Use with `contextlib.aclosing`.

    Raises:
        ConfigError: the URL is not one that we know.
        DatastoreError: the datastore is damaged or not ours, or was taken away while it was followed.
    """
    loop = asyncio.get_running_loop()
    with store_thread("ipam-feed") as (executor, ended):
        opening = partial(_open_feed, url, create=create, ended=ended)
        store, feed = await loop.run_in_executor(executor, opening)

        def rest_and_read() -> News | None:
            # Here and not in the loop: a timer of the loop costs more than the wait.
            ended.wait(rest_s)
            return feed.next()

        read = feed.next
        try:
            while (news := await loop.run_in_executor(executor, read)) is not None:
                read = rest_and_read
                found = decode_news(news, is_lenient=True)
                if (
                    found.is_whole
                    or found.blocks
                    or found.tunnels
                    or found.unreadable
                    or found.pools is not None
                ):
                    yield found
        finally:
            ended.set()
            # Ends a wait that is still under way in the executor, so that what follows gets its turn.
            await asyncio.to_thread(feed.close)
            await loop.run_in_executor(executor, store.close)


def read_now(url: str, place: str = PLACE, field: str = "ipam.datastore") -> LedgerNews:
    """Return all there is; `place` and `field` say where the URL was written.

    Raises:
        ConfigError: the URL is not one that we know.
        DatastoreError: there is no datastore, or it is damaged.
    """
    store = open_store(url, create=False, place=place, field=field)
    try:
        with store.snapshot() as view:
            found = [view.scan(prefix) for prefix in _PREFIXES]
    finally:
        store.close()
    return decode_news(News({entry.key: entry.value for each in found for entry in each.entries}, True))


def decode_news(news: News, *, is_lenient: bool = False) -> LedgerNews:
    """Decode what a feed tells; with `is_lenient` one entry that is not ours is no reason to miss the others.

    Raises:
        UnreadableError: an entry is not ours; names it.
    """
    blocks: dict[str, Block | None] = {}
    tunnels: dict[str, Tunnel | None] = {}
    unreadable: dict[str, str] = {}
    pools: tuple[Pool, ...] | None = () if news.is_whole else None
    for key, value in news.entries.items():
        try:
            if key.startswith(keys.BLOCKS):
                blocks[key] = None if value is None else _decoded(records.decode_block, key, value)
            elif key == keys.POOLS:
                pools = () if value is None else _decoded(records.decode_pools, key, value)
            elif key.startswith(keys.TUNNELS):
                tunnels[key] = (
                    None if value is None else _tunnel(*_decoded(records.decode_handle, key, value))
                )
        except UnreadableError as exc:
            # Without pools nobody knows what a block is for.
            if not is_lenient or key == keys.POOLS:
                raise
            unreadable[key] = str(exc)
    return LedgerNews(blocks, tunnels, pools, news.is_whole, unreadable)


def _tunnel(handle: Handle, addresses: tuple[Address, ...]) -> Tunnel | None:
    """Return the tunnel that a handle stands for (`ipam.model.tunnel_handle`), None if it has no address."""
    kind, _, pool = handle.interface.partition(":")
    return Tunnel(handle.node, pool, addresses[0]) if kind == "tunnel" and addresses else None


def _decoded(decode: Callable[[bytes], T], key: str, value: bytes) -> T:
    try:
        return decode(value)
    except DatastoreError as exc:
        raise UnreadableError(f"{key}: {exc}: run ipamctl check") from exc


def _open_feed(url: str, *, create: bool, ended: threading.Event) -> tuple[Store, Feed]:
    store = open_store(url, create=create, ended=ended)
    try:
        return store, store.follow(_PREFIXES)
    except BaseException:
        store.close()
        raise
