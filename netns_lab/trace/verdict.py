"""The sentence: what became of the packet, and why. Pure.

It looks for the first thing that is wrong on the way: a rule that dropped, a route that is missing or leads
the wrong way, a link that is down, a program that does not answer.
"""

from typing import Literal

import msgspec

from netns_lab.trace.case import Case, described_route, is_rejected, last_section, reasons
from netns_lab.trace.explain import KUBEPROXY_TABLE, explain_drop, explain_refusal
from netns_lab.trace.facts import FABRIC
from netns_lab.trace.passage import Passage, Section
from nodeplane.datapath.rtnl import Address

State = Literal["answered", "refused", "dropped", "lost", "unanswered", "unresolved"]

_REJECT = " [reject]"
_LOCAL = 2  # RTN_LOCAL


class Verdict(msgspec.Struct, frozen=True):
    """What became of the packet: in a word, in a sentence, and in which place."""

    state: State
    sentence: str
    where: str = ""


def judge(case: Case) -> Verdict:
    """Say what became of the packet."""
    if case.sent is None:
        return _judge_name(case)
    if case.sent.state == "answered":
        return _answered(case)
    refused = next(
        (each for each in case.passages if each.role in {"reply", "refusal"} and _refuses(each)), None
    )
    # A rule that refuses says so to the sender; the trace calls the packet dropped.
    if refused is not None and _made_by_rule(case, refused) is not None:
        return _refused(case, refused)
    for verdict in (
        _dropped(case),
        _missing_route(case),
        _refused(case, refused) if refused is not None else None,
        _lost(case),
    ):
        if verdict is not None:
            return verdict
    where = case.facts.place(case.source)
    return Verdict("lost", f"{where} could not send it: {case.sent.words}", where)


def _judge_name(case: Case) -> Verdict:
    where = case.facts.place(case.source)
    if not case.lookups:
        return Verdict(
            "unresolved", f"{where} has no resolv.conf that would resolve {case.target.host}", where
        )
    last = case.lookups[-1]
    tried = ", ".join(dict.fromkeys(f"{lookup.rcode} for {lookup.name}" for lookup in case.lookups))
    asked = f" (asked {last.server}: {tried})" if last.server else f": {tried}"
    return Verdict("unresolved", f"no address for {case.target.host}{asked}", where)


def _answered(case: Case) -> Verdict:
    assert case.sent is not None  # noqa: S101 - judge has looked
    origin = next((passage for passage in case.of("reply") if passage.is_made_here), None)
    who = case.facts.place(origin.namespace) if origin else ""
    if not who:
        replies = case.of("reply")
        who = case.facts.owner(replies[0].first.ends.source) if replies else "somebody"
    status = f": {case.sent.words}" if case.sent.words else ""
    node = case.facts.nodes.get(origin.first.ends.source) if origin else None
    on = f" on node {node}" if node and who.startswith("pod ") else ""
    return Verdict("answered", f"{who}{on} answered in {case.sent.seconds * 1000:.1f} ms{status}", who)


def _refuses(passage: Passage) -> bool:
    return passage.role == "refusal" or "R" in passage.first.flags or passage.first.flags == "ABORT"


def _dropped(case: Case) -> Verdict | None:
    for passage in case.passages:
        section = passage.drop
        if section is not None:
            where = case.facts.place(passage.namespace)
            return Verdict("dropped", explain_drop(case, passage, section), where)
    return None


def _missing_route(case: Case) -> Verdict | None:
    """Find the place that does not know the way, or sends the packet the wrong way for want of a route."""
    for passage in case.passages:
        if passage.drop is not None:
            continue
        for destination in passage.towards:
            if (passage.namespace, destination) in case.answers.routes:
                verdict = _check_route(case, passage, destination)
                if verdict is not None:
                    return verdict
    return None


