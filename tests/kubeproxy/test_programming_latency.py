"""The times that the endpoint slice controller writes on slices."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeproxy.programming_latency import TRIGGER_TIME_ANNOTATION, parse_time, trigger_times
from nodeplane.kube.objects import EndpointSlice
from nodeplane.kube.store import diff_objects
from tests.kubeproxy.objects import additions, endpoint_slice, service

START_S = 1_767_225_600.0  # 2026-01-01T00:00:00Z


def triggered(text: str, family: str = "IPv4", name: str = "web-1") -> EndpointSlice:
    piece = endpoint_slice(family=family, name=name)
    metadata = msgspec.structs.replace(piece.metadata, annotations={TRIGGER_TIME_ANNOTATION: text})
    return msgspec.structs.replace(piece, metadata=metadata)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-01T00:00:00Z", START_S),
        ("2026-01-01T01:00:00+01:00", START_S),
        ("2026-01-01T00:00:00.5Z", START_S + 0.5),
        ("2026-01-01T00:00:00.500000999Z", START_S + 0.5),
        ("2026-01-01T00:00:00", None),
        ("2026-01-01", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_parse(text: str, expected: float | None) -> None:
    """RFC 3339 with the digits that Go writes; a time without its zone is none."""
    assert parse_time(text) == expected


@given(st.text(max_size=40))
def test_garbage(text: str) -> None:
    """Any text is a time or none."""
    parse_time(text)


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
