"""The names that a cluster's objects give, kept up to date object by object.

Names here are relative to the zone (wire form, lower case, no root label), so one index serves every zone
that the same objects are published under. A name is in the index if it exists; one that only stands above
others (an empty non-terminal, RFC 8020) has no answers. What is there:

    svc   pod                fixed
    <ns>.svc                 each namespace that a Namespace or a Service names: directories of manifests
                             often hold no Namespace objects
    <svc>.<ns>.svc           A and AAAA of the cluster IPs, or of a headless Service's ready endpoints; a
                             Service that has no address (headless without ready endpoints, ExternalName)
                             has no name either (Kubernetes DNS specification 1.1.0, section 2.4)
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address

from coredns_lite.message import Answer, build_answer
from coredns_lite.names import encode_label
from coredns_lite.records import RecordType, render_address
from nodeplane.kube.objects import EndpointSlice, Namespace, Object, ObjectKey, Service
from nodeplane.kube.source import Batch
from nodeplane.kube.store import Store
from nodeplane.reconcile.delta import diff

KINDS: tuple[type[Object], ...] = (Namespace, Service, EndpointSlice)
"""The kinds that the index is built from."""

Answers = Mapping[int, Answer]
"""The positive answers of one name by record type."""

Names = dict[bytes, Answers]

_SVC = encode_label(b"svc")
_FIXED_NAMES: Names = {_SVC: {}, encode_label(b"pod"): {}}


class NameIndex:
    """The relative names of one cluster, with their answers.

    One thread applies batches; others may call `find` meanwhile and see each name as it was or as it is.
    """

    def __init__(self, ttl_s: int) -> None:
        self.ttl_s = ttl_s
        self.is_complete = False
        """Whether a first snapshot was taken; before it nothing is known not to exist (law 4)."""
        self.serial = 0
        """When the names last changed, in seconds since 1970: the SOA's serial."""
        self._store = Store()
        self._names: Names = dict(_FIXED_NAMES)
        self._of_service: dict[tuple[str, str], Names] = {}
        self._namespace_members: defaultdict[str, set[ObjectKey]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._names)

    def find(self, name: bytes) -> Answers | None:
        """Return the answers of a name, or None if there is no such name."""
        return self._names.get(name)

    def names(self) -> Names:
        """Return a copy of everything in the index."""
        return dict(self._names)

    def apply(self, batch: Batch, now_s: int) -> bool:
        """Take a batch in, at a cost that depends on the batch alone; return whether any answer changes."""
        old: Names = {}
        new: Names = {}
        for namespace in self._move_members(batch):
            name = _namespace_name(namespace)
            if name in self._names:
                old[name] = {}
            if self._namespace_members.get(namespace):
                new[name] = {}
        for namespace, service_name in self._store.apply(batch):
            service = self._store.service(namespace, service_name)
            slices = self._store.slices(namespace, service_name)
            names = build_names(service, slices, self.ttl_s) if service else {}
            old |= self._of_service.pop((namespace, service_name), {})
            if names:
                self._of_service[namespace, service_name] = names
            new |= names
        change = diff(new, old)
        # A reader in between sees too much rather than too little: no name that stays is ever missing.
        self._names.update(change.upsert)
        for name in change.delete:
            del self._names[name]
        if not change and self.is_complete:
            return False
        self.serial = max(self.serial, now_s)
        self.is_complete = True
        return True

    def _move_members(self, batch: Batch) -> set[str]:
        """Note which objects make their namespace exist; return the namespaces that the batch names."""
        touched = set()
        for change in batch:
            key = change.key
            if key.kind is EndpointSlice:
                continue
            namespace = key.name if key.kind is Namespace else key.namespace
            touched.add(namespace)
            if change.new is not None:
                self._namespace_members[namespace].add(key)
                continue
            self._namespace_members[namespace].discard(key)
            if not self._namespace_members[namespace]:
                del self._namespace_members[namespace]
        return touched


def build_names(service: Service, slices: Iterable[EndpointSlice], ttl_s: int) -> Names:
    """Build the names of one Service; none if it has no address."""
    addresses = _addresses(service, slices)
    answers: dict[int, Answer] = {}
    for rtype, version in ((RecordType.A, 4), (RecordType.AAAA, 6)):
        # Sorted, so that answers depend on what there is and not on how it came (law 1).
        chosen = sorted((address for address in addresses if address.version == version), key=int)
        if chosen:
            answers[int(rtype)] = build_answer(render_address(address, ttl_s) for address in chosen)
    if not answers:
        return {}
    return {
        encode_label(service.metadata.name.encode()) + _namespace_name(service.metadata.namespace): answers
    }


def _addresses(service: Service, slices: Iterable[EndpointSlice]) -> set[IPv4Address | IPv6Address]:
    if not service.is_headless:
        return {ip_address(text) for text in service.spec.cluster_ips}
    return {
        ip_address(endpoint.addresses[0])
        for piece in slices
        if piece.address_type != "FQDN"
        for endpoint in piece.endpoints
        if endpoint.is_ready
    }


def _namespace_name(namespace: str) -> bytes:
    return encode_label(namespace.encode()) + _SVC
