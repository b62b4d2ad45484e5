"""Resource records as values: the owner, type, time to live and data of each, names uncompressed.

An empty owner stands for the question's name, which is what most records in a reply are about: such a record
can be made once and given to whoever asks. `coredns_lite.wire.reply` writes them down, compressed.
"""

import struct
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address

import msgspec

from coredns_lite.wire.names import encode_label

CLASS_IN = 1
CLASS_CH = 3
OF_QUESTION = b""
"""The owner of a record that is about the question's name."""

_SOA_NUMBERS = struct.Struct("!IIIII")
_SRV_NUMBERS = struct.Struct("!HHH")
_MAX_SOA_TTL_S = 300
_MAX_STRING_BYTES = 255


class RecordType(IntEnum):
    """The record types that coredns-lite itself tells apart (IANA, DNS parameters)."""

    A = 1
    NS = 2
    CNAME = 5
    SOA = 6
    PTR = 12
    HINFO = 13
    MX = 15
    TXT = 16
    AAAA = 28
    SRV = 33
    DNAME = 39
    OPT = 41
    IXFR = 251
    AXFR = 252
    ANY = 255


_OTHER_TYPE_NAMES = {
    35: "NAPTR",
    43: "DS",
    44: "SSHFP",
    46: "RRSIG",
    48: "DNSKEY",
    52: "TLSA",
    64: "SVCB",
    65: "HTTPS",
    256: "URI",
    257: "CAA",
}
_TYPE_NAMES = {int(rtype): rtype.name for rtype in RecordType} | _OTHER_TYPE_NAMES


def type_text(rtype: int) -> str:
    """Write a record type (RFC 3597 section 5 for those without a name here)."""
    return _TYPE_NAMES.get(rtype, f"TYPE{rtype}")


CLASS_NUMBERS = {"IN": CLASS_IN, "CS": 2, "CH": CLASS_CH, "HS": 4}
"""The classes of records by name (RFC 1035 section 3.2.4)."""
_CLASS_NAMES = {number: name for name, number in CLASS_NUMBERS.items()} | {254: "NONE", 255: "ANY"}


def class_text(rclass: int) -> str:
    """Write a class (RFC 3597 section 5 for those without a name)."""
    return _CLASS_NAMES.get(rclass, f"CLASS{rclass}")


_TYPE_NUMBERS = {name: rtype for rtype, name in _TYPE_NAMES.items()}
_MAX_TYPE = 0xFFFF


def record_type(text: str) -> int:
    """Read a record type, in any case.

    Raises:
        ValueError: it is none.
    """
    known = _TYPE_NUMBERS.get(text.upper())
    if known is not None:
        return known
    digits = text.upper().removeprefix("TYPE")
    if not (digits.isascii() and digits.isdigit() and digits != text) or int(digits) > _MAX_TYPE:
        raise ValueError(f"expected a record type, got {text!r}")
    return int(digits)


class Record(msgspec.Struct, frozen=True):
    """One record; `owner` is a wire name in the spelling to be written, or OF_QUESTION."""

    rtype: int
    ttl_s: int
    rdata: bytes
    owner: bytes = OF_QUESTION
    rclass: int = CLASS_IN


def address_record(address: IPv4Address | IPv6Address, ttl_s: int, owner: bytes = OF_QUESTION) -> Record:
    """Build the A or AAAA record of an address."""
    rtype = RecordType.A if address.version == 4 else RecordType.AAAA
    return Record(int(rtype), ttl_s, address.packed, owner)


def name_record(rtype: RecordType, target: bytes, ttl_s: int, owner: bytes = OF_QUESTION) -> Record:
    """Build a record whose data is one name: CNAME, NS, PTR, DNAME."""
    return Record(int(rtype), ttl_s, target, owner)


def srv_record(
    target: bytes, port: int, ttl_s: int, *, priority: int = 0, weight: int = 0, owner: bytes = OF_QUESTION
) -> Record:
    """Build an SRV record (RFC 2782)."""
    return Record(int(RecordType.SRV), ttl_s, _SRV_NUMBERS.pack(priority, weight, port) + target, owner)


def txt_record(text: bytes, ttl_s: int, owner: bytes = OF_QUESTION, rclass: int = CLASS_IN) -> Record:
    """Build a TXT record of one text, cut into strings of at most 255 bytes (RFC 1035 section 3.3.14)."""
    pieces = [text[at : at + _MAX_STRING_BYTES] for at in range(0, len(text), _MAX_STRING_BYTES)] or [b""]
    rdata = b"".join(bytes((len(piece),)) + piece for piece in pieces)
    return Record(int(RecordType.TXT), ttl_s, rdata, owner, rclass)


def soa_record(zone: bytes, serial: int, ttl_s: int) -> Record:
    """Build the SOA of a zone (wire name).

    The names and timers are CoreDNS's (plugin/backend_lookup.go, SOA). The negative TTL (RFC 2308) is the
    zone's own `ttl_s`, the record's is that too but at most 300 s.
    """
    mname = encode_label(b"ns") + encode_label(b"dns") + zone
    rname = encode_label(b"hostmaster") + zone
    numbers = _SOA_NUMBERS.pack(serial & 0xFFFFFFFF, 7200, 1800, 86400, ttl_s)
    return Record(int(RecordType.SOA), min(ttl_s, _MAX_SOA_TTL_S), mname + rname + numbers, owner=zone)


def soa_serial(soa: Record) -> int:
    """Return the serial number of an SOA record."""
    return int.from_bytes(soa.rdata[-_SOA_NUMBERS.size : 4 - _SOA_NUMBERS.size])
