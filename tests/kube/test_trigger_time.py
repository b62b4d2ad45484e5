"""The time that the endpoint slice controller writes on slices."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeplane.kube.objects import EndpointSlice, Metadata
from nodeplane.kube.trigger_time import TRIGGER_TIME_ANNOTATION, parse_time, trigger_time

START_S = 1_767_225_600.0  # 2026-01-01T00:00:00Z


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


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ({TRIGGER_TIME_ANNOTATION: "2026-01-01T00:00:00Z"}, START_S),
        ({"other": "2026-01-01T00:00:00Z"}, None),
        (None, None),
    ],
)
def test_of_a_slice(annotations: dict[str, str] | None, expected: float | None) -> None:
    assert trigger_time(EndpointSlice(Metadata("web-1", annotations=annotations), "IPv4")) == expected
