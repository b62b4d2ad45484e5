"""How old things are, as kubectl says it."""

from datetime import timedelta

import pytest

from netns_lab.apiserver.human_duration import human_duration


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (timedelta(seconds=-5), "<invalid>"),
        (timedelta(seconds=-1), "0s"),
        (timedelta(seconds=119), "119s"),
        (timedelta(seconds=120), "2m"),
        (timedelta(seconds=125), "2m5s"),
        (timedelta(minutes=10), "10m"),
        (timedelta(minutes=179), "179m"),
        (timedelta(hours=3, minutes=5), "3h5m"),
        (timedelta(hours=47), "47h"),
        (timedelta(hours=49), "2d1h"),
        (timedelta(days=8), "8d"),
        (timedelta(days=800), "2y70d"),
        (timedelta(days=3650), "10y"),
    ],
)
def test_durations(span: timedelta, expected: str) -> None:
    """The rows of upstream's TestHumanDuration."""
    assert human_duration(span) == expected
