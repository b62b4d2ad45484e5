"""What clients get from upstreams that answer well, badly, late or not at all."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import dns.flags
import dns.message
import pytest

from coredns_lite.corefile.parser import parse_corefile
from coredns_lite.metrics import REGISTRY
from coredns_lite.plugin import Client
from coredns_lite.plugins import forward
from coredns_lite.plugins.forward.forwarder import Forwarder
from coredns_lite.plugins.forward.upstream import Timing
from coredns_lite.wire.query import Flag, decode_query
from coredns_lite.wire.reply import Rcode
from tests.coredns_lite.upstreams import (
    LIMIT_S,
    TCP,
    UDP,
    Upstream,
    always,
    ask,
    data,
    eventually,
    option,
    reply,
    shown,
)

A = "@ 300 A 10.1.2.3"
# Long enough for loopback on a slow machine; short where a test waits for it to pass.
PATIENT = Timing(LIMIT_S, LIMIT_S, LIMIT_S, LIMIT_S)
BRIEF = Timing(connect_s=0.1, read_s=0.1, probe_read_s=0.1, overall_s=0.3)


def forwarder(options: str, *upstreams: Upstream, timing: Timing = PATIENT) -> Forwarder:
    targets = " ".join(upstream.target or f"127.0.0.1:{upstream.port}" for upstream in upstreams)
    (block,) = parse_corefile(f". {{\nforward . {targets} {{\n{options}\n}}\n}}", "Corefile")
    return forward.make_forwarder(forward.decode(block.directives[0], (".",)), timing)


def count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def garbled(query: dns.message.Message, change: Callable[[bytearray], None]) -> bytes:
    wire = bytearray(reply(query, A).to_wire())
    change(wire)
    return bytes(wire)


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


def _set(at: int, value: int) -> Callable[[bytearray], None]:
    def change(wire: bytearray) -> None:
        wire[at] ^= value

    return change


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(_set(0, 0x40), id="another id"),
        pytest.param(_set(2, 0x80), id="a query"),
        pytest.param(_set(13, 0x01), id="another name"),
        pytest.param(_set(23, 0x20), id="another type"),
        pytest.param(_set(5, 0x02), id="three questions"),
        pytest.param(lambda wire: wire.__delitem__(slice(9, None)), id="part of a header"),
    ],
)
@pytest.mark.parametrize("client", [UDP, TCP], ids=["udp", "tcp"])
def test_another_answer_is_ignored(wrong: Callable[[bytearray], None], client: Client) -> None:
    """What is not the answer is passed over, and the answer behind it waited for."""

    async def scenario() -> None:
        async with Upstream(always(A)) as upstream:
            upstream.before = lambda query: garbled(query, wrong)
            query = ask("a.example")

            assert data(query, await forwarder("", upstream).ask(query, client)) == [
                "NOERROR",
                "a.example. 300 IN A 10.1.2.3",
            ]

    asyncio.run(scenario())


def test_another_sender_is_ignored() -> None:
    """A forger who knows id, question and port has the upstream's address too, or is not heard."""

    async def scenario() -> None:
        async with Upstream(always(A)) as upstream, Upstream(always(A)) as forger:

            async def forge() -> None:
                forged = reply(upstream.asked[0][1], "@ 300 A 6.6.6.6").to_wire()
                forger.send(forged, upstream.peers[0])
                # Loopback keeps the order: what was sent is there.

            upstream.gate = forge
            query = ask("a.example")

            assert data(query, await forwarder("", upstream).ask(query, UDP))[1:] == [
                "a.example. 300 IN A 10.1.2.3"
            ]

    asyncio.run(scenario())


def _cut(wire: bytearray) -> None:
    del wire[-3:]


def _bad_pointer(wire: bytearray) -> None:
    wire[-16:-14] = b"\xff\xff"


def _long_address(wire: bytearray) -> None:
    wire[-5] = 3
    del wire[-1:]


