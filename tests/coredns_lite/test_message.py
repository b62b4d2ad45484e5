"""Queries from bytes and replies to bytes, with dnspython on the other side."""

import dns.edns
import dns.flags
import dns.message
import dns.name
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coredns_lite.message import (
    Answer,
    Edns,
    MessageFormatError,
    Query,
    Rcode,
    build_answer,
    decode_query,
    is_query,
    opcode,
    render_error,
    render_reply,
)
from coredns_lite.names import encode_name
from coredns_lite.records import render_record

HEADER = bytes.fromhex("beef 0100 0001 0000 0000 0000")
QUESTION = b"\x03wEb\x04team\0" + bytes.fromhex("0001 0001")
PLAIN = HEADER + QUESTION

OPT = bytes.fromhex("00 0029 04d0 00 00 8000 0000")
WITH_OPT = HEADER[:10] + b"\0\1" + QUESTION + OPT

QUERY = Query(0xBEEF, 0x0100, QUESTION, b"\x03web\x04team\0", 1, 1)


def with_opt(size_bytes: int, *, dnssec_ok: bool = False) -> Query:
    edns = Edns(size_bytes, 0, dnssec_ok, has_options=False)
    return Query(QUERY.id, QUERY.flags, QUESTION, QUERY.name, 1, 1, edns)


def with_counts(answers: int, authorities: int, additionals: int, tail: bytes) -> bytes:
    counts = (1, answers, authorities, additionals)
    return HEADER[:4] + b"".join(count.to_bytes(2, "big") for count in counts) + QUESTION + tail


SOA_RECORD = render_record(6, 0, encode_name("a") * 2 + bytes(20))


@pytest.mark.parametrize(
    ("packet", "query"),
    [
        pytest.param(PLAIN, QUERY, id="plain"),
        pytest.param(WITH_OPT, with_opt(1232, dnssec_ok=True), id="EDNS, DO"),
        pytest.param(
            WITH_OPT[:-2] + bytes.fromhex("000c 000a 0008 0102030405060708"),
            Query(0xBEEF, 0x0100, QUESTION, QUERY.name, 1, 1, Edns(1232, 0, True, has_options=True)),
            id="EDNS with a cookie",
        ),
        pytest.param(with_counts(0, 1, 0, SOA_RECORD), QUERY, id="records that mean nothing here"),
        pytest.param(
            with_counts(1, 1, 2, SOA_RECORD * 3 + OPT), with_opt(1232, dnssec_ok=True), id="OPT behind others"
        ),
        pytest.param(
            HEADER + b"\0" + bytes.fromhex("0041 0003"),
            Query(0xBEEF, 0x0100, b"\0\0\x41\0\x03", b"\0", 65, 3),
            id="root, any type and class; the type is not lower-cased",
        ),
    ],
)
def test_decode(packet: bytes, query: Query) -> None:
    assert decode_query(packet) == query
    assert is_query(packet)
    assert opcode(packet) == 0


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(HEADER, id="no question though it says so"),
        pytest.param(HEADER[:4] + bytes(8), id="no question (RFC 9619)"),
        pytest.param(HEADER[:4] + b"\0\2" + bytes(6) + QUESTION * 2, id="two questions (RFC 9619)"),
        pytest.param(PLAIN[:-1], id="question cut"),
        pytest.param(PLAIN + b"\0", id="more than it says"),
        pytest.param(HEADER + b"\xc0\x0c" + QUESTION[-4:], id="pointer to itself as the name"),
        pytest.param(HEADER + b"\xc0\x04" + QUESTION[-4:], id="pointer into the header as the name"),
        pytest.param(HEADER + b"\x40" + bytes(64) + b"\0" + QUESTION[-4:], id="label of 64 bytes"),
        pytest.param(HEADER + (b"\x3f" + bytes(63)) * 4 + b"\0" + QUESTION[-4:], id="name of 257 bytes"),
        pytest.param(WITH_OPT[:-1], id="OPT cut"),
        pytest.param(WITH_OPT + b"\0", id="more than it says, with EDNS"),
        pytest.param(WITH_OPT[:-2] + b"\0\4", id="OPT without its rdata"),
        pytest.param(WITH_OPT[:-2] + b"\0\3\0\x0a\0", id="half an option"),
        pytest.param(WITH_OPT[:-2] + b"\0\5\0\x0a\0\2\0", id="option longer than OPT"),
        pytest.param(with_counts(0, 0, 2, OPT * 2), id="two OPTs (RFC 6891 section 6.1.1)"),
        pytest.param(with_counts(0, 0, 1, b"\x01a" + OPT), id="OPT not of the root"),
        pytest.param(with_counts(1, 0, 0, OPT), id="OPT as an answer"),
        pytest.param(with_counts(0, 1, 0, OPT), id="OPT as authority"),
        pytest.param(with_counts(65535, 65535, 65535, b""), id="counts without records"),
        pytest.param(with_counts(0, 0, 1, b"\x80" + SOA_RECORD), id="owner with a reserved label type"),
        pytest.param(with_counts(0, 0, 1, b"\xc0"), id="half a pointer as an owner"),
    ],
)
def test_decode_refuses(packet: bytes) -> None:
    with pytest.raises(MessageFormatError):
        decode_query(packet)


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(HEADER[:11], id="half a header"),
        pytest.param(b"\xbe\xef\x81" + PLAIN[3:], id="a reply"),
    ],
)
def test_not_to_be_replied_to(packet: bytes) -> None:
    assert not is_query(packet)


