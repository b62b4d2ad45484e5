"""What cni-agent tells of itself over HTTP: whether it works, whether it is ready, and its figures.

`/healthz` asks whether a restart would help, `/readyz` whether pods of this node can be expected to work.
"""

from collections.abc import Callable, Mapping

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from cni.routing.kernel import StepReport
from nodeplane.datapath.rtnl import Network
from nodeplane.runtime.http import Handler, Request, Response
from nodeplane.runtime.metrics import show_metrics

# An uplink that flaps, or a datastore that is being restored, is no reason to be killed.
_FAILING_LIMIT_S = 120.0
_BUCKETS = tuple(0.0005 * 2**power for power in range(14))


class AgentHealth:
    """What the agent still waits for, and since when its syncs fail; times are of one steady clock."""

    def __init__(self) -> None:
        self._waiting: set[str] = set()
        self._failing_since_s: float | None = None

    def wait_for(self, name: str) -> None:
        """Be not ready until this is done."""
        self._waiting.add(name)

    def done(self, name: str) -> None:
        """Wait for this no longer."""
        self._waiting.discard(name)

    def failed(self, now_s: float) -> None:
        """Take in that a sync failed."""
        if self._failing_since_s is None:
            self._failing_since_s = now_s

    def succeeded(self) -> None:
        """Take in that a sync went well."""
        self._failing_since_s = None

    @property
    def waiting(self) -> tuple[str, ...]:
        """What is not done."""
        return tuple(sorted(self._waiting))

    def sickness(self, now_s: float) -> str:
        """Say what a restart might cure; empty if nothing."""
        failing_s = 0.0 if self._failing_since_s is None else now_s - self._failing_since_s
        return f"syncs have failed for {failing_s:.0f} s" if failing_s > _FAILING_LIMIT_S else ""


class AgentMetrics:
    """The agent's figures; the methods are called where something happens."""

    def __init__(self, registry: CollectorRegistry, health: AgentHealth) -> None:
        self.registry = registry
        self.health = health
        prefix = "nodeplane_agent"
        ready = Gauge(f"{prefix}_ready", "Whether the agent is ready", registry=registry)
        ready.set_function(lambda: not health.waiting)
        self._duration = Histogram(
            f"{prefix}_route_sync_duration_seconds",
            "Duration of a sync of the routes",
            buckets=_BUCKETS,
            registry=registry,
        )
        self._failures = Counter(
            f"{prefix}_route_sync_failures", "Syncs of the routes that failed", registry=registry
        )
        changes = Counter(
            f"{prefix}_route_changes", "Routes written and deleted", ["verb"], registry=registry
        )
        self._routes = Gauge(f"{prefix}_routes", "Routes that the agent wants", registry=registry)
        self._refused = Gauge(
            f"{prefix}_routes_refused", "Of these, refused by the kernel", registry=registry
        )
        entries = Counter(
            f"{prefix}_tunnel_changes",
            "Neighbours and forwarding entries of VXLAN links written and deleted",
            ["verb"],
            registry=registry,
        )
        # Looked up once: a sync takes no longer than it must.
        self._written, self._deleted = (changes.labels(verb) for verb in ("written", "deleted"))
        self._entries_written, self._entries_deleted = (
            entries.labels(verb) for verb in ("written", "deleted")
        )

    def count_sync(self, report: StepReport, wanted: int, duration_s: float) -> None:
        """Count a sync that went through."""
        self._duration.observe(duration_s)
        self._written.inc(report.routes.written)
        self._deleted.inc(report.routes.deleted)
        self._entries_written.inc(report.entries.written)
        self._entries_deleted.inc(report.entries.deleted)
        self._routes.set(wanted)
        self._refused.set(len(report.routes.refused))

    def count_failure(self) -> None:
        """Count a sync that failed."""
        self._failures.inc()


def build_health_pages(health: AgentHealth, clock: Callable[[], float]) -> Mapping[str, Handler]:
    """Return `/healthz`, `/livez` (the same) and `/readyz`."""

    def healthz(_: Request) -> Response:
        return _answer(health.sickness(clock()))

    def readyz(_: Request) -> Response:
        return _answer(f"waiting for {', '.join(health.waiting)}" if health.waiting else "")

    return {"/healthz": healthz, "/livez": healthz, "/readyz": readyz}


def build_metrics_pages(metrics: AgentMetrics, written_s: Mapping[Network, float]) -> Mapping[str, Handler]:
    """Return `/metrics`; and `/routes`, when each route was written, for `cni-agent routes`."""

    def routes(_: Request) -> Response:
        found = {str(network): at_s for network, at_s in written_s.items()}
        return Response(msgspec.json.encode(found), content_type="application/json")

    return {"/metrics": lambda request: show_metrics(metrics.registry, request), "/routes": routes}


def _answer(problem: str) -> Response:
    return Response(f"{problem}\n".encode(), 503) if problem else Response(b"ok\n")
