"""The times that the endpoint slice controller writes on slices."""

import msgspec

from kubeproxy.programming_latency import trigger_times
from nodeplane.kube.objects import EndpointSlice
from nodeplane.kube.store import diff_objects
from nodeplane.kube.trigger_time import TRIGGER_TIME_ANNOTATION
from tests.kubeproxy.objects import additions, endpoint_slice, service

START_S = 1_767_225_600.0  # 2026-01-01T00:00:00Z


def triggered(text: str, family: str = "IPv4", name: str = "web-1") -> EndpointSlice:
    piece = endpoint_slice(family=family, name=name)
    metadata = msgspec.structs.replace(piece.metadata, annotations={TRIGGER_TIME_ANNOTATION: text})
    return msgspec.structs.replace(piece, metadata=metadata)


def test_times_of_a_batch() -> None:
    """Slices that are new or changed, with a time since the start, by family; deletions have none."""
    old, new = triggered("2025-12-31T23:59:59Z", name="old"), triggered("2026-01-01T00:00:02Z")
    before = msgspec.structs.replace(new, raw_ports=())
    batch = additions(
        old, triggered("2026-01-01T00:00:01Z", "IPv6", "six"), service(), endpoint_slice(name="plain")
    )
    batch += diff_objects({new.key: before}, {new.key: new})
    batch += diff_objects({(gone := triggered("2026-01-01T00:00:03Z", name="gone")).key: gone}, {})

    assert trigger_times(batch, START_S) == [("ip6", START_S + 1), ("ip", START_S + 2)]


def test_what_no_sync_is_about() -> None:
    """A slice that says the same of its endpoints, with another label, was not late (as upstream)."""
    piece = triggered("2026-01-01T00:00:01Z")
    labels = piece.labels | {"touched": "yes"}
    metadata = msgspec.structs.replace(piece.metadata, labels=labels)
    touched = msgspec.structs.replace(piece, metadata=metadata)

    assert trigger_times(diff_objects({piece.key: piece}, {piece.key: touched}), START_S) == []
