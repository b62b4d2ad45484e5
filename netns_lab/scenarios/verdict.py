"""Is what was seen what a step expects? Pure; an empty text is yes, any other says what is wrong."""

from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase
from ipaddress import ip_address, ip_network

from netns_lab.scenarios.request import Outcome
from netns_lab.scenarios.scenario import ExpectStep, ProbeStep, RunStep


def judge_probe(step: ProbeStep, outcomes: Sequence[Outcome]) -> str:
    """Judge requests that a step has sent."""
    if len(outcomes) < step.count:
        return f"{len(outcomes)} of {step.count} requests were sent"
    failed = [outcome for outcome in outcomes if outcome.error]
    if step.fails:
        answered = len(outcomes) - len(failed)
        return f"{answered} of {len(outcomes)} were answered, by {_answerers(outcomes)}" if answered else ""
    if failed:
        return f"{len(failed)} of {len(outcomes)} failed: {failed[-1].error}"
    return _wrong_answerers(step.answered_by, outcomes) or _wrong_sources(step.source, outcomes)


def judge_traffic(step: ExpectStep, outcomes: Sequence[Outcome], since_s: float) -> str:
    """Judge traffic by what has become of all of its requests, and of those since the step has begun."""
    failed = [outcome for outcome in outcomes if outcome.error]
    if step.failed is not None and len(failed) > step.failed:
        return f"{len(failed)} of {len(outcomes)} requests failed, the first: {failed[0].error}"
    if not step.in_a_row:
        return "" if outcomes else "no requests"
    # Held connections stay with whom they reached; who answers now is told by new ones.
    fresh = [outcome for outcome in outcomes if not outcome.is_held and outcome.begun_s >= since_s]
    if len(fresh) < step.in_a_row:
        return f"{len(fresh)} requests, fewer than {step.in_a_row}"
    last = fresh[-step.in_a_row :]
    begun_s = last[0].begun_s
    wrong = [outcome for outcome in outcomes if outcome.begun_s >= begun_s and outcome.error]
    if wrong:
        return f"{len(wrong)} of the last {step.in_a_row} failed: {wrong[-1].error}"
    return _wrong_answerers(step.answered_by, last)


def judge_run(step: RunStep, code: int, has_output: bool) -> str:
    """Judge a command that has ended."""
    if code != step.code:
        return f"ended with code {code}, expected {step.code}"
    return "" if has_output else f"printed nothing that matches {step.output}"


def _wrong_answerers(expected: Sequence[str], outcomes: Sequence[Outcome]) -> str:
    strange = [outcome for outcome in outcomes if expected and not _is_one_of(outcome.by, expected)]
    return f"answered by {_answerers(strange)}, expected {', '.join(expected)}" if strange else ""


def _wrong_sources(expected: str, outcomes: Sequence[Outcome]) -> str:
    if not expected:
        return ""
    network = ip_network(expected)
    strange = [each.source for each in outcomes if not each.source or ip_address(each.source) not in network]
    return f"the answerer saw {strange[0] or 'no source'}, expected {expected}" if strange else ""


def _is_one_of(pod: str, patterns: Sequence[str]) -> bool:
    """Say whether a pod (`namespace/name`) has one of these names, with its namespace or without."""
    name = pod.rpartition("/")[2]
    return any(fnmatchcase(pod if "/" in pattern else name, pattern) for pattern in patterns)


def _answerers(outcomes: Sequence[Outcome]) -> str:
    counts = Counter(outcome.by or "a stranger" for outcome in outcomes if not outcome.error)
    return ", ".join(f"{name} ({count})" for name, count in sorted(counts.items()))
