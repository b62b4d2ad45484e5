"""What EDNS options, classes and transfers do to a query on its way through caches and chain."""

import time

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest

from coredns_lite.chain import Chain
from coredns_lite.plugin import Client, Outcome
from coredns_lite.responder import Responder
from coredns_lite.wire.cookie import CookieJar
from coredns_lite.wire.query import Query
from coredns_lite.wire.record import txt_record
from coredns_lite.wire.reply import Answer
from coredns_lite.zones import ZoneTable
from tests.coredns_lite.chains import CLIENT

COOKIE = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"12345678")
NSID = dns.edns.GenericOption(dns.edns.OptionType.NSID, b"")
SUBNET = dns.edns.ECSOption("192.0.2.0", 24)
PADDING = dns.edns.GenericOption(dns.edns.OptionType(12), bytes(3))
KEEPALIVE = dns.edns.GenericOption(dns.edns.OptionType(11), b"")
UNKNOWN = dns.edns.GenericOption(dns.edns.OptionType(65001), b"x")


class Curious:
    """Says whether the query had a client subnet, and keeps count."""

    def __init__(self) -> None:
        self.asked = 0

    def answer(self, query: Query, _client: Client) -> Outcome:
        self.asked += 1
        codes = [code for code, _ in query.edns.options] if query.edns else []
        error = (21, "no such thing") if query.name.startswith(b"\5wrong") else None
        return Answer(answers=(txt_record(b"near" if 8 in codes else b"anywhere", 5),), extended_error=error)


def ask(
    responder: Responder, *options: dns.edns.Option, name: str = "a.example.", **more: object
) -> dns.message.Message:
    query = dns.message.make_query(name, "TXT", use_edns=0, options=[*options], **more)  # type: ignore[arg-type]  # mixed
    reply = responder.respond(query.to_wire(), lambda: CLIENT)
    assert isinstance(reply, bytes)
    return dns.message.from_wire(reply)


def text(message: dns.message.Message) -> str:
    return str(message.answer[0][0]).strip('"')


def make(
    *, is_stream: bool = False, is_encrypted: bool = False, **of_chain: object
) -> tuple[Responder, Curious]:
    handler = Curious()
    chain = Chain(handler, "example.", **of_chain)  # type: ignore[arg-type]  # mixed
    responder = Responder(
        ZoneTable({"example.": chain}),
        cookies=CookieJar(bytes(16)),
        is_stream=is_stream,
        is_encrypted=is_encrypted,
    )
    return responder, handler


@pytest.mark.parametrize(
    ("option", "said", "asked"),
    [
        pytest.param(COOKIE, "anywhere", 2, id="cookies don't change an answer"),
        pytest.param(NSID, "anywhere", 2, id="nor does the wish for an id"),
        pytest.param(SUBNET, "near", 4, id="a subnet may"),
        pytest.param(UNKNOWN, "anywhere", 4, id="so may what nobody knows"),
    ],
)
def test_options_and_the_caches(option: dns.edns.Option, said: str, asked: int) -> None:
    """What is answered to one who sent an option is not kept for those who did not, nor the reverse."""
    responder, handler = make()

    assert text(ask(responder)) == "anywhere"
    assert [text(ask(responder, option)) for _ in range(2)] == [said] * 2
    assert text(ask(responder)) == "anywhere"
    assert handler.asked == asked

    responder, handler = make()
    assert [text(ask(responder, option)), text(ask(responder))] == [said, "anywhere"]


@pytest.mark.parametrize(
    ("options", "is_stream", "codes"),
    [
        pytest.param([], False, [], id="none"),
        pytest.param([COOKIE], False, [10], id="cookie"),
        pytest.param([NSID], False, [3], id="id"),
        pytest.param([COOKIE, COOKIE], False, [10], id="the first of two"),
        pytest.param([KEEPALIVE], False, [], id="idle time, over UDP"),
        pytest.param([KEEPALIVE], True, [11], id="idle time, over TCP"),
        pytest.param([SUBNET, UNKNOWN], False, [], id="what we don't deal with"),
        pytest.param([PADDING], True, [], id="padding, in clear"),
    ],
)
def test_options_of_the_reply(options: list[dns.edns.Option], is_stream: bool, codes: list[int]) -> None:
    responder, _ = make(is_stream=is_stream, nsid=b"me")

    assert [int(option.otype) for option in ask(responder, *options).options] == codes


def test_an_unknown_zone_gets_no_options() -> None:
    responder, _ = make(nsid=b"me")
    reply = ask(responder, COOKIE, NSID, name="a.org.")

    assert (reply.rcode(), reply.options) == (dns.rcode.REFUSED, ())


