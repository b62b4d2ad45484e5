"""Pods and nodes that come and go while a lab is up."""

from collections.abc import Callable

import pytest

from netns_lab.address_plan import build_address_plan
from netns_lab.faults.overlay import pinned_node
from netns_lab.runtime_change import with_node, with_pod, without_node, without_pod
from netns_lab.topology import ClientSpec, NodeSpec, PodSpec, Topology
from nodeplane.errors import ConfigError

TOPOLOGY = Topology(
    "lab",
    (NodeSpec("n1"), NodeSpec("n2"), NodeSpec("n3")),
    (PodSpec("a", "n1"), PodSpec("a", "n2", "other"), PodSpec("b", "n2")),
    clients=(ClientSpec("out"),),
)


@pytest.mark.parametrize(
    ("change", "nodes", "pods"),
    [
        pytest.param(
            lambda lab: with_pod(lab, PodSpec("c", "n3")),
            ["n1", "n2", "n3"],
            ["default/a", "other/a", "default/b", "default/c"],
            id="a pod comes",
        ),
        pytest.param(
            lambda lab: without_pod(lab, "other/a"),
            ["n1", "n2", "n3"],
            ["default/a", "default/b"],
            id="a pod goes",
        ),
        pytest.param(
            lambda lab: with_node(lab, NodeSpec("n4")),
            ["n1", "n2", "n3", "n4"],
            ["default/a", "other/a", "default/b"],
            id="a node comes",
        ),
        pytest.param(
            lambda lab: without_node(lab, "n2"), ["n1", "n3"], ["default/a"], id="a node goes with its pods"
        ),
    ],
)
def test_change(change: Callable[[Topology], Topology], nodes: list[str], pods: list[str]) -> None:
    """Who stays keeps its address."""
    changed = change(TOPOLOGY)
    before, after = build_address_plan(TOPOLOGY), build_address_plan(changed)

    assert [node.name for node in changed.nodes] == nodes
    assert [pod.key for pod in changed.pods] == pods
    stay = before.nodes.keys() & after.nodes.keys()
    assert {name: after.nodes[name] for name in stay} == {name: before.nodes[name] for name in stay}
    assert (after.clients, after.fabric) == (before.clients, before.fabric)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        pytest.param(
            lambda lab: with_pod(lab, PodSpec("b", "n1")),
            "default/b: name: expected each pod once, default/b is here twice",
            id="a name that is taken",
        ),
        pytest.param(
            lambda lab: with_pod(lab, PodSpec("c", "n9")),
            "default/c: node: expected the name of a node",
            id="no such node",
        ),
        pytest.param(
            lambda lab: without_pod(lab, "a"),
            "a: expected the name of one pod: default/a, other/a, default/b",
            id="two of one name",
        ),
        pytest.param(
            lambda lab: with_node(lab, NodeSpec("out")),
            "out: expected a name beside n1, n2, n3, out",
            id="a client's name",
        ),
        pytest.param(
            lambda lab: with_node(lab, NodeSpec("n4", "10.9.9.9")),
            "n4: nodes[3].address: expected a host's address in segment 172.30.0.0/24",
            id="an address elsewhere",
        ),
        pytest.param(
            lambda lab: without_node(lab, "n9"), "n9: expected the name of a node: n1, n2, n3", id="no node"
        ),
        pytest.param(
            lambda lab: without_node(without_node(without_node(lab, "n1"), "n2"), "n3"),
            "n3: expected a node that is not the last one",
            id="the last node",
        ),
        pytest.param(
            lambda lab: without_node(lab, "n3", {"n1", "n2"}),
            "n3: expected a node that is not the last one",
            id="the last node that has not crashed",
        ),
        pytest.param(
            lambda lab: with_node(lab, NodeSpec("n4"), (NodeSpec("n4", "172.30.0.9"),)),
            "n4: expected a name beside n1, n2, n3, n4, out",
            id="the name of a node that a fault has added",
        ),
    ],
)
def test_refused(change: Callable[[Topology], Topology], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        change(TOPOLOGY)

    assert str(caught.value) == line


def test_a_node_that_a_fault_has_added_keeps_its_address() -> None:
    """And is no part of what the lab is asked for."""
    guest = pinned_node(TOPOLOGY, NodeSpec("x"))

    grown = with_node(TOPOLOGY, NodeSpec("n4"), (guest,))

    addresses = [str(place.addresses[0].ip) for place in build_address_plan(grown).nodes.values()]
    assert [node.name for node in grown.nodes] == ["n1", "n2", "n3", "n4"]
    assert (guest.address, len({*addresses, guest.address})) == ("172.30.0.6", 5)
