"""The sentence about a packet, for each way that it may end."""

from ipaddress import ip_address, ip_network

import msgspec
import pytest

from netns_lab.trace.case import Case
from netns_lab.trace.facts import Backend
from netns_lab.trace.judge import judge
from netns_lab.trace.resolve import Lookup
from netns_lab.trace.verdict import Verdict
from netns_lab.trace.watch import Sighting
from nodeplane.datapath.conntrack.entry import Ends
from tests.netns_lab.trace.samples import (
    BALANCER,
    CLIENT,
    CLIENT_IP,
    FABRIC,
    FRONTEND,
    GATEWAY,
    N1,
    N1_IP,
    N2,
    N2_IP,
    RULES,
    SYN_SENT,
    TO_WEB,
    TRANSLATED,
    VIP,
    WAY_BACK,
    WAY_THERE,
    WEB,
    WEB_IP,
    came,
    case,
    chain,
    facts,
    left,
    link,
    prohibited,
    reset,
    route,
    syn,
)

_LOCAL = msgspec.structs.replace(FRONTEND, node_port=30080, is_local=True)
_TO_NODE_PORT = Ends(CLIENT_IP, 40000, N1_IP, 30080)
_RANGED = msgspec.structs.replace(FRONTEND, external=(BALANCER,), ranges=(ip_network("192.0.2.0/24"),))
_TO_BALANCER = Ends(CLIENT_IP, 40000, BALANCER, 80)
_EMPTY = msgspec.structs.replace(FRONTEND, backends=(Backend(WEB_IP, 8080, "n2", is_ready=False),))
_TO_SERVER = Ends(CLIENT_IP, 40000, GATEWAY, 6443)
_REFUSED_HERE = (
    *WAY_THERE[:2],
    left(0.3, N1, "veth-client", reset()),
    came(0.4, CLIENT, "eth0", reset()),
)
_TUNNELLED = msgspec.structs.replace(syn(TO_WEB), outer=Ends(N1_IP, 4789, N2_IP, 4789))
_REJECTED = chain(N1, "nat-prerouting", 1, 2, 4, end="drop")


