"""Traces of real packets through one lab, each way that they may end."""

import json

import pytest

from nodeplane.datapath.rtnl import Family
from tests.lab.labs import run
from tests.lab.trace_lab import TraceLab

pytestmark = pytest.mark.lab


def test_a_cluster_ip_on_another_node(traced: TraceLab) -> None:
    """Every place in its order, the translation, its way back; the name, and who answered for it."""
    found = traced.trace("client", "http://web/", 4)

    assert found.verdict == "answered"
    assert "pod default/web-1 on node n2 answered" in found.reason
    assert "HTTP/1.1 200 OK" in found.reason
    places = list(dict.fromkeys(step["where"] for step in found.report["steps"]))
    assert places == ["pod default/client", "node n1", "fabric", "node n2", "pod default/web-1"]
    lookup = found.report["steps"][0]
    assert (lookup["step"], lookup["packet"]) == ("resolve A", "web.default.svc.cluster.local")
    assert " answered)" in lookup["why"]
    on_n1 = [step for step in found.report["steps"] if step["where"] == "node n1"]
    assert any(f"becomes {traced.pods['default/web-1'][0]}:8080" in step["packet"] for step in on_n1)
    assert any("an address and port of a service" in step["why"] for step in on_n1)
    assert any(step["why"].startswith("conntrack: ") for step in on_n1)
    assert found.steps("node n1").count("translated back") == 1
    times = [step["ms"] for step in found.report["steps"] if step["ms"] is not None]
    assert times == sorted(times)
    assert json.loads(found.report["answer"]["body"])["pod"] == "web-1"


@pytest.mark.parametrize(
    ("place", "target", "family", "who"),
    [
        pytest.param("client", "http://web/", 6, "pod default/web-1 on node n2", id="IPv6"),
        pytest.param("client", "udp:web:7", 4, "pod default/web-1 on node n2", id="UDP"),
        pytest.param("client", "udp:web:7", 6, "pod default/web-1 on node n2", id="UDP over IPv6"),
        pytest.param("self", "http://self/", None, "pod default/self on node n1", id="hairpin"),
        pytest.param("client", "udp:10.96.0.10:53", None, "node n", id="the cluster DNS, on a node"),
        pytest.param("n1", "tcp:10.96.0.1:443", None, "fabric", id="the API server, behind the bridge"),
        pytest.param("n1", "tcp:10.96.0.10:54", None, "", id="a node, and a port that the DNS has not"),
    ],
)
def test_answered(place: str, target: str, family: Family | None, who: str, traced: TraceLab) -> None:
    found = traced.trace(place, target, family)

    assert found.verdict == ("answered" if who else "refused"), found.reason
    assert who in found.reason


def test_a_hairpin_is_masqueraded(traced: TraceLab) -> None:
    found = traced.trace("self", "http://self/")

    own = traced.pods["default/self"][0]
    translated = [step["packet"] for step in found.report["steps"] if step["step"] == "translated"]
    assert f"from {own}:" in translated[0]
    assert f"becomes {traced.nodes['n1']}:" in translated[0]


def test_an_answer_over_udp_is_traced_by_the_kernel(traced: TraceLab) -> None:
    """Its ends were noted where the request left; the table has no other way to know it."""
    found = traced.trace("client", "udp:web:7", 4)

    back = [
        part for part in found.report["passages"] if part["role"] == "reply" and part["where"] == "node n2"
    ]
    assert [chain["table"] for chain in back[0]["chains"]][:1] == ["nodeplane-cni"]


def test_a_question_to_the_cluster_dns(traced: TraceLab) -> None:
    """Its answer has the question inside; of the question, a rule's trace has the first bytes alone."""
    found = traced.trace("client", "udp:10.96.0.10:53")

    assert found.verdict == "answered", found.reason
    own, name = f"{traced.pods['default/client'][0]}:", "an address and port of a service"
    there = [part for part in found.report["passages"] if part["role"] == "request"]
    back = [part for part in found.report["passages"] if part["role"] == "reply"]
    assert all(part["first"].startswith(own) for part in there)
    assert not any(part["first"].startswith(own) for part in back)
    assert (there[0]["where"], back[-1]["where"]) == ("pod default/client", "pod default/client")
    assert any(name in step["why"] for step in found.report["steps"] if step["where"] == "node n1")


