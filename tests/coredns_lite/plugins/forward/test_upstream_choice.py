"""Which upstream is asked: after failures, by policy, up to a limit."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import dns.flags
import dns.message
import pytest

from coredns_lite.plugins.forward.upstream import Timing
from coredns_lite.wire.query import Flag
from coredns_lite.wire.reply import Rcode
from tests.coredns_lite.plugins.forward.forwarders import BRIEF, A, count, forwarder
from tests.coredns_lite.upstreams import (
    LIMIT_S,
    TCP,
    UDP,
    Upstream,
    always,
    ask,
    data,
    eventually,
    reply,
)


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
            assert upstream.asked

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
