"""Replies of other servers: dnspython writes them, and reads what we make of them."""

import struct

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coredns_lite.wire.query import decode_query
from coredns_lite.wire.record import OF_QUESTION, Record
from coredns_lite.wire.reply import MAX_TCP_REPLY_BYTES, Answer, Rcode, render_reply
from coredns_lite.wire.response import Response, ResponseFormatError, decode_response, is_reply_to

NAME = "Web.Example.org"
QUERY = dns.message.make_query(NAME, "ANY", id=0xBEEF)
QUESTION = QUERY.to_wire()[12:]


def reply(*answers: str) -> dns.message.Message:
    made = dns.message.make_response(QUERY)
    for text in answers:
        owner, ttl, rtype, rdata = text.split(None, 3)
        made.answer.append(dns.rrset.from_text(owner, int(ttl), "IN", rtype, rdata))
    return made


@pytest.mark.parametrize(
    "record",
    [
        "web.example.org. 5 A 10.0.0.1",
        "web.example.org. 5 AAAA fd00::1",
        "web.example.org. 5 NS ns.example.org.",
        "web.example.org. 5 CNAME www.example.org.",
        "web.example.org. 5 PTR a.Example.ORG.",
        "web.example.org. 5 MX 10 mail.example.org.",
        "example.org. 5 SOA ns.example.org. root.example.org. 1 2 3 4 5",
        "web.example.org. 5 SRV 1 2 80 web.example.org.",
        'web.example.org. 5 NAPTR 1 2 "u" "sip" "" sip.example.org.',
        "web.example.org. 5 RP a.example.org. b.example.org.",
        "web.example.org. 5 AFSDB 1 a.example.org.",
        "web.example.org. 5 RT 1 a.example.org.",
        "web.example.org. 5 PX 1 a.example.org. b.example.org.",
        "web.example.org. 5 KX 1 a.example.org.",
        "web.example.org. 5 DNAME example.net.",
        'web.example.org. 5 TXT "one" "two"',
        'web.example.org. 5 CAA 0 issue "ca.example"',
        "web.example.org. 5 HTTPS 1 . alpn=h2",
        "web.example.org. 5 TYPE4711 \\# 3 abcdef",
        ". 5 NS a.root-servers.net.",
    ],
)
def test_a_record_comes_through(record: str) -> None:
    """What is decoded and written again is the same record, whatever was compressed."""
    sent = reply(record, "web.example.org. 9 HINFO again again")
    response = decode_response(sent.to_wire())
    wire = render_reply(decode_query(QUERY.to_wire()), Answer(answers=response.answers), MAX_TCP_REPLY_BYTES)

    assert dns.message.from_wire(wire).answer == sent.answer
    assert response.answers[-1] == Record(13, 9, b"\5again\5again", OF_QUESTION)


def test_header_and_sections() -> None:
    sent = reply("web.example.org. 5 A 10.0.0.1")
    sent.authority.append(dns.rrset.from_text("example.org.", 6, "IN", "NS", "ns.example.org."))
    sent.additional.append(dns.rrset.from_text("ns.example.org.", 7, "IN", "A", "10.0.0.2"))
    sent.flags |= dns.flags.AA
    sent.use_edns(0, options=[])
    sent.set_rcode(dns.rcode.BADVERS)
    owner = b"\x07Example\x03org\0"

    assert decode_response(sent.to_wire()) == Response(
        0xBEEF,
        0x8500,
        Rcode.BADVERS,
        (Record(1, 5, bytes((10, 0, 0, 1)), OF_QUESTION),),
        # The owner is a pointer into the question, in whose spelling it comes.
        (Record(2, 6, b"\2ns" + owner, owner),),
        (Record(1, 7, bytes((10, 0, 0, 2)), b"\2ns" + owner),),
    )


HEADER = bytes.fromhex("beef 8180 0001 0001 0000 0000")


