"""Learn what has changed in the datastore: for daemons that turn blocks into routes."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import msgspec

from ipam import records
from ipam.datastore import open_store
from ipam.errors import DatastoreError, UnreadableError
from ipam.model import Address, Block, Handle, Pool
from ipam.store import Feed, News, Store, Watch
from nodeplane.cnispec import PLACE

T = TypeVar("T")

_PREFIXES = (records.BLOCKS, records.TUNNELS, records.POOLS)


class Tunnel(msgspec.Struct, frozen=True):
    """A node's own address in a pool."""

    node: str
    pool: str
    address: Address


class LedgerNews(msgspec.Struct, frozen=True):
    """What has changed of that which routes are made of; by its key in the store, None for what is gone.

    With `is_whole` it is all there is. `pools` is None while the pools are as they were.
    """

    blocks: Mapping[str, Block | None]
    tunnels: Mapping[str, Tunnel | None]
    pools: tuple[Pool, ...] | None
    is_whole: bool


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
    with ThreadPoolExecutor(1, "ipam-watch") as executor:
        store, watch = await loop.run_in_executor(executor, partial(_open, url, prefix, create=create))
        try:
            yield
            while await loop.run_in_executor(executor, watch.wait):
                yield
        finally:
            # Ends a wait that is still under way in the executor, so that what follows gets its turn.
            await asyncio.to_thread(watch.close)
            await loop.run_in_executor(executor, store.close)


def _open(url: str, prefix: str, *, create: bool) -> tuple[Store, Watch]:
    store = open_store(url, create=create)
    try:
        return store, store.watch(prefix)
    except BaseException:
        store.close()
        raise


async def follow(url: str, *, create: bool = True) -> AsyncGenerator[LedgerNews, None]:
    """Yield all there is, then what changes; several changes may come as one.

    The cost of a change does not grow with what there is. With `create` the datastore is made when there is
    none. Use with `contextlib.aclosing`.

    Raises:
        ConfigError: the URL is not one that we know.
        DatastoreError: the datastore is damaged or not ours, or was taken away while it was followed.
    """
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1, "ipam-feed") as executor:
        store, feed = await loop.run_in_executor(executor, partial(_open_feed, url, create=create))
        try:
            while (news := await loop.run_in_executor(executor, feed.next)) is not None:
                found = decode_news(news)
                if found.is_whole or found.blocks or found.tunnels or found.pools is not None:
                    yield found
        finally:
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


def decode_news(news: News) -> LedgerNews:
    """Decode what a feed tells.

    Raises:
        UnreadableError: an entry is not ours; names it.
    """
    blocks: dict[str, Block | None] = {}
    tunnels: dict[str, Tunnel | None] = {}
    pools: tuple[Pool, ...] | None = () if news.is_whole else None
    for key, value in news.entries.items():
        if key.startswith(records.BLOCKS):
            blocks[key] = None if value is None else _decoded(records.decode_block, key, value)
        elif key == records.POOLS:
            pools = () if value is None else _decoded(records.decode_pools, key, value)
        elif key.startswith(records.TUNNELS):
            tunnels[key] = None if value is None else _tunnel(*_decoded(records.decode_handle, key, value))
    return LedgerNews(blocks, tunnels, pools, news.is_whole)


def _tunnel(handle: Handle, addresses: tuple[Address, ...]) -> Tunnel | None:
    """Return the tunnel that a handle stands for (`ipam.model.tunnel_handle`), None if it has no address."""
    kind, _, pool = handle.interface.partition(":")
    return Tunnel(handle.node, pool, addresses[0]) if kind == "tunnel" and addresses else None


def _decoded(decode: Callable[[bytes], T], key: str, value: bytes) -> T:
    try:
        return decode(value)
    except DatastoreError as exc:
        raise UnreadableError(f"{key}: {exc}: run ipamctl check") from exc


def _open_feed(url: str, *, create: bool) -> tuple[Store, Feed]:
    store = open_store(url, create=create)
    try:
        return store, store.follow(_PREFIXES)
    except BaseException:
        store.close()
        raise