@pytest.mark.parametrize("change", [_cut, _bad_pointer, _long_address])
@pytest.mark.parametrize("client", [UDP, TCP], ids=["udp", "tcp"])
def test_a_malformed_answer_is_a_failure(change: Callable[[bytearray], None], client: Client) -> None:
    """The next upstream is asked; if all talk so, the client gets SERVFAIL and the log the reason."""

    async def scenario() -> None:
        async with Upstream(lambda query, _: garbled(query, change)) as bad, Upstream(always(A)) as good:
            query = ask("a.example")

            answer = await forwarder("policy sequential", bad, good).ask(query, client)
            assert data(query, answer)[0] == "NOERROR"
            answer = await forwarder("policy sequential", bad, timing=BRIEF).ask(query, client)
            assert data(query, answer) == ["SERVFAIL"]
            assert f"127.0.0.1:{bad.port}: malformed answer: " in answer.error
            assert not answer.is_cacheable

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("options", "client", "ways"),
    [
        pytest.param("", UDP, ["udp"], id="UDP: passed on"),
        pytest.param("", TCP, ["tcp"], id="TCP"),
        pytest.param("prefer_udp", UDP, ["udp", "tcp"], id="prefer_udp: asked again"),
        pytest.param("prefer_udp", TCP, ["udp", "tcp"], id="prefer_udp, TCP"),
        pytest.param("force_tcp", UDP, ["tcp"], id="force_tcp"),
        pytest.param("force_tcp\nprefer_udp", UDP, ["tcp"], id="force_tcp goes first"),
    ],
)
def test_truncated(options: str, client: Client, ways: list[str]) -> None:
    def script(query: dns.message.Message, protocol: str) -> bytes:
        return reply(query, A, truncated=protocol == "udp").to_wire()

    async def scenario() -> None:
        async with Upstream(script) as upstream:
            query = ask("a.example")
            answer = await forwarder(options, upstream).ask(query, client)

            assert [protocol for protocol, _ in upstream.asked] == ways
            assert bool(shown(query, answer).flags & dns.flags.TC) == (ways == ["udp"])
            assert answer.is_cacheable == (ways != ["udp"])

    asyncio.run(scenario())


def test_a_reply_that_was_cut_anywhere() -> None:
    """Servers that cut a reply inside a record and set TC mean that TCP has the whole."""

    def script(query: dns.message.Message, protocol: str) -> bytes:
        wire = reply(query, A, "b.example. 300 A 10.1.2.4", truncated=protocol == "udp").to_wire()
        return wire[:-3] if protocol == "udp" else wire

    async def scenario() -> None:
        async with Upstream(script) as upstream:
            query = ask("a.example")
            seen = shown(query, await forwarder("", upstream).ask(query, UDP))
            assert (bool(seen.flags & dns.flags.TC), seen.answer) == (True, [])
            assert len(shown(query, await forwarder("prefer_udp", upstream).ask(query, UDP)).answer) == 2

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


@pytest.mark.parametrize("failure", ["silent", "gone", "closes"])
def test_another_upstream_after_a_failure(failure: str) -> None:
    """Whatever is wrong with the first, the second answers; the first is probed, and used again later."""

    async def scenario() -> None:
        timing = Timing(connect_s=LIMIT_S, read_s=0.3, probe_read_s=0.1, overall_s=LIMIT_S)
        async with (
            Upstream(always("@ 300 A 10.0.0.1")) as first,
            Upstream(always("@ 300 A 10.0.0.2")) as second,
        ):
            asking = forwarder(
                "policy sequential\nhealth_check 10ms\nmax_fails 1", first, second, timing=timing
            )
            query = ask("a.example")
            good = first.script
            client = TCP if failure == "closes" else UDP
            assert data(query, await asking.ask(query, client))[1].endswith("10.0.0.1")

            if failure == "silent":
                first.script = lambda *_: None
            else:
                first.stop()
            failures = count(
                "coredns_proxy_healthcheck_failures_total", proxy_name="forward", to=f"127.0.0.1:{first.port}"
            )
            assert data(query, await asking.ask(query, client))[1].endswith("10.0.0.2")
            await eventually(lambda: asking.upstreams[0].failed_probes)
            asked = len(first.names)
            assert data(query, await asking.ask(query, client))[1].endswith("10.0.0.2")
            assert "a.example." not in first.names[asked:]
            assert failures < count(
                "coredns_proxy_healthcheck_failures_total", proxy_name="forward", to=f"127.0.0.1:{first.port}"
            )

            first.script = good
            if failure != "silent":
                await first.start()
            await eventually(lambda: not asking.upstreams[0].failed_probes)
            assert data(query, await asking.ask(query, client))[1].endswith("10.0.0.1")

    asyncio.run(scenario())


def test_servfail_in_the_end() -> None:
    """An upstream that never answers costs a client the overall time and no more."""

    async def scenario() -> None:
        async with Upstream(lambda *_: None) as upstream:
            query = ask("a.example")
            answer = await forwarder("max_fails 0", upstream, timing=BRIEF).ask(query, UDP)

            assert data(query, answer) == ["SERVFAIL"]
            assert answer.error == f"udp 127.0.0.1:{upstream.port}: no answer in time"
            assert len(upstream.asked) >= 2

    asyncio.run(scenario())


