"""The plugin `transfer`: who may have which zone, and what of it."""

from ipaddress import ip_address

import dns.message
import dns.rrset
import pytest

from coredns_lite.plugin import Client
from coredns_lite.transfers import Offer, offer_zone
from coredns_lite.wire.names import encode_name
from coredns_lite.wire.query import decode_query
from coredns_lite.wire.record import soa_record
from coredns_lite.wire.reply import Answer
from tests.coredns_lite.plugins.links import Place, Stub, build

SERIAL = 0xFFFFFFFF
LINES = """
transfer a.example {
    to 10.0.0.0/24
}
transfer a.example b.example {
    to 10.0.1.1
}
"""


def offer(zone: str) -> Offer:
    """Offer a zone that is an SOA alone."""
    soa = soa_record(encode_name(zone), SERIAL, 5)
    return Offer(lambda: soa, lambda: [(soa.owner, soa)] * 2)


def place() -> Place:
    """Offer some zones, of which one has nothing yet."""
    found = Place()
    for zone in ("a.example.", "b.example.", "c.example."):
        offer_zone(found, zone, offer(zone))
    offer_zone(found, "empty.a.example.", Offer(lambda: None, list))
    return found


def transfer(
    zone: str, client: str, rtype: str = "AXFR", serial: int | None = None, transport: str = "tcp"
) -> str:
    """Say what an asker gets: whole, SOA or an error."""
    query = dns.message.make_query(zone, rtype)
    if serial is not None:
        query.authority.append(dns.rrset.from_text(zone, 0, "IN", "SOA", f". . {serial} 0 0 0 0"))
    who = Client(ip_address(client), 4000, transport)  # type: ignore[arg-type]  # a text of the table's
    found = build(LINES, Stub(), place()).answer(decode_query(query.to_wire()), who)
    assert isinstance(found, Answer)
    if found.transfer:
        assert len([*found.transfer()]) == 2
        return "whole"
    return "SOA" if found.answers else found.rcode.name


@pytest.mark.parametrize(
    ("zone", "client", "said"),
    [
        pytest.param("a.example.", "10.0.0.7", "whole", id="the first line's"),
        pytest.param("a.example.", "10.0.1.1", "whole", id="for a peer of the second line"),
        pytest.param("b.example.", "10.0.1.1", "whole", id="the second line's"),
        pytest.param("b.example.", "10.0.0.7", "REFUSED", id="not for a peer of the first"),
        pytest.param("c.example.", "10.0.1.1", "REFUSED", id="no line's"),
        pytest.param("x.a.example.", "10.0.1.1", "REFUSED", id="no zone"),
        pytest.param("empty.a.example.", "10.0.0.7", "SERVFAIL", id="nothing is known of it yet"),
    ],
)
def test_who_has_what(zone: str, client: str, said: str) -> None:
    assert transfer(zone, client) == said


@pytest.mark.parametrize(
    ("rtype", "transport", "serial", "said"),
    [
        pytest.param("AXFR", "udp", None, "REFUSED", id="whole zones don't fit"),
        pytest.param("AXFR", "tls", None, "whole", id="over TLS"),
        pytest.param("IXFR", "tcp", None, "FORMERR", id="without the version that the peer has"),
        pytest.param("IXFR", "tcp", SERIAL, "SOA", id="up to date"),
        pytest.param("IXFR", "tcp", 3, "SOA", id="newer, past the end of the numbers"),
        pytest.param("IXFR", "tcp", SERIAL - 1, "whole", id="older"),
        pytest.param("IXFR", "udp", SERIAL - 1, "SOA", id="older, over UDP: there is news"),
    ],
)
def test_versions(rtype: str, transport: str, serial: int | None, said: str) -> None:
    """RFC 1995 sections 2 and 4, RFC 1982."""
    assert transfer("a.example.", "10.0.0.7", rtype, serial, transport) == said
