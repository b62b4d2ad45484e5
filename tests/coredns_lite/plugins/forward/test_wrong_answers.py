"""What clients get where an answer is another's, malformed or cut."""

import asyncio
from collections.abc import Callable

import dns.flags
import dns.message
import pytest

from coredns_lite.plugin import Client
from tests.coredns_lite.plugins.forward.forwarders import BRIEF, A, forwarder, garbled
from tests.coredns_lite.upstreams import (
    TCP,
    UDP,
    Upstream,
    always,
    ask,
    data,
    reply,
    shown,
)


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
