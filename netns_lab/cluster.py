"""The lab as Kubernetes sees it: the manifests that the programs of every node read.

Pure: from what is asked for, and the addresses that pods got, to one file for each object. A file of its own
keeps the cost of one change apart from the size of the lab.
"""

import hashlib
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import msgspec

from netns_lab.endpoints import build_slices
from netns_lab.loader import CLUSTER_DNS, LabSpec, Manifest
from netns_lab.topology import PodSpec, Topology
from nodeplane.kube.objects import (
    API_VERSIONS,
    SERVICE_NAME_LABEL,
    Container,
    ContainerPort,
    Endpoint,
    EndpointPort,
    EndpointSlice,
    Metadata,
    Namespace,
    Node,
    NodeAddress,
    NodeStatus,
    Object,
    Pod,
    PodIP,
    PodStatus,
    Service,
    ServicePort,
    ServiceSpec,
)
from nodeplane.kube.objects import PodSpec as KubePodSpec

ZONE_LABEL = "topology.kubernetes.io/zone"
DNS_PORT = 53

PodAddresses = Mapping[str, IPv4Address]
"""The address of each attached pod, by `namespace/name`."""


def build_cluster(spec: LabSpec, addresses: PodAddresses) -> tuple[Manifest, ...]:
    """Return every object of the cluster; pods without an address are left out."""
    topology = spec.topology
    given = tuple(_with_cluster_ips(spec))
    services = [manifest.item for manifest in given if isinstance(manifest.item, Service)]
    pods = [_pod(pod, addresses[pod.key]) for pod in topology.pods if pod.key in addresses]
    zones = {node.name: node.zone for node in topology.nodes}
    made = [
        *_nodes(topology),
        *_namespaces(spec),
        *pods,
        *_cluster_dns(topology),
        *build_slices(services, pods, zones),
    ]
    return (*given, *(_manifest(item) for item in made))


def render_files(manifests: tuple[Manifest, ...]) -> dict[str, bytes]:
    """Return the file name and the content of each object."""
    return {
        _file_name(manifest.item): msgspec.json.format(
            msgspec.json.encode(manifest.raw, order="deterministic"), indent=1
        )
        for manifest in manifests
    }


def assign_cluster_ips(
    names: list[tuple[str, str]], network: IPv4Network, taken: set[IPv4Address]
) -> dict[tuple[str, str], IPv4Address]:
    """Give each (namespace, name) an address of its own, outside of `taken`.

    An address follows from the name alone unless two names meet, so other Services come and go without
    moving it.
    """
    assigned: dict[tuple[str, str], IPv4Address] = {}
    used = set(taken) | {network.network_address, network.broadcast_address}
    for name in sorted(names):
        start = int.from_bytes(hashlib.sha256("/".join(name).encode()).digest()[:8])
        offsets = range(network.num_addresses)
        candidates = (network[(start + offset) % network.num_addresses] for offset in offsets)
        assigned[name] = next(address for address in candidates if address not in used)
        used.add(assigned[name])
    return assigned


def _with_cluster_ips(spec: LabSpec) -> Iterator[Manifest]:
    """Yield the given manifests, Services that lack a cluster IP with one."""
    services = [manifest.item for manifest in spec.manifests if isinstance(manifest.item, Service)]
    network = spec.topology.network
    taken = {IPv4Address(network.cluster_dns)}
    taken |= {IPv4Address(address) for service in services for address in service.spec.cluster_ips}
    lacking = [
        (service.metadata.namespace, service.metadata.name)
        for service in services
        if service.spec.type != "ExternalName" and not service.spec.cluster_ip
    ]
    assigned = assign_cluster_ips(lacking, IPv4Network(network.service_cidr), taken)
    for manifest in spec.manifests:
        item = manifest.item
        address = assigned.get((item.metadata.namespace, item.metadata.name))
        if isinstance(item, Service) and address is not None:
            raw = {**manifest.raw, "spec": {**manifest.raw["spec"], "clusterIP": str(address)}}
            given = msgspec.structs.replace(item.spec, cluster_ip=str(address))
            yield Manifest(raw, msgspec.structs.replace(item, spec=given))
        else:
            yield manifest


def _nodes(topology: Topology) -> Iterator[Node]:
    addresses = topology.node_addresses()
    for node in topology.nodes:
        zone = {ZONE_LABEL: node.zone} if node.zone else {}
        labels = {"kubernetes.io/hostname": node.name, **zone, **node.labels}
        status = NodeStatus(addresses=(NodeAddress("InternalIP", str(addresses[node.name])),))
        yield Node(metadata=Metadata(node.name, labels=labels), status=status)


def _namespaces(spec: LabSpec) -> Iterator[Namespace]:
    given = {
        manifest.item.metadata.name for manifest in spec.manifests if isinstance(manifest.item, Namespace)
    }
    used = {"default", CLUSTER_DNS[0]}
    used |= {pod.namespace for pod in spec.topology.pods}
    used |= {manifest.item.metadata.namespace for manifest in spec.manifests} - {""}
    return (Namespace(metadata=Metadata(name)) for name in sorted(used - given))


def _pod(pod: PodSpec, address: IPv4Address) -> Pod:
    ports = tuple(ContainerPort(port.port, port.name, port.protocol) for port in pod.ports)
    return Pod(
        metadata=Metadata(pod.name, pod.namespace, labels=pod.labels or None),
        spec=KubePodSpec(node_name=pod.node, containers=(Container("workload", ports),)),
        status=PodStatus("Running", str(address), (PodIP(str(address)),)),
    )


def _cluster_dns(topology: Topology) -> Iterator[Object]:
    """Yield the Service in front of the nodes' coredns-lite, and its slice: the nodes' own addresses."""
    namespace, name = CLUSTER_DNS
    nodes = topology.node_addresses()
    yield Service(
        metadata=Metadata(name, namespace, labels={"k8s-app": name}),
        spec=ServiceSpec(
            cluster_ip=topology.network.cluster_dns,
            raw_ports=(ServicePort(DNS_PORT, "dns", "UDP", target_port=DNS_PORT),),
        ),
    )
    yield EndpointSlice(
        metadata=Metadata(f"{name}-nodes", namespace, labels={SERVICE_NAME_LABEL: name}),
        address_type="IPv4",
        raw_endpoints=tuple(
            Endpoint((str(nodes[node.name]),), node_name=node.name, zone=node.zone or None)
            for node in topology.nodes
        ),
        raw_ports=(EndpointPort("dns", "UDP", DNS_PORT),),
    )


def _manifest(item: Object) -> Manifest:
    raw: dict[str, Any] = msgspec.to_builtins(item)
    return Manifest({"apiVersion": API_VERSIONS[type(item)], "kind": type(item).__name__, **raw}, item)


def _file_name(item: Object) -> str:
    parts = (type(item).__name__.lower(), item.metadata.namespace, item.metadata.name, "json")
    return ".".join(part for part in parts if part)
