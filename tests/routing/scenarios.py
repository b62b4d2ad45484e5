"""The labs in which routing is tested: a mode on a network, and how far apart its pods are.

All have both families. Where the network has two kinds of links, pods begin on one of 9000 bytes.
"""

import copy
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import yaml

from tests.lab.labs import TWO_NODES

EXAMPLES = TWO_NODES.parent
PORT = 8080
JUMBO_BYTES = 9000

Topology = dict[str, Any]


class Scenario(NamedTuple):
    """A lab's topology and, for pods that are not on neighbouring nodes, how many routers lie between them.

    Attributes:
        topology: As the file has it, but for the name.
        between: Routers between the nodes of two pods; 0 for those that are not named.
        tunnelled: Pairs of pods whose packets travel in VXLAN; None for all.
    """

    topology: Topology
    between: Mapping[frozenset[str], int] = {}
    tunnelled: frozenset[frozenset[str]] | None = frozenset()

    @property
    def pods(self) -> list[str]:
        """The keys of all pods."""
        return [f"default/{pod['name']}" for pod in self.topology["pods"]]

    def ways(self) -> Iterator[tuple[str, str]]:
        """Yield each pod with each other, both ways."""
        return ((one, other) for one in self.pods for other in self.pods if one != other)

    def ttl(self, one: str, other: str) -> int:
        """Return the TTL that a packet has left that begins with 64: each node and each router takes one."""
        return 64 - 2 - self.between.get(frozenset({one, other}), 0)

    def is_tunnelled(self, one: str, other: str) -> bool:
        """Say whether packets between two pods travel in VXLAN."""
        return self.tunnelled is None or frozenset({one, other}) in self.tunnelled


def _flat(mode: str) -> Topology:
    """Return two nodes on one segment."""
    return {
        "network": {
            "mode": mode,
            "segment": "172.30.0.0/24,fd00:172:30::/64",
            "podPool": "10.244.0.0/16,fd00:10:244::/56",
            "serviceCIDR": "10.96.0.0/16,fd00:10:96::/112",
        },
        "nodes": [{"name": "n1"}, {"name": "n2"}],
        "pods": [_pod("pod-1", "n1"), _pod("pod-2", "n2")],
    }


def _subnets(mode: str) -> Topology:
    """Return two nodes in a subnet of large frames and one in another, with a router between."""
    return {
        "network": {
            "mode": mode,
            "podPool": "10.244.0.0/16,fd00:10:244::/56",
            "serviceCIDR": "10.96.0.0/16,fd00:10:96::/112",
        },
        "segments": [
            {"name": "lan1", "network": "172.30.1.0/24,fd00:172:30:1::/64", "mtu": JUMBO_BYTES},
            {"name": "lan2", "network": "172.30.2.0/24,fd00:172:30:2::/64"},
        ],
        "routers": [{"name": "r1", "interfaces": [{"segment": "lan1"}, {"segment": "lan2"}]}],
        "nodes": [
            {"name": "n1", "segment": "lan1"},
            {"name": "n2", "segment": "lan1"},
            {"name": "n3", "segment": "lan2"},
        ],
        "pods": [_pod("pod-1", "n1"), _pod("pod-2", "n2"), _pod("pod-3", "n3")],
    }


def _racks() -> Topology:
    """Return the example, with large frames in the first rack."""
    topology: Topology = yaml.safe_load((EXAMPLES / "bgp-racks.yaml").read_text())
    topology["segments"][0]["mtu"] = JUMBO_BYTES
    topology["pods"] = [_pod(pod["name"], pod["node"]) for pod in topology["pods"]]
    return topology


def _pod(name: str, node: str) -> dict[str, Any]:
    ports = [{"port": PORT}, {"port": PORT, "protocol": "UDP"}]
    return {"name": name, "node": node, "ports": ports}


def _apart(*pairs: str) -> Iterator[frozenset[str]]:
    """Yield pairs of pods, each written as their two numbers."""
    return (frozenset(f"default/pod-{number}" for number in pair) for pair in pairs)


SCENARIOS = {
    "direct": Scenario(_flat("direct")),
    "vxlan": Scenario(_flat("vxlan"), tunnelled=None),
    "cross-subnet": Scenario(_subnets("cross-subnet"), tunnelled=frozenset(_apart("13", "23"))),
    "vxlan over a router": Scenario(_subnets("vxlan"), tunnelled=None),
    # Leaf, spine, leaf.
    "bgp": Scenario(_racks(), dict.fromkeys(_apart("13", "14", "23", "24", "34"), 3)),
}


def named(scenario: str, lab: str) -> Topology:
    """Return a scenario's topology under a lab's name, whatever the file that it is from calls it."""
    return {**copy.deepcopy(SCENARIOS[scenario].topology), "name": lab}
