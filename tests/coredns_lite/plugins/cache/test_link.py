"""What a cache answers, and when it asks; the clock is the test's."""

import asyncio
import random
import threading
from collections.abc import Callable
from typing import Any

import dns.edns
import dns.message
import pytest

from coredns_lite.corefile.parser import parse_corefile
from coredns_lite.plugin import Client, Outcome
from coredns_lite.plugins import cache
from coredns_lite.plugins.cache.link import FAILURE_RECHECK_S
from coredns_lite.plugins.cache.metrics import CacheCollector, Counts
from coredns_lite.plugins.cache.store import MEAN_BYTES
from coredns_lite.plugins.forward.exchange import render_query
from coredns_lite.wire.query import Query
from coredns_lite.wire.record import Record
from coredns_lite.wire.reply import Answer, Rcode
from coredns_lite.wire.response import decode_response
from tests.coredns_lite.upstreams import TCP, UDP, Script, always, ask, data, eventually, option, reply, shown

QUERY = ask("a.example")
ANSWER = "a.example. {} IN A 10.1.2.3"
A = "@ 300 A 10.1.2.3"
SOA = "example. 100 SOA ns.example. root.example. 1 2 3 4 60"
LONG_SOA = "example. 9000 SOA ns.example. root.example. 1 2 3 4 9000"
FAILURE = Answer(Rcode.SERVFAIL, is_authoritative=False, is_lasting=False, error="dead")


class Clock:
    """A monotonic clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Behind:
    """The chain behind a cache: answers later, as `forward` does; `asked` are the names that it was asked."""

    def __init__(self, script: Script | None = None) -> None:
        self.script = script or always(A)
        self.asked: list[str] = []
        self.at_once: Answer | None = None
        self.failure: Answer | None = None
        self.gate: asyncio.Event | None = None

    def answer(self, query: Query, client: Client) -> Outcome:
        """Answer later, or at once."""
        return self.at_once or self._answer(query, client)

    async def _answer(self, query: Query, client: Client) -> Answer:
        message = dns.message.from_wire(render_query(query))
        self.asked.append(str(message.question[0].name))
        if self.gate:
            await self.gate.wait()
        if self.failure:
            return self.failure
        wire = self.script(message, client.transport)
        assert wire
        found = decode_response(wire)
        is_truncated = bool(found.flags & 0x0200)
        return Answer(
            found.rcode,
            found.answers,
            found.authority,
            found.additional,
            is_authoritative=False,
            is_lasting=False,
            recursed=True,
            is_truncated=is_truncated,
            is_cacheable=not is_truncated,
            plugin="behind",
        )


class Kept:
    """A cache of a Corefile's line, before something."""

    def __init__(self, line: str = "cache", behind: Behind | None = None, **options: Any) -> None:
        self.clock = Clock()
        self.behind = behind or Behind()
        self.counts = Counts()
        (block,) = parse_corefile(f". {{\n{line}\n}}", "Corefile")
        config = cache.decode(block.directives[0], (".",))
        store = cache.make_store(config, self.counts, self.clock)
        self.link = cache.make_link(config, store, self.counts, self.behind, self.clock, **options)

    async def ask(self, query: Query = QUERY, client: Client = UDP) -> Answer:
        """Ask, and wait if need be."""
        outcome = self.link.answer(query, client)
        return outcome if isinstance(outcome, Answer) else await outcome

    def hit(self, query: Query = QUERY) -> Answer:
        """Ask for what must be there at once."""
        outcome = self.link.answer(query, UDP)
        assert isinstance(outcome, Answer)
        return outcome

    async def texts(self, query: Query = QUERY) -> list[str]:
        """Return status and answers."""
        return data(query, await self.ask(query))


def run(scenario: Callable[[], Any]) -> None:
    asyncio.run(scenario())


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


def test_keepttl() -> None:
    async def scenario() -> None:
        kept = Kept("cache 30 {\nkeepttl\n}")
        for now in (1000, 1029):
            kept.clock.now = now
            assert await kept.texts() == ["NOERROR", ANSWER.format(30)]

    run(scenario)


