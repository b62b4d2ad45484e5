"""Where a packet got lost: a route that is missing or leads the wrong way, a link, a silent program. Pure."""

from netns_lab.trace.case import Case, described_route
from netns_lab.trace.facts import FABRIC
from netns_lab.trace.passage import Passage
from netns_lab.trace.verdict import Verdict
from nodeplane.datapath.rtnl import Address

_LOCAL = 2  # RTN_LOCAL


def find_missing_route(case: Case) -> Verdict | None:
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
    return Verdict("lost", f"{_lacking(case, passage.namespace, destination, missing)}{instead}", place)


def _lacking(case: Case, namespace: str, destination: Address, what: str) -> str:
    """Say that there is no way to what an address stands for, or that a route forbids it."""
    place, kind = case.facts.place(namespace), case.barrier(namespace, destination)
    return f"{kind} route to {what} in {place}" if kind else f"no route to {what} in {place}"


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


def find_lost(case: Case) -> Verdict | None:
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
    return find_unreachable(case, last, "")


def _arrived(case: Case, passage: Passage) -> Verdict:
    """Say why the place that the request was for has sent nothing back."""
    place, ends = case.facts.place(passage.namespace), passage.last.ends
    got = f"{place} got it on {case.target.protocol} port {ends.destination_port}"
    asked = (passage.namespace, ends.source)
    kind = case.barrier(*asked)
    if kind:
        return Verdict("lost", f"{got} and has a {kind} route back to {case.facts.owner(ends.source)}", place)
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
    origin = next((each for each in case.of("reply") if each.is_made_here), None)
    place = case.facts.place(origin.namespace) if origin else "the other end"
    return Verdict(
        "unanswered", f"the kernel of {place} took the connection, its program does not answer", place
    )


def find_unreachable(case: Case, passage: Passage, how: str) -> Verdict:
    """Say why a place did not send a packet on."""
    place, destination = case.facts.place(passage.namespace), passage.towards[-1]
    route = case.route(passage.namespace, destination)
    if route is None:
        what = _lacking(case, passage.namespace, destination, _unknown(case, destination))
        return Verdict("lost", what, place)
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
