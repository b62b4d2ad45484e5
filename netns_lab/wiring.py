"""The lab's namespaces, links and addresses as a set of facts: those wanted, those there, the difference.

                      nl-<lab>-fabric
              rack1 (bridge)                  rack2 (bridge)         each segment one; the fabric's addresses
            ┌───────┴────────┬─────────────┐      ┌─┴──────────┐     on those with nodes
          to-n1            to-n2        to-r1-rack1, -rack2   to-n3  veth pairs
            │                │                │                │
    nl-<lab>-n1: eth0   nl-<lab>-n2: eth0   nl-<lab>-r1: rack1, rack2    addresses, routes, forwarding
            │
      (nodeplane-cni's links to the pods)

Pure. A fact depends only on facts before it in `build_wiring`, so missing ones are made in that order.
What hangs on a fact (the addresses of a link) vanishes with it, so whoever applies reads again until
nothing is missing.
"""

from collections.abc import Collection, Iterator
from ipaddress import ip_address, ip_network
from typing import TypeAlias

import msgspec

from netns_lab.address_plan import AddressPlan, Place, build_address_plan
from netns_lab.names import fabric_namespace, node_namespace, pod_namespace, port_link
from netns_lab.topology import DEFAULT_MTU_BYTES, Topology
from nodeplane.datapath import rtnl

LOOPBACK = "lo"

# A node routes between its pods and the segment. Reverse path filters would differ with the machine's own
# settings, which a new namespace takes over (net.core.devconf_inherit_init_net).
_NODE_SYSCTLS = {
    "net.ipv4.ip_forward": "1",
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.default.rp_filter": "0",
}
_NODE_SYSCTLS6 = {
    "net.ipv6.conf.all.disable_ipv6": "0",
    "net.ipv6.conf.default.disable_ipv6": "0",
    "net.ipv6.conf.all.forwarding": "1",
}
_HOST_SYSCTLS6 = {
    "net.ipv6.conf.all.disable_ipv6": "0",
    "net.ipv6.conf.default.disable_ipv6": "0",
    "net.ipv6.conf.all.forwarding": "0",
}
# The routers are the only way from segment to segment; every node reaches the fabric by its own segment.
_FABRIC_SYSCTLS = {"net.ipv4.ip_forward": "0", "net.ipv4.conf.all.arp_ignore": "0"}
_FABRIC_SYSCTLS6 = {"net.ipv6.conf.all.disable_ipv6": "0", "net.ipv6.conf.all.forwarding": "0"}

_DEFAULTS = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}


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
    address: rtnl.Interface

    def __str__(self) -> str:
        return f"address {self.address} on {self.link} in {self.namespace}"


class Up(msgspec.Struct, frozen=True):
    """A link is up."""

    namespace: str
    link: str

    def __str__(self) -> str:
        return f"{self.link} up in {self.namespace}"


class Mtu(msgspec.Struct, frozen=True):
    """A link's MTU, if it is not the usual one."""

    namespace: str
    link: str
    mtu_bytes: int

    def __str__(self) -> str:
        return f"MTU {self.mtu_bytes} of {self.link} in {self.namespace}"


class StaticRoute(msgspec.Struct, frozen=True):
    """Packets for a network go to a gateway, or, without one, out of a link."""

    namespace: str
    destination: rtnl.Network
    gateway: rtnl.Address | None = None
    link: str = ""

    def __str__(self) -> str:
        name = "default" if self.destination == _DEFAULTS[self.destination.version] else str(self.destination)
        way = f"via {self.gateway}" if self.gateway else f"on {self.link}"
        return f"{name} route {way} in {self.namespace}"


class Down(msgspec.Struct, frozen=True):
    """A link is down, on purpose."""

    namespace: str
    link: str

    def __str__(self) -> str:
        return f"{self.link} down in {self.namespace}"


Fact: TypeAlias = (
    Namespace | Sysctl | Bridge | Cable | Stray | Master | Address | Up | Down | Mtu | StaticRoute
)

_REMOVABLE = (Stray, Address, Mtu, StaticRoute)


class WiringDelta(msgspec.Struct, frozen=True):
    """What to remove and then what to make, in this order; falsy when there is nothing to do."""

    remove: tuple[Fact, ...]
    make: tuple[Fact, ...]

    def __bool__(self) -> bool:
        return bool(self.remove or self.make)


def build_wiring(topology: Topology) -> tuple[Fact, ...]:
    """Return all facts that hold in a lab of this topology, each after those that it depends on."""
    plan = build_address_plan(topology)
    return (
        *build_fabric(topology),
        *_routers(topology, plan),
        *_nodes(topology, plan),
        *_clients(topology, plan),
        *_pods(topology),
    )


def diff_wiring(desired: tuple[Fact, ...], actual: Collection[Fact]) -> WiringDelta:
    """Say what turns the facts that are there into those wanted; foreign facts about our links stay."""
    there, wanted = frozenset(actual), frozenset(desired)
    surplus = (fact for fact in actual if isinstance(fact, _REMOVABLE) and fact not in wanted)
    return WiringDelta(tuple(sorted(surplus, key=str)), tuple(fact for fact in desired if fact not in there))


