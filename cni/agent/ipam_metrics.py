"""The agent's metrics of addresses: the names of Calico's kube-controllers, and some of ours.

Series with a node are this node's alone, so that a scraper of all agents has each node once. What the
plugin's short processes cost, they tell (`ipam.request_stats`).

Source: https://docs.tigera.io/calico/latest/reference/kube-controllers/prometheus
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from cni.agent.collector import Round
from ipam.model import Allocation, Block, Pool
from ipam.request_stats import RequestStats

# From a request in memory to one that waited for a store; in seconds.
_BUCKETS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1, 2, 5, 10, 60)

Series = Counter[tuple[str, str]]
"""Numbers by pool and node."""


class IpamMetrics:
    """All of them; the methods are called where something happens.

    Args:
        registry: What shows them.
        node: The node that we are on.
    """

    def __init__(self, registry: CollectorRegistry, node: str) -> None:
        self._node = node
        self._pools: tuple[Pool, ...] = ()
        self._blocks: Iterable[Block] = ()
        self._candidates: tuple[Allocation, ...] = ()
        self._reclaimed: Series = Counter()
        self._blocks_reclaimed = 0
        self._costs: Counter[str] = Counter()
        self._durations = Histogram(
            "nodeplane_ipam_request_duration_seconds",
            "Time that a request for addresses took in the datastore",
            ["operation", "outcome"],
            buckets=_BUCKETS,
            registry=registry,
        )
        registry.register(_Families(self))

    def take_blocks(self, pools: Iterable[Pool], blocks: Iterable[Block]) -> None:
        """Take in what the datastore has; `blocks` is looked at when somebody asks, each time anew."""
        self._pools, self._blocks = tuple(pools), blocks

    def take_round(self, done: Round) -> None:
        """Take in what a garbage collection saw and did."""
        self._candidates = done.candidates
        for leak in done.freed:
            self._reclaimed[leak.allocation.pool, leak.allocation.node] += 1
        self._blocks_reclaimed += len(done.reclaimed)

    def take_stats(self, stats: RequestStats) -> None:
        """Take in what a request cost."""
        # Whoever can send here could make any number of series.
        operation = stats.operation if stats.operation in {"ADD", "DEL"} else "other"
        outcome = "ok" if stats.outcome == "ok" else "error"
        self._durations.labels(operation, outcome).observe(max(0.0, stats.seconds))
        self._costs["transactions"] += max(0, stats.transactions)
        self._costs["conflicts"] += max(0, stats.conflicts)
        self._costs["reads"] += max(0, stats.reads)

    def families(self) -> Iterator[Metric]:
        """Build what is counted elsewhere, when somebody looks."""
        yield from self._node_families()
        yield from self._pool_families()
        yield _plain("ipam_allocations_gc_candidates", _GC_CANDIDATES, self._count_candidates())
        # Without the client library's suffix, which Calico's metric of that name has not.
        yield _plain("ipam_allocations_gc_reclamations", _GC_RECLAMATIONS, self._reclaimed)
        blocks = CounterMetricFamily(
            "nodeplane_ipam_blocks_reclaimed", "Blocks given back to their pool or parted from a lost node"
        )
        blocks.add_metric([], self._blocks_reclaimed)
        yield blocks
        for name, text in _COSTS.items():
            family = CounterMetricFamily(f"nodeplane_ipam_{name}", text)
            family.add_metric([], self._costs[name])
            yield family

    def _node_families(self) -> Iterator[Metric]:
        in_use: Series = Counter()
        borrowed: Series = Counter()
        blocks: Series = Counter()
        for block in self._blocks:
            lent = sum(item.node == self._node for item in block.lent)
            if lent:
                borrowed[block.pool, self._node] += lent
                in_use[block.pool, self._node] += lent
            if block.node == self._node:
                in_use[block.pool, self._node] += block.used - len(block.lent)
                blocks[block.pool, self._node] += 1
        yield _gauge("ipam_allocations_in_use", "Addresses in use by pods of the node", in_use)
        yield _gauge("ipam_allocations_borrowed", "Of these, out of other nodes' blocks", borrowed)
        yield _gauge("ipam_blocks", "Blocks of the node", blocks)

    def _pool_families(self) -> Iterator[Metric]:
        used: Counter[str] = Counter()
        for block in self._blocks:
            used[block.pool] += block.used
        size = GaugeMetricFamily("ipam_ippool_size", "Addresses of a pool", labels=["ippool"])
        free = GaugeMetricFamily(
            "nodeplane_ipam_pool_free", "Addresses of a pool that nobody has, on any node", labels=["ippool"]
        )
        for pool in self._pools:
            reserved = sum(network.num_addresses for network in pool.reserved)
            size.add_metric([pool.name], pool.network.num_addresses)
            free.add_metric([pool.name], pool.network.num_addresses - reserved - used[pool.name])
        yield size
        yield free

    def _count_candidates(self) -> Series:
        return Counter((item.pool, item.node) for item in self._candidates)


_GC_CANDIDATES = "Addresses that were left behind and wait for their grace time to end"
_GC_RECLAMATIONS = "Addresses that were left behind and have been freed"
_COSTS = {
    "transactions": "Transactions that requests for addresses took",
    "conflicts": "Compare-and-swaps that lost to another writer",
    "reads": "Further exchanges with the datastore, which only read",
}


class _Families(Collector):
    """Shows the registry what it asks for."""

    def __init__(self, metrics: IpamMetrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        return self._metrics.families()


def _gauge(name: str, text: str, series: Series) -> Metric:
    family = GaugeMetricFamily(name, text, labels=["ippool", "node"])
    for labels, value in sorted(series.items()):
        family.add_metric(_listed(labels), value)
    return family


def _plain(name: str, text: str, series: Series) -> Metric:
    family = Metric(name, text, "gauge" if "candidates" in name else "unknown")
    for labels, value in sorted(series.items()):
        family.add_sample(name, dict(zip(("ippool", "node"), labels, strict=True)), value)
    return family


def _listed(labels: tuple[str, str]) -> Sequence[str]:
    return list(labels)
