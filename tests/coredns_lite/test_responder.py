"""Packets to replies: the rules of reference/dns.md section 3.2 on addresses; dnspython reads every reply."""

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coredns_lite.kept import TRAILER_BYTES
from coredns_lite.plugin import Client, Outcome
from coredns_lite.plugins.kubernetes.index import Index
from coredns_lite.wire.query import Query
from coredns_lite.wire.record import Record
from coredns_lite.wire.reply import MAX_UDP_REPLY_BYTES, Answer
from tests.coredns_lite.chains import Asked, cluster_local
from tests.coredns_lite.objects import READY, build_index, endpoint_slice, namespace, service

INDEX = build_index(
    service("web", "10.96.0.1"),
    service("dual", "10.96.0.2", "fd00::2"),
    service("db", "None"),
    service("idle", "None"),
    endpoint_slice("db-1", "db", **{"10_1_0_1": READY, "10_1_0_2": READY}),
    namespace("empty"),
)
SOA = "cluster.local. 5 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 1700000000 7200 1800 86400 5"


class Seen(msgspec.Struct, frozen=True):
    """What a client makes of a reply."""

    rcode: str
    flags: str = "QR AA RD"
    answer: tuple[str, ...] = ()
    authority: tuple[str, ...] = ()


NXDOMAIN = Seen("NXDOMAIN", authority=(SOA,))
NODATA = Seen("NOERROR", authority=(SOA,))
REFUSED = Seen("REFUSED", flags="QR RD")


def wire(name: str, rtype: str = "A", rclass: str = "IN", **options: int) -> bytes:
    """Render a query as a resolver would."""
    return dns.message.make_query(name, rtype, rclass, id=7, **options).to_wire()  # type: ignore[arg-type]  # mixed


def see(reply: bytes | None) -> Seen:
    """Read a reply."""
    assert reply is not None
    message = dns.message.from_wire(reply)
    sections = (
        tuple(line for rrset in section for line in str(rrset).splitlines())
        for section in (message.answer, message.authority)
    )
    return Seen(dns.rcode.to_text(message.rcode()), dns.flags.to_text(message.flags), *sections)


