"""Figures of the CNI calls that the agent answers."""

from prometheus_client import CollectorRegistry, Counter, Histogram

from cni.calls.stats import CallStats, build_stats

# Half a millisecond to the deadline.
_BUCKETS = tuple(0.0005 * 2**power for power in range(17))


class CallMetrics:
    """Counts calls by command and by the code that the runtime gets (0: done)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        prefix = "nodeplane_cni"
        self._calls = Counter(
            f"{prefix}_requests", "CNI calls answered", ["command", "code"], registry=registry
        )
        self._duration = Histogram(
            f"{prefix}_request_duration_seconds",
            "Duration of a CNI call, from its receipt to its answer",
            ["command"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self._refusals = Counter(
            f"{prefix}_requests_dropped", "Connections that brought no call to answer", registry=registry
        )

    def count_call(self, command: str, verdict: int, stdout: bytes, duration_s: float) -> None:
        """Count a call that was answered."""
        self.take(build_stats(command, verdict, stdout, duration_s))

    def count_refusal(self) -> None:
        """Count a connection that was dropped."""
        self.take(CallStats())

    def take(self, stats: CallStats) -> None:
        """Take in what a call came to."""
        if not stats.command:
            self._refusals.inc()
            return
        self._calls.labels(stats.command, stats.code).inc()
        self._duration.labels(stats.command).observe(stats.seconds)