def build_fabric(topology: Topology) -> Iterator[Fact]:
    """Yield the facts of the fabric, but for the nodes' ports: what the API server stands on."""
    fabric, plan = fabric_namespace(topology.name), build_address_plan(topology)
    yield Namespace(fabric)
    if topology.segments:
        yield from (Sysctl(fabric, setting, value) for setting, value in _FABRIC_SYSCTLS.items())
    if any(address.version == 6 for addresses in plan.fabric.values() for address in addresses):
        yield from (Sysctl(fabric, setting, value) for setting, value in _FABRIC_SYSCTLS6.items())
    for segment in topology.all_segments:
        yield Bridge(fabric, segment.name)
        yield from _mtu(fabric, segment.name, segment.mtu)
        for address in plan.fabric.get(segment.name, ()):
            yield Address(fabric, segment.name, address)
    yield Up(fabric, LOOPBACK)
    yield from (Up(fabric, segment.name) for segment in topology.all_segments)


def _routers(topology: Topology, plan: AddressPlan) -> Iterator[Fact]:
    for router in topology.routers:
        namespace, places = node_namespace(topology.name, router.name), plan.routers[router.name]
        yield Namespace(namespace)
        yield from _router_sysctls(namespace, places)
        for place, interface in zip(places, router.interfaces, strict=True):
            port = port_link(router.name, place.segment)
            yield from _uplink(topology, namespace, place, port, is_down=interface.link.down)
        yield Up(namespace, LOOPBACK)
        for route in router.routes:
            yield StaticRoute(namespace, ip_network(route.to), ip_address(route.via))


def _nodes(topology: Topology, plan: AddressPlan) -> Iterator[Fact]:
    for spec in topology.nodes:
        node, place = node_namespace(topology.name, spec.name), plan.nodes[spec.name]
        yield Namespace(node)
        yield from _router_sysctls(node, (place,))
        yield from _uplink(topology, node, place, port_link(spec.name), is_down=spec.link.down)
        yield Up(node, LOOPBACK)
        for gateway in plan.gateways[place.segment]:
            yield StaticRoute(node, _DEFAULTS[gateway.version], gateway)
        if plan.server not in place.addresses[0].network:
            # The fabric is on every segment with nodes and answers there for all its addresses.
            yield StaticRoute(node, ip_network(plan.server), link=place.link)


def _clients(topology: Topology, plan: AddressPlan) -> Iterator[Fact]:
    for spec in topology.clients:
        client, place = node_namespace(topology.name, spec.name), plan.clients[spec.name]
        yield Namespace(client)
        # A host, not a router; both families, whatever the machine's own settings are.
        if any(address.version == 6 for address in place.addresses):
            yield from (Sysctl(client, setting, value) for setting, value in _HOST_SYSCTLS6.items())
        yield from _uplink(topology, client, place, port_link(spec.name), is_down=spec.link.down)
        yield Up(client, LOOPBACK)
        for gateway in plan.gateways.get(place.segment, ()):
            yield StaticRoute(client, _DEFAULTS[gateway.version], gateway)
        for route in spec.routes:
            yield StaticRoute(client, ip_network(route.to), ip_address(route.via))


def _router_sysctls(namespace: str, places: tuple[Place, ...]) -> Iterator[Fact]:
    yield from (Sysctl(namespace, setting, value) for setting, value in _NODE_SYSCTLS.items())
    if any(address.version == 6 for place in places for address in place.addresses):
        yield from (Sysctl(namespace, setting, value) for setting, value in _NODE_SYSCTLS6.items())


def _uplink(topology: Topology, namespace: str, place: Place, port: str, *, is_down: bool) -> Iterator[Fact]:
    """Yield what joins a node, a router or a client to a segment."""
    fabric = fabric_namespace(topology.name)
    yield Cable(namespace, place.link, fabric, port)
    yield Master(fabric, port, place.segment)
    yield from _mtu(fabric, port, place.mtu_bytes)
    yield from _mtu(namespace, place.link, place.mtu_bytes)
    yield from (Address(namespace, place.link, address) for address in place.addresses)
    # The fabric's end: the other one loses its carrier, as when a cable is pulled, and keeps what it has.
    yield Down(fabric, port) if is_down else Up(fabric, port)
    yield Up(namespace, place.link)


def _mtu(namespace: str, link: str, mtu_bytes: int) -> Iterator[Fact]:
    if mtu_bytes != DEFAULT_MTU_BYTES:
        yield Mtu(namespace, link, mtu_bytes)


def _pods(topology: Topology) -> Iterator[Fact]:
    for pod in topology.pods:
        namespace = pod_namespace(topology.name, pod)
        yield Namespace(namespace)
        # A container runtime's part: CNI's own loopback plugin does no more.
        yield Up(namespace, LOOPBACK)
