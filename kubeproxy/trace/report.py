"""A trace in print: hop by hop, then what comes of it."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from kubeproxy.rules.layout import TABLE
from kubeproxy.trace.result import Outcome, Step, Trace
from nodeplane.runtime.output import Row

_SHOWN = 2
"""So many of the things that a draw may find are named in a line."""
_OUTCOMES_SHOWN = 10
_READABLE = 1000

_WORDS = {
    "endpoint": "",
    "untouched": "no service: left as it is",
    "unroutable": "no way out",
    "reset": "refused: TCP reset",
    "unreachable": "refused: ICMP port unreachable",
    "drop": "dropped",
    "unclear": "can't tell",
}


def describe_trace(trace: Trace, output: str) -> dict[str, Any]:
    """Return the sections to print: shortened and in words as a table, whole otherwise."""
    packet = trace.packet
    facts = {
        "connection": str(packet),
        "comes": f"in by {packet.link}" if packet.link else "from a process of this node",
        "table": f"{packet.family} {TABLE}",
    }
    if output != "table":
        return {
            **facts,
            "steps": [_step_data(step) for step in trace.steps],
            "outcomes": [_outcome_data(outcome) for outcome in trace.outcomes],
        }
    rows = [_outcome_row(outcome) for outcome in trace.outcomes[:_OUTCOMES_SHOWN]]
    more = trace.outcomes[_OUTCOMES_SHOWN:]
    if more:
        chance = sum((outcome.probability for outcome in more), Fraction(0))
        rows.append(
            {**dict.fromkeys(rows[0], ""), "outcome": f"… {len(more)} more", "chance": _chance(chance)}
        )
    return {**facts, "steps": [_step_row(step) for step in trace.steps], "outcomes": rows}


def _step_row(step: Step) -> Row:
    repeats = f" (×{step.repeats})" if step.repeats > 1 else ""  # noqa: RUF001 - times
    return {
        "chain": step.chain,
        "rule": f"{step.rule}{repeats}",
        "reason": step.reason,
        "found": _shorten(step.found),
        "then": _shorten(step.then) or "next rule",
        "chance": "" if step.probability == 1 else _chance(step.probability),
    }


def _outcome_row(outcome: Outcome) -> Row:
    reason = f" ({outcome.reason})" if outcome.reason else ""
    return {
        "outcome": f"{outcome.endpoint or _WORDS[outcome.kind]}{reason}",
        "chance": _chance(outcome.probability),
        "source_seen": _describe_source(outcome),
        "remembered": f"{outcome.remembered_s:.0f} s" if outcome.remembered_s else "",
    }


def _describe_source(outcome: Outcome) -> str:
    if outcome.kind != "endpoint":
        return ""
    words = ["the client reaches itself"] if outcome.is_hairpin else []
    words += ["masqueraded"] if outcome.is_masqueraded else []
    source = str(outcome.source) if outcome.source else "not known"
    return f"{source} ({', '.join(words)})" if words else source


def _shorten(texts: Sequence[str]) -> str:
    """Write a few things as they are; of many that were found in one place, how many."""
    if len(texts) <= _SHOWN + 1:
        return "; ".join(texts)
    places = {text.partition("]")[0] for text in texts}
    if len(places) == 1 and "]" in texts[0]:
        return f"{places.pop()}]: {texts[0].partition(' = ')[2]}; … {len(texts) - 1} more"
    return "; ".join(texts[:_SHOWN]) + f"; … {len(texts) - _SHOWN} more"


def _chance(chance: Fraction) -> str:
    return str(chance) if chance.denominator <= _READABLE else f"{float(chance):.3g}"


def _step_data(step: Step) -> Row:
    return {
        "chain": step.chain,
        "rule": step.rule,
        "repeats": step.repeats,
        "reason": step.reason,
        "found": list(step.found),
        "then": list(step.then),
        "probability": float(step.probability),
    }


def _outcome_data(outcome: Outcome) -> Row:
    return {
        "kind": outcome.kind,
        "endpoint": outcome.endpoint or None,
        "probability": float(outcome.probability),
        "source": str(outcome.source) if outcome.source else None,
        "masqueraded": outcome.is_masqueraded,
        "hairpin": outcome.is_hairpin,
        "remembered_s": outcome.remembered_s,
        "reason": outcome.reason,
    }
