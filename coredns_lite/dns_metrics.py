"""CoreDNS's metrics of queries, made from tallies when somebody reads them."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from coredns_lite.kind import NO_ZONE
from coredns_lite.metrics import REGISTRY
from coredns_lite.tally import DURATION_BUCKETS_S, SIZE_BUCKETS_BYTES, Slice, Sums, Tally

_NO_VIEW = ""


class QueryMetrics(Collector):
    """Reads the tallies of all that serves, and keeps the totals of what no longer does."""

    def __init__(self) -> None:
        self._serving: dict[Tally, tuple[str, str, frozenset[str]]] = {}
        self._past: defaultdict[tuple[str, str, Slice], Sums] = defaultdict(Sums)

    def add(self, tally: Tally, server: str, protocol: str, zones: Collection[str]) -> None:
        """Count what a tally counts, of these zones and of none."""
        self._serving[tally] = server, protocol, frozenset((*zones, NO_ZONE))

    def retire(self, tally: Tally) -> None:
        """Keep what a tally has counted; it counts no more."""
        server, protocol, zones = self._serving.pop(tally)
        for key, sums in tally.totals().items():
            if key.kind.zone in zones:
                self._past[server, protocol, key].add(sums)

    def collect(self) -> Iterator[Metric]:
        """Yield CoreDNS's metrics of queries."""
        rows = [(server, protocol, key, sums) for (server, protocol, key), sums in self._past.items()]
        for tally, (server, protocol, zones) in tuple(self._serving.items()):
            rows += [
                (server, protocol, key, sums)
                for key, sums in tally.totals().items()
                if key.kind.zone in zones
            ]
        yield _counter(
            "coredns_dns_requests",
            "Queries by zone, protocol, family and type",
            ["server", "zone", "view", "proto", "family", "type"],
            (
                ((server, key.kind.zone, _NO_VIEW, protocol, key.family, key.kind.rtype), sums.count)
                for server, protocol, key, sums in rows
            ),
        )
        yield _counter(
            "coredns_dns_do_requests",
            "Queries with the flag DO",
            ["server", "zone", "view"],
            (
                ((server, key.kind.zone, _NO_VIEW), sums.count)
                for server, _, key, sums in rows
                if key.kind.dnssec_ok
            ),
        )
        yield _counter(
            "coredns_dns_responses",
            "Replies by rcode and the plugin that gave them",
            ["server", "zone", "view", "rcode", "plugin"],
            (
                ((server, key.kind.zone, _NO_VIEW, key.kind.rcode, key.kind.plugin), sums.count)
                for server, _, key, sums in rows
            ),
        )
        yield _histogram(
            "coredns_dns_request_duration_seconds",
            "Time from a query's arrival to its reply's departure",
            ["server", "zone", "view"],
            DURATION_BUCKETS_S,
            (
                ((server, key.kind.zone, _NO_VIEW), key.duration_bucket, sums.count, sums.seconds)
                for server, _, key, sums in rows
            ),
        )
        labels = ["server", "zone", "view", "proto"]
        yield _histogram(
            "coredns_dns_request_size_bytes",
            "Size of queries",
            labels,
            SIZE_BUCKETS_BYTES,
            (
                ((server, key.kind.zone, _NO_VIEW, proto), key.request_bucket, sums.count, sums.request_bytes)
                for server, proto, key, sums in rows
            ),
        )
        yield _histogram(
            "coredns_dns_response_size_bytes",
            "Size of replies",
            labels,
            SIZE_BUCKETS_BYTES,
            (
                ((server, key.kind.zone, _NO_VIEW, proto), key.reply_bucket, sums.count, sums.reply_bytes)
                for server, proto, key, sums in rows
            ),
        )


def _counter(
    name: str, text: str, labels: Sequence[str], rows: Iterable[tuple[tuple[str, ...], int]]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=labels)
    sums: defaultdict[tuple[str, ...], int] = defaultdict(int)
    for values, count in rows:
        sums[values] += count
    for values, count in sums.items():
        family.add_metric(values, count)
    return family


def _histogram(
    name: str,
    text: str,
    labels: Sequence[str],
    bounds: Sequence[float],
    rows: Iterable[tuple[tuple[str, ...], int, int, float]],
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text, labels=labels)
    counts: defaultdict[Any, list[int]] = defaultdict(lambda: [0] * (len(bounds) + 1))
    totals: defaultdict[Any, float] = defaultdict(float)
    for values, bucket, count, total in rows:
        counts[values][bucket] += count
        totals[values] += total
    texts = [*(f"{float(bound)}" for bound in bounds), "+Inf"]
    for values, found in counts.items():
        buckets = [*zip(texts, map(float, accumulate(found)), strict=True)]
        family.add_metric(values, buckets, sum_value=totals[values])
    return family


QUERY_METRICS = QueryMetrics()
REGISTRY.register(QUERY_METRICS)
