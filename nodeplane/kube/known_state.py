"""What is known of the cluster, and what of it the reader has not been told yet.

Pure: events and lists go in, batches come out as `nodeplane.kube.source` promises them. However many steps an
object took since the last batch, the next one names it once.
"""

from collections.abc import Collection, Mapping

from nodeplane.kube.objects import Object, ObjectKey
from nodeplane.kube.source import Batch, Change, Shrink, keep_whole


class Relist:
    """A kind's complete state on its way in, kept as what differs, so that memory does not double."""

    def __init__(self, known: Mapping[ObjectKey, Object], shrink: Shrink = keep_whole) -> None:
        self._known = known
        self._shrink = shrink
        self._unseen = set(known)
        self._changed: dict[ObjectKey, Object] = {}
        self._seen = 0

    @property
    def seen(self) -> int:
        """How many objects came in."""
        return self._seen

    @property
    def changed(self) -> Mapping[ObjectKey, Object]:
        """The objects that are new or not as they are known."""
        return self._changed

    @property
    def gone(self) -> Collection[ObjectKey]:
        """The known objects that did not come."""
        return self._unseen

    def put(self, item: Object) -> None:
        """Take an object in; a later version replaces an earlier one."""
        self._seen += 1
        kept = self._shrink(item)
        if kept is None:
            self.remove(item.key)
            return
        key = kept.key
        self._unseen.discard(key)
        if self._known.get(key) == kept:
            self._changed.pop(key, None)
        else:
            self._changed[key] = kept

    def keep(self, key: ObjectKey) -> None:
        """Take note that an object is there, as it is known."""
        self._unseen.discard(key)

    def remove(self, key: ObjectKey) -> None:
        """Take an object out again."""
        self._changed.pop(key, None)
        if key in self._known:
            self._unseen.add(key)


class KnownState:
    """The objects of some kinds as last heard of, and those the reader knows another version of."""

    def __init__(self, kinds: Collection[type[Object]], shrink: Shrink = keep_whole) -> None:
        self._shrink = shrink
        self._objects: dict[type[Object], dict[ObjectKey, Object]] = {kind: {} for kind in kinds}
        self._incomplete = set(kinds)
        # What the reader was last told of each object that changed since; None if it was told of none.
        self._told: dict[ObjectKey, Object | None] = {}

    @property
    def incomplete(self) -> Collection[type[Object]]:
        """The kinds of which more may be true than is known: not listed yet, or lost since."""
        return self._incomplete

    @property
    def has_news(self) -> bool:
        """Whether there is something to tell, or something that has been taken back since."""
        return bool(self._told)

    def lose(self, kind: type[Object]) -> None:
        """Take note that a kind is not followed any more: what is known of it stays."""
        self._incomplete.add(kind)

    def relist(self, kind: type[Object]) -> Relist:
        """Begin a complete list of a kind; nothing changes before `finish`."""
        return Relist(self._objects[kind], self._shrink)

    def finish(self, kind: type[Object], relist: Relist) -> None:
        """Take a complete list in: what did not come has gone."""
        for key in list(relist.gone):
            self.remove(key)
        for key, item in relist.changed.items():
            self._put(key, item)
        self._incomplete.discard(kind)

    def put(self, item: Object) -> None:
        """Take in that an object is there."""
        kept = self._shrink(item)
        if kept is None:
            self.remove(item.key)
        else:
            self._put(kept.key, kept)

    def keep(self, key: ObjectKey) -> None:
        """Take in that an object is there in a shape that we can't read: what was known of it stays.

        Its endpoints in force are more likely right than none at all (law 4).
        """

    def remove(self, key: ObjectKey) -> None:
        """Take in that an object has gone."""
        old = self._objects[key.kind].pop(key, None)
        if old is not None:
            self._told.setdefault(key, old)

    def take(self) -> Batch:
        """Return what the reader has to be told, and take it as told."""
        told, self._told = self._told, {}
        steps = ((key, old, self._objects[key.kind].get(key)) for key, old in told.items())
        return tuple(Change(key, old, new) for key, old, new in steps if old != new)

    def _put(self, key: ObjectKey, item: Object) -> None:
        objects = self._objects[key.kind]
        self._told.setdefault(key, objects.get(key))
        objects[key] = item
