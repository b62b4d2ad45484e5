"""Deployments as the pods that they are."""

import pytest

from netns_lab.replicas import expand, origin, origins
from netns_lab.topology import DeploymentSpec, LinkSpec, NodeSpec, PodSpec, PortSpec, Topology
from nodeplane.yamldoc import FieldPath

NODES = (NodeSpec("n1"), NodeSpec("n2"), NodeSpec("n3"))


@pytest.mark.parametrize(
    ("deployment", "places"),
    [
        pytest.param(DeploymentSpec("web", 0), [], id="none"),
        pytest.param(
            DeploymentSpec("web", 4),
            [("web-1", "n1"), ("web-2", "n2"), ("web-3", "n3"), ("web-4", "n1")],
            id="in turn",
        ),
        pytest.param(
            DeploymentSpec("web", 3, nodes=("n3", "n1")),
            [("web-1", "n3"), ("web-2", "n1"), ("web-3", "n3")],
            id="on these nodes",
        ),
    ],
)
def test_places(deployment: DeploymentSpec, places: list[tuple[str, str]]) -> None:
    topology = Topology("lab", NODES, (PodSpec("client", "n1"),), deployments=(deployment,))

    expanded = expand(topology)

    assert [(pod.name, pod.node) for pod in expanded.pods] == [("client", "n1"), *places]
    assert expand(expanded) == expanded


def test_template() -> None:
    """Each pod has all that the deployment says."""
    ports, link = (PortSpec(80),), LinkSpec(loss=1)
    deployment = DeploymentSpec("web", 1, ("n2",), "shop", {"app": "web"}, ports, ("serve",), link)

    assert expand(Topology("lab", NODES, deployments=(deployment,))).pods == (
        PodSpec("web-1", "n2", "shop", {"app": "web"}, ports, ("serve",), link),
    )


@pytest.mark.parametrize(
    ("where", "written"),
    [
        (("pods", 0, "name"), ("pods", 0, "name")),
        (("pods", 1, "name"), ("deployments", 0, "name")),
        (("pods", 2, "ports", 0, "port"), ("deployments", 0, "ports", 0, "port")),
        (("pods", 3, "node"), ("deployments", 1, "nodes")),
        (("nodes", 3, "name"), ("nodes", 3, "name")),
    ],
)
def test_origin(where: FieldPath, written: FieldPath) -> None:
    """What is wrong with a replica is wrong with what its author wrote."""
    topology = Topology(
        "lab",
        NODES,
        (PodSpec("client", "n1"),),
        deployments=(DeploymentSpec("a", 2), DeploymentSpec("b", 1)),
    )

    assert origin(where, origins(topology)) == written
