"""What following a cluster counts, under CoreDNS's names.

The programming latency is the time from when a pod or Service changed, as the endpoint slice controller notes
it, to when its names are answered accordingly; of headless Services alone, as the DNS programming latency SLI
says. What was there before the first snapshot was not late because of us.
"""

from prometheus_client import Counter, Histogram

from coredns_lite.metrics import REGISTRY
from coredns_lite.plugins.kubernetes.facts import SliceFacts
from coredns_lite.plugins.kubernetes.index import Index
from nodeplane.kube.objects import EndpointSlice, Object, ObjectKey
from nodeplane.kube.source import Batch, Shrink
from nodeplane.kube.trigger_time import trigger_time

# Those of Go's client library; of CoreDNS's plugin/kubernetes/object: from 1 ms, doubling, to 9 minutes.
_REQUEST_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_PROGRAMMING_BUCKETS_S = tuple(0.001 * 2**power for power in range(20))

PROGRAMMING = Histogram(
    "coredns_kubernetes_dns_programming_duration_seconds",
    "Time from a change of endpoints to its answers",
    ["service_kind"],
    buckets=_PROGRAMMING_BUCKETS_S,
    registry=REGISTRY,
)
REQUEST_SECONDS = Histogram(
    "coredns_kubernetes_rest_client_request_duration_seconds",
    "Time from a request to the API server to the head of its response",
    ["verb", "host"],
    buckets=_REQUEST_BUCKETS_S,
    registry=REGISTRY,
)
LIMITER_SECONDS = Histogram(
    "coredns_kubernetes_rest_client_rate_limiter_duration_seconds",
    "Time that requests were held back here, which is none: there are too few to need it",
    ["verb", "host"],
    buckets=_REQUEST_BUCKETS_S,
    registry=REGISTRY,
)
REQUESTS = Counter(
    "coredns_kubernetes_rest_client_requests",
    "Requests to the API server by status, <error> for none",
    ["code", "method", "host"],
    registry=REGISTRY,
)


def observe_request(method: str, host: str, code: str, duration_s: float) -> None:
    """Count a request to the API server."""
    REQUESTS.labels(code, method, host).inc()
    REQUEST_SECONDS.labels(method, host).observe(duration_s)
    LIMITER_SECONDS.labels(method, host).observe(0.0)


class ProgrammingLatency:
    """Notes when what comes in was triggered, until it is answered from."""

    def __init__(self) -> None:
        self._is_following = False
        self._triggered: dict[ObjectKey, float] = {}

    def noting(self, shrink: Shrink) -> Shrink:
        """Return what shrinks objects and notes the time, which facts don't keep."""

        def note(item: Object) -> Object | None:
            time_s = trigger_time(item) if isinstance(item, EndpointSlice) and self._is_following else None
            if time_s is not None:
                self._triggered[item.key] = time_s
            return shrink(item)

        return note

    def observe(self, batch: Batch, index: Index, now_s: float) -> None:
        """Count the changes of a batch that the index has taken in."""
        # What is noted and is not in the batch has changed nothing.
        triggered, self._triggered = self._triggered, {}
        self._is_following = True
        for change in batch:
            time_s = triggered.get(change.key)
            if time_s is None or not isinstance(change.new, SliceFacts):
                continue
            entry = index.entry(change.key.namespace, change.new.service)
            if entry and entry.service and entry.service.is_headless:
                PROGRAMMING.labels("headless_with_selector").observe(max(now_s - time_s, 0.0))
