"""Records in wire form, as dnspython reads them in a reply."""

from ipaddress import ip_address

import dns.message
import pytest

from coredns_lite.names import encode_name
from coredns_lite.records import RecordType, render_address, render_record, render_soa

HEADER = bytes.fromhex("0001 8400 0001 0001 0000 0000")
ZONE_OFFSET = 12 + len(b"\x01a")


@pytest.mark.parametrize(
    ("record", "text"),
    [
        pytest.param(render_address(ip_address("10.96.0.1"), 5), "a.example. 5 IN A 10.96.0.1", id="A"),
        pytest.param(render_address(ip_address("fd00::1"), 0), "a.example. 0 IN AAAA fd00::1", id="AAAA"),
        pytest.param(
            render_soa(ZONE_OFFSET, 17, 30),
            "example. 30 IN SOA ns.dns.example. hostmaster.example. 17 7200 1800 86400 30",
            id="SOA",
        ),
        pytest.param(
            render_soa(ZONE_OFFSET, 2**32 + 1, 3600),
            "example. 300 IN SOA ns.dns.example. hostmaster.example. 1 7200 1800 86400 3600",
            id="SOA: at most 300 s, serial of 32 bits",
        ),
        pytest.param(
            render_record(16, 9, b"\x01x", owner=encode_name("b.example")),
            'b.example. 9 IN TXT "x"',
            id="another owner",
        ),
    ],
)
def test_record(record: bytes, text: str) -> None:
    reply = dns.message.from_wire(HEADER + encode_name("a.example") + b"\0\x01\0\x01" + record)

    assert [str(rrset) for rrset in reply.answer] == [text]


def test_types_are_ianas() -> None:
    import dns.rdatatype

    assert {rtype.name: int(rtype) for rtype in RecordType} == {
        rtype.name: int(dns.rdatatype.from_text(rtype.name)) for rtype in RecordType
    }
