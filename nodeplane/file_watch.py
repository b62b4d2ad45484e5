"""A configuration file while the program runs: wait until it says something else, and is right.

A file that has become wrong is named in the log and what it said before stays, so that a slip of the pen does
not end what works. What becomes of a change, the programs decide.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from inotify_simple import INotify, flags

from nodeplane.errors import ConfigError
from nodeplane.inotify import next_names

T = TypeVar("T")

# A ConfigMap's volume changes by a symbolic link `..data` that is moved in place, beside the file's own link.
_EVENTS = flags.CLOSE_WRITE | flags.MOVED_TO | flags.CREATE | flags.DELETE
_LOST_RETRY_S = 1.0

log = logging.getLogger(__name__)


class FileWatch(Generic[T]):
    """A file that `read` turns into a value; `known` is the value in force.

    Args:
        path: The file; its directory is watched, as editors and volumes put new files in place.
        read: Reads and checks the file.
        known: What was read at start.
    """

    def __init__(self, path: Path, read: Callable[[Path], T], known: T) -> None:
        self._path = path
        self._read = read
        self._known = known
        self._complaint = ""

    async def until_changed(self) -> T:
        """Wait until the file says something else, and is right; return what it says: it is in force then."""
        while True:
            # A file that is a link may change where it leads to, too.
            folders = {self._path.parent, self._path.resolve().parent}
            with INotify() as notify:
                try:
                    for folder in folders:
                        notify.add_watch(str(folder), _EVENTS)
                except OSError as exc:
                    self._tell(f"configuration not watched file={self._path} error={exc.strerror!r}")
                    await asyncio.sleep(_LOST_RETRY_S)
                    continue
                while True:
                    # It may have changed before the watch began.
                    fresh = self._look()
                    if fresh is not None and fresh != self._known:
                        self._known = fresh
                        return fresh
                    if await next_names(notify) is None:
                        # A folder has gone, or is another one now.
                        await asyncio.sleep(_LOST_RETRY_S)
                        break
                    if self._path.resolve().parent not in folders:
                        break

    def _look(self) -> T | None:
        try:
            found = self._read(self._path)
        except ConfigError as exc:
            self._tell(f"configuration is wrong, the one of before stays in force: {exc}")
            return None
        self._complaint = ""
        return found

    def _tell(self, complaint: str) -> None:
        # Whatever else happens in the directory is no reason to say it again.
        if complaint != self._complaint:
            log.warning("%s", complaint)
        self._complaint = complaint
