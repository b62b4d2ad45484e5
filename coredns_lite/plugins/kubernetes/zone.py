"""A Kubernetes zone: what it says of any name inside it (Kubernetes DNS specification 1.1.0).

    <zone>                                     SOA, NS
    dns-version.<zone>                         TXT
    ns.dns.<zone>                              A, AAAA: where nothing better is known of the name server
    svc, pod, <ns>.svc, <ns>.pod               nothing of their own, but they exist
    <svc>.<ns>.svc                             A, AAAA, SRV; CNAME of an ExternalName
    <endpoint>.<svc>.<ns>.svc                  A, AAAA, SRV
    _<port>._<protocol>.<svc>.<ns>.svc         A, AAAA, SRV
    <1-2-3-4>.<ns>.pod                         A, AAAA

Answers are built from the index when they are asked for; whoever asks keeps them until something changes.
What a Service's names say is `service_answers`' business, what an ExternalName leads to outside the zone
`external_name`'s.
"""

from collections.abc import Hashable, Iterable, Iterator
from typing import Literal

import msgspec
from msgspec.structs import replace

from coredns_lite.plugins.kubernetes.facts import Port, ServiceFacts, dash, service_name, undash
from coredns_lite.plugins.kubernetes.index import APEX, EVERYTHING, Entry, Index
from coredns_lite.plugins.kubernetes.name_servers import NS_DNS, NameServer, find_name_servers
from coredns_lite.plugins.kubernetes.service_answers import (
    ServiceAnswers,
    address_record,
    by_port,
    endpoints_of,
)
from coredns_lite.wire.names import MAX_NAME_BYTES, encode_label, label_offsets
from coredns_lite.wire.query import Query
from coredns_lite.wire.record import (
    Record,
    RecordType,
    name_record,
    soa_record,
    txt_record,
)
from coredns_lite.wire.reply import Answer, Rcode

PodMode = Literal["disabled", "insecure", "verified"]

SPECIFICATION_VERSION = b"1.1.0"
# CoreDNS's (plugin/kubernetes/kubernetes.go).
_VERSION_TTL_S = 28_800
_DNS_VERSION = encode_label(b"dns-version")
_POD = encode_label(b"pod")


class ZoneOptions(msgspec.Struct, frozen=True):
    """What of an index a zone shows, and for how long."""

    ttl_s: int = 5
    pods: PodMode = "disabled"
    ignores_empty: bool = False
    """Whether a Service with cluster IPs does not exist while none of its endpoints is ready."""


class Lead(msgspec.Struct, frozen=True):
    """The name that an ExternalName Service stands for."""

    target: bytes


