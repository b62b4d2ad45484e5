"""A small lab's packets as values: a client on n1, web-1 on n2, the Service web; times in milliseconds."""

from collections.abc import Mapping
from ipaddress import ip_address, ip_network

from netns_lab.trace.ask import Answers
from netns_lab.trace.case import Case
from netns_lab.trace.facts import Backend, Facts, Frontend
from netns_lab.trace.head import Head
from netns_lab.trace.mark import Mark
from netns_lab.trace.passage import build_passages
from netns_lab.trace.rule_text import Ruleset, RuleText
from netns_lab.trace.send import Sent, SentState
from netns_lab.trace.target import Target
from netns_lab.trace.watch import Met, Observed, Sighting
from nodeplane.datapath.conntrack.entry import Ends
from nodeplane.datapath.nft.trace import RuleMet
from nodeplane.datapath.routing import MatchedRoute
from nodeplane.datapath.rtnl import Address, Link

CLIENT, N1, N2, WEB, FABRIC = "pod-client", "n1", "n2", "pod-web", "fabric"
CLIENT_IP, WEB_IP, VIP, N1_IP, N2_IP, GATEWAY = map(
    ip_address, ("10.244.1.2", "10.244.2.3", "10.96.0.80", "172.30.0.2", "172.30.0.3", "172.30.0.1")
)
BALANCER = ip_address("203.0.113.9")
NUMBER = 0x12345678
MARK = Mark("tcp", NUMBER)
KUBEPROXY = "nodeplane-kubeproxy"
SYN_SENT = Ends(CLIENT_IP, 40000, VIP, 80)
TO_WEB = Ends(CLIENT_IP, 40000, WEB_IP, 8080)
SENT_NS = 1_000_000_000

RULES = {
    1: RuleText("jump services"),
    2: RuleText("meta priority set … map @frontends goto kinds", "an address and port of a service"),
    3: RuleText("meta priority set none dnat ip to …", "by chance"),
    4: RuleText("reject with tcp reset", "nobody there: reset"),
    5: RuleText("drop", "policy Local, and no endpoint on this node"),
    6: RuleText("ip saddr 10.0.0.0/8 counter drop"),
    7: RuleText("iifname @source-links drop", "all else, counted"),
    8: RuleText("tcp dport 8080 reject with icmp admin-prohibited"),
}
HOOKS = {
    ("ip", KUBEPROXY, "nat-prerouting"): "prerouting",
    ("inet", "nodeplane-cni", "source-check"): "prerouting",
}
RULESET = Ruleset(
    {("ip", table, handle): text for table in (KUBEPROXY, "mine") for handle, text in RULES.items()}
    | {("inet", "nodeplane-cni", 7): RULES[7]},
    {**HOOKS, ("ip", "mine", "filter"): "forward"},
)


def syn(ends: Ends = SYN_SENT, ttl: int = 64) -> Head:
    return Head("tcp", ends, ttl, "S", NUMBER)


def syn_ack(ends: Ends = TO_WEB, ttl: int = 64) -> Head:
    return Head("tcp", ends.reversed, ttl, "SA", 99, NUMBER + 1)


def reset(ends: Ends = SYN_SENT) -> Head:
    return Head("tcp", ends.reversed, 64, "AR", 0, NUMBER + 1)


def prohibited(ends: Ends = SYN_SENT) -> Head:
    about = syn(ends)
    return Head("icmp", Ends(N1_IP, 0, CLIENT_IP, 0), 64, error="prohibited", about=about)


def came(ms: float, namespace: str, link: str, head: Head) -> Sighting:
    return Sighting(SENT_NS + int(ms * 1e6), namespace, link, is_out=False, head=head)


def left(ms: float, namespace: str, link: str, head: Head) -> Sighting:
    return Sighting(SENT_NS + int(ms * 1e6), namespace, link, is_out=True, head=head)


def raw(ends: Ends) -> tuple[bytes, bytes]:
    """Return the headers of a SYN, as a rule's trace has them."""
    network = bytes((0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0)) + ends.source.packed + ends.destination.packed
    ports = ends.source_port.to_bytes(2, "big") + ends.destination_port.to_bytes(2, "big")
    return network, ports + NUMBER.to_bytes(4, "big") + bytes(4) + bytes((0x50, 0x02)) + bytes(6)


