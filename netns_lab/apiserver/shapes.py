"""The types of the fields that the server itself reads: what has another type is refused with 400.

Every field may be absent, and null means absent, except where its absence leaves nothing to work with. A
field that is not named here is stored and served as it came.
"""

from typing import Any

import msgspec

from netns_lab.apiserver.nesting import check_depth
from netns_lab.apiserver.resources import (
    CONFIG_MAPS,
    ENDPOINT_SLICES,
    EVENTS,
    LEASES,
    NAMESPACES,
    NODES,
    PODS,
    SERVICE_CIDRS,
    SERVICES,
    Resource,
)
from netns_lab.apiserver.status import bad_request
from netns_lab.apiserver.wire import Json

_Texts = dict[str, str] | None
_Names = list[str] | None
_Text = str | None
_Number = int | None
_Flag = bool | None
_Any = dict[str, Any] | None


class Shape(msgspec.Struct, rename="camel"):
    """A part of an object."""


class _Owner(Shape):
    uid: str


class _Metadata(Shape):
    name: _Text = None
    generate_name: _Text = None
    namespace: _Text = None
    uid: _Text = None
    resource_version: _Text = None
    labels: _Texts = None
    annotations: _Texts = None
    finalizers: _Names = None
    owner_references: list[_Owner] | None = None
    managed_fields: list[dict[str, Any]] | None = None


class _Object(Shape):
    metadata: _Metadata


class _Condition(Shape):
    type: str
    status: str


class _NamespaceSpec(Shape):
    finalizers: _Names = None


class _NamespaceStatus(Shape):
    phase: _Text = None
    conditions: list[_Condition] | None = None


class _Namespace(_Object):
    spec: _NamespaceSpec | None = None
    status: _NamespaceStatus | None = None


class _NodeSpec(Shape):
    pod_cidr: _Text = msgspec.field(name="podCIDR", default=None)
    pod_cidrs: _Names = msgspec.field(name="podCIDRs", default=None)
    unschedulable: _Flag = None


class _NodeAddress(Shape):
    type: str
    address: str


class _NodeStatus(Shape):
    conditions: list[_Condition] | None = None
    addresses: list[_NodeAddress] | None = None
    node_info: _Texts = None
    daemon_endpoints: _Any = None


class _Node(_Object):
    spec: _NodeSpec | None = None
    status: _NodeStatus | None = None


class _ContainerPort(Shape):
    container_port: int
    name: _Text = None
    protocol: _Text = None


class _Container(Shape):
    name: _Text = None
    image: _Text = None
    image_pull_policy: _Text = None
    ports: list[_ContainerPort] | None = None


class _PodSpec(Shape):
    node_name: _Text = None
    host_network: _Flag = None
    hostname: _Text = None
    subdomain: _Text = None
    termination_grace_period_seconds: _Number = None
    containers: list[_Container] | None = None
    init_containers: list[_Container] | None = None
    readiness_gates: list[dict[str, str]] | None = None


class _PodIP(Shape):
    ip: str


class _ContainerStatus(Shape):
    ready: _Flag = None
    restart_count: _Number = None


class _PodStatus(Shape):
    phase: _Text = None
    reason: _Text = None
    nominated_node_name: _Text = None
    pod_ip: _Text = msgspec.field(name="podIP", default=None)
    pod_ips: list[_PodIP] | None = msgspec.field(name="podIPs", default=None)
    conditions: list[_Condition] | None = None
    container_statuses: list[_ContainerStatus] | None = None


class _Pod(_Object):
    spec: _PodSpec | None = None
    status: _PodStatus | None = None


class _ServicePort(Shape):
    port: int
    name: _Text = None
    protocol: _Text = None
    target_port: int | str | None = None
    node_port: _Number = None


class _ClientIP(Shape):
    timeout_seconds: _Number = None


class _AffinityConfig(Shape):
    client_ip: _ClientIP | None = msgspec.field(name="clientIP", default=None)


