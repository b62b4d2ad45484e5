"""Who is who in a lab: addresses, blocks, Services and their endpoints, in the words of the verdict. Pure."""

from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_network

import msgspec

from netns_lab.address_plan import build_address_plan
from netns_lab.cluster import PodAddresses
from netns_lab.names import fabric_namespace, node_namespace, pod_namespace
from netns_lab.topology import Topology
from nodeplane.datapath.rtnl import Address, Network
from nodeplane.kube.objects import EndpointSlice, Object, Service

FABRIC = "fabric"
"""The place that holds the segments' bridges; the API server is there too."""


class Backend(msgspec.Struct, frozen=True):
    """An endpoint: where, on which node, and whether it may be used."""

    address: Address
    port: int
    node: str
    is_ready: bool


class Frontend(msgspec.Struct, frozen=True):
    """One port of a Service and how it is published.

    Attributes:
        service: `namespace/name`.
        cluster_ips: The virtual addresses.
        external: Those of a load balancer, and external ones.
        node_port: 0 for none.
        ranges: Who may use the load balancer's addresses.
        is_local: Whether clients from outside get endpoints of the node that they came to alone.
        is_internally_local: Whether clients inside get those of their own node alone.
    """

    service: str
    protocol: str
    port: int
    cluster_ips: tuple[Address, ...]
    external: tuple[Address, ...] = ()
    node_port: int = 0
    ranges: tuple[Network, ...] = ()
    is_local: bool = False
    is_internally_local: bool = False
    backends: tuple[Backend, ...] = ()


class Facts(msgspec.Struct, frozen=True):
    """What is known of a lab.

    Attributes:
        places: What stands in a namespace: `node n1`, `pod default/web-1`, `router r1`.
        owners: Whose an address is, the same words.
        nodes: On which node a pod's address is.
        blocks: The block of a pod's address.
        frontends: All ports of all Services.
        node_addresses: Node names by their addresses.
        pools: Where pods' addresses come from.
        trouble: Why no Services are known.
    """

    places: Mapping[str, str]
    owners: Mapping[Address, str]
    nodes: Mapping[Address, str]
    blocks: Mapping[Address, Network]
    frontends: tuple[Frontend, ...]
    node_addresses: Mapping[Address, str]
    pools: tuple[Network, ...] = ()
    trouble: str = ""

    def place(self, namespace: str) -> str:
        """Say what stands in a namespace."""
        return self.places.get(namespace, namespace)

    def owner(self, address: Address) -> str:
        """Say whose an address is, the address itself if that is not known."""
        return self.owners.get(address, str(address))

    def frontend(self, address: Address, protocol: str, port: int) -> Frontend | None:
        """Return what is published there: an address and port of a Service, or a node port."""
        for each in self.frontends:
            if each.protocol != protocol:
                continue
            if each.port == port and address in (*each.cluster_ips, *each.external):
                return each
            if port == each.node_port and address in self.node_addresses:
                return each
        return None

    def service_of(self, address: Address) -> str | None:
        """Return the Service that a virtual address belongs to, whatever the port."""
        return next(
            (each.service for each in self.frontends if address in (*each.cluster_ips, *each.external)), None
        )

    def backend_namespaces(self, address: Address, protocol: str, port: int) -> set[str]:
        """Return the namespaces of the pods that a connection may end in."""
        frontend = self.frontend(address, protocol, port)
        ends = {address} if frontend is None else {backend.address for backend in frontend.backends}
        names = {self.owners.get(end) for end in ends}
        return {namespace for namespace, place in self.places.items() if place in names}


def build_facts(topology: Topology, addresses: PodAddresses, objects: Iterable[Object]) -> Facts:
    """Bring together what topology, attachments and API server say."""
    plan, items = build_address_plan(topology), list(objects)
    places = {fabric_namespace(topology.name): FABRIC}
    owners: dict[Address, str] = {}
    for interfaces in plan.fabric.values():
        owners |= {interface.ip: FABRIC for interface in interfaces}
    for node in topology.nodes:
        places[node_namespace(topology.name, node.name)] = f"node {node.name}"
        owners |= dict.fromkeys(plan.node_addresses(node.name), f"node {node.name}")
    for name, links in plan.routers.items():
        places[node_namespace(topology.name, name)] = f"router {name}"
        owners |= {interface.ip: f"router {name}" for link in links for interface in link.addresses}
    for name, uplink in plan.clients.items():
        places[node_namespace(topology.name, name)] = f"client {name}"
        owners |= {interface.ip: f"client {name}" for interface in uplink.addresses}
    nodes, blocks = {}, {}
    sizes = {4: topology.network.block_size, 6: topology.network.block_size6}
    for pod in topology.pods:
        places[pod_namespace(topology.name, pod)] = f"pod {pod.key}"
        for address in addresses.get(pod.key, ()):
            owners[address] = f"pod {pod.key}"
            nodes[address] = pod.node
            blocks[address] = ip_network((address, sizes[address.version]), strict=False)
    slices = [item for item in items if isinstance(item, EndpointSlice)]
    return Facts(
        places=places,
        owners=owners,
        nodes=nodes,
        blocks=blocks,
        frontends=tuple(
            frontend for item in items if isinstance(item, Service) for frontend in _frontends(item, slices)
        ),
        node_addresses={
            address: node.name for node in topology.nodes for address in plan.node_addresses(node.name)
        },
        pools=topology.network.pod_pools,
    )


def _frontends(service: Service, slices: Iterable[EndpointSlice]) -> list[Frontend]:
    spec, key = service.spec, (service.metadata.namespace, service.metadata.name)
    own = [piece for piece in slices if (piece.metadata.namespace, piece.service_name) == key]
    ingress = service.status.load_balancer.ingress or ()
    external = (*(spec.raw_external_ips or ()), *(each.ip for each in ingress if each.ip))
    return [
        Frontend(
            service="/".join(key),
            protocol=port.protocol.lower(),
            port=port.port,
            cluster_ips=tuple(map(ip_address, spec.cluster_ips)),
            external=tuple(map(ip_address, external)),
            node_port=port.node_port or 0,
            ranges=tuple(
                ip_network(text.strip(), strict=False) for text in spec.load_balancer_source_ranges or ()
            ),
            is_local=spec.external_traffic_policy == "Local",
            is_internally_local=spec.internal_traffic_policy == "Local",
            backends=tuple(_backends(own, port.name)),
        )
        for port in spec.ports
    ]


def _backends(slices: Iterable[EndpointSlice], name: str) -> list[Backend]:
    return [
        Backend(ip_address(endpoint.addresses[0]), port.port, endpoint.node_name or "", endpoint.is_ready)
        for piece in slices
        if piece.address_type != "FQDN"
        for port in piece.ports
        if (port.name or "") == name and port.port is not None
        for endpoint in piece.endpoints
    ]
