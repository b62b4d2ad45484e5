"""Learn that the datastore has changed: for daemons that turn blocks into routes."""

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor

from ipam.datastore import open_store
from ipam.store import Store, Watch


async def changes(url: str, prefix: str = "") -> AsyncGenerator[None, None]:
    """Yield once when the watch stands, then after each change; several changes may come as one.

    `prefix` is what the keys of interest begin with; a store may tell of others too.

    Read the state after each: what was read before the first is not watched. The datastore is made when
    there is none. Use with `contextlib.aclosing`.

    Raises:
        ConfigError: the URL is not one that we know.
        DatastoreError: the datastore is damaged or not ours, or was taken away while it was watched.
    """
    loop = asyncio.get_running_loop()
    # A store's calls block (for a writer, a disk, the network).
    with ThreadPoolExecutor(1, "ipam-watch") as executor:
        store, watch = await loop.run_in_executor(executor, _open, url, prefix)
        try:
            yield
            while await loop.run_in_executor(executor, watch.wait):
                yield
        finally:
            # Ends a wait that is still under way in the executor, so that what follows gets its turn.
            await asyncio.to_thread(watch.close)
            await loop.run_in_executor(executor, store.close)


def _open(url: str, prefix: str) -> tuple[Store, Watch]:
    store = open_store(url)
    try:
        return store, store.watch(prefix)
    except BaseException:
        store.close()
        raise
