"""The lab's namespaces, links and addresses as a set of facts: those wanted, those there, the difference.

                      nl-<lab>-fabric
              segment (bridge, the gateway's address)
            ┌───────┴────────┬────────────────┐
          to-n1            to-n2            to-n3        veth pairs
            │                │                │
    nl-<lab>-n1: eth0   nl-<lab>-n2: eth0   …            address on the segment, default route, forwarding
            │
      (nodeplane-cni's links to the pods)

Pure. A fact depends only on facts before it in `build_wiring`, so missing ones are made in that order.
What hangs on a fact (the addresses of a link) vanishes with it, so whoever applies reads again until
nothing is missing.
"""

from collections.abc import Collection, Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import TypeAlias

import msgspec

from netns_lab.names import (
    SEGMENT,
    UPLINK,
    fabric_namespace,
    node_namespace,
    pod_namespace,
    port_link,
)
from netns_lab.topology import Topology

LOOPBACK = "lo"

# A node routes between its pods and the segment. Reverse path filters would differ with the machine's own
# settings, which a new namespace takes over (net.core.devconf_inherit_init_net).
_NODE_SYSCTLS = {
    "net.ipv4.ip_forward": "1",
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.default.rp_filter": "0",
}


class Namespace(msgspec.Struct, frozen=True):
    """A namespace has this name."""

    namespace: str

    def __str__(self) -> str:
        return f"namespace {self.namespace}"


class Sysctl(msgspec.Struct, frozen=True):
    """A kernel setting has this value."""

    namespace: str
    name: str
    value: str

    def __str__(self) -> str:
        return f"{self.name}={self.value} in {self.namespace}"


class Bridge(msgspec.Struct, frozen=True):
    """A link is a bridge."""

    namespace: str
    link: str

    def __str__(self) -> str:
        return f"bridge {self.link} in {self.namespace}"


class Cable(msgspec.Struct, frozen=True):
    """Two links are the ends of one veth pair."""

    namespace: str
    link: str
    peer_namespace: str
    peer_link: str

    def __str__(self) -> str:
        return f"link {self.link} in {self.namespace} to {self.peer_link} in {self.peer_namespace}"


class Stray(msgspec.Struct, frozen=True):
    """A link in a place of ours is no end of a wanted cable; never wanted itself."""

    namespace: str
    link: str

    def __str__(self) -> str:
        return f"stray link {self.link} in {self.namespace}"


class Master(msgspec.Struct, frozen=True):
    """A link is a bridge's port."""

    namespace: str
    link: str
    bridge: str

    def __str__(self) -> str:
        return f"port {self.link} of {self.bridge} in {self.namespace}"


class Address(msgspec.Struct, frozen=True):
    """A link has this address."""

    namespace: str
    link: str
    address: IPv4Interface

    def __str__(self) -> str:
        return f"address {self.address} on {self.link} in {self.namespace}"


class Up(msgspec.Struct, frozen=True):
    """A link is up."""

    namespace: str
    link: str

    def __str__(self) -> str:
        return f"{self.link} up in {self.namespace}"


class DefaultRoute(msgspec.Struct, frozen=True):
    """Packets for elsewhere go to this gateway."""

    namespace: str
    gateway: IPv4Address

    def __str__(self) -> str:
        return f"default route via {self.gateway} in {self.namespace}"


Fact: TypeAlias = Namespace | Sysctl | Bridge | Cable | Stray | Master | Address | Up | DefaultRoute

_REMOVABLE = (Stray, Address)


class WiringDelta(msgspec.Struct, frozen=True):
    """What to remove and then what to make, in this order; falsy when there is nothing to do."""

    remove: tuple[Fact, ...]
    make: tuple[Fact, ...]

    def __bool__(self) -> bool:
        return bool(self.remove or self.make)


def build_wiring(topology: Topology) -> tuple[Fact, ...]:
    """Return all facts that hold in a lab of this topology, each after those that it depends on."""
    return (*build_fabric(topology), *_nodes(topology), *_pods(topology))


def diff_wiring(desired: tuple[Fact, ...], actual: Collection[Fact]) -> WiringDelta:
    """Say what turns the facts that are there into those wanted; foreign facts about our links stay."""
    there, wanted = frozenset(actual), frozenset(desired)
    surplus = (fact for fact in actual if isinstance(fact, _REMOVABLE) and fact not in wanted)
    return WiringDelta(tuple(sorted(surplus, key=str)), tuple(fact for fact in desired if fact not in there))


def build_fabric(topology: Topology) -> Iterator[Fact]:
    """Yield the facts of the fabric, but for the nodes' ports: what the API server stands on."""
    fabric = fabric_namespace(topology.name)
    yield Namespace(fabric)
    yield Bridge(fabric, SEGMENT)
    yield Address(fabric, SEGMENT, _on_segment(topology, topology.network.gateway))
    yield Up(fabric, LOOPBACK)
    yield Up(fabric, SEGMENT)


def _nodes(topology: Topology) -> Iterator[Fact]:
    fabric = fabric_namespace(topology.name)
    for name, address in topology.node_addresses().items():
        node, port = node_namespace(topology.name, name), port_link(name)
        yield Namespace(node)
        yield from (Sysctl(node, setting, value) for setting, value in _NODE_SYSCTLS.items())
        yield Cable(node, UPLINK, fabric, port)
        yield Master(fabric, port, SEGMENT)
        yield Address(node, UPLINK, _on_segment(topology, address))
        yield Up(fabric, port)
        yield Up(node, LOOPBACK)
        yield Up(node, UPLINK)
        yield DefaultRoute(node, topology.network.gateway)


def _pods(topology: Topology) -> Iterator[Fact]:
    for pod in topology.pods:
        namespace = pod_namespace(topology.name, pod)
        yield Namespace(namespace)
        # A container runtime's part: CNI's own loopback plugin does no more.
        yield Up(namespace, LOOPBACK)


def _on_segment(topology: Topology, address: IPv4Address) -> IPv4Interface:
    return IPv4Interface((address, IPv4Network(topology.network.segment).prefixlen))
