"""What a fault is done to, by people's words."""

import pytest

from netns_lab.faults.fault import Fault, Kind
from netns_lab.faults.targets import check_fault, find_cut, find_program
from netns_lab.impairments.rules import Cut
from netns_lab.topology import (
    ClientSpec,
    InterfaceSpec,
    NodeSpec,
    PodSpec,
    PortSpec,
    RouterSpec,
    SegmentSpec,
    Topology,
)
from nodeplane.errors import ConfigError

TOPOLOGY = Topology(
    "lab",
    (NodeSpec("n1", segment="a"), NodeSpec("n2", segment="a"), NodeSpec("n3", segment="b")),
    (
        PodSpec("web", "n1", ports=(PortSpec(80),)),
        PodSpec("web", "n2", namespace="other", ports=(PortSpec(80),)),
        PodSpec("job", "n2", command=("sleep", "9")),
        PodSpec("idle", "n1"),
    ),
    segments=(SegmentSpec("a", "10.1.0.0/24"), SegmentSpec("b", "10.2.0.0/24")),
    routers=(RouterSpec("r1", (InterfaceSpec("a"), InterfaceSpec("b")), asn=65001),),
    clients=(ClientSpec("out"),),
)


@pytest.mark.parametrize(
    ("name", "program"),
    [
        ("n1/kubeproxy", "nodes/n1/kubeproxy"),
        ("n3/coredns-lite", "nodes/n3/coredns-lite"),
        ("r1/bird", "routers/r1/bird"),
        ("api-server", "fabric/apiserver"),
        ("job", "pods/default/job"),
        ("other/web", "pods/other/web"),
        ("nodes/n1/kubeproxy", "nodes/n1/kubeproxy"),
    ],
)
def test_program(name: str, program: str) -> None:
    assert find_program(TOPOLOGY, name) == program


@pytest.mark.parametrize(
    ("kind", "target", "value", "words"),
    [
        pytest.param("kill", "web", "", "expected a program", id="two pods of one name"),
        pytest.param("kill", "idle", "", "expected a program", id="a pod that runs nothing"),
        pytest.param("freeze", "n1/sshd", "", "expected a program", id="not the lab's"),
        pytest.param("loss", "n9", "5%", "expected one link", id="no such link"),
        pytest.param("loss", "web", "5%", "expected one link", id="two links of one name"),
        pytest.param("loss", "r1", "5%", "of the router: r1:a, r1:b", id="which of a router's"),
        pytest.param("loss", "n1", "many", "expected a share", id="no share"),
        pytest.param("rate", "n1", "10", "expected a rate", id="no rate"),
        pytest.param("delay", "n1", "10", "expected a duration", id="no delay"),
        pytest.param("clock", "n1", "1h", "expected how far", id="which way a clock is wrong"),
        pytest.param("clock", "n9", "+1h", "expected a node", id="no such node"),
        pytest.param("wipe", "n1", "disk", "expected one of nft", id="nothing to wipe"),
        pytest.param("node-crash", "r1", "", "expected a node: n1, n2, n3", id="a router is no node"),
        pytest.param("partition", "n1", "n3", "expected two sides that share a segment", id="no segment"),
        pytest.param("partition", "n1,n2", "n2", "n2 is on both", id="on both sides"),
        pytest.param("partition", "web", "", "expected a node, router or client", id="a pod has no port"),
        pytest.param("node-add", "n1", "", "expected a name", id="a name that is taken"),
        pytest.param("node-add", "N 1", "", "expected a DNS label", id="no name"),
    ],
)
def test_refused(kind: Kind, target: str, value: str, words: str) -> None:
    node = NodeSpec(target) if kind == "node-add" else None

    with pytest.raises(ConfigError, match=words):
        check_fault(TOPOLOGY, Fault(1, kind, target, value, node))


def test_the_last_node_does_not_crash() -> None:
    with pytest.raises(ConfigError, match="not the last one"):
        check_fault(Topology("lab", (NodeSpec("n1"),)), Fault(1, "node-crash", "n1"))


@pytest.mark.parametrize(
    ("side", "others", "cut"),
    [
        pytest.param("n1", "n2", Cut(("to-n1",), ("to-n2",)), id="one from another"),
        pytest.param(
            "n1",
            "",
            Cut(("to-n1",), ("to-n2", "to-n3", "to-out", "to-r1-a", "to-r1-b")),
            id="one from all others",
        ),
        pytest.param("n1,n2", "r1", Cut(("to-n1", "to-n2"), ("to-r1-a", "to-r1-b")), id="a group"),
        pytest.param("n1", "api-server", Cut(("to-n1",), ()), id="from the fabric"),
    ],
)
def test_cut(side: str, others: str, cut: Cut) -> None:
    assert find_cut(TOPOLOGY, Fault(1, "partition", side, others)) == cut
