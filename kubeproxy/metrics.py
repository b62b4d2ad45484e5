"""The metrics of this program: upstream's names and labels (k/k pkg/proxy/metrics), and some of ours.

On the way of a change there are plain numbers (`Tally`) and a few histograms; what it takes to show them is
done when somebody looks. Upstream's metrics of iptables, and of chains that are cleaned up later, have
nothing to count here.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from kubeproxy.backend import Backend
from kubeproxy.desired.service_port import ServicePort
from kubeproxy.health.proxy_health import FAMILY_NAMES
from kubeproxy.proxier import SyncReport
from kubeproxy.rules.addresses import FAMILIES
from kubeproxy.rules.pool_value import LOCAL_KINDS
from nodeplane.datapath.nft.expr import Family
from nodeplane.kube.objects import EndpointSlice, Service
from nodeplane.kube.source import Batch
from nodeplane.runtime.metrics import create_registry

_RULES = "kubeproxy_sync_proxy_rules_"
_SYNC_BUCKETS = tuple(0.001 * 2**power for power in range(15))
_PROGRAMMING_BUCKETS = (0.25, 0.5, *range(1, 60), *range(60, 120, 5), *range(120, 301, 30))


class Tally(msgspec.Struct):
    """What is counted as it happens; `queued_s` and `synced_s` are seconds since 1970."""

    service_changes: int = 0
    endpoint_changes: int = 0
    service_changes_pending: int = 0
    endpoint_changes_pending: int = 0
    source_changes: Counter[str] = msgspec.field(default_factory=Counter)
    queued_s: float = 0.0
    synced_s: float = 0.0
    sync_failures: int = 0
    repairs: int = 0
    repaired_elements: int = 0
    conntrack_deleted: Counter[Family] = msgspec.field(default_factory=Counter)
    healthz: Counter[int] = msgspec.field(default_factory=Counter)
    livez: Counter[int] = msgspec.field(default_factory=Counter)


class Metrics:
    """All metrics; the methods are called where something happens."""

    def __init__(self) -> None:
        self.registry: CollectorRegistry = create_registry()
        self.tally = Tally()
        sync = _by_family(
            self.registry,
            "sync_proxy_rules_duration_seconds",
            "SyncProxyRules latency in seconds",
            _SYNC_BUCKETS,
        )
        full = _by_family(
            self.registry,
            "sync_full_proxy_rules_duration_seconds",
            "SyncProxyRules latency in seconds for full resyncs",
            _SYNC_BUCKETS,
        )
        partial = _by_family(
            self.registry,
            "sync_partial_proxy_rules_duration_seconds",
            "SyncProxyRules latency in seconds for partial resyncs",
            _SYNC_BUCKETS,
        )
        self._sync = {True: (sync, full), False: (sync, partial)}
        self._programming = _by_family(
            self.registry,
            "network_programming_duration_seconds",
            "In Cluster Network Programming Latency in seconds",
            _PROGRAMMING_BUCKETS,
        )
        self._conntrack = _by_family(
            self.registry,
            "conntrack_reconciler_sync_duration_seconds",
            "ReconcileConntrackFlowsLatency in seconds",
            _SYNC_BUCKETS,
        )

    def observe(self, families: Callable[[], Iterable[Backend]]) -> None:
        """Show what these families hold, too, when somebody looks."""
        self.registry.register(_Shown(self.tally, families))

    def taken(self, batch: Batch, now_s: float) -> None:
        """Count the changes of a batch."""
        kinds = Counter(change.key.kind for change in batch)
        tally = self.tally
        services, slices = kinds[Service], kinds[EndpointSlice]
        tally.service_changes += services
        tally.service_changes_pending += services
        tally.endpoint_changes += slices
        tally.endpoint_changes_pending += slices
        for kind, number in kinds.items():
            tally.source_changes[kind.__name__] += number
        tally.queued_s = now_s

    def synced(
        self, report: SyncReport, times: Iterable[tuple[Family, float]], now_s: float, *, full: bool
    ) -> None:
        """Count a sync that has brought changes to the kernel that began at `times`."""
        for histograms in self._sync[full]:
            for family, seconds in report.seconds.items():
                histograms[family].observe(seconds)
        for family, time_s in times:
            self._programming[family].observe(max(now_s - time_s, 0.0))
        self.tally.service_changes_pending = self.tally.endpoint_changes_pending = 0
        self.tally.synced_s = now_s

    def conntrack_cleaned(self, family: Family, seconds: float, deleted: int) -> None:
        """Count one look for stale flows and the flows that were deleted."""
        self._conntrack[family].observe(seconds)
        self.tally.conntrack_deleted[family] += deleted


class _Shown(Collector):
    """Turns plain numbers into metrics."""

    def __init__(self, tally: Tally, families: Callable[[], Iterable[Backend]]) -> None:
        self._tally = tally
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """Yield each metric with its samples."""
        yield from self._collect_changes()
        yield from self._collect_syncs()
        yield from self._collect_flows_and_pages()
        yield from self._collect_families()

    def _collect_changes(self) -> Iterator[Metric]:
        """Yield what came in and waits."""
        tally = self._tally
        yield CounterMetricFamily(
            _RULES + "service_changes_total", "Cumulative proxy rules Service changes", tally.service_changes
        )
        yield CounterMetricFamily(
            _RULES + "endpoint_changes_total",
            "Cumulative proxy rules Endpoint changes",
            tally.endpoint_changes,
        )
        yield GaugeMetricFamily(
            _RULES + "service_changes_pending",
            "Pending proxy rules Service changes",
            tally.service_changes_pending,
        )
        yield GaugeMetricFamily(
            _RULES + "endpoint_changes_pending",
            "Pending proxy rules Endpoint changes",
            tally.endpoint_changes_pending,
        )
        yield _counter(
            "nodeplane_kubeproxy_source_changes_total",
            "Changes of objects that the source delivered",
            "kind",
            tally.source_changes,
        )

    def _collect_syncs(self) -> Iterator[Metric]:
        """Yield when the kernel was brought up to date, what went wrong and what was put right."""
        tally = self._tally
        for metric, help_, value in (
            (
                "last_queued_timestamp_seconds",
                "The last time a sync of proxy rules was queued",
                tally.queued_s,
            ),
            ("last_timestamp_seconds", "The last time proxy rules were successfully synced", tally.synced_s),
        ):
            gauge = GaugeMetricFamily(_RULES + metric, help_, labels=["ip_family"])
            for family in FAMILIES:
                gauge.add_metric([FAMILY_NAMES[family]], value)
            yield gauge
        # A failure ends the sync of all families.
        yield _counter(
            _RULES + "nftables_sync_failures_total",
            "Cumulative proxy nftables sync failures",
            "ip_family",
            {FAMILY_NAMES[family]: tally.sync_failures for family in FAMILIES},
        )
        # Dashboards ask for it; one transaction brings and takes away, so there is no cleaning up afterwards.
        yield _counter(
            _RULES + "nftables_cleanup_failures_total",
            "Cumulative proxy nftables cleanup failures",
            "ip_family",
            {FAMILY_NAMES[family]: 0 for family in FAMILIES},
        )
        yield CounterMetricFamily(
            "nodeplane_kubeproxy_repairs_total", "Times that others' damage was repaired", tally.repairs
        )
        yield CounterMetricFamily(
            "nodeplane_kubeproxy_repaired_elements_total",
            "Elements written to repair others' damage",
            tally.repaired_elements,
        )

    def _collect_flows_and_pages(self) -> Iterator[Metric]:
        """Yield what was done to tracked flows, and what the health pages have answered."""
        tally = self._tally
        yield _counter(
            "kubeproxy_conntrack_reconciler_deleted_entries_total",
            "Cumulative conntrack flows deleted by conntrack reconciler",
            "ip_family",
            {FAMILY_NAMES[family]: tally.conntrack_deleted[family] for family in FAMILIES},
        )
        for metric, help_, codes in (
            ("proxy_healthz_total", "Cumulative proxy healthz HTTP status", tally.healthz),
            ("proxy_livez_total", "Cumulative proxy livez HTTP status", tally.livez),
        ):
            values = {str(code): codes[code] for code in (200, 503)}
            yield _counter("kubeproxy_" + metric, help_, "code", values)

    def _collect_families(self) -> Iterator[Metric]:
        """Yield what the kernel should hold."""
        lonely = GaugeMetricFamily(
            _RULES + "no_local_endpoints_total",
            "Number of services with a Local traffic policy and no endpoints",
            labels=["ip_family", "traffic_policy"],
        )
        elements = GaugeMetricFamily(
            "nodeplane_kubeproxy_elements",
            "Elements that should be in the kernel",
            labels=["ip_family", "map"],
        )
        for proxier in self._families():
            name = FAMILY_NAMES[proxier.family]
            for policy, number in count_without_local(proxier.desired.ports.values()).items():
                lonely.add_metric([name, policy], number)
            for map_name, content in proxier.desired.elements.items():
                elements.add_metric([name, map_name], len(content))
        yield lonely
        yield elements


def count_without_local(ports: Iterable[ServicePort]) -> dict[str, int]:
    """Count by traffic policy the ports that drop traffic as their endpoints are all on other nodes."""
    numbers = {"internal": 0, "external": 0}
    for port in ports:
        if port.usable.local or not port.usable.cluster:
            continue
        numbers["internal"] += port.is_internal_local
        numbers["external"] += any(publication.kind in LOCAL_KINDS for publication in port.publications)
    return numbers


def _counter(name: str, help_: str, label: str, values: Mapping[str, float]) -> Metric:
    metric = CounterMetricFamily(name, help_, labels=[label])
    for value, number in values.items():
        metric.add_metric([value], number)
    return metric


def _by_family(
    registry: CollectorRegistry, name: str, help_: str, buckets: Iterable[float]
) -> dict[Family, Histogram]:
    histogram = Histogram(
        "kubeproxy_" + name, help_, ["ip_family"], registry=registry, buckets=tuple(map(float, buckets))
    )
    return {family: histogram.labels(FAMILY_NAMES[family]) for family in FAMILIES}
