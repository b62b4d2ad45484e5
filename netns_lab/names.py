"""The names that a lab owns on the machine: everything it makes can be told by its name alone.

A namespace is `nl-<lab>-<node>`, `nl-<lab>-pod-<namespace>-<pod>` or `nl-<lab>-fabric`. A lab's name holds
no dash, so that the prefix `nl-<lab>-` is never that of another lab.
"""

import hashlib
import re

from netns_lab.topology import PodSpec

LAB_NAME_WORDS = "expected up to 20 lower case letters and digits, a letter first"

_LAB_NAME = re.compile("[a-z][a-z0-9]{0,19}")
_PREFIX = "nl-"
_IFNAMSIZ = 15  # linux/if.h: 16 with the final NUL

UPLINK = "eth0"
"""The node's link to its segment, and the pod's link to its node."""

API_SERVER = "fabric/apiserver"
"""The lab's own API server, for records, logs and marks."""

RELAY = "fabric/relay"
"""The way to an API server that is not the lab's own."""

HEARTBEAT = "fabric/heartbeat"
"""What keeps the lab's nodes Ready there."""

NODE_PROGRAMS = ("kubeproxy", "cni-agent", "coredns-lite")
"""What runs on every node."""


ROUTER_PROGRAM = "bird"
"""What runs on a router with an AS number."""

_PORT_PREFIX = "to-"

# Of sysctls (all, default), of every namespace (lo), of the file's own words (the fabric's ends of links).
_TAKEN_LINKS = {"lo", "all", "default"}


def is_lab_name(text: str) -> bool:
    """Say whether a text may name a lab; only such a text becomes part of a path or of a namespace's name."""
    return _LAB_NAME.fullmatch(text) is not None


def fabric_namespace(lab: str) -> str:
    """Name the namespace that holds the segment's bridge."""
    return f"{_PREFIX}{lab}-fabric"


def node_namespace(lab: str, node: str) -> str:
    """Name a node's namespace."""
    return f"{_PREFIX}{lab}-{node}"


def pod_namespace(lab: str, pod: PodSpec) -> str:
    """Name a pod's namespace."""
    return f"{_PREFIX}{lab}-pod-{pod.namespace}-{pod.name}"


def lab_of(namespace: str) -> str | None:
    """Return the lab that a namespace's name belongs to, None for a name that is not ours."""
    lab, dash, rest = namespace.removeprefix(_PREFIX).partition("-")
    ours = namespace.startswith(_PREFIX) and is_lab_name(lab) and dash and rest
    return lab if ours else None


def is_segment_name(text: str) -> bool:
    """Say whether a text may name a segment: it becomes the name of links."""
    return len(text) <= _IFNAMSIZ and text not in _TAKEN_LINKS and not text.startswith(_PORT_PREFIX)


def port_link(node: str, segment: str = "") -> str:
    """Name the fabric's end of a node's uplink, or of a router's link to a segment.

    Long names are hashed to fit a link's name.
    """
    place = f"{node}-{segment}" if segment else node
    name = f"{_PORT_PREFIX}{place}"
    if len(name) <= _IFNAMSIZ:
        return name
    # A slash is in no name, so that no two places are hashed as one text.
    whole = f"{node}/{segment}" if segment else node
    return f"{_PORT_PREFIX}{hashlib.sha256(whole.encode()).hexdigest()[:12]}"


def container_id(lab: str, pod: PodSpec) -> str:
    """Name a pod's container for CNI: the same on every run, so that an unfinished ADD can be undone."""
    return f"{lab}.{pod.namespace}.{pod.name}"


def node_program(node: str, program: str) -> str:
    """Name a program of a node, for records, logs and marks."""
    return f"nodes/{node}/{program}"


def router_program(router: str) -> str:
    """Name a router's BGP speaker, for records, logs and marks."""
    return f"routers/{router}/{ROUTER_PROGRAM}"


def pod_program(pod: PodSpec) -> str:
    """Name a pod's workload, for records, logs and marks."""
    return f"pods/{pod.key}"
