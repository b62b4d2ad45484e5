"""Node: a machine of the cluster, with its addresses and the networks of its pods; and Namespace."""

import msgspec

from nodeplane.kube.objects.base import Object, Value


class NodeAddress(Value, frozen=True):
    """One address of a node; `type` is InternalIP, ExternalIP or Hostname."""

    type: str
    address: str


class NodeStatus(Value, frozen=True):
    """What the node reports."""

    addresses: tuple[NodeAddress, ...] | None = None


class Taint(Value, frozen=True):
    """What keeps pods away from a node, or says what is about to happen to it."""

    key: str
    value: str = ""
    effect: str = ""


class NodeSpec(Value, frozen=True):
    """What the cluster gave the node."""

    pod_cidrs: tuple[str, ...] | None = msgspec.field(name="podCIDRs", default=None)
    taints: tuple[Taint, ...] | None = None


class Node(Object, frozen=True):
    """A machine of the cluster (v1)."""

    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()

    @property
    def internal_ips(self) -> tuple[str, ...]:
        """The addresses that other nodes reach this one by."""
        return tuple(entry.address for entry in self.status.addresses or () if entry.type == "InternalIP")


class Namespace(Object, frozen=True):
    """A namespace (v1)."""
