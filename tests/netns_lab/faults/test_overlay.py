"""Faults laid over a topology."""

import msgspec
import pytest

from netns_lab.address_plan import build_address_plan
from netns_lab.faults.fault import Fault, parse_shift
from netns_lab.faults.overlay import (
    build_cuts,
    clock_shifts,
    crashed,
    expected,
    frozen,
    killed,
    overlay,
    pinned,
)
from netns_lab.impairments.rules import Cut
from netns_lab.topology import (
    ClientSpec,
    InterfaceSpec,
    LinkSpec,
    NodeSpec,
    PodSpec,
    PortSpec,
    RouterSpec,
    Topology,
)

TOPOLOGY = Topology(
    "lab",
    (NodeSpec("n1", link=LinkSpec(loss=1)), NodeSpec("n2"), NodeSpec("n3")),
    (PodSpec("web", "n2", ports=(PortSpec(80),)), PodSpec("client", "n1")),
    clients=(ClientSpec("out"),),
)


def links(topology: Topology) -> dict[str, LinkSpec]:
    """Return the links with anything wrong."""
    named = {
        **{host.name: host.link for host in topology.hosts},
        **{pod.key: pod.link for pod in topology.pods},
        **{
            f"{router.name}:{each.segment}": each.link
            for router in topology.routers
            for each in router.interfaces
        },
    }
    return {name: link for name, link in named.items() if link != LinkSpec()}


@pytest.mark.parametrize(
    ("faults", "wrong"),
    [
        pytest.param((), {"n1": LinkSpec(loss=1)}, id="none"),
        pytest.param(
            (Fault(1, "loss", "n2", "5%"), Fault(2, "rate", "n2", "1mbit"), Fault(3, "loss", "n2", "7")),
            {"n1": LinkSpec(loss=1), "n2": LinkSpec(loss=7, rate="1mbit")},
            id="the last of a kind holds, kinds add up",
        ),
        pytest.param(
            (Fault(1, "link-down", "n1"),), {"n1": LinkSpec(loss=1, down=True)}, id="over what the file says"
        ),
        pytest.param(
            (Fault(1, "duplicate", "web", "3"), Fault(2, "delay", "out", "5ms")),
            {
                "n1": LinkSpec(loss=1),
                "default/web": LinkSpec(duplicate=3),
                "out": LinkSpec(delay="5ms"),
            },
            id="a pod, a client",
        ),
    ],
)
def test_links(faults: tuple[Fault, ...], wrong: dict[str, LinkSpec]) -> None:
    assert links(overlay(TOPOLOGY, faults)) == wrong


def test_link_of_a_router() -> None:
    router = RouterSpec("r1", (InterfaceSpec("segment"),))
    topology = msgspec.structs.replace(TOPOLOGY, routers=(router,))

    assert links(overlay(topology, [Fault(1, "loss", "r1:segment", "9")]))["r1:segment"] == LinkSpec(loss=9)


def test_crashed_node() -> None:
    """It is gone with its pods; nobody else's address moves; Kubernetes knows of it still."""
    faults = (Fault(1, "node-crash", "n2"), Fault(2, "loss", "web", "5"), Fault(3, "kill", "n2/kubeproxy"))
    there = overlay(TOPOLOGY, faults)
    before, after = build_address_plan(TOPOLOGY), build_address_plan(there)

    assert [node.name for node in there.nodes] == ["n1", "n3"]
    assert [pod.name for pod in there.pods] == ["client"]
    assert (after.nodes["n3"], after.clients) == (before.nodes["n3"], before.clients)
    assert [node.name for node in expected(TOPOLOGY, faults).nodes] == ["n1", "n2", "n3"]
    assert crashed(faults) == {"n2"}
    assert killed(there, faults) == set()


def test_added_node() -> None:
    there = overlay(TOPOLOGY, (Fault(1, "node-add", "n4", node=NodeSpec("n4", zone="z")),))
    before, after = build_address_plan(TOPOLOGY), build_address_plan(there)

    assert there.nodes[-1] == NodeSpec("n4", zone="z")
    assert {name: after.nodes[name] for name in before.nodes} == before.nodes
    assert after.clients == before.clients


def test_pinned_is_the_same_plan() -> None:
    assert build_address_plan(pinned(TOPOLOGY)) == build_address_plan(TOPOLOGY)


@pytest.mark.parametrize(
    ("more", "cuts"),
    [
        pytest.param((), (Cut(("to-n1", "to-n2"), ("to-n3",)),), id="as asked"),
        pytest.param(
            (Fault(2, "node-crash", "n2"),),
            (Cut(("to-n1", "to-n2"), ("to-n3",)),),
            id="a side that has crashed is cut off when it comes back",
        ),
    ],
)
def test_cuts(more: tuple[Fault, ...], cuts: tuple[Cut, ...]) -> None:
    assert build_cuts(TOPOLOGY, (Fault(1, "partition", "n1,n2", "n3"), *more)) == cuts


def test_cut_through_a_node_that_was_added() -> None:
    """It has gone with its fault, and nothing is cut."""
    assert build_cuts(TOPOLOGY, (Fault(2, "partition", "n9", "n1"),)) == ()


def test_programs() -> None:
    faults = (
        Fault(1, "kill", "n1/kubeproxy"),
        Fault(2, "freeze", "api-server"),
        Fault(3, "clock", "n2", "+1h"),
        Fault(4, "clock", "n2", "-30s"),
    )

    assert killed(TOPOLOGY, faults) == {"nodes/n1/kubeproxy"}
    assert frozen(TOPOLOGY, faults) == {"fabric/apiserver"}
    assert clock_shifts(TOPOLOGY, faults) == {
        "nodes/n2/kubeproxy": 3570.0,
        "nodes/n2/cni-agent": 3570.0,
        "nodes/n2/coredns-lite": 3570.0,
        "pods/default/web": 3570.0,
    }


@pytest.mark.parametrize(("text", "seconds"), [("+1h", 3600.0), ("-30s", -30.0), ("+200ms", 0.2)])
def test_shift(text: str, seconds: float) -> None:
    assert parse_shift(text) == pytest.approx(seconds)
