"""What the cache keeps, for how long, and for whom."""

from typing import Any

import dns.edns
import dns.message
import pytest

from coredns_lite.plugin import Client
from coredns_lite.wire.query import Query
from coredns_lite.wire.record import Record
from coredns_lite.wire.reply import Answer
from tests.coredns_lite.plugins.cache.caches import ANSWER, QUERY, SOA, A, Behind, Kept, run
from tests.coredns_lite.upstreams import Script, always, ask, data, option, reply


def test_a_hit_is_answered_at_once_and_counts_down() -> None:
    async def scenario() -> None:
        kept = Kept()
        assert await kept.texts() == ["NOERROR", ANSWER.format(300)]
        for passed, left in [(0, 300), (0.9, 300), (1, 299), (299.5, 1)]:
            kept.clock.now = 1000 + passed
            assert data(QUERY, kept.hit()) == ["NOERROR", ANSWER.format(left)]
        assert kept.hit().plugin == "cache"
        assert kept.behind.asked == ["a.example."]
        assert (kept.counts.misses, kept.counts.hits) == (1, {"success": 5, "denial": 0})

        kept.clock.now = 1300
        assert (await kept.ask()).plugin == "behind"
        assert len(kept.behind.asked) == 2

    run(scenario)


@pytest.mark.parametrize(
    ("line", "script", "ttl_s"),
    [
        pytest.param("cache", always("@ 9000 A 10.1.2.3"), 3600, id="at most an hour"),
        pytest.param("cache 30", always(A), 30, id="cache 30"),
        pytest.param("cache 3", always(A), 3, id="below the least"),
        pytest.param("cache", always("@ 1 A 10.1.2.3"), 5, id="at least 5 s"),
        pytest.param("cache {\nsuccess 10 3600 0\n}", always("@ 1 A 10.1.2.3"), 1, id="at least nothing"),
        pytest.param("cache {\nsuccess 10 60\n}", always(A), 60, id="success"),
        pytest.param(
            "cache", always("@ 300 CNAME b.example.", "b.example. 20 A 10.1.2.3"), 20, id="the shortest TTL"
        ),
        pytest.param("cache", always(rcode="NXDOMAIN", authority=SOA), 60, id="NXDOMAIN: the SOA's minimum"),
        pytest.param("cache", always(authority=SOA), 60, id="no data"),
        pytest.param("cache", always(authority=SOA.replace("100", "7")), 7, id="the SOA's TTL"),
        pytest.param(
            "cache", always(authority=SOA.replace("100", "9000").replace("60", "9000")), 1800, id="1800 s"
        ),
        pytest.param("cache {\ndenial 10 20\n}", always(authority=SOA), 20, id="denial"),
        pytest.param("cache", always(rcode="SERVFAIL"), 5, id="SERVFAIL"),
        pytest.param("cache {\nservfail 20s\n}", always(rcode="SERVFAIL"), 20, id="servfail"),
    ],
)
def test_how_long(line: str, script: Script, ttl_s: int) -> None:
    """It is a hit until its time is over, and all that it shows has the time that is left."""

    async def scenario() -> None:
        kept = Kept(line, Behind(script))
        for passed in (0, ttl_s - 0.5):
            kept.clock.now = 1000 + passed
            answer = await kept.ask()
            left = {record.ttl_s for record in (*answer.answers, *answer.authority)}
            assert left <= {ttl_s - int(passed)}
        assert len(kept.behind.asked) == 1
        kept.clock.now = 1000 + ttl_s
        await kept.ask()
        assert len(kept.behind.asked) == 2

    run(scenario)


