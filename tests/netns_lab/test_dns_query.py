"""DNS questions and answers, against dnspython as the independent oracle."""

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netns_lab.dns_query import TYPE_AAAA, DnsAnswer, build_query, decode_addresses, decode_answer

NAME = "web.default.svc.cluster.local."


def reply(*records: str, rcode: dns.rcode.Rcode = dns.rcode.NOERROR) -> bytes:
    """Return a server's reply with these records in the answer."""
    message = dns.message.make_response(dns.message.make_query(NAME, "A", id=7))
    message.set_rcode(rcode)
    for record in records:
        owner, kind, data = record.split()
        message.answer.append(dns.rrset.from_text(owner, 5, "IN", kind, data))
    return message.to_wire()


def test_build_query() -> None:
    query = dns.message.from_wire(build_query(7, NAME))

    assert (query.id, query.flags) == (7, dns.flags.RD)
    assert query.question == dns.message.make_query(NAME, "A").question


@pytest.mark.parametrize(
    ("message", "addresses"),
    [
        pytest.param(reply(f"{NAME} A 10.96.0.80"), ["10.96.0.80"], id="one"),
        pytest.param(
            reply(f"{NAME} CNAME a.example.", "a.example. A 10.0.0.1", "a.example. A 10.0.0.2"),
            ["10.0.0.1", "10.0.0.2"],
            id="behind an alias",
        ),
        pytest.param(reply(), [], id="no data"),
        pytest.param(reply(rcode=dns.rcode.NXDOMAIN), [], id="no such name"),
        pytest.param(reply()[:11], None, id="cut in the header"),
        pytest.param(reply(f"{NAME} A 10.96.0.80")[:-9], None, id="cut in a record"),
        pytest.param(b"\0\x08" + reply()[2:], None, id="the answer to another question"),
        pytest.param(b"", None, id="nothing"),
    ],
)
def test_decode_addresses(message: bytes, addresses: list[str] | None) -> None:
    assert decode_addresses(7, message) == addresses


def test_ipv6() -> None:
    query = dns.message.from_wire(build_query(7, NAME, TYPE_AAAA))
    both = reply(f"{NAME} A 10.96.0.80", f"{NAME} AAAA fd00::1")

    assert query.question == dns.message.make_query(NAME, "AAAA").question
    assert decode_answer(7, both, TYPE_AAAA) == DnsAnswer("NOERROR", ("fd00::1",))
    assert decode_answer(7, reply(rcode=dns.rcode.REFUSED), TYPE_AAAA) == DnsAnswer("REFUSED")


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_garbage_is_no_reply_or_a_list(message: bytes) -> None:
    decoded = decode_addresses(7, reply()[:12] + message)

    assert decoded is None or all(isinstance(address, str) for address in decoded)
