"""A reverse zone over a cluster's addresses: their names (RFC 1035 section 3.5, RFC 3596 section 2.5).

A cluster IP leads to its Service, the address of a ready endpoint to the endpoint's name in each of its
Services.
"""

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address

from msgspec.structs import replace

from coredns_lite.plugins.kubernetes.facts import IPV4_BYTES, IPV6_BYTES, service_name
from coredns_lite.plugins.kubernetes.index import APEX, EVERYTHING, Entry
from coredns_lite.plugins.kubernetes.zone import Zone
from coredns_lite.wire.names import MAX_NAME_BYTES, encode_label, encode_name, label_offsets
from coredns_lite.wire.query import Query
from coredns_lite.wire.record import Record, RecordType, name_record
from coredns_lite.wire.reply import Answer, Rcode

# The zones of which all reverse zones are a part: how many labels an address has there, and of which base.
_PARENTS: Mapping[tuple[bytes, ...], tuple[int, int, int]] = {
    (b"in-addr", b"arpa"): (IPV4_BYTES, 10, 1),
    (b"ip6", b"arpa"): (2 * IPV6_BYTES, 16, 2),
}


def is_reverse(zone: str) -> bool:
    """Whether a zone (text) holds addresses."""
    return f".{zone}".endswith((".in-addr.arpa.", ".ip6.arpa."))


class ReverseZone:
    """The addresses under one origin (wire form, lower case); their names are in the `primary` zone."""

    def __init__(self, origin: bytes, primary: Zone) -> None:
        self.origin = origin
        self.index = primary.index
        self._primary = primary

    def answer(self, query: Query) -> Answer:
        """Answer a question for a name in this zone."""
        soa = self._primary.soa(self.origin)
        if not self.index.is_complete:
            return Answer(Rcode.SERVFAIL, authority=soa)
        if query.name == self.origin:
            found = self._primary.apex(query.qtype, self.origin)
            return replace(found, about=APEX) if found.answers else Answer(authority=soa, about=APEX)
        address = decode_reverse(query.name)
        records = self._pointers(address, self.index.at(address)) if address else ()
        if records and query.qtype == RecordType.PTR:
            return Answer(answers=records, about=address)
        # Part of an address: that there is nothing below would be a claim too many (RFC 8020).
        rcode = Rcode.NOERROR if records or address == b"" else Rcode.NXDOMAIN
        return Answer(rcode, authority=soa, about=address or EVERYTHING)

    def offered_soa(self) -> Record | None:
        """Return the SOA for a transfer; None before the first snapshot."""
        return self._primary.soa(self.origin)[0] if self.index.is_complete else None

    def records(self) -> Iterator[tuple[bytes, Record]]:
        """Yield every record of the zone as it is now with its owner, the SOA first and last (RFC 5936)."""
        if not self.index.is_complete:
            return
        soa = (self.origin, self._primary.soa(self.origin)[0])
        servers = self._primary.apex(RecordType.NS, self.origin).answers
        # All that may change is taken now: the reader may be slow.
        places = self.index.copy_addresses()
        yield soa
        for record in servers:
            yield self.origin, record
        for address, entries in places:
            owner = encode_name(ip_address(address).reverse_pointer)
            if owner.endswith(self.origin):
                for record in self._pointers(address, entries):
                    yield owner, record
        yield soa

    def _pointers(self, address: bytes, entries: Sequence[Entry]) -> tuple[Record, ...]:
        names = [
            service_name(entry.namespace, entry.name)
            for entry in entries
            if entry.service is not None and address in entry.service.addresses
        ]
        if not names:
            names = [
                encode_label(label) + service_name(entry.namespace, entry.name)
                for entry in entries
                if entry.service is not None and not entry.service.is_external
                for piece in entry.slices
                for endpoint, label in piece.endpoints()
                if endpoint == address
            ]
        ttl_s = self._primary.options.ttl_s
        whole = dict.fromkeys(name + self._primary.origin for name in names)
        return tuple(
            name_record(RecordType.PTR, name, ttl_s) for name in whole if len(name) <= MAX_NAME_BYTES
        )


def decode_reverse(name: bytes) -> bytes | None:
    """Return the packed address that a (lower-case wire) name is the reverse of; empty for part of one.

    None for what is no part of any address.
    """
    labels = [name[at + 1 : at + 1 + name[at]] for at in label_offsets(name)]
    count, base, digits = _PARENTS.get(tuple(labels[-2:]), (0, 0, 0))
    parts = labels[-3::-1]
    if not parts or len(parts) > count:
        return None
    numbers = [_number(part, base, 16 if base == 16 else 256) for part in parts]
    if any(number < 0 for number in numbers):
        return None
    if len(parts) < count:
        return b""
    if digits == 1:
        return bytes(numbers)
    return bytes(high << 4 | low for high, low in zip(numbers[::2], numbers[1::2], strict=True))


def _number(label: bytes, base: int, limit: int) -> int:
    """Return the number that a label writes in the only way to write it, or -1."""
    try:
        number = int(label, base)
    except ValueError:
        return -1
    written = b"%x" % number if base == 16 else b"%d" % number
    return number if written == label and number < limit else -1
