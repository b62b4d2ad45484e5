"""What this proxy's own Node object says that matters to it, its zone and addresses for Services apart."""

from collections.abc import Iterable
from ipaddress import ip_address, ip_network

from kubeproxy.rules.addresses import Address, Network
from nodeplane.kube.objects import Node
from nodeplane.kube.source import Batch

TO_BE_DELETED_TAINT = "ToBeDeletedByClusterAutoscaler"


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
    return tuple(ip_network(text, strict=False) for text in (node.spec.pod_cidrs or ())) if node else ()


def primary_ips(node: Node | None, overrides: Iterable[Address]) -> tuple[Address, ...]:
    """Return the node's first address of each family: from overrides, else internal, else external."""
    known = list(overrides)
    for kind in ("InternalIP", "ExternalIP"):
        entries = node.status.addresses or () if node else ()
        known += [ip_address(entry.address) for entry in entries if entry.type == kind]
    first = {address.version: address for address in reversed(known)}
    return tuple(first[version] for version in sorted(first))
