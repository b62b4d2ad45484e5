"""How late changes of endpoints are answered."""

import msgspec
import pytest

from coredns_lite.metrics import REGISTRY
from coredns_lite.plugins.kubernetes.facts import Scope, shrink_to
from coredns_lite.plugins.kubernetes.index import Index
from coredns_lite.plugins.kubernetes.metrics import ProgrammingLatency
from nodeplane.kube.objects import EndpointSlice, Object, ObjectKey
from nodeplane.kube.store import diff_objects
from nodeplane.kube.trigger_time import TRIGGER_TIME_ANNOTATION
from tests.coredns_lite.objects import endpoint, service, slice_of

NAME = "coredns_kubernetes_dns_programming_duration_seconds"
LABELS = {"service_kind": "headless_with_selector"}
TIME, TIME_S = "2026-11-21T12:00:00Z", 1_795_262_400.0


def piece(of: str, address: str, time: str | None = TIME) -> EndpointSlice:
    found = slice_of(f"{of}-1", of, [endpoint(address)])
    annotations = {TRIGGER_TIME_ANNOTATION: time} if time else None
    metadata = msgspec.structs.replace(found.metadata, annotations=annotations)
    return msgspec.structs.replace(found, metadata=metadata)


def observed() -> tuple[float, float]:
    """Return how many changes were counted, and how late they were together."""
    return (
        REGISTRY.get_sample_value(f"{NAME}_count", LABELS) or 0.0,
        REGISTRY.get_sample_value(f"{NAME}_sum", LABELS) or 0.0,
    )


class Follower:
    """Takes states in, as a source brings them."""

    def __init__(self) -> None:
        self._latency = ProgrammingLatency()
        self._shrink = self._latency.noting(shrink_to(Scope()))
        self._index = Index()
        self._known: dict[ObjectKey, Object] = {}

    def take(self, *items: Object) -> None:
        now = {item.key: fact for item in items if (fact := self._shrink(item)) is not None}
        batch = diff_objects(self._known, now)
        self._known = now
        self._index.apply(batch, 1)
        self._latency.observe(batch, self._index, TIME_S + 2.5)


@pytest.mark.parametrize(
    ("change", "late_s"),
    [
        pytest.param([piece("db", "10.1.0.2")], [2.5], id="another endpoint"),
        pytest.param([piece("db", "10.1.0.2", "2026-11-21T12:00:10Z")], [0.0], id="another clock"),
        pytest.param([piece("db", "10.1.0.1", "2026-11-21T12:00:01Z")], [], id="nothing but the time"),
        pytest.param([piece("db", "10.1.0.2", None)], [], id="no time"),
        pytest.param([piece("db", "10.1.0.2", "yesterday")], [], id="no time that can be read"),
        pytest.param([piece("web", "10.1.0.2")], [], id="a Service with a cluster IP"),
        pytest.param([], [], id="gone"),
    ],
)
def test_programming_latency(change: list[Object], late_s: list[float]) -> None:
    services = (service("db", "None"), service("web", "10.96.0.1"))
    follower, before = Follower(), observed()
    # What was there before is not late because of us.
    follower.take(*services, piece("db", "10.1.0.1"))
    assert observed() == before
    follower.take(*services, *change)

    count, total_s = observed()
    assert (count - before[0], total_s - before[1]) == (len(late_s), sum(late_s))
