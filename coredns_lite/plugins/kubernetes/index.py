"""What is known of a cluster, found by what a query names: a Service, a namespace, an address.

    namespace ─► Service ─► Entry(service, slices) ◄─┬─ cluster IP
                                                     └─ ready endpoint's address
    pod's address ─► the pods that have it

Answers are built when they are asked for (`zone`, `reverse_zone`). One thread applies batches; others may ask
meanwhile and see each Service as it was or as it is.
"""

from collections.abc import Hashable, Iterable, Iterator
from operator import attrgetter
from typing import Any

import msgspec

from coredns_lite.plugins.kubernetes.facts import PodFacts, Scope, ServiceFacts, SliceFacts, service_name
from nodeplane.kube.objects import EndpointSlice, Namespace, Pod, Service
from nodeplane.kube.source import Batch, Change

APEX = "apex"
"""What answers are about that change with everything: the SOA and its serial, the name servers."""
EVERYTHING = "everything"


class Entry(msgspec.Struct, gc=False, eq=False):
    """One Service's name: the Service, if there is one, and the slices that name it, ordered by name."""

    namespace: str
    name: str
    service: ServiceFacts | None = None
    slices: tuple[SliceFacts, ...] = ()

    def addresses(self) -> Iterator[bytes]:
        """Yield every address that leads here; some may come twice."""
        if self.service is not None:
            yield from self.service.addresses
        for piece in self.slices:
            yield from piece.addresses()

    def has_endpoints(self) -> bool:
        """Whether any endpoint is ready."""
        return any(piece.packed for piece in self.slices)


_by_name = attrgetter("metadata.name")
_by_place = attrgetter("namespace", "name")
_by_identity = attrgetter("metadata.namespace", "metadata.name")