@pytest.mark.parametrize(
    ("name", "rtype", "seen"),
    [
        pytest.param(
            "web.default.svc.cluster.local",
            "A",
            Seen("NOERROR", answer=("web.default.svc.cluster.local. 5 IN A 10.96.0.1",)),
            id="A of a Service",
        ),
        pytest.param("web.default.svc.cluster.local", "AAAA", NODATA, id="AAAA of an IPv4 Service"),
        pytest.param(
            "dual.default.svc.cluster.local",
            "AAAA",
            Seen("NOERROR", answer=("dual.default.svc.cluster.local. 5 IN AAAA fd00::2",)),
            id="AAAA of a dual-stack Service",
        ),
        pytest.param(
            "db.default.svc.cluster.local",
            "A",
            Seen(
                "NOERROR",
                answer=(
                    "db.default.svc.cluster.local. 5 IN A 10.1.0.1",
                    "db.default.svc.cluster.local. 5 IN A 10.1.0.2",
                ),
            ),
            id="A of a headless Service",
        ),
        pytest.param("idle.default.svc.cluster.local", "A", NXDOMAIN, id="headless without endpoints"),
        pytest.param("web.default.svc.cluster.local", "MX", NODATA, id="MX of a Service"),
        pytest.param("web.default.svc.cluster.local", "HTTPS", NODATA, id="HTTPS of a Service"),
        pytest.param("web.default.svc.cluster.local", "ANY", NODATA, id="ANY of a Service"),
        pytest.param("web.default.svc.cluster.local", "TYPE65534", NODATA, id="a type nobody knows"),
        pytest.param("nope.default.svc.cluster.local", "A", NXDOMAIN, id="no such Service"),
        pytest.param("web.nope.svc.cluster.local", "A", NXDOMAIN, id="no such namespace"),
        pytest.param("nope.svc.cluster.local", "A", NXDOMAIN, id="the namespace itself, not there"),
        pytest.param("*.default.svc.cluster.local", "A", NXDOMAIN, id="wildcard"),
        pytest.param("x.web.default.svc.cluster.local", "A", NXDOMAIN, id="no such endpoint"),
        pytest.param("_tcp.web.default.svc.cluster.local", "SRV", NXDOMAIN, id="protocol without port"),
        pytest.param("default.svc.cluster.local", "A", NODATA, id="namespace that a Service names"),
        pytest.param("empty.svc.cluster.local", "A", NODATA, id="namespace without Services"),
        pytest.param("svc.cluster.local", "A", NODATA, id="svc"),
        pytest.param("pod.cluster.local", "A", NODATA, id="pod"),
        pytest.param("10-1-0-1.default.pod.cluster.local", "A", NXDOMAIN, id="pods disabled"),
        pytest.param("cluster.local", "A", NODATA, id="apex"),
        pytest.param("cluster.local", "NS", NODATA, id="NS of the apex"),
        pytest.param("cluster.local", "SOA", Seen("NOERROR", answer=(SOA,)), id="SOA of the apex"),
        pytest.param("web.default.svc.cluster.local", "SOA", NODATA, id="SOA of another name"),
        pytest.param("web.default.svc.cluster.local", "AXFR", REFUSED, id="AXFR"),
        pytest.param("cluster.local", "IXFR", REFUSED, id="IXFR"),
        pytest.param("example.org", "A", REFUSED, id="outside the zone"),
        pytest.param("local", "A", REFUSED, id="above the zone"),
        pytest.param("xcluster.local", "A", REFUSED, id="not below the zone for all that"),
        pytest.param(".", "NS", REFUSED, id="the root"),
        pytest.param("default.svc.cluster.local.default.svc.cluster.local", "A", NXDOMAIN, id="search path"),
    ],
)
def test_question(name: str, rtype: str, seen: Seen) -> None:
    server = cluster_local(INDEX)

    assert see(server.respond(wire(name, rtype))) == seen
    # And from the second cache, with other packets of the same question.
    assert see(server.respond(wire(name.upper(), rtype))).rcode == seen.rcode
    assert see(server.respond(wire(name, rtype, use_edns=0, payload=1232))) == seen


@pytest.mark.parametrize(
    ("packet", "seen"),
    [
        pytest.param(wire("version.bind", "TXT", "CH"), REFUSED, id="CH"),
        pytest.param(wire("web.default.svc.cluster.local", "A", "ANY"), REFUSED, id="class ANY"),
        pytest.param(wire("web.default.svc.cluster.local", "A", "NONE"), REFUSED, id="class NONE"),
        pytest.param(
            wire("web.default.svc.cluster.local", use_edns=1),
            Seen("BADVERS", flags="QR RD"),
            id="EDNS version 1",
        ),
        pytest.param(
            wire("example.org", use_edns=255), Seen("BADVERS", flags="QR RD"), id="EDNS version 255"
        ),
    ],
)
def test_refused(packet: bytes, seen: Seen) -> None:
    assert see(cluster_local(INDEX).respond(packet)) == seen


@pytest.mark.parametrize(
    ("packet", "reply"),
    [
        pytest.param(b"", None, id="nothing"),
        pytest.param(b"\0\7\1\0\0\1\0\0\0\0\0", None, id="half a header"),
        pytest.param(
            dns.message.make_response(dns.message.make_query("a.", "A")).to_wire(), None, id="a reply"
        ),
        pytest.param(b"\0\7\1\0" + bytes(8), "0007 8101 0000 0000 0000 0000", id="no question: FORMERR"),
        pytest.param(wire("a") + b"!", "0007 8101 0000 0000 0000 0000", id="too long: FORMERR"),
        pytest.param(wire("a")[:-1], "0007 8101 0000 0000 0000 0000", id="cut: FORMERR"),
        pytest.param(b"\0\7\x21\0" + wire("a")[4:], "0007 a104 0000 0000 0000 0000", id="NOTIFY: NOTIMP"),
        pytest.param(b"\0\7\x28\0" + bytes(8), "0007 a804 0000 0000 0000 0000", id="UPDATE: NOTIMP"),
        pytest.param(
            b"\0\7\x79\0" + b"junk" * 3, "0007 f904 0000 0000 0000 0000", id="opcode 15, junk: NOTIMP"
        ),
    ],
)
def test_not_a_good_query(packet: bytes, reply: str | None) -> None:
    """What can't be answered gets a bare header, or nothing if it may not be answered."""
    assert cluster_local(INDEX).respond(packet) == (None if reply is None else bytes.fromhex(reply))


