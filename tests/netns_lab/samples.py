"""Values that the lab's tests share."""

from collections.abc import Mapping
from typing import Any

from netns_lab.cluster import PodAddresses, build_cluster
from netns_lab.loader import LabSpec, Manifest
from netns_lab.topology import NodeSpec, PodSpec, PortSpec, Topology
from nodeplane.kube.manifest_file import decode_objects
from nodeplane.kube.objects import (
    SERVICE_NAME_LABEL,
    Endpoint,
    EndpointPort,
    EndpointSlice,
    Metadata,
    Object,
    ObjectReference,
)
from nodeplane.yamldoc import YamlDocument

WEB_1 = PodSpec("web-1", "n1", labels={"app": "web"}, ports=(PortSpec(8080, "http"),))
WEB_2 = PodSpec("web-2", "n2", labels={"app": "web"}, ports=(PortSpec(8080, "http"),))
CLIENT = PodSpec("client", "n1", namespace="clients")

WEB_IP = "10.96.209.100"

TOPOLOGY = Topology("lab", (NodeSpec("n1", zone="a"), NodeSpec("n2")), (CLIENT, WEB_1, WEB_2))


def service(name: str = "web", namespace: str = "default", **spec: Any) -> dict[str, Any]:
    """Return a Service as its author writes it; without a spec, one that selects the web pods."""
    web = {"clusterIP": WEB_IP, "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]}
    given = spec or web
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": given,
    }


def held(
    topology: Topology,
    addresses: PodAddresses,
    *raw: dict[str, Any],
    ports: Mapping[str, int] | None = None,
) -> list[Object]:
    """Return what an API server holds of a lab; with `ports`, those of the web pods' slice."""
    items = [manifest.item for manifest in build_cluster(lab_spec(topology, *raw), addresses)]
    if not ports:
        return items
    endpoints = (
        Endpoint(
            (str(addresses[pod.key][0]),),
            node_name=pod.node,
            target_ref=ObjectReference("Pod", pod.namespace, pod.name),
        )
        for pod in topology.pods
        if pod.name.startswith("web") and pod.key in addresses
    )
    piece = EndpointSlice(
        metadata=Metadata("web-x2vqz", "default", labels={SERVICE_NAME_LABEL: "web"}),
        address_type="IPv4",
        raw_endpoints=tuple(endpoints),
        raw_ports=tuple(EndpointPort(name, "TCP", number) for name, number in ports.items()),
    )
    return [*items, piece]


def lab_spec(topology: Topology, *raw: dict[str, Any]) -> LabSpec:
    """Return what the loader makes of a topology and these objects."""
    manifests = []
    for value in raw:
        document = YamlDocument("test.yaml", 0, value, "")
        manifests += [Manifest(value, item) for _, item in decode_objects(document)]
    return LabSpec(topology, tuple(manifests))
