"""The cache's part in a chain: hits at once, one question upstream for all that ask the same.

    packet loops            asyncio loop
    ────────────            ────────────
    fresh ──► answer
    about to expire ──────► answer, and ask again beside it
    stale ────────────────► ask again ──► fails ──► the stale answer
    unknown ──► Flight ───► ask once, keep it, answer all who asked

Decides whom a kept answer serves; what may be kept, and for how long, is `entry`'s part.
"""

import asyncio
from collections.abc import Callable
from functools import partial

import msgspec

from coredns_lite.background import Background
from coredns_lite.plugin import Client, Handler, Later, Outcome
from coredns_lite.plugins.cache.entry import Entry, Kind
from coredns_lite.plugins.cache.metrics import Counts
from coredns_lite.plugins.cache.store import Store
from coredns_lite.wire.query import Flag, Query
from coredns_lite.wire.record import RecordType
from coredns_lite.wire.reply import Answer, Rcode
from coredns_lite.zones import ZoneTable

# How long a client waits before it gets a stale answer, and how long after a failure it gets one at once
# (RFC 8767 section 5, client response timer and failure recheck timer; the latter 30 s there).
CLIENT_RESPONSE_S = 1.8
FAILURE_RECHECK_S = 5.0

_CLIENT_SUBNET = 8
# DO, RD and CD change what is answered.
_BITS = tuple(bytes((number,)) for number in range(8))


class Prefetch(msgspec.Struct, frozen=True):
    """Which answers are asked for again before they expire: those with so many hits without a longer gap."""

    hits: int
    longest_gap_s: float = 60.0
    percentage: int = 10

    def threshold_s(self, ttl_s: int) -> float:
        """Return how long before it expires an answer is asked for again: 1 s at least."""
        return max(ttl_s * self.percentage / 100, 1.0)


class Stale(msgspec.Struct, frozen=True):
    """For how long answers are served while the upstream fails, and whether it is always asked first."""

    longest_s: float = 3600.0
    verifies: bool = False


class Flight:
    """A question on its way; whoever comes first on the asyncio loop has it asked."""

    def __init__(
        self, later: Later, keep: Callable[[Answer], Answer], on_landing: "Callable[[Flight], None]"
    ) -> None:
        self._later = later
        self._keep = keep
        self._on_landing = on_landing
        self._task: asyncio.Task[Answer] | None = None

    async def answer(self, background: Background) -> Answer:
        """Wait for the answer; that a client goes away does not matter to the others."""
        if self._task is None:
            self._task = background.start(self._run())
        return await asyncio.shield(self._task)

    async def _run(self) -> Answer:
        try:
            answer = await self._later
        finally:
            self._on_landing(self)
        return self._keep(answer)


