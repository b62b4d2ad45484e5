"""Deployments as the pods that they are: so many that are alike, spread over nodes in turn. Pure."""

from collections.abc import Mapping

import msgspec

from netns_lab.topology import DeploymentSpec, PodSpec, Topology
from nodeplane.yamldoc import FieldPath


def expand(topology: Topology) -> Topology:
    """Return the topology with each deployment's pods behind the others, and no deployments."""
    names = tuple(node.name for node in topology.nodes)
    made = [pod for deployment in topology.deployments for pod in _pods(deployment, names)]
    return msgspec.structs.replace(topology, pods=(*topology.pods, *made), deployments=())


def origins(topology: Topology) -> Mapping[int, int]:
    """Return whose the pods of deployments are: a pod's index after `expand`, the deployment's."""
    numbers = (
        index for index, deployment in enumerate(topology.deployments) for _ in range(deployment.replicas)
    )
    return dict(enumerate(numbers, len(topology.pods)))


def origin(where: FieldPath, owners: Mapping[int, int]) -> FieldPath:
    """Return where the author of a file has written what `where` leads to after `expand`."""
    match list(where):
        case ["pods", int() as index, *rest] if index in owners:
            # A replica's node is one of the deployment's.
            return ("deployments", owners[index], *("nodes" if step == "node" else step for step in rest))
    return where


def _pods(deployment: DeploymentSpec, nodes: tuple[str, ...]) -> list[PodSpec]:
    places = deployment.nodes or nodes or ("",)
    return [
        PodSpec(
            name=f"{deployment.name}-{number + 1}",
            node=places[number % len(places)],
            namespace=deployment.namespace,
            labels=deployment.labels,
            ports=deployment.ports,
            command=deployment.command,
            link=deployment.link,
        )
        for number in range(deployment.replicas)
    ]
