"""Durations as Go's time package reads and writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeproxy.config.duration import format_duration, parse_duration

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "expected_ns"),
    [
        ("0", 0),
        ("0s", 0),
        ("+5s", 5 * SECOND),
        ("-1.5h", -5400 * SECOND),
        ("1h15m30s", 4530 * SECOND),
        ("1h15m30.918273645s", 4530 * SECOND + 918_273_645),
        ("100ms", SECOND // 10),
        (".5s", SECOND // 2),
        ("1.s", SECOND),
        ("3us", 3000),
        ("3µs", 3000),
        ("3μs", 3000),
        ("0.3333333333333333333h", 1_200 * SECOND - 1),
        ("24h0m0s", 86400 * SECOND),
    ],
)
def test_parse(text: str, expected_ns: int) -> None:
    """What time.ParseDuration returns."""
    assert parse_duration(text) == expected_ns


@pytest.mark.parametrize(
    "text", ["", "3", "-", "s", ".", ".s", "1d", "1h x", "1 h", "1H", "h1", "9999999h", "½s"]
)
def test_no_duration(text: str) -> None:
    """What Go refuses is refused."""
    with pytest.raises(ValueError, match="expected a duration such as 1h15m30s"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("duration_ns", "expected"),
    [
        (0, "0s"),
        (1, "1ns"),
        (1_100, "1.1µs"),
        (2_200_000, "2.2ms"),
        (3_300_000_000, "3.3s"),
        (90 * SECOND, "1m30s"),
        (86400 * SECOND, "24h0m0s"),
        (-SECOND, "-1s"),
    ],
)
def test_format(duration_ns: int, expected: str) -> None:
    """What Duration.String returns."""
    assert format_duration(duration_ns) == expected


@given(st.integers(-(1 << 63) + 1, (1 << 63) - 1))
def test_round_trip(duration_ns: int) -> None:
    """What is written is read back."""
    assert parse_duration(format_duration(duration_ns)) == duration_ns


@given(st.text("0123456789.hmsnuµ+- ", max_size=12))
def test_garbage(text: str) -> None:
    """Any text is a duration or refused."""
    try:
        parsed = parse_duration(text)
    except ValueError:
        return
    assert parse_duration(format_duration(parsed)) == parsed