def chain(
    namespace: str,
    name: str,
    *handles: int,
    end: str = "accept",
    ends: Ends = SYN_SENT,
    iif: str = "veth-client",
    table: str = KUBEPROXY,
    family: str = "ip",
) -> list[Met]:
    """Return the messages of one base chain whose rules with these handles matched."""
    network, transport = raw(ends)
    met = []
    for place, handle in enumerate(handles):
        verdict = end if handle == handles[-1] else "jump"
        rule = RuleMet(
            7,
            family,
            table,
            name,
            "rule",
            handle,
            verdict,
            network=network if place == 0 else b"",
            transport=transport if place == 0 else b"",
        )
        met.append(Met(namespace, rule, iif))
    if not handles:
        policy = RuleMet(7, family, table, name, "policy", 0, end, network=network, transport=transport)
        met.append(Met(namespace, policy, iif))
    return met


def link(name: str, *, is_up: bool = True, has_carrier: bool = True) -> Link:
    return Link(name, 2, "veth", "02:00:00:00:00:01", 1500, is_up, has_carrier)


def route(network: str, via: Address | None = None, dev: str = "eth0", kind: int = 1) -> MatchedRoute:
    return MatchedRoute(ip_network(network), kind, 110, dev, via.packed if via else None)


ROUTES: dict[tuple[str, Address], MatchedRoute | None] = {
    (N1, WEB_IP): route("10.244.2.0/26", N2_IP),
    (N2, WEB_IP): route("10.244.2.3/32", dev="veth-web"),
    (N2, CLIENT_IP): route("10.244.1.0/26", N1_IP),
    (N1, CLIENT_IP): route("10.244.1.2/32", dev="veth-client"),
    (WEB, WEB_IP): route("10.244.2.3/32", kind=2, dev="eth0"),
}
LINKS: dict[str, Mapping[str, Link]] = {
    CLIENT: {"eth0": link("eth0")},
    N1: {"eth0": link("eth0"), "veth-client": link("veth-client")},
    N2: {"eth0": link("eth0"), "veth-web": link("veth-web")},
    WEB: {"eth0": link("eth0")},
    FABRIC: {},
}

FRONTEND = Frontend("default/web", "tcp", 80, (VIP,), backends=(Backend(WEB_IP, 8080, "n2", is_ready=True),))


def facts(frontend: Frontend = FRONTEND) -> Facts:
    return Facts(
        places={
            CLIENT: "pod default/client",
            N1: "node n1",
            N2: "node n2",
            WEB: "pod default/web-1",
            FABRIC: FABRIC,
        },
        owners={
            CLIENT_IP: "pod default/client",
            WEB_IP: "pod default/web-1",
            N1_IP: "node n1",
            N2_IP: "node n2",
            GATEWAY: FABRIC,
        },
        nodes={CLIENT_IP: "n1", WEB_IP: "n2"},
        blocks={WEB_IP: ip_network("10.244.2.0/26"), CLIENT_IP: ip_network("10.244.1.0/26")},
        frontends=(frontend,),
        node_addresses={N1_IP: "n1", N2_IP: "n2"},
        pools=(ip_network("10.244.0.0/16"),),
    )


WAY_THERE = (
    left(0.1, CLIENT, "eth0", syn()),
    came(0.2, N1, "veth-client", syn()),
    left(0.3, N1, "eth0", syn(TO_WEB)),
    came(0.4, N2, "eth0", syn(TO_WEB)),
    left(0.5, N2, "veth-web", syn(TO_WEB)),
    came(0.6, WEB, "eth0", syn(TO_WEB)),
)
WAY_BACK = (
    left(0.7, WEB, "eth0", syn_ack()),
    came(0.8, N2, "veth-web", syn_ack()),
    left(0.9, N2, "eth0", syn_ack()),
    came(1.0, N1, "eth0", syn_ack()),
    left(1.1, N1, "veth-client", syn_ack(SYN_SENT)),
    came(1.2, CLIENT, "eth0", syn_ack(SYN_SENT)),
)
TRANSLATED = chain(N1, "nat-prerouting", 1, 2, 3)


def case(
    state: SentState,
    *sightings: Sighting,
    met: list[Met] | None = None,
    frontend: Frontend = FRONTEND,
    routes: Mapping[tuple[str, Address], MatchedRoute | None] | None = None,
    links: Mapping[str, Mapping[str, Link]] | None = None,
    barriers: Mapping[tuple[str, Address], str] | None = None,
    words: str = "",
    without: str = "",
) -> Case:
    """Return what a trace would have found."""
    known = {name: each for name, each in {**LINKS, **(links or {})}.items() if name != without}
    observed = Observed(sightings, tuple(TRANSLATED if met is None else met))
    return Case(
        target=Target("tcp", "web", 80),
        source=CLIENT,
        facts=facts(frontend),
        sent=Sent(state, SENT_NS, 0.002, SYN_SENT, words),
        passages=build_passages(observed, MARK, SENT_NS),
        answers=Answers({**ROUTES, **(routes or {})}, barriers or {}, {}, known, {N1: RULESET, N2: RULESET}),
    )
