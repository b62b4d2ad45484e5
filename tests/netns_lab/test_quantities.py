"""Rates, durations and shares in the words of tc."""

from collections.abc import Callable

import pytest

from netns_lab.quantities import parse_duration, parse_percent, parse_rate


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        pytest.param(parse_rate, "64kbit", 64_000, id="rate"),
        pytest.param(parse_rate, "1.5gbit", 1_500_000_000, id="rate with a fraction"),
        pytest.param(parse_rate, "8bit", 8, id="the least rate"),
        pytest.param(parse_duration, "200us", 0.0002, id="microseconds"),
        pytest.param(parse_duration, "1.5s", 1.5, id="seconds"),
        pytest.param(parse_rate, "1000000gbit", 1e15, id="the highest rate"),
        pytest.param(parse_duration, "2m", 120.0, id="minutes"),
        pytest.param(parse_duration, "1000h", 3_600_000.0, id="the longest duration"),
        pytest.param(parse_percent, "5%", 5.0, id="percent"),
        pytest.param(parse_percent, "100", 100.0, id="all"),
    ],
)
def test_parse(parse: Callable[[str], float], text: str, value: float) -> None:
    assert parse(text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_rate, ""),
        (parse_rate, "10"),
        (parse_rate, "7bit"),
        (parse_rate, "10Mbit"),
        (parse_rate, "-1kbit"),
        (parse_rate, "1000001gbit"),
        pytest.param(parse_rate, "9" * 400 + "bit", id="no number that a float holds"),
        (parse_duration, "10"),
        (parse_duration, "-1s"),
        (parse_duration, "1 s"),
        (parse_duration, "1s; reboot"),
        (parse_duration, "1001h"),
        (parse_percent, "101"),
        (parse_percent, "-1"),
        (parse_percent, "1e1"),
    ],
)
def test_refused(parse: Callable[[str], float], text: str) -> None:
    with pytest.raises(ValueError, match="expected a"):
        parse(text)
