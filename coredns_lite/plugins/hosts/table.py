"""The lines of a hosts file (hosts(5)) as answers."""

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address

import msgspec

from coredns_lite.wire.names import NameFormatError, encode_name, lower_name
from coredns_lite.wire.record import Record, RecordType, address_record, name_record
from coredns_lite.wire.reply import CONFIGURATION, Answer

Address = IPv4Address | IPv6Address


class HostTable(msgspec.Struct, frozen=True):
    """Answers by name (lower-case wire form) and type, and those about an address by its reverse name."""

    names: Mapping[bytes, Mapping[int, Answer]]
    pointers: Mapping[bytes, Answer]


def parse_hosts(text: str, ttl_s: int, plugin: str = "") -> HostTable:
    """Parse a hosts file; a line, or a name in it, that makes no sense is passed over, as resolvers do."""
    # Each record once, in the order of the file: dictionaries, as thousands of names may have one address.
    names: dict[bytes, dict[int, dict[Record, None]]] = {}
    pointers: dict[bytes, dict[Record, None]] = {}
    for line in text.splitlines():
        address, hosts = _parse_line(line)
        if address is None or not hosts:
            continue
        record = address_record(address, ttl_s)
        reverse = encode_name(address.reverse_pointer)
        for host in hosts:
            names.setdefault(host, {}).setdefault(record.rtype, {})[record] = None
            pointers.setdefault(reverse, {})[name_record(RecordType.PTR, host, ttl_s)] = None

    def answer(records: Iterable[Record]) -> Answer:
        return Answer(answers=tuple(records), plugin=plugin, about=CONFIGURATION)

    return HostTable(
        {
            name: {rtype: answer(records) for rtype, records in by_type.items()}
            for name, by_type in names.items()
        },
        {name: answer(records) for name, records in pointers.items()},
    )


def is_entry(line: str) -> bool:
    """Whether a line is an address with at least one name."""
    address, hosts = _parse_line(line)
    return address is not None and bool(hosts)


def _parse_line(line: str) -> tuple[Address | None, list[bytes]]:
    words = line.partition("#")[0].split()
    if not words:
        return None, []
    try:
        # An interface (fe80::1%eth0) means nothing to others.
        address = ip_address(words[0].partition("%")[0])
    except ValueError:
        return None, []
    hosts = []
    for word in words[1:]:
        try:
            hosts.append(lower_name(encode_name(word)))
        except NameFormatError:
            continue
    return address, hosts
