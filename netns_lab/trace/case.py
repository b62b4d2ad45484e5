"""All that a trace has found, for the table and the verdict. Pure."""

from collections.abc import Iterable

import msgspec

from netns_lab.trace.ask import Answers
from netns_lab.trace.facts import Facts
from netns_lab.trace.passage import Passage, Section
from netns_lab.trace.resolve import Lookup
from netns_lab.trace.rule_text import RuleText
from netns_lab.trace.send import Sent
from netns_lab.trace.target import Target
from nodeplane.datapath.nft.trace import RuleMet
from nodeplane.datapath.routing import MatchedRoute
from nodeplane.datapath.rtnl import Address, Link


class Case(msgspec.Struct, frozen=True):
    """What was asked, sent, seen and said.

    Attributes:
        source: The namespace that it was sent from.
        sent: None if the name has no address, so that nothing was sent.
        servers: Who has really answered each lookup, behind the cluster DNS's address.
    """

    target: Target
    source: str
    facts: Facts
    lookups: tuple[Lookup, ...] = ()
    servers: tuple[str, ...] = ()
    sent: Sent | None = None
    passages: tuple[Passage, ...] = ()
    answers: Answers = Answers()
    lost: tuple[str, ...] = ()

    def route(self, namespace: str, address: Address) -> MatchedRoute | None:
        """Return the route that was found; None if there is none, or nobody asked."""
        return self.answers.routes.get((namespace, address))

    def barrier(self, namespace: str, address: Address) -> str:
        """Return the kind of the route that ends packets to an address; empty if none does."""
        return self.answers.barriers.get((namespace, address), "")

    def described_route(self, namespace: str, address: Address) -> str:
        """Write the route that was found as ip(8) does."""
        kind = self.barrier(namespace, address)
        return f"{kind} route" if kind else described_route(self.route(namespace, address))

    def link(self, namespace: str, name: str) -> Link | None:
        """Return a link of a namespace."""
        return self.answers.links.get(namespace, {}).get(name)

    def rule(self, namespace: str, section: Section, met: RuleMet) -> RuleText:
        """Return a rule in nft's words."""
        ruleset = self.answers.rulesets.get(namespace)
        if ruleset is None:
            return RuleText(f"rule with handle {met.handle}")
        return ruleset.find(section.family, section.table, met.handle)

    def hook(self, namespace: str, section: Section) -> str:
        """Return where a base chain is hooked, its own name if that is not known."""
        ruleset = self.answers.rulesets.get(namespace)
        key = (section.family, section.table, section.chain)
        return ruleset.hooks.get(key, section.chain) if ruleset else section.chain

    def of(self, *roles: str) -> tuple[Passage, ...]:
        """Return the passages of some packets, in time order."""
        return tuple(passage for passage in self.passages if passage.role in roles)


def described_route(route: MatchedRoute | None) -> str:
    """Write a route as ip(8) does."""
    if route is None:
        return "no route"
    kinds = {2: "local", 6: "blackhole", 7: "unreachable", 8: "prohibit"}
    network = "default" if route.destination.prefixlen == 0 else str(route.destination)
    gateway = type(route.destination.network_address)(route.gateway) if route.gateway else None
    parts = [kinds.get(route.kind, ""), network, f"via {gateway}" if gateway else ""]
    parts += [f"dev {route.link}" if route.link else "", f"proto {_protocol(route.protocol)}"]
    return " ".join(part for part in parts if part)


def _protocol(number: int) -> str:
    # rtnetlink.h, rt_protos(5), and our own.
    return {2: "kernel", 3: "boot", 4: "static", 12: "bird", 110: "nodeplane"}.get(number, str(number))


def reasons(case: Case, namespace: str, section: Section) -> list[str]:
    """Say which rules of a base chain mattered: by their comments, else as nft prints them."""
    return [text for met in section.rules if (text := _reason(case.rule(namespace, section, met), met))]


def _reason(rule: RuleText, met: RuleMet) -> str:
    action = _action(rule.text, met)
    if rule.comment:
        return f"{rule.comment} [{action}]" if action else rule.comment
    # A jump without a comment says nothing that the rules behind it don't say.
    return "" if met.verdict in {"jump", "goto"} else rule.text


def _action(text: str, met: RuleMet) -> str:
    # A rule that masquerades may look for what was translated before: `ct status dnat masquerade`.
    found = next(
        (word for word in ("masquerade", "snat", "dnat", "reject") if f" {word} " in f" {text} "), ""
    )
    return found or ("drop" if met.verdict == "drop" else "")


def is_rejected(case: Case, namespace: str, section: Section) -> bool:
    """Say whether a rule of a base chain has ended the packet and told its sender so."""
    if not section.rules:
        return False
    met = section.rules[-1]
    return _action(case.rule(namespace, section, met).text, met) == "reject"


def last_section(sections: Iterable[Section]) -> Section | None:
    """Return the last base chain of which a rule matched."""
    found = [section for section in sections if section.rules]
    return found[-1] if found else None