def _check_route(case: Case, passage: Passage, destination: Address) -> Verdict | None:
    place = case.facts.place(passage.namespace)
    if not place.startswith(("node ", "router ", "client ")):
        return None
    route = case.route(passage.namespace, destination)
    node = case.facts.nodes.get(destination)
    if route is not None:
        # By the default route to a pod is the wrong way, unless it is a client's, which knows no more, or
        # leads there all the same.
        is_default = route.destination.prefixlen == 0
        if not is_default or node is None or place.startswith("client "):
            return None
        if _reached(case, passage, destination):
            return None
    block = case.facts.blocks.get(destination)
    missing = f"block {block} of node {node}" if block and node else _unknown(case, destination)
    instead = f": it goes by {described_route(route)}" if route is not None else ""
    return Verdict("lost", f"no route to {missing} in {place}{instead}", place)


def _unknown(case: Case, destination: Address) -> str:
    """Name an address to which there is no way."""
    owner = case.facts.owners.get(destination)
    if owner is not None:
        return f"{destination} of {owner}"
    is_pod_address = any(destination in pool for pool in case.facts.pools)
    return f"{destination}, which no pod has," if is_pod_address else str(destination)


def _reached(case: Case, passage: Passage, destination: Address) -> bool:
    """Say whether the packet came to its destination all the same."""
    owner = case.facts.owner(destination)
    return any(
        each.role == passage.role and case.facts.place(each.namespace) == owner for each in case.passages
    )


def _origin(case: Case, refusal: Passage) -> Passage:
    """Return where a refusal was made."""
    return next((each for each in case.passages if each.role == refusal.role and each.is_made_here), refusal)


def _stayed(case: Case, namespace: str) -> Passage | None:
    """Return the request's passage that ended in a namespace."""
    return next((each for each in case.of("request") if each.namespace == namespace and not each.left), None)


def _made_by_rule(case: Case, refusal: Passage) -> tuple[Passage, Section, str] | None:
    """Return the request's passage, the base chain and the reason if a rule has refused it."""
    asked = _stayed(case, _origin(case, refusal).namespace)
    section = last_section(asked.sections) if asked else None
    if asked is None or section is None:
        return None
    if not is_rejected(case, asked.namespace, section):
        return None
    return asked, section, reasons(case, asked.namespace, section)[-1].removesuffix(_REJECT)


def _refused(case: Case, refusal: Passage) -> Verdict:
    ends = refusal.first.ends
    origin = _origin(case, refusal)
    place = case.facts.place(origin.namespace)
    how = refusal.first.error or ("reset" if refusal.first.protocol == "tcp" else refusal.first.flags)
    by_rule = _made_by_rule(case, refusal)
    if by_rule is not None:
        asked, section, words = by_rule
        if section.table == KUBEPROXY_TABLE:
            words = explain_refusal(case, asked) or words
            return Verdict("refused", f"refused by kubeproxy of {place} ({how}): {words}", place)
        chain = f"{section.family} table {section.table}, chain {section.chain}"
        return Verdict("refused", f"refused in {place}, {chain} ({how}): {words}", place)
    stayed = _stayed(case, origin.namespace)
    if stayed is None:
        return Verdict("refused", f"refused by {place} ({how})", place)
    asked, target = stayed, stayed.last.ends
    if refusal.first.error and refusal.first.error != "port unreachable":
        return _unreachable(case, asked, how)
    return Verdict(
        "refused",
        f"nobody listens on {case.target.protocol} port {target.destination_port} in {place} "
        f"({how} from {ends.source})",
        place,
    )


def _lost(case: Case) -> Verdict | None:
    """Find where the request, or its answer, was seen last."""
    requests, replies = case.of("request"), case.of("reply", "refusal")
    # A bridge decides nothing: whoever sent the packet there wanted the next hop.
    passages = [each for each in replies or requests if case.facts.place(each.namespace) != FABRIC]
    if not passages:
        return None
    last = passages[-1]
    place = case.facts.place(last.namespace)
    what = "the answer" if replies else "the request"
    if last.left:
        return _lost_on_link(case, last, what)
    destination = last.towards[-1]
    route = case.route(last.namespace, destination)
    is_here = route is not None and route.kind == _LOCAL
    if is_here or case.facts.owner(destination) == place:
        if last.last.outer is not None:
            return Verdict("lost", f"{place} got {what} inside VXLAN and did not take it out", place)
        if what == "the answer":
            return _mute(case)
        return _arrived(case, last)
    return _unreachable(case, last, "")


