"""Kubernetes objects as frozen values: the fields that nodeplane uses, with Kubernetes' own defaults.

Names are the API's (camelCase on the wire). Unknown fields are ignored, as an API client must. What an
API server has checked is taken as it is; `nodeplane.kube.validation` checks what people write by hand.
A module for each family of kinds; users import from here.
"""

from nodeplane.kube.objects.base import Metadata, Object, ObjectKey, Port, Protocol
from nodeplane.kube.objects.endpoint_slice import (
    SERVICE_NAME_LABEL,
    Endpoint,
    EndpointConditions,
    EndpointHints,
    EndpointPort,
    EndpointSlice,
    Hint,
    ObjectReference,
)
from nodeplane.kube.objects.node import Namespace, Node, NodeAddress, NodeSpec, NodeStatus, Taint
from nodeplane.kube.objects.pod import Container, ContainerPort, Pod, PodCondition, PodIP, PodSpec, PodStatus
from nodeplane.kube.objects.service import (
    DEFAULT_AFFINITY_TIMEOUT_S,
    ClientIPConfig,
    LoadBalancerIngress,
    LoadBalancerStatus,
    Service,
    ServiceCIDR,
    ServiceCIDRSpec,
    ServicePort,
    ServiceSpec,
    ServiceStatus,
    SessionAffinityConfig,
)

__all__ = [
    "API_VERSIONS",
    "CLUSTER_SCOPED",
    "DEFAULT_AFFINITY_TIMEOUT_S",
    "KINDS",
    "SERVICE_NAME_LABEL",
    "ClientIPConfig",
    "Container",
    "ContainerPort",
    "Endpoint",
    "EndpointConditions",
    "EndpointHints",
    "EndpointPort",
    "EndpointSlice",
    "Hint",
    "LoadBalancerIngress",
    "LoadBalancerStatus",
    "Metadata",
    "Namespace",
    "Node",
    "NodeAddress",
    "NodeSpec",
    "NodeStatus",
    "Object",
    "ObjectKey",
    "ObjectReference",
    "Pod",
    "PodCondition",
    "PodIP",
    "PodSpec",
    "PodStatus",
    "Port",
    "Protocol",
    "Service",
    "ServiceCIDR",
    "ServiceCIDRSpec",
    "ServicePort",
    "ServiceSpec",
    "ServiceStatus",
    "SessionAffinityConfig",
    "Taint",
]

KINDS: dict[tuple[str, str], type[Object]] = {
    ("v1", "Node"): Node,
    ("v1", "Namespace"): Namespace,
    ("v1", "Service"): Service,
    ("v1", "Pod"): Pod,
    ("discovery.k8s.io/v1", "EndpointSlice"): EndpointSlice,
    ("networking.k8s.io/v1", "ServiceCIDR"): ServiceCIDR,
}
"""The kinds that nodeplane reads, by (apiVersion, kind)."""

API_VERSIONS: dict[type[Object], str] = {kind: version for (version, _), kind in KINDS.items()}

CLUSTER_SCOPED: frozenset[type[Object]] = frozenset({Node, Namespace, ServiceCIDR})