def _first(ends: Ends) -> tuple[Sighting, ...]:
    return left(0.1, CLIENT, "eth0", syn(ends)), came(0.2, N1, "veth-client", syn(ends))


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        pytest.param(
            case("answered", *WAY_THERE, *WAY_BACK, words="HTTP/1.1 200 OK"),
            Verdict(
                "answered",
                "pod default/web-1 on node n2 answered in 2.0 ms: HTTP/1.1 200 OK",
                "pod default/web-1",
            ),
            id="answered",
        ),
        pytest.param(
            case("refused", *_REFUSED_HERE, met=_REJECTED, frontend=_EMPTY),
            Verdict(
                "refused",
                "refused by kubeproxy of node n1 (reset): no ready endpoints for default/web",
                "node n1",
            ),
            id="no ready endpoints",
        ),
        pytest.param(
            case(
                "refused", *_REFUSED_HERE, met=_REJECTED, frontend=msgspec.structs.replace(FRONTEND, port=81)
            ),
            Verdict(
                "refused",
                "refused by kubeproxy of node n1 (reset): default/web has no tcp port 80",
                "node n1",
            ),
            id="another port of a cluster IP",
        ),
        pytest.param(
            case(
                "timeout",
                *_first(_TO_NODE_PORT),
                met=chain(N1, "nat-prerouting", 1, 2, 5, end="drop", ends=_TO_NODE_PORT),
                frontend=_LOCAL,
            ),
            Verdict(
                "dropped",
                "dropped by kubeproxy of node n1: externalTrafficPolicy Local and no local endpoint on node "
                "n1 for default/web",
                "node n1",
            ),
            id="policy Local",
        ),
        pytest.param(
            case(
                "timeout",
                *_first(_TO_BALANCER),
                met=chain(N1, "nat-prerouting", 1, 2, 5, end="drop", ends=_TO_BALANCER),
                frontend=_RANGED,
            ),
            Verdict(
                "dropped",
                "dropped by kubeproxy of node n1: source 10.244.1.2 is not in loadBalancerSourceRanges "
                "(192.0.2.0/24) of default/web",
                "node n1",
            ),
            id="source range",
        ),
        pytest.param(
            case(
                "timeout",
                *WAY_THERE[:2],
                met=chain(N1, "source-check", 7, end="drop", table="nodeplane-cni", family="inet"),
            ),
            Verdict(
                "dropped",
                "dropped by the source check of node n1: 10.244.1.2 is no address of the pod behind "
                "veth-client",
                "node n1",
            ),
            id="source check",
        ),
        pytest.param(
            case(
                "timeout",
                *WAY_THERE[:2],
                met=[*TRANSLATED, *chain(N1, "filter", 6, end="drop", table="mine", ends=TO_WEB)],
            ),
            Verdict(
                "dropped",
                f"dropped in node n1, ip table mine, chain filter: {RULES[6].text}",
                "node n1",
            ),
            id="somebody's rule",
        ),
        pytest.param(
            case(
                "unreachable",
                *WAY_THERE[:2],
                left(0.3, N1, "veth-client", prohibited()),
                came(0.4, CLIENT, "eth0", prohibited()),
                met=[*TRANSLATED, *chain(N1, "filter", 8, end="drop", table="mine", ends=TO_WEB)],
            ),
            Verdict(
                "refused",
                f"refused in node n1, ip table mine, chain filter (prohibited): {RULES[8].text}",
                "node n1",
            ),
            id="somebody's rule that says so",
        ),
        pytest.param(
            case(
                "timeout", *WAY_THERE[:3], routes={(N1, WEB_IP): route("0.0.0.0/0", ip_address("172.30.0.1"))}
            ),
            Verdict(
                "lost",
                "no route to block 10.244.2.0/26 of node n2 in node n1: it goes by default via 172.30.0.1 "
                "dev eth0 proto nodeplane",
                "node n1",
            ),
            id="no route but the default one",
        ),
        pytest.param(
            case("timeout", *WAY_THERE[:4], routes={(N2, WEB_IP): None}),
            Verdict("lost", "no route to block 10.244.2.0/26 of node n2 in node n2", "node n2"),
            id="no route at all",
        ),
        pytest.param(
            case(
                "timeout",
                *WAY_THERE[:4],
                routes={(N2, WEB_IP): None},
                barriers={(N2, WEB_IP): "blackhole"},
            ),
            Verdict("lost", "blackhole route to block 10.244.2.0/26 of node n2 in node n2", "node n2"),
            id="a route that leads nowhere",
        ),
        pytest.param(
            case("timeout", *WAY_THERE[:3], links={N2: {"eth0": link("eth0", is_up=False)}}),
            Verdict("lost", "link eth0 of node n2 is down", "node n2"),
            id="the next hop's link is down",
        ),
        pytest.param(
            case(
                "timeout",
                *WAY_THERE[:2],
                left(0.3, N1, "eth0", _TUNNELLED),
                routes={(N1, N2_IP): None},
            ),
            Verdict("lost", "no route to 172.30.0.3 of node n2 in node n1", "node n1"),
            id="no route for the tunnel",
        ),
        pytest.param(
            case(
                "timeout",
                *WAY_THERE[:2],
                left(0.3, N1, "eth0", _TUNNELLED),
                came(0.4, N2, "eth0", _TUNNELLED),
                routes={(N1, N2_IP): route("172.30.0.0/24"), (N2, N2_IP): route("172.30.0.3/32", kind=2)},
            ),
            Verdict("lost", "node n2 got the request inside VXLAN and did not take it out", "node n2"),
            id="never taken out of the tunnel",
        ),
        pytest.param(
            case("timeout", *WAY_THERE[:3], without=N2),
            Verdict("lost", "node n2 is not there: its namespace is gone", "node n2"),
            id="the next hop has crashed",
        ),
        pytest.param(
            case(
                "timeout",
                *WAY_THERE[:3],
                came(0.35, FABRIC, "to-n1", syn(TO_WEB)),
                left(0.36, FABRIC, "to-other", syn(TO_WEB)),
            ),
            Verdict("lost", "the request left node n1 by eth0 and did not come to node n2", "node n1"),
            id="lost on the segment",
        ),
        pytest.param(
            case("timeout", *WAY_THERE[:5], links={N2: {"veth-web": link("veth-web", has_carrier=False)}}),
            Verdict("lost", "link veth-web of node n2 is up, but its other end is down", "node n2"),
            id="the pod's link is down",
        ),
        pytest.param(
            case(
                "timeout",
                *WAY_THERE[:3],
                came(0.35, FABRIC, "to-n1", syn(TO_WEB)),
                routes={(N1, WEB_IP): route("10.244.2.0/26", GATEWAY)},
            ),
            Verdict(
                "lost",
                "it came to the gateway 172.30.0.1, from which no way leads on to 10.244.2.3 of pod "
                "default/web-1",
                FABRIC,
            ),
            id="out of the lab",
        ),
        pytest.param(
            case(
                "timeout",
                *WAY_THERE[:2],
                left(0.3, N1, "eth0", syn(_TO_SERVER)),
                came(0.35, FABRIC, "to-n1", syn(_TO_SERVER)),
                routes={(N1, GATEWAY): route("172.30.0.0/24"), (FABRIC, CLIENT_IP): None},
            ),
            Verdict(
                "lost", "fabric got it on tcp port 6443 and has no route back to pod default/client", FABRIC
            ),
            id="the API server has no way back",
        ),
        pytest.param(
            case("timeout", *WAY_THERE),
            Verdict(
                "unanswered",
                "pod default/web-1 got it on tcp port 8080 and does not answer",
                "pod default/web-1",
            ),
            id="arrived, no answer",
        ),
        pytest.param(
            case("timeout", *WAY_THERE, *WAY_BACK[:3]),
            Verdict("lost", "the answer left node n2 by eth0 and did not come to node n1", "node n2"),
            id="the answer is lost",
        ),
        pytest.param(
            case("mute", *WAY_THERE, *WAY_BACK, routes={(CLIENT, CLIENT_IP): route("10.244.1.2/32", kind=2)}),
            Verdict(
                "unanswered",
                "the kernel of pod default/web-1 took the connection, its program does not answer",
                "pod default/web-1",
            ),
            id="connected, and no answer",
        ),
        pytest.param(
            case(
                "refused", *WAY_THERE, left(0.7, WEB, "eth0", reset(TO_WEB)), came(1, CLIENT, "eth0", reset())
            ),
            Verdict(
                "refused",
                "nobody listens on tcp port 8080 in pod default/web-1 (reset from 10.244.2.3)",
                "pod default/web-1",
            ),
            id="nobody listens",
        ),
        pytest.param(
            case("unreachable", met=[], words="Network is unreachable"),
            Verdict(
                "lost", "pod default/client could not send it: Network is unreachable", "pod default/client"
            ),
            id="never sent",
        ),
    ],
)
def test_verdict(found: Case, verdict: Verdict) -> None:
    assert judge(found) == verdict


