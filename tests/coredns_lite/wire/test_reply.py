"""Replies to bytes, with dnspython on the other side."""

from ipaddress import ip_address

import dns.flags
import dns.message
import dns.name
import pytest

from coredns_lite.wire.names import encode_name
from coredns_lite.wire.query import Edns, Query
from coredns_lite.wire.record import (
    Record,
    RecordType,
    address_record,
    name_record,
    soa_record,
    srv_record,
    txt_record,
)
from coredns_lite.wire.reply import (
    MAX_TCP_REPLY_BYTES,
    Answer,
    Rcode,
    render_error,
    render_reply,
    udp_limit_bytes,
)

HEADER = bytes.fromhex("beef 0100 0001 0000 0000 0000")
QUESTION = b"\x03wEb\x04team\0" + bytes.fromhex("0001 0001")
PLAIN = HEADER + QUESTION

QUERY = Query(0xBEEF, 0x0100, QUESTION, b"\x03web\x04team\0", 1, 1)


def with_opt(size_bytes: int, *, dnssec_ok: bool = False) -> Query:
    edns = Edns(size_bytes, 0, dnssec_ok)
    return Query(QUERY.id, QUERY.flags, QUESTION, QUERY.name, 1, 1, edns)


def render(query: Query, answer: Answer) -> bytes:
    return render_reply(query, answer, udp_limit_bytes(query.edns))


@pytest.mark.parametrize(
    ("query", "answer", "flags", "rcode", "edns"),
    [
        pytest.param(QUERY, Answer(), "QR AA RD", 0, None, id="RD is repeated"),
        pytest.param(
            Query(1, 0x0010, QUESTION, QUERY.name, 1, 1),
            Answer(),
            "QR AA CD",
            0,
            None,
            id="CD is repeated",
        ),
        pytest.param(
            Query(1, 0x06E0, QUESTION, QUERY.name, 1, 1),
            Answer(),
            "QR AA",
            0,
            None,
            id="AA, TC, RA, Z and AD of a query are not",
        ),
        pytest.param(QUERY, Answer(is_authoritative=False), "QR RD", 0, None, id="not authoritative"),
        pytest.param(with_opt(1232), Answer(), "QR AA RD", 0, (0, 1232, 0), id="EDNS"),
        pytest.param(with_opt(4096), Answer(), "QR AA RD", 0, (0, 4096, 0), id="the client's size"),
        pytest.param(with_opt(5), Answer(), "QR AA RD", 0, (0, 512, 0), id="less than 512 is 512"),
        pytest.param(
            with_opt(512, dnssec_ok=True),
            Answer(),
            "QR AA RD",
            0,
            (0, 512, 0x8000),
            id="DO is repeated",
        ),
        pytest.param(with_opt(512), Answer(Rcode.BADVERS), "QR AA RD", 16, (0, 512, 0), id="a long rcode"),
    ],
)
def test_reply(
    query: Query, answer: Answer, flags: str, rcode: int, edns: tuple[int, int, int] | None
) -> None:
    reply = dns.message.from_wire(render(query, answer))

    assert reply.id == query.id
    assert dns.flags.to_text(reply.flags) == flags
    assert reply.rcode() == rcode
    assert (None if reply.edns < 0 else (reply.edns, reply.payload, reply.ednsflags & 0x8000)) == edns
    assert reply.question[0].name == dns.name.from_text("wEb.team.")


def addresses(count: int) -> Answer:
    return Answer(answers=tuple(Record(1, 5, number.to_bytes(4, "big")) for number in range(count)))


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
    wire = render(query, addresses(count))
    reply = dns.message.from_wire(wire)

    assert bool(reply.flags & dns.flags.TC) == is_cut
    assert [len(rrset) for rrset in reply.answer] == [kept]
    assert len(wire) == size_bytes
    assert (reply.edns >= 0) == (query.edns is not None)


def test_truncation_drops_the_authority_first() -> None:
    authority = (soa_record(encode_name("team"), 1, 5),)
    answer = Answer(answers=addresses(30).answers, authority=authority)
    reply = dns.message.from_wire(render(QUERY, answer))

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


WEB = encode_name("web.team")
TEAM = encode_name("team")