def test_capacity() -> None:
    """The one that has been there longest goes, but not if it was asked for; denials are apart."""

    async def scenario() -> None:
        kept = Kept("cache {\nsuccess 3\n}")
        names = [ask(f"{letter}.example") for letter in "abcd"]
        for query in names[:3]:
            await kept.ask(query)
        kept.clock.now += 1
        assert kept.hit(names[0])
        kept.behind.script = always(authority=SOA)
        await kept.ask(ask("none.example"))
        kept.behind.script = always(A)
        await kept.ask(names[3])

        assert kept.counts.entries == {"success": 3, "denial": 1}
        assert kept.counts.evictions == {"success": 1, "denial": 0}
        assert kept.hit(names[0])
        assert kept.hit(names[2])
        assert kept.hit(names[3])
        asked = len(kept.behind.asked)
        await kept.ask(names[1])
        assert len(kept.behind.asked) == asked + 1

    run(scenario)


def test_capacity_for_large_answers() -> None:
    """Answers of 64 KiB take the room of many, and the room of those that went is there again."""

    async def scenario() -> None:
        kept = Kept("cache {\nsuccess 100\n}")
        kept.behind.script = always("@ 300 TXT " + " ".join(["x" * 255] * 200))
        for number in range(40):
            await kept.ask(ask(f"large{number}.example"))
        assert kept.counts.entries["success"] == 100 * MEAN_BYTES // (2 * 51_700) == 3
        kept.behind.script = always(A)
        for number in range(200):
            await kept.ask(ask(f"small{number}.example"))

        assert kept.counts.entries["success"] == 100
        assert kept.hit(ask("small199.example"))

    run(scenario)


def test_capacity_of_popular_names() -> None:
    """Even where all were asked for meanwhile there is room for the next."""

    async def scenario() -> None:
        kept = Kept("cache {\nsuccess 20\n}")
        for number in range(100):
            query = ask(f"{number}.example")
            await kept.ask(query)
            kept.clock.now += 0.01
            assert kept.hit(query)

        assert kept.counts.entries["success"] == 20
        assert kept.counts.evictions["success"] == 80

    run(scenario)


def test_another_answer_takes_the_first_ones_place() -> None:
    async def scenario() -> None:
        kept = Kept()
        await kept.ask()
        kept.clock.now = 1300
        kept.behind.script = always(rcode="NXDOMAIN", authority=SOA)
        assert await kept.texts() == ["NXDOMAIN"]
        assert kept.counts.entries == {"success": 0, "denial": 1}

    run(scenario)


def test_packet_loops_and_the_asyncio_loop_at_once() -> None:
    """Two threads ask all the time while names come and go: each answer is right, none is an error."""

    async def scenario() -> None:
        kept = Kept("cache {\nsuccess 8\n}")
        loop = asyncio.get_running_loop()
        queries = [ask(f"{number}.example") for number in range(16)]
        wrong: list[object] = []

        def packets(seed: int) -> None:
            source = random.Random(seed)
            try:
                for _ in range(400):
                    query = source.choice(queries)
                    outcome = kept.link.answer(query, UDP)
                    if not isinstance(outcome, Answer):
                        outcome = asyncio.run_coroutine_threadsafe(outcome, loop).result()
                    if outcome.answers[0].rdata != b"\x0a\1\2\3":
                        wrong.append(outcome)
            except BaseException as exc:
                wrong.append(exc)
                raise

        threads = [threading.Thread(target=packets, args=(seed,)) for seed in range(2)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            kept.clock.now += 0.5
            await asyncio.sleep(0)
        for thread in threads:
            thread.join()

        assert not wrong
        assert kept.counts.entries["success"] == 8

    run(scenario)


def test_metrics() -> None:
    async def scenario() -> None:
        collector = CacheCollector(None)
        kept = Kept("cache {\nsuccess 1\n}")
        collector._counts[("dns://:53", ".")] = kept.counts
        await kept.ask()
        kept.hit()
        await kept.ask(ask("b.example"))
        samples = {
            (sample.name, sample.labels.get("type", "")): sample.value
            for metric in collector.collect()
            for sample in metric.samples
        }

        assert {key: value for key, value in samples.items() if value} == {
            ("coredns_cache_entries", "success"): 1,
            ("coredns_cache_hits_total", "success"): 1,
            ("coredns_cache_evictions_total", "success"): 1,
            ("coredns_cache_requests_total", ""): 3,
            ("coredns_cache_misses_total", ""): 2,
        }
        assert {name for name, _ in samples} == {
            f"coredns_cache_{name}"
            for name in (
                "entries",
                "hits_total",
                "evictions_total",
                "requests_total",
                "misses_total",
                "prefetch_total",
                "drops_total",
                "served_stale_total",
            )
        }

    run(scenario)
