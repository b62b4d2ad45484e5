"""A trace in print: the sentence, then the table. Pure."""

from typing import Any

import msgspec

from netns_lab.trace.case import Case
from netns_lab.trace.judge import judge
from netns_lab.trace.passage import Passage
from netns_lab.trace.steps import Step, build_steps
from netns_lab.trace.verdict import Verdict
from nodeplane.runtime.output import Row

_MILLISECOND_NS = 1_000_000


def describe(case: Case, output: str) -> tuple[dict[str, Any], Verdict]:
    """Return the sections to print, and the verdict; all that was found but for a table."""
    verdict = judge(case)
    steps = build_steps(case)
    start = next((step.at_ns for step in steps if step.at_ns is not None), 0)
    report: dict[str, Any] = {
        "trace": f"{case.facts.place(case.source)} to {case.target}",
        "verdict": verdict.state,
        "reason": verdict.sentence,
    }
    lacking = [f"events of {case.facts.place(name)} were lost" for name in case.lost]
    if case.facts.trouble:
        lacking.append(f"no Services are known: {case.facts.trouble}")
    if lacking:
        report["incomplete"] = lacking
    if output == "table":
        report["steps"] = [_row(step, start) for step in steps]
        return report, verdict
    report["where"] = verdict.where
    report["steps"] = [_data(step, start) for step in steps]
    report["passages"] = [_passage_data(case, passage, start) for passage in case.passages]
    if case.sent is not None:
        report["answer"] = {"seconds": case.sent.seconds, "words": case.sent.words, "body": case.sent.answer}
    return report, verdict


def _row(step: Step, start: int) -> Row:
    time = "" if step.at_ns is None else f"{(step.at_ns - start) / _MILLISECOND_NS:.3f}"
    return {"ms": time, "where": step.where, "step": step.step, "packet": step.packet, "why": step.why}


def _data(step: Step, start: int) -> Row:
    row = msgspec.to_builtins(step)
    row["ms"] = None if step.at_ns is None else (step.at_ns - start) / _MILLISECOND_NS
    return {name: row[name] for name in ("ms", "where", "step", "packet", "why")}


def _passage_data(case: Case, passage: Passage, start: int) -> Row:
    """Return one packet's way through one namespace with every rule that it met."""
    return {
        "ms": (passage.at_ns - start) / _MILLISECOND_NS,
        "role": passage.role,
        "where": case.facts.place(passage.namespace),
        "namespace": passage.namespace,
        "in": passage.came.link if passage.came else None,
        "out": [sighting.link for sighting in passage.left],
        "first": str(passage.first),
        "last": str(passage.last),
        "times": passage.times,
        "routes": {
            str(address): case.described_route(passage.namespace, address) for address in passage.towards
        },
        "chains": [
            {
                "family": section.family,
                "table": section.table,
                "chain": section.chain,
                "hook": case.hook(passage.namespace, section),
                "verdict": section.verdict,
                "rules": [
                    {
                        "chain": met.chain,
                        "handle": met.handle,
                        "verdict": " ".join(part for part in (met.verdict, met.target) if part),
                        **msgspec.to_builtins(case.rule(passage.namespace, section, met)),
                    }
                    for met in section.rules
                ],
            }
            for section in passage.sections
        ],
        "conntrack": [str(entry) for entry in case.answers.entries.get(passage.namespace, ())],
    }