class Zone:
    """The names of a cluster under one origin (wire form, lower case).

    `own` are the packed addresses by which others reach this program.
    """

    def __init__(
        self, origin: bytes, index: Index, options: ZoneOptions | None = None, own: Iterable[bytes] = ()
    ) -> None:
        self.origin = origin
        self.index = index
        self.options = options or ZoneOptions()
        self._own = tuple(own)
        self._services = ServiceAnswers(origin, self.options.ttl_s, ignores_empty=self.options.ignores_empty)

    def answer(self, query: Query) -> Answer | Lead:
        """Answer a question for a name in this zone, or say which name to ask for instead.

        Before the first snapshot every name is SERVFAIL: a client tries elsewhere or again, and does not
        remember, as it would with NXDOMAIN, that the name is not there.
        """
        if not self.index.is_complete:
            return Answer(Rcode.SERVFAIL, authority=self.soa())
        name, zone_at = query.name, len(query.name) - len(self.origin)
        labels = [name[at + 1 : at + 1 + name[at]] for at in label_offsets(name) if at < zone_at]
        about = _about(labels, name[:zone_at])
        found = self._find(labels, query.qtype)
        if found is None:
            return Answer(Rcode.NXDOMAIN, authority=self.soa(), about=about)
        if isinstance(found, Lead):
            return found
        # A name without records of this type, ANY included as in CoreDNS: NODATA (RFC 2308 section 2.2).
        return replace(found, about=about) if found.answers else Answer(authority=self.soa(), about=about)

    def soa(self, origin: bytes = b"") -> tuple[Record]:
        """Return the SOA of this zone, or of another one over the same index."""
        return (soa_record(origin or self.origin, self.index.serial, self.options.ttl_s),)

    def name_servers(self) -> list[NameServer]:
        """Return the zone's name servers; their names are relative to it."""
        return find_name_servers(self.index, self._own, MAX_NAME_BYTES - len(self.origin))

    def apex(self, qtype: int, origin: bytes) -> Answer:
        """Answer for the apex of this zone, or of another one that has the same name servers."""
        if qtype == RecordType.SOA:
            return Answer(answers=self.soa(origin))
        if qtype != RecordType.NS:
            return Answer()
        servers = self.name_servers()
        names = dict.fromkeys(server.name + self.origin for server in servers)
        return Answer(
            answers=tuple(name_record(RecordType.NS, name, self.options.ttl_s) for name in names),
            additional=tuple(
                address_record(server.address, self.options.ttl_s, server.name + self.origin)
                for server in servers
            ),
        )

    def offered_soa(self) -> Record | None:
        """Return the SOA for a transfer; None before the first snapshot (law 4)."""
        return self.soa()[0] if self.index.is_complete else None

    def records(self) -> Iterator[tuple[bytes, Record]]:
        """Yield every record of the zone as it is now with its owner, the SOA first and last (RFC 5936).

        Each comes once: slices may name an endpoint twice, and a Service may be the name server.
        """
        if not self.index.is_complete:
            return
        soa = (self.origin, self.soa()[0])
        servers = self.name_servers()
        pods = list(_pod_names(self.index)) if self.options.pods == "verified" else []
        # All that may change is taken now: the reader may be slow.
        entries = self.index.copy_entries()
        yield soa
        for name in dict.fromkeys(server.name for server in servers):
            yield self.origin, name_record(RecordType.NS, name + self.origin, self.options.ttl_s)
        for server in servers:
            # One that is a Service is among the Services.
            if server.name == NS_DNS:
                yield server.name + self.origin, address_record(server.address, self.options.ttl_s)
        yield _DNS_VERSION + self.origin, self._version()
        for entry in entries:
            yield from dict.fromkeys(self._records_of(entry))
        for namespace, label, address in pods:
            owner = encode_label(label) + encode_label(namespace.encode()) + _POD + self.origin
            yield owner, address_record(address, self.options.ttl_s)
        yield soa

    def _records_of(self, entry: Entry) -> Iterator[tuple[bytes, Record]]:
        """Yield the records at a Service's name and below it."""
        base = service_name(entry.namespace, entry.name) + self.origin
        service = entry.service
        if service is None or not self._services.exists(entry, service):
            return
        if service.is_external:
            yield base, name_record(RecordType.CNAME, service.external_name, self.options.ttl_s)
            return
        endpoints = endpoints_of(entry)
        for rtype in (RecordType.A, RecordType.AAAA):
            for record in _answers(self._services.answer(entry, service, rtype)):
                yield base, record
        for address, label, _ports in endpoints:
            yield encode_label(label) + base, address_record(address, self.options.ttl_s)
        ports = {port for *_, ports in endpoints for port in ports} if service.is_headless else service.ports
        for port in sorted(ports, key=by_port):
            if port.name:
                owner = encode_label(b"_" + port.name) + encode_label(b"_" + port.protocol) + base
                for record in _answers(self._services.answer(entry, service, RecordType.SRV, port)):
                    yield owner, record

    def _find(self, labels: list[bytes], qtype: int) -> Answer | Lead | None:
        """Find what there is of a type at a name; None if there is no such name."""
        found: Answer | Lead | None = None
        match labels:
            case []:
                found = self.apex(qtype, self.origin)
            case [b"dns-version"]:
                found = Answer(answers=(self._version(),)) if qtype == RecordType.TXT else Answer()
            case [b"dns"] | [b"svc"] | [b"pod"]:
                found = Answer()
            case [b"ns", b"dns"]:
                found = self._services.addresses((server.address for server in self.name_servers()), qtype)
            case [*rest, namespace, b"svc"]:
                found = self._find_service(rest, namespace.decode("latin-1"), qtype)
            case [*rest, namespace, b"pod"]:
                found = self._find_pod(rest, namespace.decode("latin-1"), qtype)
        return found

    def _version(self) -> Record:
        return txt_record(SPECIFICATION_VERSION, _VERSION_TTL_S)

    def _find_service(self, rest: list[bytes], namespace: str, qtype: int) -> Answer | Lead | None:
        if not self.index.has_namespace(namespace):
            return None
        if not rest:
            return Answer()
        *below, name = rest
        entry = self.index.entry(namespace, name.decode("latin-1"))
        service = entry.service if entry else None
        if entry is None or service is None or not self._services.exists(entry, service):
            return None
        if not service.is_external:
            return self._find_below(below, entry, service, qtype)
        if below:
            return None
        return Answer() if qtype == RecordType.ANY else Lead(service.external_name)

    def _find_below(
        self, below: list[bytes], entry: Entry, service: ServiceFacts, qtype: int
    ) -> Answer | None:
        """Find what there is at a Service's name, or below it."""
        found = None
        match below:
            case []:
                found = self._services.answer(entry, service, qtype)
            case [label]:
                found = self._services.endpoint(entry, label, qtype)
            # An unnamed port has no name here.
            case [port, protocol] if port[:1] == protocol[:1] == b"_" and port[1:]:
                found = self._services.answer(entry, service, qtype, Port(port[1:], protocol[1:], 0))
        return found

    def _find_pod(self, rest: list[bytes], namespace: str, qtype: int) -> Answer | None:
        if self.options.pods == "disabled" or not self.index.has_namespace(namespace):
            return None
        if not rest:
            return Answer()
        address = undash(rest[0]) if len(rest) == 1 else None
        if address is None:
            return None
        if self.options.pods == "verified" and all(
            pod.metadata.namespace != namespace for pod in self.index.pods_at(address)
        ):
            return None
        return self._services.addresses((address,), qtype)


def _about(labels: list[bytes], relative: bytes) -> Hashable:
    """Say what a change has to touch for a name to be answered otherwise."""
    match labels:
        case [*below, _, _, b"svc"]:
            return relative[sum(map(len, below)) + len(below) :]
        case [label, _, b"pod"]:
            return undash(label)
        case [] | [b"ns", b"dns"]:
            return APEX
    return EVERYTHING


def _answers(answer: Answer | None) -> tuple[Record, ...]:
    return answer.answers if answer else ()


def _pod_names(index: Index) -> Iterator[tuple[str, bytes, bytes]]:
    """Yield namespace, label and address of each pod's names, each once."""
    seen: dict[tuple[str, bytes, bytes], None] = {}
    for address, pod in index.pods():
        if index.has_namespace(pod.metadata.namespace):
            seen[pod.metadata.namespace, dash(address), address] = None
    yield from seen
