"""What is found, judged: what is there, what is missing and how it is had, what is left behind. Pure."""

from collections.abc import Collection, Iterator, Mapping
from typing import Literal

import msgspec

from netns_lab.doctor.needs import FEATURES, MODULES, NEEDS
from netns_lab.neighbour_table import LARGE, find_shortage

State = Literal["there", "missing", "missing, optional", "left behind"]


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked for."""

    kind: str
    name: str
    state: State
    advice: str = ""


class Facts(msgspec.Struct, frozen=True):
    """What is true of a machine.

    `lacks` says what right is missing; `labs` are those of which there is anything, each with what `status`
    says, or nothing if it has no files. `neighbours` is what the machine's neighbour table may hold, if that
    can be seen.
    """

    lacks: str
    programs: Collection[str]
    features: Collection[str]
    modules: Collection[str]
    labs: Mapping[str, str | None]
    neighbours: int | None = None


def judge(facts: Facts) -> Iterator[Finding]:
    """Yield all findings, those that stop a lab first."""
    yield from sorted(_findings(facts), key=lambda finding: _ORDER.index(finding.state))


def is_fit(findings: Collection[Finding]) -> bool:
    """Say whether a lab would come up here, and nothing is to be cleared away."""
    return not {finding.state for finding in findings} & {"missing", "left behind"}


_ORDER: tuple[State, ...] = ("missing", "left behind", "missing, optional", "there")


def _findings(facts: Facts) -> Iterator[Finding]:
    yield _one("right", "network namespaces", "", facts.lacks, is_there=not facts.lacks)
    for need in NEEDS:
        advice = f"apt-get install {need.tool.package}"
        is_there = need.tool.program in facts.programs
        yield _one("program", need.tool.program, need.reason, advice, is_there=is_there)
    for name, (package, reason) in MODULES.items():
        advice = (
            f"pip install '{package}'" if package.startswith("nodeplane") else f"apt-get install {package}"
        )
        yield _one("module", name, reason, advice, is_there=name in facts.modules)
    if not facts.lacks:
        for feature in FEATURES:
            advice = "expected of the kernel; `netns-lab vm` starts one that has it"
            yield _one(
                "kernel", feature.name, feature.reason, advice, is_there=feature.name in facts.features
            )
    yield _neighbour_table(facts.neighbours)
    for lab, state in sorted(facts.labs.items()):
        if state is None:
            yield Finding("lab", lab, "left behind", f"its files are gone: netns-lab down {lab}")
        elif state not in {"up", "busy"}:
            advice = (
                f"it is {state}: `netns-lab up` with its file repairs it, netns-lab down {lab} removes it"
            )
            yield Finding("lab", lab, "left behind", advice)
        else:
            yield Finding("lab", lab, "there", state)


def _neighbour_table(limit: int | None) -> Finding:
    shortage = find_shortage(4, LARGE.needed, limit)
    if shortage is None:
        return Finding("kernel", "neighbour table", "there")
    advice = f"{limit} of {LARGE.needed} entries: {shortage.command} (for labs of {LARGE.nodes} nodes)"
    return Finding("kernel", "neighbour table", "missing, optional", advice)


def _one(kind: str, name: str, reason: str, advice: str, *, is_there: bool) -> Finding:
    if is_there:
        return Finding(kind, name, "there")
    return Finding(
        kind,
        name,
        "missing, optional" if reason else "missing",
        f"{advice} (for {reason})" if reason else advice,
    )
