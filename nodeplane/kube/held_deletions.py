"""Deletions that wait until it is clear what they mean: pure, the waiting itself is the caller's."""

from nodeplane.kube.objects import Object, ObjectKey
from nodeplane.kube.source import Batch, Change


class HeldDeletions:
    """Objects that are gone, of which the reader has not been told yet."""

    def __init__(self) -> None:
        self._gone: dict[ObjectKey, Object | None] = {}

    def __len__(self) -> int:
        return len(self._gone)

    def hold(self, batch: Batch) -> Batch:
        """Keep the deletions of a batch back and return the rest.

        An object that was kept back and is in this batch again has changed, as its reader sees it; if it is
        what it was, nothing has happened.
        """
        rest = []
        for change in batch:
            if change.new is None:
                self._gone[change.key] = change.old
                continue
            old = self._gone.pop(change.key, change.old)
            if old != change.new:
                rest.append(Change(change.key, old, change.new))
        return tuple(rest)

    def release(self) -> Batch:
        """Return the deletions that were kept back; from now on they have been told."""
        released = tuple(Change(key, old, None) for key, old in self._gone.items())
        self._gone.clear()
        return released