class Index:
    """The Services, endpoints, namespaces and pods of one cluster, as far as a scope has them."""

    def __init__(self, scope: Scope | None = None) -> None:
        self.is_complete = False
        """Whether a first snapshot was taken; before it nothing is known not to exist (law 4)."""
        self.serial = 0
        """When anything last changed, in seconds since 1970: the SOA's serial."""
        # A directory of manifests often holds no Namespace objects: then a Service's word will do.
        self._services_name_namespaces = scope is None or scope.namespace_labels is None
        self._entries: dict[str, dict[str, Entry]] = {}
        self._at: dict[bytes, Entry | tuple[Entry, ...]] = {}
        self._namespaces: dict[str, int] = {}
        self._pods: dict[bytes, PodFacts | tuple[PodFacts, ...]] = {}

    def has_namespace(self, name: str) -> bool:
        """Say whether a namespace exists and is served: a Namespace names it, or a Service."""
        return name in self._namespaces

    def entry(self, namespace: str, name: str) -> Entry | None:
        """Return what is known of a Service's name."""
        entries = self._entries.get(namespace)
        return entries.get(name) if entries else None

    def copy_entries(self) -> list[Entry]:
        """Return every entry whose Service exists and is served as it is now, by namespace and name."""
        return list(self._copies().values())

    def copy_addresses(self) -> Iterator[tuple[bytes, list[Entry]]]:
        """Yield every address as it is now, with the existing Services that it leads to, in order."""
        copies, at = self._copies(), dict(self._at)

        def walk() -> Iterator[tuple[bytes, list[Entry]]]:
            for address in sorted(at):
                found = at[address]
                entries = found if isinstance(found, tuple) else (found,)
                served = [copies[id(entry)] for entry in entries if id(entry) in copies]
                yield address, sorted(served, key=_by_place)

        return walk()

    def _copies(self) -> dict[int, Entry]:
        """Return copies of the entries that are served, by the identity of what they were made of."""
        return {
            id(entry): Entry(entry.namespace, entry.name, entry.service, entry.slices)
            for namespace in sorted(self._namespaces)
            for _, entry in sorted((self._entries.get(namespace) or {}).items())
            if entry.service is not None
        }

    def namespaces(self) -> list[str]:
        """Return the namespaces that exist and are served."""
        return sorted(self._namespaces)

    def at(self, address: bytes) -> list[Entry]:
        """Return the existing Services that an address leads to, as cluster IP or as endpoint, in order."""
        found = self._at.get(address, ())
        entries = found if isinstance(found, tuple) else (found,)
        served = [
            entry for entry in entries if entry.service is not None and entry.namespace in self._namespaces
        ]
        return sorted(served, key=_by_place)

    def pods_at(self, address: bytes) -> tuple[PodFacts, ...]:
        """Return the live pods that have an address: one, unless they share their node's."""
        found = self._pods.get(address, ())
        return tuple(sorted(found, key=_by_identity)) if isinstance(found, tuple) else (found,)

    def pods(self) -> Iterator[tuple[bytes, PodFacts]]:
        """Yield every pod's addresses with the pod."""
        for address in sorted(self._pods):
            for pod in self.pods_at(address):
                yield address, pod

    def apply(self, batch: Batch, now_s: int) -> set[Hashable]:
        """Take a batch in, at a cost that depends on the batch alone.

        Return what answers may say something else about: the relative name of a Service, a packed
        address, the APEX of the zones with any of these, or EVERYTHING; nothing if all is as it was.
        """
        touched: set[Hashable] = set()
        for change in batch:
            kind = change.key.kind
            if kind is Service:
                self._apply_service(change, touched)
            elif kind is EndpointSlice:
                self._apply_slice(change, touched)
            elif kind is Pod:
                self._apply_pod(change, touched)
            elif kind is Namespace and self._count(change.key.name, change):
                touched.add(EVERYTHING)
        if not self.is_complete:
            touched.add(EVERYTHING)
        if touched:
            touched.add(APEX)
            self.serial = max(self.serial, now_s)
            self.is_complete = True
        return touched

    def _apply_service(self, change: Change, touched: set[Hashable]) -> None:
        namespace, name = change.key.namespace, change.key.name
        new = change.new if isinstance(change.new, ServiceFacts) else None
        entry = self._open(namespace, name)
        touched.add(service_name(namespace, name))
        touched.update(entry.addresses())
        before = entry.service.addresses if entry.service else ()
        entry.service = new
        for address in new.addresses if new else ():
            touched.add(address)
            _add(self._at, address, entry)
        self._unlink(entry, before)
        if self._services_name_namespaces and self._count(namespace, change):
            touched.add(EVERYTHING)
        self._close(entry)

    def _apply_slice(self, change: Change, touched: set[Hashable]) -> None:
        """File a slice under the Service that it names now."""
        old = change.old if isinstance(change.old, SliceFacts) else None
        new = change.new if isinstance(change.new, SliceFacts) else None
        if new is not None and new.service:
            entry = self._open(new.metadata.namespace, new.service)
            before = [piece for piece in entry.slices if piece.metadata.name == new.metadata.name]
            kept = [piece for piece in entry.slices if piece.metadata.name != new.metadata.name]
            # Ordered, so that answers depend on what there is and not on how it came (law 1).
            entry.slices = tuple(sorted((*kept, new), key=_by_name))
            for address in new.addresses():
                _add(self._at, address, entry)
            for piece in before:
                self._unlink(entry, piece.addresses())
            _touch(touched, entry, (*before, new))
        if old is not None and old.service and (new is None or new.service != old.service):
            entry = self._open(old.metadata.namespace, old.service)
            entry.slices = tuple(piece for piece in entry.slices if piece.metadata.name != old.metadata.name)
            self._unlink(entry, old.addresses())
            _touch(touched, entry, (old,))
            self._close(entry)

    def _apply_pod(self, change: Change, touched: set[Hashable]) -> None:
        if isinstance(change.new, PodFacts):
            for address in change.new.addresses:
                _add(self._pods, address, change.new)
            touched.update(change.new.addresses)
        if isinstance(change.old, PodFacts):
            for address in change.old.addresses:
                _remove(self._pods, address, change.old)
            touched.update(change.old.addresses)

    def _count(self, namespace: str, change: Change) -> bool:
        """Count what makes a namespace exist; return whether that changes."""
        count = self._namespaces.get(namespace, 0)
        after = count + (change.new is not None) - (change.old is not None)
        if after > 0:
            self._namespaces[namespace] = after
        else:
            self._namespaces.pop(namespace, None)
        return (count > 0) != (after > 0)

    def _open(self, namespace: str, name: str) -> Entry:
        entries = self._entries.setdefault(namespace, {})
        entry = entries.get(name)
        if entry is None:
            entry = entries[name] = Entry(namespace, name)
        return entry

    def _close(self, entry: Entry) -> None:
        """Forget an entry of which nothing is known any more."""
        if entry.service is None and not entry.slices:
            entries = self._entries[entry.namespace]
            del entries[entry.name]
            if not entries:
                del self._entries[entry.namespace]

    def _unlink(self, entry: Entry, before: Iterator[bytes] | tuple[bytes, ...]) -> None:
        """Let those of some addresses lead to an entry no more that it does not have any more."""
        gone = set(before)
        gone.difference_update(entry.addresses())
        for address in gone:
            _remove(self._at, address, entry)


def _touch(touched: set[Hashable], entry: Entry, slices: Iterable[SliceFacts]) -> None:
    """Note what slices of an entry had to say; of a Service that is not there, nothing."""
    if entry.service is not None:
        touched.add(service_name(entry.namespace, entry.name))
        for piece in slices:
            touched.update(piece.addresses())


def _add(table: dict[bytes, Any], address: bytes, value: object) -> None:
    """File a value under an address: alone as nearly always, or with the others in a tuple."""
    found = table.get(address)
    if found is None:
        table[address] = value
    elif isinstance(found, tuple):
        if value not in found:
            table[address] = (*found, value)
    elif found != value:
        table[address] = (found, value)


def _remove(table: dict[bytes, Any], address: bytes, value: object) -> None:
    """Take a value from under an address."""
    found = table.get(address)
    if isinstance(found, tuple):
        rest = tuple(each for each in found if each != value)
        table[address] = rest if len(rest) > 1 else rest[0]
    elif found == value:
        del table[address]
