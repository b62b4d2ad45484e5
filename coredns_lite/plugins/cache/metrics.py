"""What caches count, under CoreDNS's names.

Packet loops add to plain numbers, without a lock; they become metrics when somebody asks. They stay when a
cache is replaced (reload), as counters should.
"""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from coredns_lite.metrics import REGISTRY

_LABELS = ["server", "zones", "view"]
_TYPED = ["server", "type", "zones", "view"]


class Counts:
    """The counters of the caches of one server and zone; attributes of a pair are success and denial."""

    def __init__(self) -> None:
        self.entries = {"success": 0, "denial": 0}
        self.hits = {"success": 0, "denial": 0}
        self.evictions = {"success": 0, "denial": 0}
        self.misses = 0
        self.prefetches = 0
        self.drops = 0
        self.served_stale = 0


class CacheCollector(Collector):
    """Turns counts into metrics."""

    def __init__(self, registry: CollectorRegistry | None) -> None:
        self._counts: dict[tuple[str, str], Counts] = {}
        if registry:
            registry.register(self)

    def counts(self, server: str, zones: str) -> Counts:
        """Return the counts of a server's zones."""
        return self._counts.setdefault((server, zones), Counts())

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now."""
        entries = GaugeMetricFamily("coredns_cache_entries", "Answers that are kept", labels=_TYPED)
        hits = CounterMetricFamily("coredns_cache_hits", "Queries answered from the cache", labels=_TYPED)
        evictions = CounterMetricFamily("coredns_cache_evictions", "Answers that had to go", labels=_TYPED)
        requests = CounterMetricFamily(
            "coredns_cache_requests", "Queries for what may be kept", labels=_LABELS
        )
        misses = CounterMetricFamily("coredns_cache_misses", "Queries that were passed on", labels=_LABELS)
        prefetches = CounterMetricFamily(
            "coredns_cache_prefetch", "Answers asked for again before their time", labels=_LABELS
        )
        drops = CounterMetricFamily(
            "coredns_cache_drops", "Answers to another question than was asked", labels=_LABELS
        )
        stale = CounterMetricFamily(
            "coredns_cache_served_stale", "Queries answered with what is out of date", labels=_LABELS
        )
        for (server, zones), counts in list(self._counts.items()):
            for kind in ("success", "denial"):
                entries.add_metric([server, kind, zones, ""], counts.entries[kind])
                hits.add_metric([server, kind, zones, ""], counts.hits[kind])
                evictions.add_metric([server, kind, zones, ""], counts.evictions[kind])
            labels = [server, zones, ""]
            requests.add_metric(labels, sum(counts.hits.values()) + counts.misses)
            misses.add_metric(labels, counts.misses)
            prefetches.add_metric(labels, counts.prefetches)
            drops.add_metric(labels, counts.drops)
            stale.add_metric(labels, counts.served_stale)
        yield from (entries, hits, evictions, requests, misses, prefetches, drops, stale)

    def describe(self) -> list[Metric]:
        """Say nothing of names beforehand: there may be no cache."""
        return []


COLLECTOR = CacheCollector(REGISTRY)
