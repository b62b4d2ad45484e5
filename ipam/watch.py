"""Learn that the datastore has changed: for daemons that turn blocks into routes.

SQLite tells nobody of a change, but appends each transaction to its log before it takes effect, and that
inotify sees. The event is a hint; the fact is the file's data version, read once no writer is under way.
"""

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, closing
from pathlib import Path

from inotify_simple import INotify, flags

from ipam.config import decode_datastore
from ipam.errors import DatastoreBusyError, DatastoreError
from ipam.sqlite_store import SqliteStore, write_ahead_log
from nodeplane.inotify import next_names

_EVENTS = flags.MODIFY | flags.CREATE | flags.DELETE | flags.MOVED_FROM | flags.MOVED_TO | flags.ONLYDIR


async def changes(url: str) -> AsyncGenerator[None, None]:
    """Yield once when the watch stands, then after each change; several changes may come as one.

    Read the state after each: what was read before the first is not watched. The datastore is made when
    there is none. Use with `contextlib.aclosing`.

    Raises:
        ConfigError: the URL is not one that we know.
        DatastoreError: the datastore is damaged or not ours, or was taken away while it was watched.
    """
    path = decode_datastore(url)
    # SQLite's calls block (for a writer, or the disk) and belong to one thread.
    with ThreadPoolExecutor(1, "ipam-watch") as executor:
        loop = asyncio.get_running_loop()
        version = await loop.run_in_executor(executor, _Version, path)
        try:
            async with aclosing(_hints(path)) as hints:
                async for _ in hints:
                    if await loop.run_in_executor(executor, version.has_changed):
                        yield
        finally:
            await loop.run_in_executor(executor, version.close)


class _Version:
    """The version of the datastore as last seen."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._store = SqliteStore(path)
        self._inode = path.stat().st_ino
        self._seen: int | None = None

    def has_changed(self) -> bool:
        """Say whether the datastore has changed since the last call; True on the first."""
        if not self._is_in_place():
            # Another file under this name is another history. Whoever starts anew begins with that one.
            raise DatastoreError(f"{self._path} was taken away while in use")
        before = self._seen
        try:
            self._seen = self._store.settled_version()
        except DatastoreBusyError:
            # Writers all the time: surely something has changed, and their next event asks again.
            return True
        return self._seen != before

    def close(self) -> None:
        self._store.close()

    def _is_in_place(self) -> bool:
        try:
            # The store holds the file open, so that no other can have got its number.
            return self._path.stat().st_ino == self._inode
        except FileNotFoundError:
            return False


async def _hints(path: Path) -> AsyncGenerator[None, None]:
    """Yield once the directory is watched, then whenever the files of the datastore may have changed."""
    names = {path.name, write_ahead_log(path).name}
    with closing(INotify(nonblocking=True)) as notify:
        try:
            notify.add_watch(path.parent, _EVENTS)
        except OSError as exc:
            raise DatastoreError(f"{path.parent}: can't be watched: {exc.strerror}") from exc
        yield
        while True:
            changed = await next_names(notify)
            # None: more events than the kernel keeps, or the directory is gone, which the look will tell.
            if changed is None or changed & names:
                yield