def test_nothing_is_denied_before_the_first_snapshot() -> None:
    """Every name of the zone is SERVFAIL, what lies outside is refused as ever (law 4)."""
    index = Index()
    server = cluster_local(index)
    soa = SOA.replace("1700000000", "0")

    for name in ("web.default.svc.cluster.local", "nope.cluster.local", "svc.cluster.local", "cluster.local"):
        for _ in range(2):
            assert see(server.respond(wire(name))) == Seen("SERVFAIL", authority=(soa,))
    assert see(server.respond(wire("example.org"))) == REFUSED


def test_spelling_is_kept() -> None:
    """Question and owner repeat the client's spelling, the zone in the SOA too (0x20)."""
    for name in ("wEB.deFAULT.Svc.cLuster.Local", "nOpe.deFAULT.Svc.cLuster.Local"):
        packet = wire(name)
        reply = cluster_local(INDEX).respond(packet)
        assert reply is not None
        assert reply[12 : len(packet)] == packet[12:]
        record = (*dns.message.from_wire(reply).answer, *dns.message.from_wire(reply).authority)[0]
        assert str(record.name) in (name + ".", "cLuster.Local.")
        assert record.to_text().count("cLuster.Local") == (1 if record.name.to_text() == name + "." else 3)


@pytest.mark.parametrize(
    ("packet", "edns"),
    [
        pytest.param(wire("web.default.svc.cluster.local"), None, id="none asked, none sent"),
        pytest.param(wire("example.org", use_edns=0, payload=1400), (0, 1400, 0), id="refused"),
        pytest.param(
            wire("nope.cluster.local", use_edns=0, payload=1400, want_dnssec=True),
            (0, 1400, 0x8000),
            id="NXDOMAIN, DO",
        ),
        pytest.param(
            wire("cluster.local", use_edns=3, payload=600), (0, 600, 0), id="BADVERS says our version"
        ),
    ],
)
def test_edns(packet: bytes, edns: tuple[int, int, int] | None) -> None:
    reply = cluster_local(INDEX).respond(packet)
    assert reply is not None
    message = dns.message.from_wire(reply)

    assert (None if message.edns < 0 else (message.edns, message.payload, message.ednsflags & 0x8000)) == edns
    assert message.options == ()


def test_no_more_bytes_than_asked_for_unknown_zones() -> None:
    """A refusal is no amplifier."""
    for packet in (
        wire("example.org"),
        wire("example.org", use_edns=0),
        wire("a", "TXT", "CH"),
        wire("a", use_edns=1),
    ):
        assert len(cluster_local(INDEX).respond(packet) or b"") <= len(packet)


class EchoType:
    """Says which type it was asked for, and counts."""

    def __init__(self) -> None:
        self.asked = 0

    def answer(self, query: Query, _client: Client) -> Outcome:
        self.asked += 1
        return Answer(answers=(Record(query.qtype, 5, b"\0\0"),))


def test_second_cache_is_by_question() -> None:
    """Spelling and EDNS don't matter to it, the type does, even if its bytes are letters (65 'A', 97 'a')."""
    handler = EchoType()
    server = Asked({".": handler})
    asked = []
    for name, rtype in (
        ("Que.", "TYPE65"),
        ("qUe.", "TYPE65"),
        ("Que.", "TYPE97"),
        ("qUe.", "TYPE97"),
        ("Que.", "TYPE65"),
        # From it for what the first cache does not have yet, too.
        ("que.", "TYPE65"),
    ):
        for edns in (-1, 0):
            reply = server.respond(wire(name, rtype, use_edns=edns))
            assert reply is not None
            # Behind header, question and owner: 12 + 9 + 2; the low byte of the type.
            assert reply[24] == int(rtype[4:])
        asked.append(handler.asked)

    assert asked == [1, 1, 2, 2, 2, 2]


