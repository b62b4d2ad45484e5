"""Packets a second, out of counters."""

import pytest

from netns_lab.ui.rates import Count, Link, Rate, parse_counters, rates
from netns_lab.ui.view import build_rates

PRINTED = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       2    0    0    0     0          0         0      100       2    0    0    0     0       0          0
  eth0: 9999999     700    0    0    0     0          0         0      500      30    0    0    0     0       0          0
broken
"""  # noqa: E501 - as the kernel prints it


def test_parse() -> None:
    assert parse_counters(PRINTED) == {"lo": Count(2, 2), "eth0": Count(700, 30)}


@pytest.mark.parametrize(
    ("before", "seconds", "found"),
    [
        pytest.param({("n1", "eth0"): Count(500, 20)}, 2.0, {("n1", "eth0"): Rate(100, 5)}, id="two seconds"),
        pytest.param({}, 2.0, {}, id="the first reading"),
        pytest.param({("n1", "eth0"): Count(701, 0)}, 2.0, {}, id="a link that was made anew"),
        pytest.param({("n1", "eth0"): Count(500, 20)}, 0.0, {}, id="no time"),
    ],
)
def test_rates(before: dict[Link, Count], seconds: float, found: dict[Link, Rate]) -> None:
    assert rates(before, {("n1", "eth0"): Count(700, 30)}, seconds) == found


def test_words() -> None:
    found = {
        ("n1", "eth0"): Rate(12345, 0.4),
        ("default/web-1", "eth0"): Rate(12, 0),
        ("n2", "eth0"): Rate(0, 0),
    }

    assert build_rates(found) == {"n1 eth0": "↓12.3k ↑0.4 /s", "default/web-1 eth0": "↓12 ↑0 /s"}
