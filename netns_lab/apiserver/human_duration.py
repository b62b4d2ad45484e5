"""Spans of time as kubectl shows them: `AGE`."""

from datetime import timedelta

_YEAR_S = 365 * 86400

# Below so many seconds: the unit, and the smaller one that is shown behind it.
_SPANS = (
    (2 * 60, 1, "s", 1, ""),
    (10 * 60, 60, "m", 1, "s"),
    (3 * 3600, 60, "m", 1, ""),
    (8 * 3600, 3600, "h", 60, "m"),
    (48 * 3600, 3600, "h", 1, ""),
    (8 * 86400, 86400, "d", 3600, "h"),
    (2 * _YEAR_S, 86400, "d", 1, ""),
    (8 * _YEAR_S, _YEAR_S, "y", 86400, "d"),
)


def human_duration(span: timedelta) -> str:
    """Render a span as kubectl does, in two units where one is too coarse (duration.HumanDuration)."""
    seconds = int(span.total_seconds())
    if seconds < -1:
        return "<invalid>"
    seconds = max(seconds, 0)
    for limit_s, unit_s, unit, smaller_s, smaller in _SPANS:
        if seconds < limit_s:
            rest = seconds % unit_s // smaller_s if smaller else 0
            return f"{seconds // unit_s}{unit}" + (f"{rest}{smaller}" if rest else "")
    return f"{seconds // _YEAR_S}y"
