"""How the API server's answers get to pods: a route in the fabric to each, by the node that it is on.

On a cluster's control plane an agent has them. A pod's address is known when it is attached, so these are no
facts of the wiring. IPv4 alone, for the server listens on no other.
"""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network

from netns_lab.address_plan import build_address_plan
from netns_lab.cluster import PodAddresses
from netns_lab.names import fabric_namespace
from netns_lab.netlink import open_whole_rtnl
from netns_lab.processes import machine_namespaces, namespace_id
from netns_lab.topology import Topology
from nodeplane.datapath import netns
from nodeplane.datapath.rtnl import Change, Deletion, Replacement, Route
from nodeplane.reconcile.delta import diff

Report = Callable[[str, object], None]
PodRoutes = dict[IPv4Network, IPv4Address]

_STATIC = 4  # rt_protos(5): an administrator's


def build_pod_routes(topology: Topology, addresses: PodAddresses) -> PodRoutes:
    """Return each pod's own network with the address of its node. Pure."""
    plan = build_address_plan(topology)
    gateways = {
        node.name: next(each for each in plan.node_addresses(node.name) if isinstance(each, IPv4Address))
        for node in topology.nodes
    }
    return {
        IPv4Network(address): gateways[pod.node]
        for pod in topology.pods
        for address in addresses.get(pod.key, ())
        if isinstance(address, IPv4Address)
    }


def read_pod_routes(lab: str) -> PodRoutes:
    """Read those that the fabric has; none where there is no fabric."""
    path = netns.NETNS_DIR / fabric_namespace(lab)
    if not netns.is_namespace(path) or namespace_id(path) in machine_namespaces():
        return {}
    with open_whole_rtnl(path) as rtnl:
        return {
            route.destination: route.gateway
            for route in rtnl.routes(_STATIC)
            if isinstance(route.destination, IPv4Network) and isinstance(route.gateway, IPv4Address)
        }


def sync_pod_routes(lab: str, desired: PodRoutes, report: Report) -> None:
    """Bring the fabric to these; tell `report` of each that was made or removed.

    Raises:
        KernelError: the kernel refused one.
    """
    delta = diff(desired, read_pod_routes(lab))
    if not delta:
        return
    changes: list[Change] = [Deletion(Route(network, protocol=_STATIC)) for network in sorted(delta.delete)]
    changes += [Replacement(_route(network, gateway)) for network, gateway in delta.upsert.items()]
    with open_whole_rtnl(netns.NETNS_DIR / fabric_namespace(lab)) as rtnl:
        refused = rtnl.apply(changes)
    for error in refused.values():
        raise error
    for network in sorted(delta.delete):
        report("removed", f"route to {network} in {fabric_namespace(lab)}")
    for network, gateway in delta.upsert.items():
        report("made", describe(lab, network, gateway))


def describe(lab: str, network: IPv4Network, gateway: IPv4Address) -> str:
    """Say in words what one of them is."""
    return f"route to {network} via {gateway} in {fabric_namespace(lab)}"


def _route(network: IPv4Network, gateway: IPv4Address) -> Route:
    return Route(network, gateway=gateway, protocol=_STATIC)
