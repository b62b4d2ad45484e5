"""Queries from bytes, with dnspython on the other side."""

import dns.message
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coredns_lite.wire.names import encode_name
from coredns_lite.wire.query import (
    Edns,
    MessageFormatError,
    Query,
    decode_bare_query,
    decode_query,
    is_common,
    is_query,
    opcode,
)

HEADER = bytes.fromhex("beef 0100 0001 0000 0000 0000")
QUESTION = b"\x03wEb\x04team\0" + bytes.fromhex("0001 0001")
PLAIN = HEADER + QUESTION

OPT = bytes.fromhex("00 0029 04d0 00 00 8000 0000")
WITH_OPT = HEADER[:10] + b"\0\1" + QUESTION + OPT

QUERY = Query(0xBEEF, 0x0100, QUESTION, b"\x03web\x04team\0", 1, 1)


def with_opt(size_bytes: int, *, dnssec_ok: bool = False) -> Query:
    edns = Edns(size_bytes, 0, dnssec_ok)
    return Query(QUERY.id, QUERY.flags, QUESTION, QUERY.name, 1, 1, edns)


def with_counts(answers: int, authorities: int, additionals: int, tail: bytes) -> bytes:
    counts = (1, answers, authorities, additionals)
    return HEADER[:4] + b"".join(count.to_bytes(2, "big") for count in counts) + QUESTION + tail


# Owner, type, class, TTL and length, data.
SOA_RECORD = b"\0" + bytes.fromhex("0006 0001 00000000 001a") + encode_name("a") * 2 + bytes(20)


@pytest.mark.parametrize(
    ("packet", "query"),
    [
        pytest.param(PLAIN, QUERY, id="plain"),
        pytest.param(WITH_OPT, with_opt(1232, dnssec_ok=True), id="EDNS, DO"),
        pytest.param(
            WITH_OPT[:-2] + bytes.fromhex("000c 000a 0008 0102030405060708"),
            Query(
                0xBEEF, 0x0100, QUESTION, QUERY.name, 1, 1, Edns(1232, 0, True, ((10, bytes(range(1, 9))),))
            ),
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


# Type 251 (IXFR) instead of A.
IXFR_QUESTION = QUESTION[:-4] + b"\0\xfb\0\1"


@pytest.mark.parametrize(
    ("counts", "tail", "serial"),
    [
        pytest.param((0, 1, 0), SOA_RECORD[:-20] + b"\xff\0\0\7" + bytes(16), 0xFF000007, id="its version"),
        pytest.param((1, 1, 0), SOA_RECORD * 2, 0, id="behind an answer"),
        pytest.param((1, 0, 1), SOA_RECORD * 2, None, id="in another section"),
        pytest.param((0, 0, 0), b"", None, id="none"),
    ],
)
def test_the_serial_of_an_ixfr(counts: tuple[int, int, int], tail: bytes, serial: int | None) -> None:
    """RFC 1995 section 3."""
    packet = with_counts(*counts, tail).replace(QUESTION, IXFR_QUESTION)

    assert decode_query(packet).serial == serial


def test_an_ixfr_with_half_an_soa() -> None:
    short = SOA_RECORD[:9] + b"\0\x06" + encode_name("a") * 2
    with pytest.raises(MessageFormatError):
        decode_query(with_counts(0, 1, 0, short).replace(QUESTION, IXFR_QUESTION))


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


def with_flags(flags: int) -> bytes:
    return HEADER[:2] + flags.to_bytes(2, "big") + WITH_OPT[4:]


def with_size(size_bytes: int) -> bytes:
    return WITH_OPT[:-8] + size_bytes.to_bytes(2, "big") + WITH_OPT[-6:]


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        pytest.param(PLAIN, True, id="plain"),
        pytest.param(WITH_OPT, True, id="EDNS, DO"),
        pytest.param(with_flags(0x0000), True, id="without RD"),
        pytest.param(with_flags(0x0130), True, id="AD, CD"),
        *(pytest.param(with_flags(1 << bit), False, id=f"flag {1 << bit:#x}") for bit in (0, 3, 6, 7, 9, 10)),
        pytest.param(with_size(512), True, id="size 512"),
        pytest.param(with_size(1200), True, id="size of glibc"),
        pytest.param(with_size(65535), True, id="size 65535"),
        pytest.param(with_size(0), False, id="size 0"),
        pytest.param(with_size(1233), False, id="size 1233"),
        pytest.param(WITH_OPT[:-6] + b"\1" + WITH_OPT[-5:], False, id="upper bits of an rcode"),
        pytest.param(WITH_OPT[:-5] + b"\1" + WITH_OPT[-4:], False, id="EDNS version 1"),
        pytest.param(WITH_OPT[:-4] + b"\x80\1" + WITH_OPT[-2:], False, id="a flag of EDNS"),
        pytest.param(WITH_OPT[:-2] + bytes.fromhex("0004 0003 0000"), False, id="an option"),
        pytest.param(with_counts(0, 1, 0, SOA_RECORD), False, id="a record besides"),
        pytest.param(with_counts(0, 1, 1, SOA_RECORD + OPT), False, id="a record before OPT"),
    ],
)
def test_what_is_common(packet: bytes, expected: bool) -> None:
    """Of one question there are few packets that are."""
    packet = packet.replace(b"wEb", b"web")

    assert is_common(packet, decode_query(packet)) == expected


def test_random_spelling_is_not_common() -> None:
    assert not is_common(PLAIN, QUERY)


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


@given(st.tuples(*[st.integers(0, 3)] * 3), st.binary(max_size=80) | st.just(SOA_RECORD))
@settings(deadline=None)
def test_decode_any_ixfr(counts: tuple[int, int, int], tail: bytes) -> None:
    """What stands behind the question of an IXFR is a version, none, or refused."""
    try:
        query = decode_query(with_counts(*counts, tail).replace(QUESTION, IXFR_QUESTION))
    except MessageFormatError:
        return
    assert query.serial is None or 0 <= query.serial < 1 << 32


@given(st.binary(max_size=60))
@settings(deadline=None)
def test_decode_any_bare_query(tail: bytes) -> None:
    """A query without a question has EDNS, nothing, or is refused."""
    for additional in (0, 1):
        packet = HEADER[:4] + bytes(6) + additional.to_bytes(2, "big") + tail
        try:
            query = decode_bare_query(packet)
        except MessageFormatError:
            continue
        assert (query.question, query.name) == (b"", b"\0")
