"""How much is kept, what goes first, and what is counted."""

import asyncio
import random
import threading

from coredns_lite.plugins.cache.metrics import CacheCollector
from coredns_lite.plugins.cache.store import MEAN_BYTES
from coredns_lite.wire.reply import Answer
from tests.coredns_lite.plugins.cache.caches import (
    ANSWER,
    SOA,
    A,
    Kept,
    run,
)
from tests.coredns_lite.upstreams import UDP, always, ask


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
