"""A trace from beginning to end: the lab as it is, the name, the packet, what was seen, what it means."""

import secrets
from collections.abc import Mapping

import msgspec

from netns_lab.execute import Place, place_namespace
from netns_lab.live import read_live
from netns_lab.names import fabric_namespace, node_namespace
from netns_lab.plan import resolv_conf
from netns_lab.state import StateDirectory
from netns_lab.topology import PodSpec, Topology
from netns_lab.trace.ask import ask
from netns_lab.trace.case import Case
from netns_lab.trace.facts import Facts, build_facts
from netns_lab.trace.mark import build_mark
from netns_lab.trace.passage import build_passages
from netns_lab.trace.resolve import Lookup, first_address, parse_resolv_conf, resolve
from netns_lab.trace.send import sending
from netns_lab.trace.target import PROTOCOLS, Target
from netns_lab.trace.watch import watching
from nodeplane.datapath import netns
from nodeplane.datapath.conntrack.entry import read_entries
from nodeplane.datapath.conntrack.flow import UDP
from nodeplane.datapath.nft.expr import Family
from nodeplane.datapath.rtnl import Address
from nodeplane.datapath.rtnl import Family as IpFamily
from nodeplane.errors import NodeplaneError

_DNS_LIMIT_S = 2.0


def trace(
    state: StateDirectory,
    topology: Topology,
    place: Place,
    target: Target,
    *,
    limit_s: float,
    family: IpFamily | None = None,
) -> Case:
    """Follow one packet from a place to a target.

    Raises:
        NodeplaneError: the lab can't be read, the place is gone, or another trace is running.
        KernelError: the kernel refused.
    """
    facts = read_facts(state, topology)
    source = place_namespace(state.lab, place)
    if source not in netns.names():
        raise NodeplaneError(f"{facts.place(source)} is not there: its namespace is gone")
    case = Case(target, source, facts)
    address = target.address
    if address is None:
        lookups, servers, address = _resolve(state, facts, place, target, family)
        case = Case(target, source, facts, lookups, servers)
    if address is None:
        return case
    return _follow(case, topology, address, limit_s)


def read_facts(state: StateDirectory, topology: Topology) -> Facts:
    """Read who is who in a lab: its attachments and its API server's objects."""
    live = read_live(state, topology)
    facts = build_facts(topology, live.addresses, live.objects)
    return msgspec.structs.replace(facts, trouble=live.trouble)


def _resolve(
    state: StateDirectory, facts: Facts, place: Place, target: Target, family: IpFamily | None
) -> tuple[tuple[Lookup, ...], tuple[str, ...], Address | None]:
    source = place_namespace(state.lab, place)
    # Only a pod has a resolv.conf of the lab's; of other places nobody has said how they resolve names.
    file = resolv_conf(state, place) if isinstance(place, PodSpec) else None
    config = parse_resolv_conf(file.read_text() if file is not None and file.exists() else "")
    if not config.servers:
        return (), (), None
    lookups = resolve(source, target.host, config, family, _DNS_LIMIT_S)
    node = node_namespace(state.lab, place.node) if isinstance(place, PodSpec) else source
    with netns.inside(netns.NETNS_DIR / node):
        entries = read_entries("ip", UDP)
    translated = {entry.original: entry.reply for entry in entries}
    servers = tuple(
        facts.owner(translated[lookup.ends].source) if lookup.ends in translated else "" for lookup in lookups
    )
    return tuple(lookups), servers, first_address(lookups)


def _follow(case: Case, topology: Topology, address: Address, limit_s: float) -> Case:
    target, facts = case.target, case.facts
    family: Family = "ip" if address.version == 4 else "ip6"
    mark = build_mark(target.protocol, target.port, secrets.randbits(31) + 1)
    hosts = [host.name for host in (*topology.hosts, *topology.routers)]
    there = netns.names()
    ends = facts.backend_namespaces(address, target.protocol, target.port)
    wanted = dict.fromkeys([case.source, *(node_namespace(topology.name, host) for host in hosts), *ends])
    fabric = fabric_namespace(topology.name)
    # A node that has crashed has none. The fabric may be an end, the API server's: it is watched as a bridge.
    watched = [name for name in wanted if name in there and name != fabric]
    with (
        sending(case.source, target.protocol, address, target.port) as sender,
        watching(family, mark, watched, [fabric]) as watch,
    ):
        sent = sender.send(target, mark, limit_s)
        observed = watch.read()
        passages = build_passages(observed, mark, sent.at_ns)
        also: Mapping[str, set[Address]] = {case.source: {address}}
        answers = ask(family, PROTOCOLS[target.protocol], passages, (*watched, fabric), also)
    return Case(
        *(target, case.source, facts, case.lookups, case.servers, sent, passages, answers, observed.lost)
    )
