"""What is known of the cluster: objects by key, and each Service's slices."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from nodeplane.kube.objects import EndpointSlice, Object, ObjectKey, Service
from nodeplane.kube.source import Batch, Change

T = TypeVar("T", bound=Object)


class Store:
    """The objects that a source delivered, indexed by key and by Service."""

    def __init__(self) -> None:
        self._objects: dict[ObjectKey, Object] = {}
        self._slices: defaultdict[tuple[str, str], dict[str, EndpointSlice]] = defaultdict(dict)

    def apply(self, batch: Iterable[Change]) -> set[tuple[str, str]]:
        """Take a batch in; return the (namespace, name) of each Service that it touches."""
        touched: set[tuple[str, str]] = set()
        for change in batch:
            if change.new is None:
                self._objects.pop(change.key, None)
            else:
                self._objects[change.key] = change.new
            if change.key.kind is Service:
                touched.add((change.key.namespace, change.key.name))
            elif change.key.kind is EndpointSlice:
                touched |= self._move_slice(change)
        return touched

    def get(self, kind: type[T], namespace: str, name: str) -> T | None:
        """Return the object of that kind and name."""
        found = self._objects.get(ObjectKey(kind, namespace, name))
        return found if isinstance(found, kind) else None

    def service(self, namespace: str, name: str) -> Service | None:
        """Return the Service of that name."""
        return self.get(Service, namespace, name)

    def services(self) -> set[tuple[str, str]]:
        """Return the (namespace, name) of every Service."""
        return {(key.namespace, key.name) for key in self._objects if key.kind is Service}

    def slices(self, namespace: str, name: str) -> list[EndpointSlice]:
        """Return the slices of a Service, ordered by name so that nothing depends on arrival."""
        return [piece for _, piece in sorted(self._slices.get((namespace, name), {}).items())]

    def of_kind(self, kind: type[Object]) -> Iterator[Object]:
        """Yield every object of one kind."""
        return (item for key, item in self._objects.items() if key.kind is kind)

    def _move_slice(self, change: Change) -> set[tuple[str, str]]:
        """File a slice under the Service that it names now; return the old and the new Service."""
        touched = set()
        for piece in (change.old, change.new):
            if not isinstance(piece, EndpointSlice) or not piece.service_name:
                continue
            owner = (piece.metadata.namespace, piece.service_name)
            touched.add(owner)
            if piece is change.new:
                self._slices[owner][piece.metadata.name] = piece
            else:
                self._slices[owner].pop(piece.metadata.name, None)
                if not self._slices[owner]:
                    del self._slices[owner]
        return touched


def diff_objects(old: Mapping[ObjectKey, Object], new: Mapping[ObjectKey, Object]) -> Batch:
    """Say what turns one complete state into another, deletions first."""
    gone = [Change(key, value, None) for key, value in old.items() if key not in new]
    moved = [Change(key, old.get(key), value) for key, value in new.items() if old.get(key) != value]
    return (*gone, *moved)