@pytest.mark.parametrize(
    ("record", "text"),
    [
        pytest.param(address_record(ip_address("10.96.0.1"), 5), "wEb.team. 5 IN A 10.96.0.1", id="A"),
        pytest.param(address_record(ip_address("fd00::1"), 0), "wEb.team. 0 IN AAAA fd00::1", id="AAAA"),
        pytest.param(
            soa_record(TEAM, 17, 30),
            "team. 30 IN SOA ns.dns.team. hostmaster.team. 17 7200 1800 86400 30",
            id="SOA",
        ),
        pytest.param(
            soa_record(TEAM, 2**32 + 1, 3600),
            "team. 300 IN SOA ns.dns.team. hostmaster.team. 1 7200 1800 86400 3600",
            id="SOA: at most 300 s, serial of 32 bits",
        ),
        pytest.param(
            srv_record(encode_name("Db-0.web.TEAM"), 80, 5, weight=50),
            "wEb.team. 5 IN SRV 0 50 80 Db-0.wEb.team.",
            id="SRV: the zone's part of the target as the client spelled it",
        ),
        pytest.param(
            srv_record(encode_name("other.example"), 80, 5),
            "wEb.team. 5 IN SRV 0 0 80 other.example.",
            id="SRV: another zone's target as it is",
        ),
        pytest.param(
            name_record(RecordType.CNAME, encode_name("db.WEB.team"), 5),
            "wEb.team. 5 IN CNAME db.wEb.team.",
            id="CNAME",
        ),
        pytest.param(
            Record(int(RecordType.MX), 5, b"\0\x0a" + encode_name("mail.team")),
            "wEb.team. 5 IN MX 10 mail.team.",
            id="MX",
        ),
        pytest.param(
            Record(int(RecordType.DNAME), 5, encode_name("x.team")),
            "wEb.team. 5 IN DNAME x.team.",
            id="DNAME",
        ),
        pytest.param(
            txt_record(b"x" * 300, 9, owner=encode_name("b.example")),
            f'b.example. 9 IN TXT "{"x" * 255}" "{"x" * 45}"',
            id="TXT of two strings, another owner",
        ),
        pytest.param(txt_record(b"", 9), 'wEb.team. 9 IN TXT ""', id="empty TXT"),
        pytest.param(
            name_record(RecordType.NS, b"\0", 5, owner=b"\0"),
            ". 5 IN NS .",
            id="the root has nothing to compress",
        ),
    ],
)
def test_record(record: Record, text: str) -> None:
    reply = dns.message.from_wire(render(QUERY, Answer(answers=(record,))))

    assert [str(rrset) for rrset in reply.answer] == [text]


def test_names_are_compressed() -> None:
    """A name that stands in the reply already is two bytes; SRV's target is not compressed (RFC 2782)."""
    target = encode_name("a-long-label.elsewhere.example")
    answer = Answer(
        answers=(srv_record(target, 80, 5), name_record(RecordType.PTR, target, 5)),
        additional=(address_record(ip_address("10.0.0.1"), 5, owner=target),),
    )
    reply = render(QUERY, answer)

    # Header and question; SRV and PTR with their targets; an address with a pointer as its owner.
    assert len(reply) == 26 + 12 + 6 + len(target) + 12 + len(target) + 12 + 4
    assert [str(rrset) for rrset in dns.message.from_wire(reply).additional] == [
        "a-long-label.elsewhere.example. 5 IN A 10.0.0.1"
    ]


def test_additional_records_go_first_and_take_no_flag() -> None:
    """What was not asked for is left out silently (RFC 2181 section 9)."""
    target = encode_name("db.web.team")
    glue = tuple(address_record(ip_address(number), 5, owner=target) for number in range(2**24, 2**24 + 40))
    reply = dns.message.from_wire(
        render(QUERY, Answer(answers=(srv_record(target, 80, 5),), additional=glue))
    )

    assert not reply.flags & dns.flags.TC
    assert (len(reply.answer), 0 < sum(map(len, reply.additional)) < 40) == (1, True)


def test_a_stream_takes_all() -> None:
    reply = dns.message.from_wire(render_reply(QUERY, addresses(2000), MAX_TCP_REPLY_BYTES))

    assert ([len(rrset) for rrset in reply.answer], reply.flags & dns.flags.TC) == ([2000], 0)


def test_recursion_and_options() -> None:
    answer = Answer(is_authoritative=False, recursed=True)
    reply = dns.message.from_wire(render_reply(with_opt(1232), answer, 1232, [(3, b"me")]))

    assert dns.flags.to_text(reply.flags) == "QR RD RA"
    assert [(option.otype, option.to_wire()) for option in reply.options] == [(3, b"me")]