def _arrived(case: Case, passage: Passage) -> Verdict:
    """Say why the place that the request was for has sent nothing back."""
    place, ends = case.facts.place(passage.namespace), passage.last.ends
    got = f"{place} got it on {case.target.protocol} port {ends.destination_port}"
    asked = (passage.namespace, ends.source)
    if asked in case.answers.routes and case.route(*asked) is None:
        return Verdict("lost", f"{got} and has no route back to {case.facts.owner(ends.source)}", place)
    return Verdict("unanswered", f"{got} and does not answer", place)


def _at_gateway(case: Case, passage: Passage, hop: Address, destination: Address) -> Verdict:
    """Say what became of a packet in the fabric, which has the gateways' addresses and the API server."""
    if hop == destination:
        return _arrived(case, passage)
    service = case.facts.service_of(destination)
    to = f"{destination} of {service}" if service else _unknown(case, destination).rstrip(",")
    return Verdict("lost", f"it came to the gateway {hop}, from which no way leads on to {to}", FABRIC)


def _mute(case: Case) -> Verdict:
    """Say who was connected and then said nothing."""
    assert case.sent is not None  # noqa: S101 - judge has looked
    origin = next((each for each in case.of("reply") if each.is_made_here), None)
    place = case.facts.place(origin.namespace) if origin else "the other end"
    return Verdict(
        "unanswered", f"the kernel of {place} took the connection, its program does not answer", place
    )


def _unreachable(case: Case, passage: Passage, how: str) -> Verdict:
    """Say why a place did not send a packet on."""
    place, destination = case.facts.place(passage.namespace), passage.towards[-1]
    route = case.route(passage.namespace, destination)
    if route is None:
        return Verdict("lost", f"no route to {_unknown(case, destination)} in {place}", place)
    down = _down(case, passage.namespace, route.link)
    if down:
        return down
    hop: Address = type(destination)(route.gateway) if route.gateway else destination
    far = _far_link(case, hop)
    if far:
        return far
    words = f" ({how})" if how else ""
    return Verdict(
        "lost", f"{place} can't send it on to {case.facts.owner(hop)} by {route.link}{words}", place
    )


def _lost_on_link(case: Case, passage: Passage, what: str) -> Verdict:
    place, link = case.facts.place(passage.namespace), passage.left[-1].link
    destination = passage.towards[-1]
    down = _down(case, passage.namespace, link)
    if down:
        return down
    route = case.route(passage.namespace, destination)
    hop: Address = type(destination)(route.gateway) if route and route.gateway else destination
    far = _far_link(case, hop)
    if far:
        return far
    to = case.facts.owner(hop)
    there = [each for each in case.of(passage.role) if case.facts.place(each.namespace) == to == FABRIC]
    if there:
        return _at_gateway(case, there[-1], hop, destination)
    return Verdict("lost", f"{what} left {place} by {link} and did not come to {to}", place)


def _down(case: Case, namespace: str, name: str) -> Verdict | None:
    link, place = case.link(namespace, name), case.facts.place(namespace)
    if link is None or (link.is_up and link.has_carrier):
        return None
    state = "down" if not link.is_up else "up, but its other end is down"
    return Verdict("lost", f"link {name} of {place} is {state}", place)


def _far_link(case: Case, hop: Address) -> Verdict | None:
    """Say if the place that has an address is gone, or its uplink is down."""
    owner = case.facts.owner(hop)
    namespace = next((name for name, place in case.facts.places.items() if place == owner), None)
    if namespace is None:
        return None
    if namespace not in case.answers.links:
        return Verdict("lost", f"{owner} is not there: its namespace is gone", owner)
    links = [name for name in case.answers.links.get(namespace, {}) if name == "eth0"]
    found = [verdict for name in links if (verdict := _down(case, namespace, name)) is not None]
    return found[0] if found else None