def test_a_node_port_from_outside(traced: TraceLab) -> None:
    found = traced.trace("outside", f"http://{traced.nodes['n1']}:30080/")

    assert found.verdict == "answered", found.reason
    places = list(dict.fromkeys(step["where"] for step in found.report["steps"]))
    assert places == ["client outside", "fabric", "node n1", "node n2", "pod default/web-1"]
    # The pod sees the node, so that its answer comes back this way.
    assert json.loads(found.report["answer"]["body"])["source"] == traced.nodes["n1"]


@pytest.mark.parametrize(
    ("place", "target", "verdict", "reason"),
    [
        pytest.param(
            "client",
            "http://nobody/",
            "refused",
            "refused by kubeproxy of node n1 (reset): no ready endpoints for default/nobody",
            id="no endpoints",
        ),
        pytest.param(
            "client",
            "tcp:web:81",
            "refused",
            "refused by kubeproxy of node n1 (reset): default/web has no tcp port 81",
            id="no such port",
        ),
        pytest.param(
            "outside",
            "tcp:{n1}:30081",
            "dropped",
            "dropped by kubeproxy of node n1: externalTrafficPolicy Local and no local endpoint on node n1 "
            "for default/local",
            id="policy Local",
        ),
        pytest.param(
            "outside",
            "tcp:203.0.113.9:80",
            "dropped",
            "dropped by kubeproxy of node n1: source {outside} is not in loadBalancerSourceRanges "
            "(192.0.2.0/24) of default/ranged",
            id="source range",
        ),
        pytest.param(
            "client",
            "tcp:{web}:9",
            "refused",
            "nobody listens on tcp port 9 in pod default/web-1 (reset from {web})",
            id="nobody listens, TCP",
        ),
        pytest.param(
            "client",
            "udp:{web}:9",
            "refused",
            "nobody listens on udp port 9 in pod default/web-1 (port unreachable from {web})",
            id="nobody listens, UDP",
        ),
        pytest.param(
            "client",
            "tcp:10.96.200.1:80",
            "dropped",
            "dropped by kubeproxy of node n1: no Service has the address 10.96.200.1",
            id="no Service",
        ),
        pytest.param(
            "client",
            "tcp:192.0.2.1:80",
            "lost",
            "it came to the gateway 172.30.0.1, from which no way leads on to 192.0.2.1",
            id="out of the lab",
        ),
        pytest.param(
            "client",
            "sctp:{web}:80",
            "unanswered",
            "pod default/web-1 got it on sctp port 80 and does not answer",
            id="SCTP",
        ),
    ],
)  # fmt: skip
def test_not_answered(place: str, target: str, verdict: str, reason: str, traced: TraceLab) -> None:
    outside = traced.lab.execute("outside", "ip", "-4", "-o", "address", "show", "eth0").stdout.split()[3]
    names = {
        "n1": traced.nodes["n1"],
        "web": traced.pods["default/web-1"][0],
        "outside": outside.split("/")[0],
    }
    found = traced.trace(place, target.format(**names))

    assert (found.verdict, found.reason) == (verdict, reason.format(**names))


def test_no_such_name(traced: TraceLab) -> None:
    found = traced.trace("client", "http://nope/", 4)

    assert found.verdict == "unresolved"
    assert "NXDOMAIN for nope.default.svc.cluster.local," in found.reason


def test_the_table_for_people(traced: TraceLab) -> None:
    shown = run("trace", "--lab", traced.lab.name, "client", "http://web/", "-4").stdout.splitlines()

    assert shown[:2] == ["trace: pod default/client to http://web:80/", "verdict: answered"]
    assert shown[4].split() == ["MS", "WHERE", "STEP", "PACKET", "WHY"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        pytest.param(["client", "web"], "expected a URL", id="no target"),
        pytest.param(["nobody", "http://web/"], "expected the name of one node", id="no such place"),
    ],
)
def test_wrong_usage(arguments: list[str], error: str, traced: TraceLab) -> None:
    done = run("trace", "--lab", traced.lab.name, *arguments, check=False)

    assert (done.returncode, done.stdout) == (2, "")
    assert error in done.stderr
    assert len(done.stderr.splitlines()) == 1
