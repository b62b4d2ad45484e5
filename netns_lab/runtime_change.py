"""A lab changed while it is up: pods and nodes that come and go, as another topology. Pure.

Nobody's address moves by it: where nodes come or go, every address is written down first.
"""

from collections.abc import Collection

import msgspec

from netns_lab.faults.overlay import pinned, pinned_node
from netns_lab.faults.targets import check_new_node
from netns_lab.topology import NodeSpec, PodSpec, Topology
from netns_lab.validation import problems
from nodeplane.errors import ConfigError
from nodeplane.yamldoc import field_text


def with_pod(topology: Topology, pod: PodSpec) -> Topology:
    """Return the topology with another pod.

    Raises:
        ConfigError: it can't be there.
    """
    grown = msgspec.structs.replace(topology, pods=(*topology.pods, pod))
    for where, expected in problems(grown):
        # The others were right before: what is wrong is the new one's.
        raise ConfigError(pod.key, field_text(where[2:]), expected)
    return grown


def with_node(topology: Topology, node: NodeSpec, guests: tuple[NodeSpec, ...] = ()) -> Topology:
    """Return the topology with another node; `guests` are those that faults have added.

    Raises:
        ConfigError: it can't be there.
    """
    written = pinned(topology)
    known = msgspec.structs.replace(written, nodes=(*written.nodes, *guests))
    check_new_node(known, node)
    added = pinned_node(known, node)
    return msgspec.structs.replace(written, nodes=(*written.nodes, added))


def without_pod(topology: Topology, name: str) -> Topology:
    """Return the topology without a pod, `name` or `namespace/name`.

    Raises:
        ConfigError: there is none of that name, or more than one.
    """
    found = [pod for pod in topology.pods if name in {pod.name, pod.key}]
    if len(found) != 1:
        choices = ", ".join(pod.key for pod in topology.pods) or "there is none"
        raise ConfigError(name, "", f"expected the name of one pod: {choices}")
    return msgspec.structs.replace(topology, pods=tuple(pod for pod in topology.pods if pod != found[0]))


def without_node(topology: Topology, name: str, crashed: Collection[str] = ()) -> Topology:
    """Return the topology without a node and the pods on it; one that has crashed is none to be left.

    Raises:
        ConfigError: there is none of that name, or it is the last one.
    """
    if name not in {node.name for node in topology.nodes}:
        choices = ", ".join(node.name for node in topology.nodes)
        raise ConfigError(name, "", f"expected the name of a node: {choices}")
    if {node.name for node in topology.nodes} <= {name, *crashed}:
        raise ConfigError(name, "", "expected a node that is not the last one")
    written = pinned(topology)
    shrunk = msgspec.structs.replace(
        written,
        nodes=tuple(node for node in written.nodes if node.name != name),
        pods=tuple(pod for pod in written.pods if pod.node != name),
    )
    for where, expected in problems(shrunk):
        # A router that speaks BGP with the nodes of a segment, and the like.
        raise ConfigError(name, field_text(where), expected)
    return shrunk