def record(rtype: int, rdata: bytes, *, ttl_s: int = 5, length: int | None = None) -> bytes:
    size_bytes = len(rdata) if length is None else length
    return HEADER + QUESTION + b"\xc0\x0c" + struct.pack("!HHIH", rtype, 1, ttl_s, size_bytes) + rdata


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(HEADER[:11], id="part of a header"),
        pytest.param(b"\xbe\xef\1\0" + HEADER[4:] + QUESTION, id="a query"),
        pytest.param(HEADER[:4] + b"\0\2" + HEADER[6:] + QUESTION * 2, id="two questions"),
        pytest.param(HEADER + QUESTION, id="no record where one is said to be"),
        pytest.param(record(1, b"\x0a\0\0"), id="A of three bytes"),
        pytest.param(record(28, bytes(4)), id="AAAA of four bytes"),
        pytest.param(record(1, bytes(4), length=5), id="data past the end"),
        pytest.param(record(5, b"\3www\0\0"), id="bytes behind a name"),
        pytest.param(record(5, b"\3www"), id="a name past the end"),
        pytest.param(record(5, b"\xc0\xff"), id="a pointer past the end"),
        pytest.param(record(5, b"\x80a\0"), id="a reserved label"),
        pytest.param(record(6, b"\0\0" + bytes(19)), id="SOA with a byte too few"),
        pytest.param(record(33, bytes(6)), id="SRV without target"),
        pytest.param(record(35, bytes(4) + b"\1a\1b\x40c\0"), id="NAPTR whose string is too long"),
        pytest.param(record(24, bytes(18) + b"\2ab\0", length=20), id="SIG whose name is too long"),
        pytest.param(HEADER[:3] + b"\x8b" + HEADER[4:] + QUESTION + bytes(20), id="an unassigned code"),
    ],
)
def test_refused(packet: bytes) -> None:
    with pytest.raises(ResponseFormatError):
        decode_response(packet)


@pytest.mark.parametrize(
    ("packet", "records"),
    [
        pytest.param(record(1, bytes(4), ttl_s=0x80000000), (Record(1, 0, bytes(4)),), id="a negative TTL"),
        pytest.param(record(1, bytes(4)) + b"junk", (Record(1, 5, bytes(4)),), id="bytes behind the end"),
        pytest.param(record(16, b""), (Record(16, 5, b""),), id="no data"),
        pytest.param(record(250, b"secret"), (), id="TSIG is not for clients"),
    ],
)
def test_accepted(packet: bytes, records: tuple[Record, ...]) -> None:
    assert decode_response(packet).answers == records


@pytest.mark.parametrize(
    ("packet", "is_reply"),
    [
        pytest.param(HEADER + QUESTION, True, id="reply"),
        pytest.param(HEADER + QUESTION[:-4].upper() + QUESTION[-4:], True, id="another spelling"),
        pytest.param(b"\0\0" + HEADER[2:] + QUESTION, False, id="id"),
        pytest.param(HEADER + QUESTION[:-3] + b"\0\0\1", False, id="type"),
        pytest.param(HEADER + b"\3Wab" + QUESTION[4:], False, id="name"),
        pytest.param(HEADER + QUESTION[:-2], False, id="cut"),
        pytest.param(bytes.fromhex("beef 8181 0000 0000 0000 0000"), True, id="FORMERR without question"),
        pytest.param(bytes.fromhex("beef 8180 0000 0000 0000 0000"), False, id="NOERROR without question"),
        pytest.param(bytes.fromhex("beef 0181 0000 0000 0000 0000"), False, id="no reply"),
        pytest.param(b"\xbe\xef\x81", False, id="too short"),
    ],
)
def test_is_reply_to(packet: bytes, is_reply: bool) -> None:
    assert is_reply_to(packet, 0xBEEF, QUESTION) == is_reply


def test_types_are_not_lower_cased() -> None:
    """Type 65 and type 97 differ by a letter's bit."""
    asked = QUESTION[:-4] + b"\0\x41\0\1"

    assert not is_reply_to(HEADER + QUESTION[:-4] + b"\0\x61\0\1", 0xBEEF, asked)


@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda tail: record(5, b"\0")[:-13] + tail))
@settings(deadline=None)
def test_any_bytes(packet: bytes) -> None:
    """Any bytes are a value that can be written into a reply, or refused."""
    is_reply_to(packet, 0xBEEF, QUESTION)
    try:
        response = decode_response(packet)
    except ResponseFormatError:
        return
    answer = Answer(response.rcode, response.answers, response.authority, response.additional)
    render_reply(decode_query(QUERY.to_wire()), answer, MAX_TCP_REPLY_BYTES)


@given(st.data())
@settings(deadline=None)
def test_any_mutation(data: st.DataObject) -> None:
    wire = bytearray(
        reply(
            "web.example.org. 5 SOA ns.example.org. root.example.org. 1 2 3 4 5",
            "web.example.org. 5 MX 10 mail.example.org.",
            'a.example.org. 5 NAPTR 1 2 "u" "sip" "" sip.example.org.',
        ).to_wire()
    )
    for _ in range(data.draw(st.integers(1, 4))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    try:
        response = decode_response(bytes(wire))
    except ResponseFormatError:
        return
    answer = Answer(response.rcode, response.answers, response.authority, response.additional)
    render_reply(decode_query(QUERY.to_wire()), answer, MAX_TCP_REPLY_BYTES)