@given(st.binary(max_size=64).map(HEADER.__add__) | st.binary(min_size=12, max_size=100))
@settings(deadline=None)
def test_decode_any_bytes(packet: bytes) -> None:
    """Any bytes are a query or refused, and a query is what dnspython reads too."""
    try:
        query = decode_query(packet)
    except MessageFormatError:
        return
    read = dns.message.from_wire(HEADER[:4] + packet[4:6] + bytes(6) + query.question, question_only=True)
    (question,) = read.question
    assert question.name.to_wire() == query.question[:-4]
    assert (question.rdtype, question.rdclass) == (query.qtype, query.qclass)


@pytest.mark.parametrize(
    ("query", "answer", "flags", "rcode", "edns"),
    [
        pytest.param(QUERY, build_answer(), "QR AA RD", 0, None, id="RD is repeated"),
        pytest.param(
            Query(1, 0x0010, QUESTION, QUERY.name, 1, 1),
            build_answer(),
            "QR AA CD",
            0,
            None,
            id="CD is repeated",
        ),
        pytest.param(
            Query(1, 0x06E0, QUESTION, QUERY.name, 1, 1),
            build_answer(),
            "QR AA",
            0,
            None,
            id="AA, TC, RA, Z and AD of a query are not",
        ),
        pytest.param(QUERY, build_answer(is_authoritative=False), "QR RD", 0, None, id="not authoritative"),
        pytest.param(with_opt(1232), build_answer(), "QR AA RD", 0, (0, 1232, 0), id="EDNS"),
        pytest.param(with_opt(4096), build_answer(), "QR AA RD", 0, (0, 4096, 0), id="the client's size"),
        pytest.param(with_opt(5), build_answer(), "QR AA RD", 0, (0, 512, 0), id="less than 512 is 512"),
        pytest.param(
            with_opt(512, dnssec_ok=True),
            build_answer(),
            "QR AA RD",
            0,
            (0, 512, 0x8000),
            id="DO is repeated",
        ),
        pytest.param(
            with_opt(512), build_answer(rcode=Rcode.BADVERS), "QR AA RD", 16, (0, 512, 0), id="a long rcode"
        ),
    ],
)
def test_reply(
    query: Query, answer: Answer, flags: str, rcode: int, edns: tuple[int, int, int] | None
) -> None:
    reply = dns.message.from_wire(render_reply(query, answer))

    assert reply.id == query.id
    assert dns.flags.to_text(reply.flags) == flags
    assert reply.rcode() == rcode
    assert (None if reply.edns < 0 else (reply.edns, reply.payload, reply.ednsflags & 0x8000)) == edns
    assert reply.question[0].name == dns.name.from_text("wEb.team.")


def addresses(count: int) -> Answer:
    return build_answer(render_record(1, 5, number.to_bytes(4, "big")) for number in range(count))


@pytest.mark.parametrize(
    ("query", "count", "is_cut", "kept", "size_bytes"),
    [
        # 12 header + 14 question, 16 an address, 11 OPT.
        pytest.param(QUERY, 30, False, 30, 506, id="fits 512"),
        pytest.param(QUERY, 31, True, 30, 506, id="does not fit 512"),
        pytest.param(with_opt(512), 29, False, 29, 501, id="OPT needs room too"),
        pytest.param(with_opt(512), 30, True, 29, 501, id="OPT is kept, an address not"),
        pytest.param(with_opt(0), 30, True, 29, 501, id="a size below 512 is 512"),
        pytest.param(with_opt(1232), 200, True, 74, 1221, id="1232"),
        pytest.param(with_opt(65535), 200, True, 74, 1221, id="never more than 1232"),
        pytest.param(with_opt(805), 48, False, 48, 805, id="to the byte"),
        pytest.param(with_opt(804), 48, True, 47, 789, id="one byte too many"),
    ],
)
def test_truncation(query: Query, count: int, is_cut: bool, kept: int, size_bytes: int) -> None:
    wire = render_reply(query, addresses(count))
    reply = dns.message.from_wire(wire)

    assert bool(reply.flags & dns.flags.TC) == is_cut
    assert [len(rrset) for rrset in reply.answer] == [kept]
    assert len(wire) == size_bytes
    assert (reply.edns >= 0) == (query.edns is not None)


def test_truncation_drops_the_authority_first() -> None:
    authority = render_record(6, 5, encode_name("a") * 2 + bytes(20))
    answer = build_answer(addresses(30).records, authority=(authority,))
    reply = dns.message.from_wire(render_reply(QUERY, answer))

    assert (len(reply.answer[0]), reply.authority) == (30, [])
    assert reply.flags & dns.flags.TC


@pytest.mark.parametrize(
    ("packet", "rcode", "reply"),
    [
        pytest.param(PLAIN, Rcode.FORMERR, "beef 8101 0000 0000 0000 0000", id="query"),
        pytest.param(
            bytes.fromhex("0001 2f70") + bytes(8), Rcode.NOTIMP, "0001 a914 0000 0000 0000 0000", id="UPDATE"
        ),
    ],
)
def test_error(packet: bytes, rcode: Rcode, reply: str) -> None:
    """Opcode, RD and CD are the query's, all else is ours."""
    assert render_error(packet, rcode) == bytes.fromhex(reply)


def test_rcodes_are_ianas() -> None:
    import dns.rcode

    assert {rcode.name: int(rcode) for rcode in Rcode} == {
        rcode.name: int(dns.rcode.from_text(rcode.name)) for rcode in Rcode
    }
