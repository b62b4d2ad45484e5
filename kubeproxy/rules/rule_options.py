"""What the constant rules depend on: settings of the node's, fixed while the program runs."""

from typing import TypeAlias

import msgspec

from kubeproxy.rules.addresses import Network


class SourceNetwork(msgspec.Struct, frozen=True):
    """Pods of this node are recognized by their addresses (detectLocalMode ClusterCIDR, NodeCIDR)."""

    network: Network


class SourceInterface(msgspec.Struct, frozen=True):
    """Pods of this node are recognized by the interface that their packets come in from.

    With `is_prefix` the name is how such names begin (BridgeInterface, InterfaceNamePrefix).
    """

    name: str
    is_prefix: bool = False


LocalDetector: TypeAlias = SourceNetwork | SourceInterface | None
"""How connections of this node's pods are told from others; None: they are not."""


class RuleOptions(msgspec.Struct, frozen=True):
    """The settings of one address family.

    Attributes:
        masquerade_bit: The bit of `meta mark` that says that a connection's source has to be translated.
        masquerade_all: Whether every connection to a cluster IP is masqueraded.
        local_detector: How to recognize connections of this node's pods.
        node_port_everywhere: Node ports are served on all addresses of the node but loopback ones; else on
            those in `node-port-ips`.
    """

    masquerade_bit: int = 14
    masquerade_all: bool = False
    local_detector: LocalDetector = None
    node_port_everywhere: bool = True


DEFAULT_OPTIONS = RuleOptions()
