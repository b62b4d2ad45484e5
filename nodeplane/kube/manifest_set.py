"""The objects in force because of a set of manifest files: pure, and the same by whatever way it was reached.

An object belongs in one file. While two have it, because it is on its way from one to the other or by
mistake, the version of the first file by name is in force; once that file lets go, the other's is. Who had it
first does not matter: after a restart nobody knows.
"""

from collections.abc import Iterable, Iterator, Mapping, Set

from nodeplane.kube.objects import Object, ObjectKey
from nodeplane.kube.source import Batch
from nodeplane.kube.store import diff_objects

Objects = Mapping[ObjectKey, Object]


class ManifestSet:
    """The last good version of each file, and what they say together."""

    def __init__(self) -> None:
        self._files: dict[str, Objects] = {}
        # The files that have an object, in order: the first one's version is in force. Nearly always it is
        # alone, and all objects of a file share the tuple that says so.
        self._holders: dict[ObjectKey, tuple[str, ...]] = {}

    @property
    def files(self) -> Set[str]:
        """The names of the files that have objects."""
        return self._files.keys()

    def take(self, fresh: Mapping[str, Objects]) -> Batch:
        """Replace the content of some files, empty for one that is gone; say what changed.

        The cost depends on these files alone, not on how many there are.
        """
        keys = {key: None for name, new in fresh.items() for key in (*self._files.get(name, ()), *new)}
        before = self._in_force(keys)
        for name, new in fresh.items():
            for key in self._files.pop(name, {}).keys() - new.keys():
                self._release(key, name)
            alone = (name,)
            for key in new:
                holders = self._holders.setdefault(key, alone)
                if name not in holders:
                    self._holders[key] = tuple(sorted((*holders, name)))
            if new:
                self._files[name] = new
        return diff_objects(before, self._in_force(keys))

    def below(self, directories: Set[str]) -> set[str]:
        """Return the files that have objects and are below one of these directories, or were in its place."""
        if not directories:
            return set()
        return {name for name in self._files if not directories.isdisjoint(_way(name))}

    def rivals(self, names: Iterable[str]) -> Iterator[tuple[ObjectKey, str, str]]:
        """Yield each object of these files that two files have, with the file in force and the other."""
        for key in {key: None for name in names for key in self._files.get(name, ())}:
            holder, *others = self._holders[key]
            for other in others:
                yield key, holder, other

    def _in_force(self, keys: Iterable[ObjectKey]) -> dict[ObjectKey, Object]:
        return {key: self._files[holders[0]][key] for key in keys if (holders := self._holders.get(key))}

    def _release(self, key: ObjectKey, name: str) -> None:
        rest = tuple(holder for holder in self._holders[key] if holder != name)
        if rest:
            self._holders[key] = rest
        else:
            del self._holders[key]


def _way(name: str) -> Iterator[str]:
    while name:
        yield name
        name = name.rpartition("/")[0]
