"""The table: what happened, in time order, place by place, each row with its reason. Pure."""

from collections.abc import Iterator

import msgspec

from netns_lab.trace.case import Case, reasons
from netns_lab.trace.facts import FABRIC
from netns_lab.trace.head import Head
from netns_lab.trace.passage import Passage, Section
from netns_lab.trace.resolve import Lookup
from nodeplane.datapath.conntrack.entry import Entry
from nodeplane.datapath.rtnl import Address

_BEFORE_ROUTING = {"prerouting", "output", "ingress"}
_LOCAL = 2  # RTN_LOCAL


class Step(msgspec.Struct, frozen=True):
    """A row.

    Attributes:
        at_ns: When it was seen; None for what lies between two frames.
        where: The place.
        step: What it is: a lookup, a frame, a hook, a route, a translation.
        packet: The packet at this place.
        why: The reason, or what was found.
    """

    at_ns: int | None
    where: str
    step: str
    packet: str = ""
    why: str = ""


def build_steps(case: Case) -> tuple[Step, ...]:
    """Write all of a case as rows."""
    steps = [_lookup(case, *each) for each in zip(case.lookups, _padded(case), strict=True)]
    for passage in case.passages:
        steps += _passage(case, passage)
    if case.sent is not None:
        at_ns = case.sent.at_ns + int(case.sent.seconds * 1e9)
        words = {
            "answered": "answered",
            "refused": "refused",
            "unreachable": "unreachable",
            "timeout": "gave up",
            "mute": "gave up",
        }
        where = case.facts.place(case.source)
        steps.append(Step(at_ns, where, words[case.sent.state], why=case.sent.words))
    return tuple(steps)


def _padded(case: Case) -> list[str]:
    return [*case.servers, *[""] * (len(case.lookups) - len(case.servers))]


def _lookup(case: Case, lookup: Lookup, server: str) -> Step:
    found = ", ".join(lookup.addresses) or lookup.rcode
    behind = f", {server} answered" if server else ""
    return Step(
        lookup.at_ns,
        case.facts.place(case.source),
        f"resolve {lookup.kind}",
        lookup.name,
        f"{found} (asked {lookup.server}{behind})" if lookup.server else found,
    )


def _passage(case: Case, passage: Passage) -> Iterator[Step]:
    place = case.facts.place(passage.namespace)
    times = f"sent {passage.times} times" if passage.times > 1 else ""
    if passage.came is not None:
        why = "; ".join(part for part in (_tunnel(passage.first), times) if part)
        yield Step(passage.at_ns, place, f"in {passage.came.link}", str(passage.first), why)
    else:
        word = "send" if passage.role == "request" else "answer"
        yield Step(passage.at_ns, place, word, str(passage.first), times)
    before = [part for part in passage.sections if case.hook(passage.namespace, part) in _BEFORE_ROUTING]
    behind = [part for part in passage.sections if part not in before]
    yield from _sections(case, passage, before)
    if passage.drop in before:
        return
    for destination in _routed(case, passage):
        route = case.described_route(passage.namespace, destination)
        yield Step(None, place, "route", f"to {destination}", route)
    yield from _sections(case, passage, behind)
    if passage.first.ends != passage.last.ends:
        yield _translation(case, passage)
    for sighting in passage.left:
        yield Step(sighting.at_ns, place, f"out {sighting.link}", str(sighting.head), _tunnel(sighting.head))


def _sections(case: Case, passage: Passage, sections: list[Section]) -> Iterator[Step]:
    for section in sections:
        why = reasons(case, passage.namespace, section)
        if section.is_drop and not (why and why[-1].endswith(("[drop]", "[reject]"))):
            why.append("dropped")
        if why:
            hook = case.hook(passage.namespace, section)
            yield Step(
                None,
                case.facts.place(passage.namespace),
                f"{hook} {section.family} {section.table}",
                str(section.head),
                " → ".join(why),
            )


def _translation(case: Case, passage: Passage) -> Step:
    first, last = passage.first.ends, passage.last.ends
    changes = []
    if (first.destination, first.destination_port) != (last.destination, last.destination_port):
        changes.append(f"to {first.to} becomes {last.to}")
    if (first.source, first.source_port) != (last.source, last.source_port):
        changes.append(f"from {first.origin} becomes {last.origin}")
    entry = _entry(case, passage)
    tracked = f"conntrack: {entry}" if entry else ""
    word = "translated" if passage.role == "request" else "translated back"
    return Step(None, case.facts.place(passage.namespace), word, ", ".join(changes), tracked)


def _entry(case: Case, passage: Passage) -> Entry | None:
    first = passage.first.ends
    for entry in case.answers.entries.get(passage.namespace, ()):
        if first in {entry.original, entry.reply}:
            return entry
    return None


def _tunnel(head: Head) -> str:
    return f"inside VXLAN {head.outer.source} > {head.outer.destination}" if head.outer else ""


def _routed(case: Case, passage: Passage) -> list[Address]:
    """Say for which addresses the place asked its routes: a bridge does not, nor who is meant itself."""
    if case.facts.place(passage.namespace) == FABRIC:
        return []
    found = []
    for destination in passage.towards:
        if (passage.namespace, destination) in case.answers.routes:
            route = case.route(passage.namespace, destination)
            found += [destination] if route is None or route.kind != _LOCAL else []
    return found