class _ServiceSpec(Shape):
    type: _Text = None
    cluster_ip: _Text = msgspec.field(name="clusterIP", default=None)
    cluster_ips: _Names = msgspec.field(name="clusterIPs", default=None)
    external_ips: _Names = msgspec.field(name="externalIPs", default=None)
    ports: list[_ServicePort] | None = None
    selector: _Texts = None
    external_name: _Text = None
    session_affinity: _Text = None
    session_affinity_config: _AffinityConfig | None = None
    ip_families: _Names = None
    ip_family_policy: _Text = None
    external_traffic_policy: _Text = None
    internal_traffic_policy: _Text = None
    traffic_distribution: _Text = None
    health_check_node_port: _Number = None
    allocate_load_balancer_node_ports: _Flag = None
    publish_not_ready_addresses: _Flag = None


class _Ingress(Shape):
    ip: _Text = None
    hostname: _Text = None


class _LoadBalancer(Shape):
    ingress: list[_Ingress] | None = None


class _ServiceStatus(Shape):
    load_balancer: _LoadBalancer | None = None
    conditions: list[_Condition] | None = None


class _Service(_Object):
    spec: _ServiceSpec | None = None
    status: _ServiceStatus | None = None


class _ConfigMap(_Object):
    data: _Texts = None
    binary_data: _Texts = None
    immutable: _Flag = None


class _Endpoint(Shape):
    addresses: _Names = None
    conditions: dict[str, bool | None] | None = None


class _EndpointPort(Shape):
    name: _Text = None
    protocol: _Text = None
    port: _Number = None


class _EndpointSlice(_Object):
    address_type: _Text = None
    endpoints: list[_Endpoint] | None = None
    ports: list[_EndpointPort] | None = None


class _LeaseSpec(Shape):
    holder_identity: _Text = None
    lease_duration_seconds: _Number = None
    acquire_time: _Text = None
    renew_time: _Text = None
    lease_transitions: _Number = None


class _Lease(_Object):
    spec: _LeaseSpec | None = None


class _ServiceCIDRSpec(Shape):
    cidrs: _Names = None


class _ServiceCIDRStatus(Shape):
    conditions: list[_Condition] | None = None


class _ServiceCIDR(_Object):
    spec: _ServiceCIDRSpec | None = None
    status: _ServiceCIDRStatus | None = None


class _Event(_Object):
    involved_object: _Texts = None
    source: _Texts = None
    type: _Text = None
    reason: _Text = None
    message: _Text = None
    count: _Number = None
    first_timestamp: _Text = None
    last_timestamp: _Text = None
    event_time: _Text = None
    reporting_component: _Text = None
    reporting_instance: _Text = None


SHAPES: dict[str, type[_Object]] = {
    NAMESPACES.qualified: _Namespace,
    NODES.qualified: _Node,
    PODS.qualified: _Pod,
    SERVICES.qualified: _Service,
    CONFIG_MAPS.qualified: _ConfigMap,
    EVENTS.qualified: _Event,
    ENDPOINT_SLICES.qualified: _EndpointSlice,
    LEASES.qualified: _Lease,
    SERVICE_CIDRS.qualified: _ServiceCIDR,
}


def check_shape(resource: Resource, value: Json) -> None:
    """Refuse an object that has a field of the wrong type, or is nested too deep.

    Raises:
        StatusError: 400.
    """
    check_depth(value)
    try:
        msgspec.convert(value, SHAPES[resource.qualified])
    except msgspec.ValidationError as exc:
        raise unreadable(resource, str(exc)) from exc


def unreadable(resource: Resource, why: str) -> Exception:
    """Say that an object can't be read as its kind."""
    kind = resource.kind
    return bad_request(f'{kind} in version "{resource.version}" cannot be handled as a {kind}: {why}')


def without_nulls(value: Any) -> Any:
    """Return a copy without null fields: in the Kubernetes API they are the same as absent ones."""
    if isinstance(value, dict):
        return {name: without_nulls(entry) for name, entry in value.items() if entry is not None}
    if isinstance(value, list | tuple):
        return [without_nulls(entry) for entry in value]
    return value
