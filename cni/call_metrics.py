"""Figures of the CNI calls that the agent answers."""

import msgspec
from prometheus_client import CollectorRegistry, Counter, Histogram

# Half a millisecond to the deadline.
_BUCKETS = tuple(0.0005 * 2**power for power in range(17))
_COMMANDS = frozenset({"ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"})


class _Error(msgspec.Struct):
    code: int = 0


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
        # A caller's own words must not become label values without end.
        label = command if command in _COMMANDS else "other"
        self._calls.labels(label, _read_code(stdout) if verdict else 0).inc()
        self._duration.labels(label).observe(duration_s)

    def count_refusal(self) -> None:
        """Count a connection that was dropped."""
        self._refusals.inc()


def _read_code(stdout: bytes) -> int:
    try:
        return msgspec.json.decode(stdout, type=_Error).code
    except msgspec.DecodeError:
        return 0
