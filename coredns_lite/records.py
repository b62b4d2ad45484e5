"""Resource records in wire form (RFC 1035 section 3.2.1), ready to be copied into a reply.

An owner is always a pointer into the question, at offset 12 of every reply: two bytes, and it echoes the
client's own spelling of the name for free (draft-vixie-dnsext-dns0x20).
"""

import struct
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address

from coredns_lite.names import encode_label

CLASS_IN = 1
QUESTION_OFFSET = 12
OWNER_IS_QUESTION = struct.pack("!H", 0xC000 | QUESTION_OFFSET)

_FIXED = struct.Struct("!HHIH")
_SOA_NUMBERS = struct.Struct("!IIIII")


class RecordType(IntEnum):
    """The record types that coredns-lite itself tells apart (IANA, DNS parameters)."""

    A = 1
    SOA = 6
    AAAA = 28
    OPT = 41
    IXFR = 251
    AXFR = 252


def render_record(rtype: int, ttl_s: int, rdata: bytes, owner: bytes = OWNER_IS_QUESTION) -> bytes:
    """Render one record of class IN."""
    return owner + _FIXED.pack(rtype, CLASS_IN, ttl_s, len(rdata)) + rdata


def render_address(address: IPv4Address | IPv6Address, ttl_s: int) -> bytes:
    """Render the A or AAAA record of an address."""
    rtype = RecordType.A if address.version == 4 else RecordType.AAAA
    return render_record(rtype, ttl_s, address.packed)


def render_soa(zone_offset: int, serial: int, ttl_s: int) -> bytes:
    """Render the SOA of the zone whose name stands at `zone_offset` of the reply, inside the question.

    The names and timers are CoreDNS's (plugin/backend_lookup.go, SOA). The negative TTL (RFC 2308) is the
    zone's own `ttl_s`, the record's is that too but at most 300 s.
    """
    zone = struct.pack("!H", 0xC000 | zone_offset)
    mname = encode_label(b"ns") + encode_label(b"dns") + zone
    rname = encode_label(b"hostmaster") + zone
    numbers = _SOA_NUMBERS.pack(serial & 0xFFFFFFFF, 7200, 1800, 86400, ttl_s)
    return render_record(RecordType.SOA, min(ttl_s, 300), mname + rname + numbers, owner=zone)