@pytest.mark.parametrize("policy", ["random", "round_robin", "sequential"])
@pytest.mark.parametrize("failfast", ["", "failfast_all_unhealthy_upstreams"])
def test_all_upstreams_down(failfast: str, policy: str) -> None:
    """One of them is asked all the same, unless the Corefile says otherwise."""

    async def scenario() -> None:
        async with Upstream(lambda *_: None) as upstream:
            options = f"max_fails 1\nhealth_check 10ms\npolicy {policy}\n{failfast}"
            asking = forwarder(options, upstream, timing=BRIEF)
            asking.upstreams[0].failed_probes = 1
            query = ask("a.example")
            broken = count("coredns_forward_healthcheck_broken_total")
            assert data(query, await asking.ask(query, UDP)) == ["SERVFAIL"]

            assert count("coredns_forward_healthcheck_broken_total") > broken
            assert upstream.names.count("a.example.") == (0 if failfast else 1)
            asking.upstreams[0].close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("option", "probe"),
    [
        pytest.param("health_check 10ms", (". IN NS", True), id="the root"),
        pytest.param("health_check 10ms no_rec domain up.example", ("up.example. IN NS", False), id="domain"),
    ],
)
def test_probe(option: str, probe: tuple[str, bool]) -> None:
    async def scenario() -> None:
        async with Upstream(always(rcode="REFUSED")) as upstream:
            asking = forwarder(option, upstream)
            asking.upstreams[0].suspect()
            await eventually(lambda: upstream.asked)
            _, query = upstream.asked[0]

            assert (str(query.question[0]), bool(query.flags & Flag.RD)) == probe
            # Any answer will do.
            await eventually(lambda: not asking.upstreams[0]._is_probed)
            assert not asking.upstreams[0].failed_probes

    asyncio.run(scenario())


def test_max_concurrent() -> None:
    """Above the limit is REFUSED, and the limit is free again when answers are there."""

    async def scenario() -> None:
        async with Upstream(always(A)) as upstream:
            go = asyncio.Event()
            upstream.gate = go.wait
            asking = forwarder("max_concurrent 3", upstream)
            rejects = count("coredns_forward_max_concurrent_rejects_total")
            query = ask("a.example")
            async with asyncio.TaskGroup() as tasks:
                waiting = [tasks.create_task(asking.ask(query, UDP)) for _ in range(3)]
                await eventually(lambda: len(upstream.asked) == 3)
                refused = await asking.ask(query, UDP)
                go.set()

            assert (refused.rcode, refused.is_cacheable) == (Rcode.REFUSED, False)
            assert [task.result().rcode for task in waiting] == [Rcode.NOERROR] * 3
            assert (await asking.ask(query, UDP)).rcode == Rcode.NOERROR
            assert count("coredns_forward_max_concurrent_rejects_total") == rejects + 1

    asyncio.run(scenario())


def _is_even(turns: Counter[str], total: int) -> bool:
    """Whether three are asked equally often, to 5 standard deviations."""
    deviation = 5 * (total * 1 / 3 * 2 / 3) ** 0.5
    return all(abs(turns[name] - total / 3) <= deviation for name in "abc")


@pytest.mark.parametrize(
    ("policy", "is_right"),
    [
        pytest.param(
            "random", lambda seen: _is_even(Counter(seen), len(seen)) and seen != sorted(seen), id="random"
        ),
        pytest.param("round_robin", lambda seen: seen == list("abc") * (len(seen) // 3), id="round_robin"),
        pytest.param("sequential", lambda seen: set(seen) == {"a"}, id="sequential"),
    ],
)
def test_policy(policy: str, is_right: Callable[[list[str]], bool]) -> None:
    async def scenario() -> None:
        seen: list[str] = []

        def script(letter: str) -> Any:
            def answer(query: dns.message.Message, _: str) -> bytes:
                seen.append(letter)
                return reply(query, A).to_wire()

            return answer

        async with Upstream(script("a")) as a, Upstream(script("b")) as b, Upstream(script("c")) as c:
            asking = forwarder(f"policy {policy}", a, b, c)
            for _ in range(300):
                await asking.ask(ask("a.example"), UDP)
        assert is_right(seen)

    asyncio.run(scenario())


def test_failover() -> None:
    async def scenario() -> None:
        async with Upstream(always(rcode="REFUSED")) as first, Upstream(always(rcode="SERVFAIL")) as second:
            query = ask("a.example")
            both = forwarder("policy sequential\nfailover REFUSED SERVFAIL", first, second)

            assert data(query, await both.ask(query, UDP)) == ["SERVFAIL"]
            assert data(query, await forwarder("policy sequential", first, second).ask(query, UDP)) == [
                "REFUSED"
            ]

    asyncio.run(scenario())
