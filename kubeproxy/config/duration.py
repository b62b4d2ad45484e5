"""Durations as Go writes them (time.ParseDuration, Duration.String): `1h15m30s`, `250ms`, `0`."""

import re

_UNIT_NS = {
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,  # micro sign
    "\u03bcs": 1_000,  # Greek letter mu
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([a-z\u00b5\u03bc]+)")
_MAX_NS = (1 << 63) - 1


def parse_duration(text: str) -> int:
    """Return a duration in nanoseconds.

    Raises:
        ValueError: it is none, or longer than Go can hold (292 years).
    """
    unsigned = text.removeprefix("-") if text.startswith("-") else text.removeprefix("+")
    if unsigned == "0":
        return 0
    total = 0
    end = 0
    while part := _PART.match(unsigned, end):
        unit_ns = _UNIT_NS.get(part[2])
        if unit_ns is None:
            break
        whole, _, fraction = part[1].partition(".")
        # In whole numbers, as Go: what is below a nanosecond is cut off.
        total += int(whole or 0) * unit_ns + int(fraction or 0) * unit_ns // 10 ** len(fraction)
        end = part.end()
    if not end or end != len(unsigned) or total > _MAX_NS:
        raise ValueError(f"expected a duration such as 1h15m30s, got {text!r}")
    return -total if text.startswith("-") else total


def format_duration(duration_ns: int) -> str:
    """Render a duration as Go does: `24h0m0s`, `1.5s`, `250ms`, `0s`."""
    sign = "-" if duration_ns < 0 else ""
    rest_ns = abs(duration_ns)
    if rest_ns == 0:
        return "0s"
    for unit, unit_ns in (("ns", 1), ("µs", 1_000), ("ms", 1_000_000)):
        if rest_ns < unit_ns * 1000:
            return f"{sign}{_decimal(rest_ns, unit_ns)}{unit}"
    minutes, rest_ns = divmod(rest_ns, _UNIT_NS["m"])
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(rest_ns, _UNIT_NS['s'])}s"
    if hours:
        return f"{sign}{hours}h{minutes}m{text}"
    return f"{sign}{minutes}m{text}" if minutes else sign + text


def _decimal(value_ns: int, unit_ns: int) -> str:
    whole, fraction = divmod(value_ns, unit_ns)
    digits = str(fraction).rjust(len(str(unit_ns)) - 1, "0").rstrip("0") if fraction else ""
    return f"{whole}.{digits}" if digits else str(whole)