@pytest.mark.parametrize(
    ("packet", "is_kept"),
    [
        pytest.param(wire("web.default.svc.cluster.local"), True, id="ordinary"),
        pytest.param(wire("web.default.svc.cluster.local", use_edns=0), True, id="EDNS"),
        pytest.param(wire("nope.cluster.local"), True, id="negative"),
        pytest.param(wire("Web.default.svc.cluster.local"), False, id="spelling that may be random"),
        pytest.param(
            dns.message.make_query(
                "a.cluster.local.", "A", use_edns=0, options=[dns.edns.CookieOption(b"\1" * 8, b"")]
            ).to_wire(),
            False,
            id="cookie",
        ),
        pytest.param(wire("a") + b"!", False, id="malformed"),
        pytest.param(wire("nope.cluster.local", use_edns=0, payload=1233), False, id="an odd EDNS size"),
        pytest.param(wire("nope.cluster.local", use_edns=1), False, id="another version of EDNS"),
        pytest.param(wire("nope.cluster.local", ednsflags=1), False, id="a flag of EDNS"),
        pytest.param(b"\0\7\1\x40" + wire("nope.cluster.local")[4:], False, id="a flag that means nothing"),
    ],
)
def test_first_cache_is_by_packet(packet: bytes, is_kept: bool) -> None:
    """It holds a reply for what is likely to come again, and the reply is the one that was given."""
    server = cluster_local(INDEX)
    reply = server.respond(packet)
    assert reply is not None

    kept = server.responder.replies.packets
    expected = {packet[2:]: reply[2:]} if is_kept else {}
    assert {body: found[:-TRAILER_BYTES] for body, found in kept.items()} == expected
    assert server.respond(packet) == reply


def test_caches_are_bounded() -> None:
    """By bytes: what was asked for last is there, and no more than fits."""
    limit_bytes = 1 << 16
    server = cluster_local(INDEX, limit_bytes)
    sizes = set()
    for number in range(500):
        for letter in "sS":
            reply = server.respond(wire(f"{letter}{number}.cluster.local"))
            assert reply is not None
            assert dns.message.from_wire(reply).rcode() == dns.rcode.NXDOMAIN
        replies, questions = server.responder.replies, server.responder._questions
        sizes.add((len(replies), len(questions)))
        assert wire(f"s{number}.cluster.local")[2:] in replies.packets

    assert max(size for size, _ in sizes) in range(20, limit_bytes // 2 // 300)
    assert max(size for _, size in sizes) in range(5, limit_bytes // 8 // 300)


SEEDS = [
    wire("web.default.svc.cluster.local"),
    wire("db.default.svc.cluster.local", use_edns=0, payload=4096),
    wire("nope.default.svc.cluster.local", "AAAA", want_dnssec=True),
    wire("cluster.local", "SOA"),
    wire("version.bind", "TXT", "CH"),
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Draw a good query with some bytes changed, maybe cut or lengthened."""
    packet = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 4))):
        packet[draw(st.integers(0, len(packet) - 1))] = draw(st.integers(0, 255))
    return bytes(packet[: draw(st.integers(0, len(packet)))]) + draw(st.binary(max_size=8))


@given(st.binary(max_size=600) | mutated())
@settings(deadline=None, max_examples=400)
def test_any_bytes(packet: bytes) -> None:
    """Never an exception; a reply is well-formed, to this packet, and of a size that its client takes."""
    reply = cluster_local(INDEX).respond(packet)
    if reply is None:
        assert len(packet) < 12 or packet[2] & 0x80
        return
    assert reply[:2] == packet[:2]
    assert len(reply) <= MAX_UDP_REPLY_BYTES
    if reply[2] >> 3 & 0xF:
        # dnspython takes the sections of other opcodes for something else; there are none.
        assert (reply[3] & ~0x10, reply[4:]) == (4, bytes(8))
        return
    message = dns.message.from_wire(reply)
    assert message.flags & dns.flags.QR
    assert not message.flags & (dns.flags.RA | dns.flags.AD)
    if message.question:
        assert packet[12:].startswith(reply[12 : 12 + len(message.question[0].name.to_digestable())])
