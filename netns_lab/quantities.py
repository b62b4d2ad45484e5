"""Rates, durations and shares in the words of tc(8), as people write them: `10mbit`, `20ms`, `5%`."""

import math
import re

_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_RATE = re.compile(rf"{_NUMBER}(bit|kbit|mbit|gbit)")
_DURATION = re.compile(rf"{_NUMBER}(us|ms|s|m|h)")
_PERCENT = re.compile(rf"{_NUMBER}%?")

_BITS = {"bit": 1, "kbit": 10**3, "mbit": 10**6, "gbit": 10**9}
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}

# What the kernel counts in (bytes a second, nanoseconds; 64 bits) and a timer takes has an end.
_MOST_BITS = 10**15
_MOST_SECONDS = 1000 * 3600.0

RATE_WORDS = "expected a rate such as 64kbit, 10mbit or 1.5gbit, from 8bit to 1000000gbit"
DURATION_WORDS = "expected a duration such as 200us, 20ms, 1.5s or 2m, at most 1000h"
PERCENT_WORDS = "expected a share from 0 to 100 percent, such as 5%"


def parse_rate(text: str) -> int:
    """Return the bits a second that a text says.

    Raises:
        ValueError: it says none.
    """
    parts = _RATE.fullmatch(text)
    rate_bits = float(parts[1]) * _BITS[parts[2]] if parts else 0
    if not 8 <= rate_bits <= _MOST_BITS:
        raise ValueError(RATE_WORDS)
    return round(rate_bits)


def parse_duration(text: str) -> float:
    """Return the seconds that a text says.

    Raises:
        ValueError: it says none.
    """
    parts = _DURATION.fullmatch(text)
    duration_s = float(parts[1]) * _SECONDS[parts[2]] if parts else math.inf
    if duration_s > _MOST_SECONDS:
        raise ValueError(DURATION_WORDS)
    return duration_s


def parse_percent(text: str) -> float:
    """Return the share in percent that a text says.

    Raises:
        ValueError: it says none, or more than all.
    """
    parts = _PERCENT.fullmatch(text)
    if parts is None or float(parts[1]) > 100:
        raise ValueError(PERCENT_WORDS)
    return float(parts[1])
