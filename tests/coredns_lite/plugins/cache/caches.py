"""A cache in front of an upstream that the test plays, with a clock of its own."""

import asyncio
from collections.abc import Callable
from typing import Any

import dns.edns
import dns.message

from coredns_lite.corefile.parser import parse_corefile
from coredns_lite.plugin import Client, Outcome
from coredns_lite.plugins import cache
from coredns_lite.plugins.cache.metrics import Counts
from coredns_lite.plugins.forward.exchange import render_query
from coredns_lite.wire.query import Query
from coredns_lite.wire.reply import Answer, Rcode
from coredns_lite.wire.response import decode_response
from tests.coredns_lite.upstreams import UDP, Script, always, ask, data

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
