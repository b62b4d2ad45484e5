"""From what was seen to passages: what became of the request, and of its answer, in each namespace. Pure.

A packet comes in by a link, walks base chains, and leaves by a link. Frames have a time, rules have none: the
rules that a packet met lie behind the frame that it came in by, or before the one that it left by where it
was made there. Packets that were sent again are counted, and no more.
"""

from collections.abc import Iterable, Sequence

import msgspec

from netns_lab.trace.head import Head, decode_packet
from netns_lab.trace.mark import Mark, Role
from netns_lab.trace.table import TABLE
from netns_lab.trace.watch import Met, Observed, Sighting
from nodeplane.datapath.conntrack.entry import Ends
from nodeplane.datapath.nft.trace import RuleMet
from nodeplane.datapath.rtnl import Address


class Section(msgspec.Struct, frozen=True):
    """A base chain as the packet walked it.

    Attributes:
        family: Of the table.
        head: The packet as it came to the chain.
        rules: Those that matched, with those of chains jumped to.
        verdict: The last word: a rule's, or the chain's policy.
    """

    family: str
    table: str
    chain: str
    head: Head
    rules: tuple[RuleMet, ...]
    verdict: str

    @property
    def is_drop(self) -> bool:
        """Whether the packet ended here."""
        return self.verdict == "drop"


class Passage(msgspec.Struct, frozen=True):
    """One packet's way through one namespace.

    Attributes:
        role: Request, reply or refusal.
        came: How it came in; None if it was made here.
        left: How it left: nowhere if it stayed here, by several links of a bridge.
        sections: The base chains between, but for the trace's own.
        at_ns: When.
        first: The packet as it came, or was made.
        times: How often it was sent.
    """

    role: Role
    namespace: str
    came: Sighting | None
    left: tuple[Sighting, ...]
    sections: tuple[Section, ...]
    at_ns: int
    first: Head
    times: int = 1

    @property
    def is_made_here(self) -> bool:
        """Whether the packet began here."""
        return self.came is None

    @property
    def last(self) -> Head:
        """The packet as it left, or as it was last seen here."""
        if self.left:
            return self.left[-1].head
        return self.sections[-1].head if self.sections else self.first

    @property
    def towards(self) -> tuple[Address, ...]:
        """The addresses that it was sent to from here: of a tunnelled one the inner, then the outer."""
        heads = [sighting.head for sighting in self.left]
        if not heads:
            heads = [self.sections[-1].head if self.sections else self.first]
        return tuple(dict.fromkeys(head.towards for head in heads))

    @property
    def drop(self) -> Section | None:
        """The base chain that dropped it."""
        return next((section for section in self.sections if section.is_drop), None)


class _Walk(msgspec.Struct, frozen=True):
    """The base chains that one packet walked in a namespace."""

    role: Role
    namespace: str
    iif: str
    sections: tuple[Section, ...]


class _Visit(msgspec.Struct):
    """A passage while it is put together."""

    came: Sighting | None
    left: list[Sighting]
    walk: _Walk | None = None
    times: int = 1


def build_passages(observed: Observed, mark: Mark, sent_ns: int) -> tuple[Passage, ...]:
    """Put what was seen together, in time order."""
    walks = _collect_walks(observed.met)
    # In time order; a dict, for it keeps that.
    seen = dict.fromkeys(sighting.head for sighting in observed.sightings)
    seen |= dict.fromkeys(section.head for _, _, sections in walks for section in sections)
    requests = mark.request_ends(seen)
    roles = {head: role for head in seen if (role := mark.role(head, requests)) is not None}
    by_place: dict[tuple[str, Role], list[Sighting]] = {}
    for sighting in observed.sightings:
        if sighting.head in roles:
            by_place.setdefault((sighting.namespace, roles[sighting.head]), []).append(sighting)
    last_ns = {sighting.namespace: sighting.at_ns for sighting in observed.sightings}
    named = [
        _Walk(roles[sections[0].head], namespace, iif, sections)
        for namespace, iif, sections in walks
        if sections[0].head in roles
    ]
    places = dict.fromkeys([*by_place, *((walk.namespace, walk.role) for walk in named)])
    passages = [
        passage
        for namespace, role in places
        for passage in _build(
            role,
            namespace,
            by_place.get((namespace, role), []),
            [walk for walk in named if (walk.namespace, walk.role) == (namespace, role)],
            # What has no frame: the request as it was sent, an answer behind what it answers.
            sent_ns if role == "request" else last_ns.get(namespace, sent_ns),
        )
    ]
    return tuple(sorted(passages, key=lambda passage: passage.at_ns))