@pytest.mark.parametrize(
    ("line", "script"),
    [
        pytest.param("cache", lambda q, _: reply(q, A, truncated=True).to_wire(), id="truncated"),
        pytest.param("cache", always(rcode="NXDOMAIN"), id="a denial without SOA"),
        pytest.param("cache", always(), id="no data without SOA"),
        pytest.param("cache", always(authority="example. 60 NS ns.example."), id="a referral"),
        pytest.param("cache", always(rcode="REFUSED"), id="REFUSED"),
        pytest.param("cache {\nservfail 0\n}", always(rcode="SERVFAIL"), id="servfail 0"),
        pytest.param("cache {\ndisable success\n}", always(A), id="disable success"),
        pytest.param("cache {\ndisable success example\n}", always(A), id="disable success ZONE"),
        pytest.param("cache {\ndisable denial\n}", always(authority=SOA), id="disable denial"),
        pytest.param("cache other.example", always(A), id="another zone"),
        pytest.param("cache {\nsuccess 10 10 0\n}", always("@ 0 A 10.1.2.3"), id="TTL 0"),
    ],
)
def test_not_kept(line: str, script: Script) -> None:
    async def scenario() -> None:
        kept = Kept(line, Behind(script))
        for count in (1, 2):
            await kept.ask()
            assert len(kept.behind.asked) == count

    run(scenario)


@pytest.mark.parametrize("line", ["disable success other", "disable denial\ndisable success other.example"])
def test_disabled_elsewhere(line: str) -> None:
    async def scenario() -> None:
        kept = Kept(f"cache {{\n{line}\n}}")
        await kept.ask()
        assert kept.hit()

    run(scenario)


def test_what_is_lasting_is_never_kept() -> None:
    """The cluster's own names are answered by the link behind, each time: no change of theirs is delayed."""

    async def scenario() -> None:
        kept = Kept()
        for address in (b"\1\1\1\1", b"\2\2\2\2"):
            kept.behind.at_once = Answer(answers=(Record(1, 30, address),))
            assert kept.hit() is kept.behind.at_once

        async def later(query: Query, client: Client) -> Answer:
            # An ExternalName, say: half of it is the cluster's.
            return Answer(answers=(Record(1, 30, address),), is_lasting=False)

        for address in (b"\3\3\3\3", b"\4\4\4\4"):
            kept.behind.answer = later  # type: ignore[method-assign]
            assert (await kept.ask()).answers[0].rdata == address

    run(scenario)


@pytest.mark.parametrize(
    ("first", "second", "is_hit"),
    [
        pytest.param({}, {}, True, id="the same"),
        pytest.param({}, {"want_dnssec": True}, False, id="DO"),
        pytest.param({}, {"use_edns": True}, True, id="EDNS alone"),
        pytest.param({}, {"flags": 0x0110}, False, id="CD"),
        pytest.param({}, {"flags": 0}, False, id="without RD"),
        pytest.param({}, {"options": [option(10, b"12345678")]}, True, id="a cookie"),
        pytest.param({}, {"options": [dns.edns.ECSOption("10.0.0.0", 8)]}, False, id="client subnet"),
        pytest.param(
            {"options": [dns.edns.ECSOption("10.0.0.0", 8)]},
            {"options": [dns.edns.ECSOption("10.0.0.0", 8)]},
            False,
            id="client subnet twice",
        ),
    ],
)
def test_whom_it_serves(first: dict[str, Any], second: dict[str, Any], is_hit: bool) -> None:
    async def scenario() -> None:
        kept = Kept()
        await kept.ask(ask("a.example", **first))
        await kept.ask(ask("A.EXAMPLE", **second))
        assert (len(kept.behind.asked) == 1) == is_hit

    run(scenario)


@pytest.mark.parametrize(("rtype", "asked"), [("AAAA", 2), ("HINFO", 3)])
def test_types_are_kept_apart(rtype: str, asked: int) -> None:
    """And HINFO not at all: the plugin loop must see its own come back."""

    async def scenario() -> None:
        kept = Kept()
        await kept.ask()
        for _ in range(2):
            await kept.ask(ask("a.example", rtype))
        assert len(kept.behind.asked) == asked

    run(scenario)
