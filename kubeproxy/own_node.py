"""What this proxy's own Node object says that matters to it.

An API server checks none of a Node's addresses, and who writes them is any cloud's controller: an address
that is none is a problem to tell of, and the others count.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import msgspec

from kubeproxy.desired.endpoints import ZONE_LABEL
from kubeproxy.rules.addresses import Address, Network, parse_address, parse_network
from nodeplane.kube.objects import Node
from nodeplane.kube.source import Batch

TO_BE_DELETED_TAINT = "ToBeDeletedByClusterAutoscaler"

T = TypeVar("T")


class OwnNode(msgspec.Struct, frozen=True):
    """What counts of our own Node; all of it is empty until somebody tells of one.

    Attributes:
        pod_networks: The networks of the node's pods.
        problems: What is wrong with the object, a line each.
    """

    zone: str = ""
    internal_ips: tuple[Address, ...] = ()
    external_ips: tuple[Address, ...] = ()
    pod_networks: tuple[Network, ...] = ()
    problems: tuple[str, ...] = ()


def read_node(node: Node | None) -> OwnNode:
    """Read a Node object; what can't be read is left out, and is among the problems."""
    if node is None:
        return OwnNode()
    problems: list[str] = []

    def read(texts: Iterable[tuple[str, str]], parse: Callable[[str], T], expected: str) -> tuple[T, ...]:
        return tuple(_read(texts, parse, expected, problems))

    cidrs = ((f"spec.podCIDRs[{index}]", text) for index, text in enumerate(node.spec.pod_cidrs or ()))
    return OwnNode(
        zone=node.labels.get(ZONE_LABEL, ""),
        pod_networks=read(cidrs, parse_network, "a network, e.g. 10.244.0.0/24"),
        internal_ips=read(_entries(node, "InternalIP"), parse_address, "an IP address"),
        external_ips=read(_entries(node, "ExternalIP"), parse_address, "an IP address"),
        problems=tuple(problems),
    )


def find_node(batches: Iterable[Batch], name: str) -> Node | None:
    """Return what these batches come to for the Node of a name."""
    found = None
    for batch in batches:
        for change in batch:
            if change.key.kind is Node and change.key.name == name:
                found = change.new
    return found if isinstance(found, Node) else None


def is_eligible(node: Node | None) -> bool:
    """Say whether load balancers may send traffic here: not to a node that is about to go (KEP-3836).

    A node that nobody has told us of is none that is about to go.
    """
    if node is None:
        return True
    taints = node.spec.taints or ()
    is_going = node.metadata.deletion_timestamp is not None
    return not is_going and all(taint.key != TO_BE_DELETED_TAINT for taint in taints)


def pod_networks(node: Node | None) -> tuple[Network, ...]:
    """Return the networks of the node's pods; empty until the cluster has given it some."""
    return read_node(node).pod_networks


def primary_ips(node: Node | None, overrides: Iterable[Address]) -> tuple[Address, ...]:
    """Return the node's first address of each family: from overrides, else internal, else external."""
    found = read_node(node)
    known = [*overrides, *found.internal_ips, *found.external_ips]
    first = {address.version: address for address in reversed(known)}
    return tuple(first[version] for version in sorted(first))


def _entries(node: Node, kind: str) -> Iterator[tuple[str, str]]:
    for index, entry in enumerate(node.status.addresses or ()):
        if entry.type == kind:
            yield f"status.addresses[{index}].address", entry.address


def _read(
    texts: Iterable[tuple[str, str]], parse: Callable[[str], T], expected: str, problems: list[str]
) -> Iterator[T]:
    for path, text in texts:
        try:
            yield parse(text)
        except ValueError:
            problems.append(f"{path}: expected {expected}, got {text!r}")
