"""The edge that asks once the packet has come to its end: routes, conntrack, links, rules on its way."""

import subprocess
from collections.abc import Collection, Iterable, Mapping

import msgspec

from netns_lab.netlink import open_whole_rtnl
from netns_lab.trace.passage import Passage, request_ends
from netns_lab.trace.rule_text import Ruleset, parse_ruleset
from nodeplane.datapath import netns
from nodeplane.datapath.conntrack.entry import Ends, Entry, read_entries
from nodeplane.datapath.nft.expr import Family
from nodeplane.datapath.routing import KernelRouting, MatchedRoute
from nodeplane.datapath.rtnl import Address, Link

_NFT_LIMIT_S = 30.0


class Answers(msgspec.Struct, frozen=True):
    """What the kernel says of each namespace.

    Attributes:
        routes: The entry that an address is sent by; None if there is none.
        barriers: Of those that are sent nowhere, the kind of the entry that says so.
        entries: The connection's own conntrack entries.
        links: By namespace and name.
        rulesets: By namespace.
    """

    routes: Mapping[tuple[str, Address], MatchedRoute | None] = {}
    barriers: Mapping[tuple[str, Address], str] = {}
    entries: Mapping[str, tuple[Entry, ...]] = {}
    links: Mapping[str, Mapping[str, Link]] = {}
    rulesets: Mapping[str, Ruleset] = {}


def questions(passages: Iterable[Passage]) -> dict[str, set[Address]]:
    """Say which addresses' routes matter in which namespace. Pure.

    Those that packets were sent on to, and the way back from where the request has stayed.
    """
    wanted: dict[str, set[Address]] = {}
    for passage in passages:
        found = wanted.setdefault(passage.namespace, set())
        found |= set(passage.towards)
        if passage.role == "request" and not passage.left:
            found.add(passage.last.ends.source)
    return wanted


def ask(
    family: Family,
    protocol: int,
    passages: Collection[Passage],
    namespaces: Iterable[str],
    also: Mapping[str, Collection[Address]],
) -> Answers:
    """Ask about what was seen; the links of all `namespaces`, and routes to what `also` names.

    Raises:
        KernelError: the kernel refused.
    """
    wanted = questions(passages)
    for namespace, addresses in also.items():
        wanted.setdefault(namespace, set()).update(addresses)
    ends = request_ends(passages)
    ruled = {passage.namespace for passage in passages if passage.sections}
    routes: dict[tuple[str, Address], MatchedRoute | None] = {}
    barriers: dict[tuple[str, Address], str] = {}
    entries: dict[str, tuple[Entry, ...]] = {}
    links: dict[str, Mapping[str, Link]] = {}
    for namespace in namespaces:
        path = netns.NETNS_DIR / namespace
        with open_whole_rtnl(path) as rtnl:
            links[namespace] = rtnl.links()
        with netns.inside(path):
            with KernelRouting() as routing:
                for address in wanted.get(namespace, ()):
                    routes[namespace, address] = routing.match(address.packed)
                    kind = routing.barrier(address.packed)
                    if kind:
                        barriers[namespace, address] = kind
            if namespace in wanted:
                entries[namespace] = tuple(_own(read_entries(family, protocol), ends))
    rulesets = {namespace: read_ruleset(namespace) for namespace in ruled}
    return Answers(routes, barriers, entries, links, rulesets)


def read_ruleset(namespace: str) -> Ruleset:
    """Have nft print the rules of a namespace; without nft, rules have no text."""
    with netns.inside(netns.NETNS_DIR / namespace):
        try:
            printed = subprocess.run(
                ["nft", "-a", "-t", "list", "ruleset"],
                capture_output=True,
                text=True,
                check=False,
                timeout=_NFT_LIMIT_S,
            ).stdout
        except (FileNotFoundError, subprocess.TimeoutExpired):
            return Ruleset()
    return parse_ruleset(printed)


def _own(entries: Iterable[Entry], ends: Collection[Ends]) -> list[Entry]:
    return [entry for entry in entries if entry.original in ends or entry.reply.reversed in ends]
