"""What clients get from upstreams that answer well."""

import asyncio
from typing import Any

import dns.flags
import dns.message
import pytest

from coredns_lite.plugin import Client
from coredns_lite.wire.query import decode_query
from tests.coredns_lite.plugins.forward.forwarders import A, forwarder
from tests.coredns_lite.upstreams import (
    TCP,
    UDP,
    Upstream,
    always,
    ask,
    data,
    option,
    reply,
    shown,
)


def test_an_answer_is_passed_on_whole() -> None:
    """Records, TTLs, code and flags are the upstream's; id and spelling the client's."""

    def script(query: dns.message.Message, _: str) -> bytes:
        made = reply(
            query,
            "@ 300 CNAME web.example.net.",
            "web.example.net. 20 A 10.1.2.3",
            authority="net. 9 NS a.net.",
        )
        made.flags |= dns.flags.AA | dns.flags.AD
        return made.to_wire()

    async def scenario() -> None:
        async with Upstream(script) as upstream:
            query = ask("wWw.Example.Org", want_dnssec=True)
            answer = await forwarder("", upstream).ask(query, UDP)
            seen = shown(query, answer)

            assert [str(rrset) for rrset in (*seen.answer, *seen.authority)] == [
                "wWw.Example.Org. 300 IN CNAME web.example.net.",
                "web.example.net. 20 IN A 10.1.2.3",
                "net. 9 IN NS a.net.",
            ]
            assert seen.id == query.id
            assert dns.flags.to_text(seen.flags) == "QR AA RD RA AD"
            assert (answer.is_lasting, answer.is_cacheable) == (False, True)
            assert str(upstream.asked[0][1].question[0].name) == "wWw.Example.Org."

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("options", "is_shown"), [({}, False), ({"flags": 0x0120}, True), ({"want_dnssec": True}, True)]
)
def test_ad_is_for_those_who_ask(options: dict[str, Any], is_shown: bool) -> None:
    """An upstream that validates is believed; AD or DO in the query shows it (RFC 6840 section 5.8)."""

    def script(query: dns.message.Message, _: str) -> bytes:
        made = reply(query, A)
        made.flags |= dns.flags.AD
        return made.to_wire()

    async def scenario() -> None:
        async with Upstream(script) as upstream:
            query = ask("a.example", **options)
            seen = shown(query, await forwarder("", upstream).ask(query, UDP))
            assert bool(seen.flags & dns.flags.AD) == is_shown

    asyncio.run(scenario())


def test_what_of_a_query_is_passed_on() -> None:
    """RD, CD, DO and options for whoever answers are; those between neighbours are not; AD always is set."""

    async def scenario() -> None:
        async with Upstream(always(A)) as upstream:
            asking = forwarder("", upstream)
            await asking.ask(ask("a.example"), UDP)
            wire = dns.message.make_query(
                "a.example",
                "A",
                want_dnssec=True,
                payload=4096,
                options=[
                    option(10, b"12345678"),
                    option(12, b"\0\0"),
                    option(65001, b"ours"),
                ],
                flags=dns.flags.CD,
            ).to_wire()
            await asking.ask(decode_query(wire), UDP)
            plain, rich = (query for _, query in upstream.asked)

            assert (plain.edns, dns.flags.to_text(plain.flags)) == (-1, "RD AD")
            assert dns.flags.to_text(rich.flags) == "AD CD"
            assert (rich.payload, dns.flags.edns_to_text(rich.ednsflags)) == (1232, "DO")
            assert [int(option.otype) for option in rich.options] == [65001]

    asyncio.run(scenario())


def test_ids_and_ports_are_random() -> None:
    """40 queries: as good as no id and no port comes twice (RFC 5452 section 9)."""

    async def scenario() -> None:
        async with Upstream(always(A)) as upstream:
            asking = forwarder("", upstream)
            for _ in range(40):
                await asking.ask(ask("a.example"), UDP)

            # 28,000 ports, 65,536 ids: 4 equal pairs happen less than once in 10 million runs.
            assert len({port for _, port in upstream.peers}) > 36
            assert len({query.id for _, query in upstream.asked}) > 36

    asyncio.run(scenario())


@pytest.mark.parametrize("rcode", ["NXDOMAIN", "SERVFAIL", "REFUSED", "NOTIMP", "YXDOMAIN", "NOTAUTH"])
def test_a_code_is_an_answer(rcode: str) -> None:
    """No code makes an upstream fail, and each comes through."""

    async def scenario() -> None:
        async with Upstream(always(rcode=rcode)) as upstream:
            query = ask("a.example")

            assert data(query, await forwarder("", upstream).ask(query, UDP)) == [rcode]

    asyncio.run(scenario())


def test_a_refusal_without_a_question() -> None:
    """A server that does not understand the query sends a bare header (RFC 1035 section 4.1.1)."""

    async def scenario() -> None:
        async with Upstream(lambda query, _: query.id.to_bytes(2) + b"\x81\x81" + bytes(8)) as upstream:
            query = ask("a.example")

            assert data(query, await forwarder("", upstream).ask(query, UDP)) == ["FORMERR"]

    asyncio.run(scenario())


@pytest.mark.parametrize("client", [UDP, TCP], ids=["udp", "tcp"])
def test_ipv6(client: Client) -> None:
    async def scenario() -> None:
        async with Upstream(always(A), host="::1") as upstream:
            upstream.target = f"[::1]:{upstream.port}"
            query = ask("a.example")

            assert data(query, await forwarder("", upstream).ask(query, client))[0] == "NOERROR"

    asyncio.run(scenario())


def test_badvers_says_nothing_to_a_client() -> None:
    async def scenario() -> None:
        def script(query: dns.message.Message, _: str) -> bytes:
            made = reply(query)
            made.use_edns(0)
            made.set_rcode(dns.rcode.BADVERS)
            return made.to_wire()

        async with Upstream(script) as upstream:
            query = ask("a.example")

            assert data(query, await forwarder("", upstream).ask(query, UDP)) == ["SERVFAIL"]

    asyncio.run(scenario())
