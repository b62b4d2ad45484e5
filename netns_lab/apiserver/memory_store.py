"""A store in memory: for tests, and the plainest form of the contract."""

from collections.abc import Sequence

from netns_lab.apiserver.store import FIRST_REVISION, Record, Snapshot, StoreLostError


class MemoryStore:
    """A `Store` that lives as long as its object."""

    def __init__(self) -> None:
        self._objects: dict[str, tuple[int, bytes]] = {}
        self._log: list[Record] = []
        self._compacted = FIRST_REVISION
        self._revision = FIRST_REVISION

    def load(self) -> Snapshot:
        """Return everything; see `Store`."""
        objects = tuple((key, *self._objects[key]) for key in sorted(self._objects))
        return Snapshot(self._revision, self._compacted, objects, tuple(self._log))

    def append(self, records: Sequence[Record]) -> None:
        """Take changes; see `Store`."""
        if records and records[0].revision != self._revision + 1:
            raise StoreLostError(f"another server has written: revision {self._revision} is there already")
        for record in records:
            if record.value is None:
                del self._objects[record.key]
            else:
                self._objects[record.key] = (record.revision, record.value)
            self._revision = record.revision
        self._log += records

    def compact(self, revision: int) -> None:
        """Forget the log; see `Store`."""
        self._compacted = max(self._compacted, revision)
        self._log = [record for record in self._log if record.revision > revision]

    def close(self) -> None:
        """Do nothing: the next server may use the same object."""
