"""A directory of manifests with all that is below it, watched: which files are manifests, and which change.

Directories may be nested and be links; names that begin with a dot are left out, files and directories. A
link that leads back to a directory on the way to it is not entered. A file is named by its path from the top.

What is behind a link is seen as well: for each link, the entries by which the kernel finds its target are
watched. So an update of a mounted ConfigMap, which moves the link `..data` to a new directory, is seen as a
change of every file that leads through it, at one time.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from inotify_simple import flags

from nodeplane.kube.path_lookup import Lookup, lookups
from nodeplane.kube.watches import ANY_ENTRY, ITSELF, Watches

_SUFFIXES = (".yaml", ".yml", ".json")
_TOP = ""
# Each time, somebody has moved a link just between two looks at it.
_MOST_LOOKS = 10

log = logging.getLogger(__name__)


class Changes(NamedTuple):
    """What may be different.

    `files` are manifests to be read again; of those in `filling`, a directory just created, the writers may
    not be done. `trees` were or are directories: what was known below them may be gone.
    """

    files: set[str]
    filling: set[str]
    trees: set[str]
    is_quiet: bool


class ManifestTree:
    """The manifests below a directory."""

    def __init__(self, top: Path) -> None:
        """Watch, then list: a change in between is seen twice, never missed.

        Raises:
            OSError: there is no such directory, or the kernel watches no more.
        """
        self._path = str(top)
        self._watches = Watches()
        # By directory: its path without links, and the names of what is in it.
        self._real: dict[str, str] = {}
        self._children: dict[str, set[str]] = {}
        # Links that lead nowhere for now: to a directory, maybe.
        self._nowhere: set[str] = set()
        try:
            self._follow(_TOP, "/" if top.is_absolute() else os.getcwd(), self._path)
            for name, is_link in self._enter(_TOP):
                self._find(name, is_link)
            self._identity = self._identify()
        except OSError:
            self.close()
            raise

    @property
    def files(self) -> set[str]:
        """The names of all manifests, as far as it has been told."""
        return {
            name
            for names in self._children.values()
            for name in names
            if name not in self._children and is_manifest(name)
        }

    def close(self) -> None:
        """Watch no longer."""
        self._watches.close()

    def is_there(self) -> bool:
        """Say whether the path still leads to this directory.

        The kernel tells that a directory is deleted when nobody has it open any more, a shell for instance.
        """
        try:
            return self._identify() == self._identity
        except OSError:
            return False

    async def next(self, until_s: float | None) -> Changes | None:
        """Wait for changes, at most until a time of the event loop's clock; None if the watch is lost."""
        seen = await self._watches.next(until_s)
        if seen is None or _TOP in seen.names or not self.is_there():
            return None
        changes = Changes(set(), set(), set(), seen.is_quiet)
        try:
            # A directory comes before what is in it.
            for name, mask in sorted(seen.names.items()):
                self._look(name, mask, changes)
        except OSError as exc:
            log.error("directory can't be watched directory=%s error=%r", self._path, str(exc))
            return None
        changes.filling.difference_update(changes.files)
        return changes

    def _identify(self) -> tuple[int, int]:
        status = os.stat(self._path)
        return status.st_dev, status.st_ino

    def _look(self, name: str, mask: int, changes: Changes) -> None:
        """Find out anew what a name is."""
        parent = name.rpartition("/")[0]
        if parent not in self._children or _is_hidden(name):
            return
        was_directory = name in self._children or name in self._nowhere
        self._forget(name)
        place = os.path.join(self._path, name)
        is_link = os.path.islink(place)
        found = set(self._find(name, is_link))
        is_directory = name in self._children
        if was_directory or is_directory or is_link or mask & flags.ISDIR:
            changes.trees.add(name)
        if is_manifest(name) and not is_directory:
            found.add(name)
        is_created = mask & flags.ISDIR and mask & flags.CREATE and not mask & flags.MOVED_TO
        (changes.filling if is_created else changes.files).update(found)

    def _forget(self, name: str) -> None:
        """Forget a name and all below it."""
        self._children.get(name.rpartition("/")[0], set()).discard(name)
        names = [name]
        while names:
            name = names.pop()
            self._watches.forget(name)
            self._real.pop(name, None)
            self._nowhere.discard(name)
            names.extend(self._children.pop(name, ()))

    def _find(self, name: str, is_link: bool) -> list[str]:
        """Take in what is there by that name, if anything; return the manifests."""
        files, names = [], [(name, is_link)]
        while names:
            name, is_link = names.pop()
            parent, _, entry = name.rpartition("/")
            place = os.path.join(self._real[parent], entry)
            if is_link:
                self._follow(name, self._real[parent], entry)
            if os.path.isdir(place):
                # It may be gone before it is listed: then the watch of the directory around it tells.
                with suppress(FileNotFoundError, NotADirectoryError):
                    names.extend(self._enter(name))
            elif is_manifest(name) and os.path.lexists(place):
                self._children[parent].add(name)
                files.append(name)
            if is_link and not os.path.exists(place):
                self._nowhere.add(name)
        return files

    def _enter(self, name: str) -> list[tuple[str, bool]]:
        """Watch a directory, then list it; return what is in it, and whether each is a link."""
        real = os.path.realpath(os.path.join(self._path, name))
        if any(_is_within(above, real) for above in self._on_the_way(name)):
            return []
        self._watches.add(name, real, ANY_ENTRY)
        prefix = f"{name}/" if name else ""
        with os.scandir(real) as entries:
            listed = [
                (prefix + entry.name, entry.is_symlink()) for entry in entries if not _is_hidden(entry.name)
            ]
        self._real[name] = real
        self._children[name] = set()
        if name != _TOP:
            self._children[name.rpartition("/")[0]].add(name)
        return listed

    def _on_the_way(self, name: str) -> Iterator[str]:
        """Yield the directories above a name, without links."""
        while name != _TOP:
            name = name.rpartition("/")[0]
            yield self._real[name]

    def _follow(self, name: str, directory: str, path: str) -> None:
        """Let a name depend on all that decides where its link leads."""
        for _ in range(_MOST_LOOKS):
            steps = list(lookups(directory, path))
            self._watches.forget(name)
            for step in steps:
                # Gone since, or none that we may watch.
                with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                    self._watch_step(name, step)
            if steps == list(lookups(directory, path)):
                return

    def _watch_step(self, name: str, step: Lookup) -> None:
        if step.is_directory:
            # Not its entries: who cares for a file in `/tmp` need not hear of all others.
            self._watches.add(name, os.path.join(step.directory, step.entry), ITSELF)
        else:
            self._watches.add(name, step.directory, step.entry)


def is_manifest(name: str) -> bool:
    """Say whether a file of that name is read."""
    return not _is_hidden(name) and name.endswith(_SUFFIXES)


def is_gone(top: Path, name: str) -> bool:
    """Say whether there is no such file, nor a link on the way to it that leads nowhere for now."""
    place = str(top)
    for part in name.split("/"):
        place = os.path.join(place, part)
        if not os.path.lexists(place):
            return True
        if not os.path.exists(place):
            return False
    return os.path.isdir(place)


def _is_hidden(name: str) -> bool:
    return name.rpartition("/")[2].startswith(".")


def _is_within(path: str, directory: str) -> bool:
    return f"{path}/".startswith(f"{directory.rstrip('/')}/")
