"""A measured figure: ours beside a peer's, as one JSON line on stdout."""

import json
import operator
import statistics
from collections.abc import Sequence
from typing import Any

_OPERATORS = {"<=": operator.le, ">=": operator.ge}


def median(samples: Sequence[float]) -> float:
    """Return the median; the samples of both sides are taken in one run."""
    return statistics.median(samples)


def report(
    figure: str,
    unit: str,
    ours: float,
    *,
    peer: float | None = None,
    peer_name: str | None = None,
    ratio: float | None = None,
    goal: str | None = None,
) -> bool:
    """Print one figure; return whether its goal is met.

    `ratio` is ours through peer's unless given: of rounds side by side, the median of their ratios says more.
    `goal` compares "ours" or "ratio" (ours through peer's) with a number, e.g. "ratio <= 0.35".
    """
    if ratio is None and peer:
        ratio = ours / peer
    met: bool | None = None
    if goal:
        name, comparison, limit = goal.split()
        value = {"ours": ours, "ratio": ratio}[name]
        met = value is not None and bool(_OPERATORS[comparison](value, float(limit)))
    line: dict[str, Any] = {
        "figure": figure,
        "unit": unit,
        "ours": _round(ours),
        "peer": _round(peer),
        "peer_name": peer_name,
        "ratio": _round(ratio),
        "goal": goal,
        "met": met,
    }
    print(json.dumps(line), flush=True)
    return met is not False


def _round(value: float | None) -> float | None:
    """Keep four significant digits: the machines are not better than that."""
    return None if value is None else float(f"{value:.4g}")
