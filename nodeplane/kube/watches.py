"""The inotify watches of one reader: which event in which directory concerns which of its names.

A name may depend on several places: on any entry of a directory, on one entry (a link, or what a link leads
to), or on a directory being where it is. The kernel has one watch for each directory, whoever asks.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from inotify_simple import Event, INotify, flags

from nodeplane.inotify import next_events

ANY_ENTRY = "*/"
"""In place of an entry: whatever happens in the directory, told as the name of what it happens to."""
ITSELF = ""
"""In place of an entry: the directory, when it is moved or deleted."""

_SELF_EVENTS = flags.MOVE_SELF | flags.DELETE_SELF
# A file counts when its writer closes it or moves it into place, never while it is being written.
_COMPLETE = flags.CLOSE_WRITE | flags.MOVED_TO | flags.MOVED_FROM | flags.DELETE
# A link has no writer, nor has a directory: all that is told of it is that it is there.
_ENTRY_EVENTS = _COMPLETE | flags.CREATE
_ENDED = _SELF_EVENTS | flags.IGNORED | flags.UNMOUNT


class Seen(NamedTuple):
    """What has happened: the events of each name, and whether nothing at all did."""

    names: dict[str, int]
    is_quiet: bool


class Watches:
    """Directories that are watched, on behalf of names."""

    def __init__(self) -> None:
        self._notify = INotify(nonblocking=True)
        self._paths: dict[int, str] = {}
        # By watch and entry, the names that depend on it; by name, the watches and entries.
        self._dependents: dict[int, dict[str, set[str]]] = {}
        self._places: dict[str, set[tuple[int, str]]] = {}

    def close(self) -> None:
        """End all watches."""
        self._notify.close()

    def add(self, name: str, directory: str, entry: str) -> None:
        """Let a name depend on an entry of a directory, which is named without links in it.

        Raises:
            OSError: there is no such directory, or the kernel watches no more.
        """
        events = _SELF_EVENTS if entry == ITSELF else _SELF_EVENTS | _ENTRY_EVENTS
        watch = self._notify.add_watch(directory, events | flags.ONLYDIR | flags.MASK_ADD)
        self._paths[watch] = directory
        self._dependents.setdefault(watch, {}).setdefault(entry, set()).add(name)
        self._places.setdefault(name, set()).add((watch, entry))

    def forget(self, name: str) -> None:
        """Let a name depend on nothing; a directory on which nothing depends is watched no longer."""
        for watch, entry in self._places.pop(name, ()):
            entries = self._dependents[watch]
            entries[entry].discard(name)
            if not entries[entry]:
                del entries[entry]
            if not entries:
                del self._dependents[watch], self._paths[watch]
                # The kernel has ended the watch by itself if the directory is deleted.
                with suppress(OSError):
                    self._notify.rm_watch(watch)

    async def next(self, until_s: float | None) -> Seen | None:
        """Wait for events, at most until a time of the event loop's clock; None if some were dropped."""
        names: dict[str, int] = {}
        events = await next_events(self._notify, until_s)
        for event in events:
            if event.mask & flags.Q_OVERFLOW:
                return None
            for name in self._concerned(event):
                names[name] = names.get(name, 0) | event.mask
        return Seen(names, not events)

    def _concerned(self, event: Event) -> Iterator[str]:
        entries = self._dependents.get(event.wd, {})
        if event.mask & _ENDED:
            for dependents in entries.values():
                yield from dependents
        elif entries and self._is_complete(event):
            yield from entries.get(event.name, ())
            for name in entries.get(ANY_ENTRY, ()):
                yield f"{name}/{event.name}" if name else event.name

    def _is_complete(self, event: Event) -> bool:
        """Say whether an event is about a complete file, not one whose writer has just begun."""
        if event.mask & (_COMPLETE | flags.ISDIR):
            return True
        try:
            status = os.lstat(os.path.join(self._paths[event.wd], event.name))
        except OSError:
            return False
        return not stat.S_ISREG(status.st_mode) or status.st_nlink > 1