def request_ends(passages: Iterable[Passage]) -> frozenset[Ends]:
    """Return all ends that the request had on its way."""
    requests = (passage for passage in passages if passage.role == "request")
    return frozenset(head.ends for passage in requests for head in (passage.first, passage.last))


def _collect_walks(met: Sequence[Met]) -> list[tuple[str, str, tuple[Section, ...]]]:
    """Return namespace, link and base chains of each packet, in the order in which they were told of."""
    groups: dict[tuple[str, int], list[Met]] = {}
    for each in met:
        groups.setdefault((each.namespace, each.rule.packet), []).append(each)
    walks = []
    for (namespace, _), events in groups.items():
        parts: list[list[Met]] = []
        for event in events:
            # The head of the packet comes with the first message of each base chain.
            if event.rule.network or not parts:
                parts.append([])
            parts[-1].append(event)
        sections = tuple(section for part in parts if (section := _build_section(part)) is not None)
        if sections:
            walks.append((namespace, parts[0][0].iif, sections))
    return walks


def _build_section(events: Sequence[Met]) -> Section | None:
    first, last = events[0].rule, events[-1].rule
    head = decode_packet(first.network + first.transport)
    if head is None:
        return None
    rules = tuple(event.rule for event in events if event.rule.handle)
    return Section(first.family, first.table, first.chain, head, rules, last.verdict)


def _build(
    role: Role, namespace: str, sightings: Sequence[Sighting], walks: Sequence[_Walk], default_ns: int
) -> list[Passage]:
    """Put together one namespace's passages of the request, or of one kind of answer."""
    visits: list[_Visit] = []
    seen: dict[tuple[str, bool, int, Ends], _Visit] = {}
    for sighting in sightings:
        key = (sighting.link, sighting.is_out, sighting.head.ttl, sighting.head.ends)
        if key in seen:
            # Sent again. What has come in twice is counted once: by how it came.
            if not sighting.is_out or seen[key].came is None:
                seen[key].times += 1
        elif sighting.is_out and visits:
            visits[-1].left.append(sighting)
            seen[key] = visits[-1]
        else:
            visits.append(_Visit(None, [sighting]) if sighting.is_out else _Visit(sighting, []))
            seen[key] = visits[-1]
    known: set[tuple[str, int, Ends]] = set()
    for walk in walks:
        head = walk.sections[0].head
        if (walk.iif, head.ttl, head.ends) in known:
            continue
        known.add((walk.iif, head.ttl, head.ends))
        visit = next((each for each in visits if each.walk is None and _fits(walk, each)), None)
        if visit is None:
            visit = _Visit(None, [])
            visits.append(visit)
        visit.walk = walk
    return [_finish(role, namespace, visit, default_ns) for visit in visits]


def _fits(walk: _Walk, visit: _Visit) -> bool:
    if visit.came is None:
        return not walk.iif
    return visit.came.link == walk.iif


def _finish(role: Role, namespace: str, visit: _Visit, default_ns: int) -> Passage:
    some = visit.came or next(iter(visit.left), None)
    sections = visit.walk.sections if visit.walk else ()
    # A made packet is first seen by its rules: translated by them, it leaves with other ends.
    first = sections[0].head if sections and visit.came is None else some.head if some else sections[0].head
    return Passage(
        role=role,
        namespace=namespace,
        came=visit.came,
        left=tuple(visit.left),
        sections=tuple(section for section in sections if section.table != TABLE),
        at_ns=some.at_ns if some else default_ns,
        first=first,
        times=visit.times,
    )
