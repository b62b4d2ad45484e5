"""The sentence: what became of the packet, and why. Pure.

It looks for the first thing that is wrong on the way: a rule that dropped, a route that is missing or leads
the wrong way, a link that is down, a program that does not answer. See `netns_lab.trace.loss` too.
"""

from netns_lab.trace.case import Case, is_rejected, last_section, reasons
from netns_lab.trace.explain import KUBEPROXY_TABLE, explain_drop, explain_refusal
from netns_lab.trace.loss import find_lost, find_missing_route, find_unreachable
from netns_lab.trace.passage import Passage, Section
from netns_lab.trace.send import Sent
from netns_lab.trace.verdict import Verdict

_REJECT = " [reject]"


def judge(case: Case) -> Verdict:
    """Say what became of the packet."""
    if case.sent is None:
        return _judge_name(case)
    if case.sent.state == "answered":
        return _answered(case, case.sent)
    refused = next(
        (each for each in case.passages if each.role in {"reply", "refusal"} and _refuses(each)), None
    )
    # A rule that refuses says so to the sender; the trace calls the packet dropped.
    if refused is not None and _made_by_rule(case, refused) is not None:
        return _refused(case, refused)
    for verdict in (
        _dropped(case),
        find_missing_route(case),
        _refused(case, refused) if refused is not None else None,
        find_lost(case),
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


def _answered(case: Case, sent: Sent) -> Verdict:
    origin = next((passage for passage in case.of("reply") if passage.is_made_here), None)
    who = case.facts.place(origin.namespace) if origin else ""
    if not who:
        replies = case.of("reply")
        who = case.facts.owner(replies[0].first.ends.source) if replies else "somebody"
    status = f": {sent.words}" if sent.words else ""
    node = case.facts.nodes.get(origin.first.ends.source) if origin else None
    on = f" on node {node}" if node and who.startswith("pod ") else ""
    return Verdict("answered", f"{who}{on} answered in {sent.seconds * 1000:.1f} ms{status}", who)


def _refuses(passage: Passage) -> bool:
    return passage.role == "refusal" or "R" in passage.first.flags or passage.first.flags == "ABORT"


def _dropped(case: Case) -> Verdict | None:
    for passage in case.passages:
        section = passage.drop
        if section is not None:
            where = case.facts.place(passage.namespace)
            return Verdict("dropped", explain_drop(case, passage, section), where)
    return None


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
        return find_unreachable(case, asked, how)
    return Verdict(
        "refused",
        f"nobody listens on {case.target.protocol} port {target.destination_port} in {place} "
        f"({how} from {ends.source})",
        place,
    )
