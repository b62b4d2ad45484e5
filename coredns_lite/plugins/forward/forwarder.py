"""A set of upstreams: which is asked first, which next, and when it is given up."""

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from itertools import count

from coredns_lite.plugin import Client
from coredns_lite.plugins.forward.metrics import ALL_DOWN, PROXY, REJECTED
from coredns_lite.plugins.forward.upstream import Timing, Upstream, UpstreamError
from coredns_lite.wire.query import Flag, Query
from coredns_lite.wire.reply import Answer, Rcode
from coredns_lite.wire.response import Response

# Between one round of upstreams and the next: those that refuse at once must not be asked without pause.
_FIRST_PAUSE_S = 0.05
_MAX_HEADER_RCODE = 0xF

Order = Callable[[Sequence[Upstream]], Iterable[Upstream]]
"""Says in which order upstreams are tried."""


def _random() -> Order:
    return lambda upstreams: random.sample(upstreams, len(upstreams))


def _round_robin() -> Order:
    turns = count()

    def order(upstreams: Sequence[Upstream]) -> Iterable[Upstream]:
        first = next(turns) % len(upstreams)
        return [*upstreams[first:], *upstreams[:first]]

    return order


def _sequential() -> Order:
    return lambda upstreams: upstreams


POLICIES = {"random": _random, "round_robin": _round_robin, "sequential": _sequential}


class Forwarder:
    """Asks one of several upstreams; used on the asyncio loop alone."""

    def __init__(
        self,
        upstreams: Sequence[Upstream],
        order: Order,
        *,
        max_fails: int,
        max_concurrent: int = 0,
        force_tcp: bool = False,
        prefer_udp: bool = False,
        failfast: bool = False,
        failover: frozenset[Rcode] = frozenset(),
        timing: Timing,
    ) -> None:
        self.upstreams = upstreams
        self._order = order
        self._max_fails = max_fails
        self._max_concurrent = max_concurrent
        self._force_tcp = force_tcp
        self._prefer_udp = prefer_udp
        self._failfast = failfast
        self._failover = failover
        self._timing = timing
        self._at_work = 0

    async def ask(self, query: Query, client: Client) -> Answer:
        """Ask upstreams until one answers: SERVFAIL if none does in time, REFUSED if too many wait."""
        if self._max_concurrent and self._at_work >= self._max_concurrent:
            REJECTED.inc()
            return _failure(Rcode.REFUSED, f"over {self._max_concurrent} queries are being forwarded")
        is_stream = self._force_tcp or (client.transport != "udp" and not self._prefer_udp)
        self._at_work += 1
        try:
            return await self._ask_in_turn(query, is_stream)
        finally:
            self._at_work -= 1

    async def _ask_in_turn(self, query: Query, is_stream: bool) -> Answer:
        error = "no upstream answered in time"
        pause_s = _FIRST_PAUSE_S
        try:
            async with asyncio.timeout(self._timing.overall_s):
                while True:
                    well = [each for each in self.upstreams if not self._is_down(each)]
                    is_last_round = not well
                    if well:
                        upstreams = [*self._order(well)]
                    else:
                        ALL_DOWN.inc()
                        if self._failfast:
                            return _failure(Rcode.SERVFAIL, "all upstreams are down")
                        # Rather the health checks are wrong than that all of them are down.
                        upstreams = [random.choice(self.upstreams)]
                    for upstream in upstreams:
                        try:
                            response = await self._ask_one(upstream, query, is_stream)
                        except UpstreamError as exc:
                            error = str(exc)
                            if self._max_fails:
                                upstream.suspect()
                        else:
                            if response.rcode not in self._failover or upstream is upstreams[-1]:
                                return _answer(response)
                    if is_last_round:
                        break
                    await asyncio.sleep(pause_s)
                    pause_s *= 2
        except TimeoutError:
            pass
        return _failure(Rcode.SERVFAIL, error)

    async def _ask_one(self, upstream: Upstream, query: Query, is_stream: bool) -> Response:
        response = await upstream.ask(query, is_stream=is_stream)
        if response.flags & Flag.TC and self._prefer_udp and not is_stream:
            response = await upstream.ask(query, is_stream=True)
        return response

    def _is_down(self, upstream: Upstream) -> bool:
        return 0 < self._max_fails <= upstream.failed_probes


def _answer(response: Response) -> Answer:
    if response.rcode > _MAX_HEADER_RCODE:
        # BADVERS, BADCOOKIE: between the upstream and us, they say nothing to a client.
        return _failure(Rcode.SERVFAIL, f"unexpected {response.rcode.name} from an upstream")
    return Answer(
        response.rcode,
        response.answers,
        response.authority,
        response.additional,
        is_authoritative=bool(response.flags & Flag.AA),
        is_lasting=False,
        recursed=bool(response.flags & Flag.RA),
        is_authenticated=bool(response.flags & Flag.AD),
        is_truncated=bool(response.flags & Flag.TC),
        is_cacheable=not response.flags & Flag.TC,
        plugin=PROXY,
    )


def _failure(rcode: Rcode, error: str) -> Answer:
    return Answer(rcode, is_authoritative=False, is_lasting=False, error=error, plugin=PROXY)