@pytest.mark.parametrize(
    ("rdclass", "rdtype", "of_chain", "rcode"),
    [
        pytest.param("IN", "TXT", {}, "NOERROR", id="IN"),
        pytest.param("CH", "TXT", {}, "REFUSED", id="CH"),
        pytest.param("CH", "TXT", {"answers_chaos": True}, "NOERROR", id="CH with chaos"),
        pytest.param("HS", "TXT", {"answers_chaos": True}, "REFUSED", id="HS"),
        pytest.param("IN", "AXFR", {}, "REFUSED", id="AXFR"),
        pytest.param("IN", "IXFR", {}, "REFUSED", id="IXFR"),
        pytest.param("IN", "AXFR", {"answers_transfers": True}, "NOERROR", id="AXFR with transfer"),
    ],
)
def test_what_comes_to_the_chain(rdclass: str, rdtype: str, of_chain: dict[str, bool], rcode: str) -> None:
    responder, handler = make(**of_chain)
    query = dns.message.make_query("a.example.", rdtype, rdclass).to_wire()
    reply = responder.respond(query, lambda: CLIENT)
    assert isinstance(reply, bytes)

    assert dns.rcode.to_text(dns.message.from_wire(reply).rcode()) == rcode
    assert handler.asked == (rcode == "NOERROR")


@pytest.mark.parametrize(
    ("size", "largest", "limit"),
    [(4096, 1232, 1232), (4096, 512, 512), (600, 1232, 600), (100, 1232, 512), (4096, 4096, 4096)],
)
def test_sizes(size: int, largest: int, limit: int) -> None:
    """The smaller of the client's and the plugin bufsize's."""

    class Long:
        def answer(self, _query: Query, _client: Client) -> Outcome:
            return Answer(answers=tuple(txt_record(b"x" * 50 + b"%d" % number, 5) for number in range(200)))

    responder = Responder(ZoneTable({".": Chain(Long(), largest_udp_bytes=largest)}))
    query = dns.message.make_query("a.example.", "TXT", use_edns=0, payload=size).to_wire()
    reply = responder.respond(query, lambda: CLIENT)
    assert isinstance(reply, bytes)

    assert limit - 70 < len(reply) <= limit
    assert dns.message.from_wire(reply).flags & dns.flags.TC


@pytest.mark.parametrize(
    ("name", "options", "size_bytes"),
    [
        pytest.param("a.example.", [PADDING], 468, id="a block"),
        pytest.param("a.example.", [COOKIE, PADDING], 468, id="behind other options"),
        pytest.param("a.org.", [PADDING], 468, id="a refusal too"),
        pytest.param("wrong.example.", [PADDING], 468, id="behind an extended error"),
        pytest.param("a.example.", [COOKIE], 0, id="not asked for"),
    ],
)
def test_padding(name: str, options: list[dns.edns.Option], size_bytes: int) -> None:
    """Over TLS, replies to those that pad fill blocks (RFC 7830, RFC 8467 section 4.1)."""
    responder, _ = make(is_stream=True, is_encrypted=True)
    query = dns.message.make_query(name, "TXT", use_edns=0, options=options)
    for _ in range(2):
        reply = responder.respond(query.to_wire(), lambda: CLIENT)
        assert isinstance(reply, bytes)
        message = dns.message.from_wire(reply)

        assert len(reply) == (size_bytes or len(reply))
        padding = [option.to_wire() for option in message.options if option.otype == 12]
        assert [set(each or b"") for each in padding] == ([{0}] if size_bytes else [])
        assert query.is_response(message)


GOOD = CookieJar(bytes(16)).answer(b"12345678", CLIENT.address, int(time.time()))[0]


@pytest.mark.parametrize(
    ("options", "rcode", "cookie"),
    [
        pytest.param([b"12345678"], "NOERROR", True, id="to get one"),
        pytest.param([GOOD], "NOERROR", True, id="to check a good one"),
        pytest.param([GOOD[:-1] + bytes((GOOD[-1] ^ 1,))], "BADCOOKIE", True, id="to check a bad one"),
        pytest.param([b"123"], "FORMERR", False, id="no cookie"),
        pytest.param([], "FORMERR", False, id="nothing at all"),
    ],
)
def test_a_cookie_without_a_question(options: list[bytes], rcode: str, *, cookie: bool) -> None:
    """RFC 7873 section 5.4."""
    responder, handler = make()
    query = dns.message.Message(id=7)
    query.use_edns(0, options=[dns.edns.GenericOption(COOKIE.otype, data) for data in options])
    reply = responder.respond(query.to_wire(), lambda: CLIENT)
    assert isinstance(reply, bytes)
    message = dns.message.from_wire(reply)

    assert (dns.rcode.to_text(message.rcode()), message.question, handler.asked) == (rcode, [], 0)
    assert [len(option.to_wire() or b"") for option in message.options] == ([24] if cookie else [])
    assert responder.last_kind.rcode == rcode


def test_a_version_of_edns_without_a_question() -> None:
    responder, _ = make()
    query = dns.message.Message(id=7)
    query.use_edns(1, options=[COOKIE])
    reply = responder.respond(query.to_wire(), lambda: CLIENT)
    assert isinstance(reply, bytes)

    assert dns.message.from_wire(reply).rcode() == dns.rcode.BADVERS