def _lookup(name: str, rcode: str, kind: str = "A") -> Lookup:
    return Lookup(name, kind, "10.96.0.10", rcode, (), 0, 0.1)


@pytest.mark.parametrize(
    ("lookups", "sentence"),
    [
        pytest.param(
            (), "pod default/client has no resolv.conf that would resolve web", id="a place without"
        ),
        pytest.param(
            (_lookup("web.default.svc.cluster.local", "NXDOMAIN"), _lookup("web", "REFUSED", "AAAA")),
            "no address for web (asked 10.96.0.10: NXDOMAIN for web.default.svc.cluster.local, "
            "REFUSED for web)",
            id="no such name",
        ),
    ],
)
def test_unresolved(lookups: tuple[Lookup, ...], sentence: str) -> None:
    found = msgspec.structs.replace(case("timeout"), sent=None, passages=(), lookups=lookups)

    assert judge(found) == Verdict("unresolved", sentence, "pod default/client")


def test_what_facts_know_of_addresses() -> None:
    known = facts(_LOCAL)

    assert known.frontend(VIP, "tcp", 80) == known.frontend(N1_IP, "tcp", 30080) == _LOCAL
    assert known.frontend(VIP, "udp", 80) is None
    assert known.frontend(CLIENT_IP, "tcp", 30080) is None
    assert known.backend_namespaces(VIP, "tcp", 80) == {WEB}
    assert known.backend_namespaces(WEB_IP, "tcp", 9) == {WEB}
    assert SYN_SENT.reversed.reversed == SYN_SENT
