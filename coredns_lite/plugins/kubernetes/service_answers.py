"""What the names of one Service say: its own, its named ports' and its endpoints'."""

from collections.abc import Iterable

from coredns_lite.plugins.kubernetes.facts import IPV4_BYTES, Port, ServiceFacts, service_name
from coredns_lite.plugins.kubernetes.index import Entry
from coredns_lite.wire.names import MAX_NAME_BYTES, encode_label
from coredns_lite.wire.record import OF_QUESTION, Record, RecordType, srv_record
from coredns_lite.wire.reply import Answer

_TOTAL_WEIGHT = 100

Endpoint = tuple[bytes, bytes, tuple[Port, ...]]
"""A ready endpoint: its packed address, its label, the ports of its slice."""


class ServiceAnswers:
    """Builds the answers of a zone, given by its origin (wire form), for its Services.

    With `ignores_empty`, a Service with cluster IPs does not exist while none of its endpoints is ready.
    """

    def __init__(self, origin: bytes, ttl_s: int, *, ignores_empty: bool = False) -> None:
        self._origin = origin
        self._ttl_s = ttl_s
        self._ignores_empty = ignores_empty

    def exists(self, entry: Entry, service: ServiceFacts) -> bool:
        """Say whether a Service has a name: it leads to something, now."""
        if service.is_external:
            return bool(service.external_name)
        if service.is_headless:
            return entry.has_endpoints()
        if self._ignores_empty and not entry.has_endpoints():
            return False
        return bool(service.addresses)

    def answer(
        self, entry: Entry, service: ServiceFacts, qtype: int, wanted: Port | None = None
    ) -> Answer | None:
        """Answer for a Service, or for one of its named ports; None if it has no such port."""
        base = service_name(entry.namespace, entry.name) + self._origin
        if service.is_headless:
            endpoints = [
                (address, label, ports)
                for address, label, of in endpoints_of(entry)
                if (ports := _select(of, wanted)) or wanted is None
            ]
            return self._endpoints(base, endpoints, qtype) if endpoints else None
        ports = _select(service.ports, wanted)
        if wanted is not None and not ports:
            return None
        if qtype != RecordType.SRV:
            return self.addresses(service.addresses, qtype)
        return self._srv(
            [(base, port.number) for port in ports], [(base, each) for each in service.addresses]
        )

    def endpoint(self, entry: Entry, label: bytes, qtype: int) -> Answer | None:
        """Answer for the endpoints of one label; they may be several (specification, section 2.4.1)."""
        endpoints = [
            (address, label, piece.ports) for piece in entry.slices for address in piece.named(label)
        ]
        base = service_name(entry.namespace, entry.name) + self._origin
        return self._endpoints(base, endpoints, qtype) if endpoints else None

    def _endpoints(self, base: bytes, endpoints: list[Endpoint], qtype: int) -> Answer:
        if qtype != RecordType.SRV:
            return self.addresses((address for address, *_ in endpoints), qtype)
        named = [(encode_label(label) + base, address, ports) for address, label, ports in endpoints]
        # What does not fit into a name (RFC 1035 section 3.1) can't be told of.
        named = [each for each in named if len(each[0]) <= MAX_NAME_BYTES]
        targets = [(name, port.number) for name, _, ports in named for port in ports]
        return self._srv(targets, [(name, address) for name, address, ports in named if ports])

    def addresses(self, addresses: Iterable[bytes], qtype: int) -> Answer:
        """Answer with those of the type's family."""
        size_bytes = {int(RecordType.A): 4, int(RecordType.AAAA): 16}.get(qtype, 0)
        chosen = sorted({address for address in addresses if len(address) == size_bytes})
        return Answer(answers=tuple(Record(qtype, self._ttl_s, address) for address in chosen))

    def _srv(self, targets: list[tuple[bytes, int]], glue: list[tuple[bytes, bytes]]) -> Answer:
        """Answer with targets and ports, all of the same weight, and the targets' addresses."""
        unique = sorted(set(targets))
        weight = max(_TOTAL_WEIGHT // len(unique), 1) if unique else 0
        ttl_s = self._ttl_s
        return Answer(
            answers=tuple(srv_record(name, port, ttl_s, weight=weight) for name, port in unique),
            additional=tuple(
                address_record(address, ttl_s, name)
                for name, address in sorted(set(glue), key=lambda each: (each[0], len(each[1]), each[1]))
            ),
            zone=self._origin,
        )


def endpoints_of(entry: Entry) -> list[Endpoint]:
    """Return the ready endpoints of an entry."""
    return [(address, label, piece.ports) for piece in entry.slices for address, label in piece.endpoints()]


def _select(ports: tuple[Port, ...], wanted: Port | None) -> tuple[Port, ...]:
    """Return the ports of a name and protocol, or all of them."""
    if wanted is None:
        return ports
    return tuple(port for port in ports if port.name == wanted.name and port.protocol == wanted.protocol)


def by_port(port: Port) -> tuple[bytes, bytes, int]:
    """Order ports by name, protocol and number."""
    return port.name, port.protocol, port.number


def address_record(address: bytes, ttl_s: int, owner: bytes = OF_QUESTION) -> Record:
    """Make the A or AAAA record of a packed address."""
    rtype = RecordType.A if len(address) == IPV4_BYTES else RecordType.AAAA
    return Record(int(rtype), ttl_s, address, owner)