class Link:
    """Keeps what the links behind it had to ask others for."""

    def __init__(
        self,
        zones: ZoneTable[None],
        store: Store,
        counts: Counts,
        following: Handler,
        clock: Callable[[], float],
        *,
        prefetch: Prefetch | None = None,
        stale: Stale | None = None,
        keeps_ttl: bool = False,
        client_response_s: float = CLIENT_RESPONSE_S,
    ) -> None:
        self._zones = zones
        self._store = store
        self._counts = counts
        self._following = following
        self._clock = clock
        self._prefetch = prefetch
        self._stale = stale
        self._keeps_ttl = keeps_ttl
        self._client_response_s = client_response_s
        self._flights: dict[_Way, Flight] = {}
        self._background = Background()

    def answer(self, query: Query, client: Client) -> Outcome:
        """Answer from what is kept, or ask."""
        if query.qtype == RecordType.HINFO or self._zones.find_zone(query.name) is None or _has_subnet(query):
            # HINFO is how the plugin loop finds its own queries coming back.
            return self._following.answer(query, client)
        key = _key(query)
        entry = self._store.find(key)
        if entry is None:
            return self._ask(key, query, client)
        now = self._clock()
        left_s = entry.left_s(now)
        if left_s <= 0:
            return self._answer_stale(key, entry, query, client, -left_s)
        self._counts.hits["success" if entry.kind is Kind.SUCCESS else "denial"] += 1
        prefetch = self._prefetch
        entry.count_hit(now, prefetch.longest_gap_s if prefetch else 0)
        answer = entry.answer if self._keeps_ttl else entry.aged(now)
        if prefetch and entry.hits >= prefetch.hits and left_s <= prefetch.threshold_s(entry.ttl_s):
            return self._answer_and_ask(key, answer, query, client)
        return answer

    def _ask(self, key: bytes, query: Query, client: Client) -> Outcome:
        way = _way(key, query, client)
        flight = self._flights.get(way)
        if flight is None:
            outcome = self._following.answer(query, client)
            if isinstance(outcome, Answer):
                # The cluster's own, true until the watch says otherwise; or an answer for this client alone.
                return outcome
            flight = self._take_off(way, outcome)
        self._counts.misses += 1
        return flight.answer(self._background)

    def _take_off(self, way: "_Way", later: Later) -> Flight:
        flight = Flight(later, partial(self._keep, way[0]), partial(self._land, way))
        # Two packet loops may come here at once: then the flight of one of them is nobody else's.
        self._flights.setdefault(way, flight)
        return flight

    def _land(self, way: "_Way", flight: Flight) -> None:
        if self._flights.get(way) is flight:
            del self._flights[way]

    def _keep(self, key: bytes, answer: Answer) -> Answer:
        """Keep an answer for the next who ask; on the asyncio loop."""
        if _is_failure(answer) and (entry := self._store.find(key)) is not None:
            entry.failed_at = self._clock()
        return self._store.keep(key, answer, spares_stale=self._stale is not None)

    async def _answer_and_ask(self, key: bytes, answer: Answer, query: Query, client: Client) -> Answer:
        """Answer, and have the question asked again if it isn't yet."""
        way = _way(key, query, client)
        if way not in self._flights:
            outcome = self._following.answer(query, client)
            if not isinstance(outcome, Answer):
                self._counts.prefetches += 1
                self._background.start(self._take_off(way, outcome).answer(self._background))
        return answer

    def _answer_stale(
        self, key: bytes, entry: Entry, query: Query, client: Client, stale_s: float
    ) -> Outcome:
        """Ask again; if that fails, an answer that is not too old will do."""
        stale = self._stale
        if stale is None or stale_s > stale.longest_s or entry.kind is Kind.SERVFAIL:
            return self._ask(key, query, client)
        has_just_failed = self._clock() - entry.failed_at < FAILURE_RECHECK_S
        if has_just_failed and not stale.verifies:
            return self._show_stale(entry)
        outcome = self._ask(key, query, client)
        return outcome if isinstance(outcome, Answer) else self._or_stale(outcome, entry)

    async def _or_stale(self, later: Later, entry: Entry) -> Answer:
        within_s = None if self._stale and self._stale.verifies else self._client_response_s
        try:
            async with asyncio.timeout(within_s):
                answer = await later
        except TimeoutError:
            # The question stays on its way, for those who ask next.
            return self._show_stale(entry)
        return self._show_stale(entry) if _is_failure(answer) else answer

    def _show_stale(self, entry: Entry) -> Answer:
        self._counts.served_stale += 1
        return entry.aged(entry.stored_at + entry.ttl_s)


def _key(query: Query) -> bytes:
    bits = bool(query.flags & Flag.RD) | bool(query.flags & Flag.CD) << 1
    if query.edns and query.edns.dnssec_ok:
        bits |= 4
    return query.name + query.question[-4:] + _BITS[bits]


_Way = tuple[bytes, bool, bool]
"""A key and how it is asked for: over TCP, and with EDNS, an answer may be whole that elsewhere is cut."""


def _way(key: bytes, query: Query, client: Client) -> _Way:
    return key, client.transport == "udp", query.edns is None


def _has_subnet(query: Query) -> bool:
    """Whether the answer may hold for one network only (RFC 7871)."""
    return query.edns is not None and any(code == _CLIENT_SUBNET for code, _ in query.edns.options)


def _is_failure(answer: Answer) -> bool:
    """Whether an upstream had nothing to say of the name."""
    return answer.rcode not in (Rcode.NOERROR, Rcode.NXDOMAIN)
