"""What clients wait for: bursts, prefetching, and upstreams that fail or are slow."""

import asyncio
import random

import pytest

from coredns_lite.plugins.cache.link import FAILURE_RECHECK_S
from coredns_lite.wire.reply import Answer, Rcode
from tests.coredns_lite.plugins.cache.caches import (
    ANSWER,
    FAILURE,
    QUERY,
    A,
    Behind,
    Kept,
    run,
)
from tests.coredns_lite.upstreams import TCP, UDP, always, ask, data, eventually, reply, shown


def test_a_burst_is_one_question() -> None:
    """200 clients, one question upstream, and each its own spelling; the next one is a hit."""

    async def scenario() -> None:
        kept = Kept()
        kept.behind.gate = asyncio.Event()
        queries = [ask(random.choice(["a.example", "A.example", "a.EXAMPLE"])) for _ in range(200)]
        # As packet loops do it: all are taken before the first is awaited.
        outcomes = [kept.link.answer(query, UDP) for query in queries]
        tasks = [asyncio.ensure_future(outcome) for outcome in outcomes if not isinstance(outcome, Answer)]
        await eventually(lambda: kept.behind.asked)
        kept.behind.gate.set()
        answers = await asyncio.gather(*tasks)

        assert len(answers) == 200
        for query, answer in zip(queries, answers, strict=True):
            assert str(shown(query, answer).answer[0].name) == str(shown(query, answer).question[0].name)
        assert len(kept.behind.asked) == 1
        assert kept.hit()

    run(scenario)


def test_a_client_that_goes_away_takes_nothing_with_it() -> None:
    async def scenario() -> None:
        kept = Kept()
        kept.behind.gate = asyncio.Event()
        gone, stays = (asyncio.ensure_future(kept.ask()) for _ in range(2))
        await eventually(lambda: kept.behind.asked)
        gone.cancel()
        kept.behind.gate.set()

        assert data(QUERY, await stays) == ["NOERROR", ANSWER.format(300)]
        assert len(kept.behind.asked) == 1

    run(scenario)


def test_tcp_does_not_wait_for_what_udp_cuts_short() -> None:
    async def scenario() -> None:
        kept = Kept(behind=Behind(lambda q, protocol: reply(q, A, truncated=protocol == "udp").to_wire()))
        kept.behind.gate = asyncio.Event()
        udp, tcp = (asyncio.ensure_future(kept.ask(QUERY, client)) for client in (UDP, TCP))
        await eventually(lambda: len(kept.behind.asked) == 2)
        kept.behind.gate.set()

        assert ((await udp).is_truncated, (await tcp).is_truncated) == (True, False)
        # UDP clients have the whole of it from now on.
        assert not kept.hit().is_truncated

    run(scenario)


def test_a_defect_behind_it_is_met_once() -> None:
    """A question that met an error is asked anew."""

    async def scenario() -> None:
        kept = Kept()
        script, kept.behind.script = kept.behind.script, lambda *_: None
        with pytest.raises(AssertionError):
            await kept.ask()
        kept.behind.script = script
        assert await kept.texts() == ["NOERROR", ANSWER.format(300)]

    run(scenario)


def test_prefetch() -> None:
    """A popular answer is asked for again, once, in its last tenth; others are not."""

    async def scenario() -> None:
        kept = Kept("cache {\nprefetch 3 1m 10%\n}")
        other = ask("b.example")
        await kept.ask()
        await kept.ask(other)
        for now in (1100, 1101):
            kept.clock.now = now
            assert kept.hit()
        kept.clock.now = 1269
        assert kept.hit()
        kept.clock.now = 1271
        # After a gap of a minute the count began anew: this is the second.
        assert kept.hit()
        assert len(kept.behind.asked) == 2
        assert data(QUERY, await kept.ask()) == ["NOERROR", ANSWER.format(29)]
        await kept.ask(other)
        await eventually(lambda: len(kept.behind.asked) == 3)
        await eventually(lambda: kept.hit().answers[0].ttl_s == 300)

        assert kept.counts.prefetches == 1
        assert kept.behind.asked[2] == "a.example."

    run(scenario)


@pytest.mark.parametrize("mode", ["immediate", "verify"])
@pytest.mark.parametrize(
    "failure",
    [
        FAILURE,
        Answer(Rcode.SERVFAIL, is_lasting=False, is_cacheable=True),
        Answer(Rcode.REFUSED, is_lasting=False),
    ],
)
def test_stale_while_the_upstream_fails(mode: str, failure: Answer) -> None:
    """An upstream that answers is believed; one that fails is bridged, with TTL 0, for as long as is said."""

    async def scenario() -> None:
        kept = Kept(f"cache {{\nserve_stale 10m {mode}\n}}")
        await kept.ask()
        kept.clock.now = 1301
        kept.behind.script = always("@ 300 A 10.9.9.9")
        # CoreDNS would say 10.1.2.3.
        assert await kept.texts() == ["NOERROR", "a.example. 300 IN A 10.9.9.9"]

        kept.behind.failure = failure
        kept.clock.now = 1700
        assert await kept.texts() == ["NOERROR", "a.example. 0 IN A 10.9.9.9"]
        assert kept.counts.served_stale == 1
        asked = len(kept.behind.asked)
        assert await kept.texts() == ["NOERROR", "a.example. 0 IN A 10.9.9.9"]
        # Right behind a failure `immediate` does not ask.
        assert len(kept.behind.asked) - asked == (1 if mode == "verify" else 0)

        kept.behind.failure = None
        kept.clock.now += FAILURE_RECHECK_S
        assert await kept.texts() == ["NOERROR", "a.example. 300 IN A 10.9.9.9"]

        kept.behind.failure = failure
        kept.clock.now += 300 + 601
        assert (await kept.texts())[0] in ("SERVFAIL", "REFUSED")

    run(scenario)


def test_stale_while_the_upstream_is_slow() -> None:
    """`immediate` does not let a client wait; the answer is for the next one."""

    async def scenario() -> None:
        kept = Kept("cache {\nserve_stale\n}", client_response_s=0.01)
        await kept.ask()
        kept.clock.now = 1301
        kept.behind.gate = asyncio.Event()
        assert await kept.texts() == ["NOERROR", ANSWER.format(0)]
        kept.behind.gate.set()
        await eventually(lambda: not kept.link._flights)

        assert data(QUERY, kept.hit()) == ["NOERROR", ANSWER.format(300)]
        assert len(kept.behind.asked) == 2

    run(scenario)


def test_without_serve_stale_nothing_is() -> None:
    async def scenario() -> None:
        kept = Kept()
        await kept.ask()
        kept.behind.failure = FAILURE
        kept.clock.now = 1300
        assert await kept.texts() == ["SERVFAIL"]

    run(scenario)
