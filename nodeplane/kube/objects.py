"""Kubernetes objects as frozen values: the fields that nodeplane uses, with Kubernetes' own defaults.

Names are the API's (camelCase on the wire). Unknown fields are ignored, as an API client must. What an
API server has checked is taken as it is; `nodeplane.kube.validation` checks what people write by hand.
"""

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

Port: TypeAlias = Annotated[int, Meta(ge=1, le=65535)]
Protocol: TypeAlias = Literal["TCP", "UDP", "SCTP"]

DEFAULT_AFFINITY_TIMEOUT_S = 10800
"""Three hours, what the API server fills in (core/v1 DefaultClientIPServiceAffinitySeconds)."""

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
"""The label that ties an EndpointSlice to its Service (discovery.k8s.io/v1)."""


class _Value(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """A part of an object."""


class Metadata(_Value, frozen=True):
    """Who an object is (metav1.ObjectMeta)."""

    name: str
    namespace: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    resource_version: str = ""
    deletion_timestamp: str | None = None


class Object(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """What every kind has."""

    metadata: Metadata

    @property
    def key(self) -> "ObjectKey":
        """The object's identity inside a cluster."""
        return ObjectKey(type(self), self.metadata.namespace, self.metadata.name)

    @property
    def labels(self) -> dict[str, str]:
        """The labels; none is an empty mapping."""
        return self.metadata.labels or {}


class ObjectKey(msgspec.Struct, frozen=True, gc=False, order=False):
    """Kind, namespace (empty for cluster-scoped kinds) and name."""

    kind: type[Object]
    namespace: str
    name: str

    def __str__(self) -> str:
        return "/".join(part for part in (self.kind.__name__, self.namespace, self.name) if part)


class NodeAddress(_Value, frozen=True):
    """One address of a node; `type` is InternalIP, ExternalIP or Hostname."""

    type: str
    address: str


class NodeStatus(_Value, frozen=True):
    """What the node reports."""

    addresses: tuple[NodeAddress, ...] | None = None


class Taint(_Value, frozen=True):
    """What keeps pods away from a node, or says what is about to happen to it."""

    key: str
    value: str = ""
    effect: str = ""


class NodeSpec(_Value, frozen=True):
    """What the cluster gave the node."""

    pod_cidrs: tuple[str, ...] | None = msgspec.field(name="podCIDRs", default=None)
    taints: tuple[Taint, ...] | None = None


class Node(Object, frozen=True):
    """A machine of the cluster (v1)."""

    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()

    @property
    def internal_ips(self) -> tuple[str, ...]:
        """The addresses that other nodes reach this one by."""
        return tuple(entry.address for entry in self.status.addresses or () if entry.type == "InternalIP")


class Namespace(Object, frozen=True):
    """A namespace (v1)."""


class ServicePort(_Value, frozen=True):
    """One port of a Service; `targetPort` is a number or the name of a container's port."""

    port: Port
    name: str = ""
    protocol: Protocol = "TCP"
    target_port: int | str | None = None
    node_port: int | None = None


class ClientIPConfig(_Value, frozen=True):
    """How long a client stays with its endpoint after its last new connection."""

    timeout_seconds: int | None = None


class SessionAffinityConfig(_Value, frozen=True):
    """The settings of `sessionAffinity: ClientIP`."""

    client_ip: ClientIPConfig | None = msgspec.field(name="clientIP", default=None)


class ServiceSpec(_Value, frozen=True):
    """How a Service is published."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"] = "ClusterIP"
    cluster_ip: str = msgspec.field(name="clusterIP", default="")
    raw_cluster_ips: tuple[str, ...] | None = msgspec.field(name="clusterIPs", default=None)
    raw_ports: tuple[ServicePort, ...] | None = msgspec.field(name="ports", default=None)
    selector: dict[str, str] | None = None
    external_name: str = ""
    raw_external_ips: tuple[str, ...] | None = msgspec.field(name="externalIPs", default=None)
    session_affinity: str = "None"
    session_affinity_config: SessionAffinityConfig | None = None
    internal_traffic_policy: str | None = None
    external_traffic_policy: str | None = None
    load_balancer_source_ranges: tuple[str, ...] | None = None
    health_check_node_port: int | None = None

    @property
    def affinity_timeout_s(self) -> int:
        """Seconds that a client stays with its endpoint; 0 without session affinity."""
        if self.session_affinity != "ClientIP":
            return 0
        config = self.session_affinity_config
        timeout_s = config.client_ip.timeout_seconds if config and config.client_ip else None
        return timeout_s or DEFAULT_AFFINITY_TIMEOUT_S

    @property
    def ports(self) -> tuple[ServicePort, ...]:
        """The ports; none is an empty tuple."""
        return self.raw_ports or ()

    @property
    def cluster_ips(self) -> tuple[str, ...]:
        """The addresses to publish: none for a headless or ExternalName Service."""
        if self.type == "ExternalName" or self.cluster_ip in {"", "None"}:
            return ()
        return self.raw_cluster_ips or (self.cluster_ip,)


class LoadBalancerIngress(_Value, frozen=True):
    """One address of a load balancer; with `ipMode: Proxy` its packets come to us addressed otherwise."""

    ip: str = ""
    hostname: str = ""
    ip_mode: str | None = None


class LoadBalancerStatus(_Value, frozen=True):
    """Where a load balancer can be reached."""

    ingress: tuple[LoadBalancerIngress, ...] | None = None


class ServiceStatus(_Value, frozen=True):
    """What others have done for the Service."""

    load_balancer: LoadBalancerStatus = LoadBalancerStatus()


class Service(Object, frozen=True):
    """A name and a virtual address for a set of pods (v1)."""

    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()

    @property
    def is_headless(self) -> bool:
        """Whether names lead straight to the endpoints (`clusterIP: None`)."""
        return self.spec.type != "ExternalName" and self.spec.cluster_ip == "None"


class EndpointConditions(_Value, frozen=True):
    """The raw conditions; absent and null are the same."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class ObjectReference(_Value, frozen=True):
    """What stands behind an endpoint, usually a Pod."""

    kind: str = ""
    namespace: str = ""
    name: str = ""


class Hint(_Value, frozen=True):
    """A zone or a node that should use an endpoint."""

    name: str


class EndpointHints(_Value, frozen=True):
    """Who should use an endpoint (KEP-2433, KEP-3015)."""

    for_zones: tuple[Hint, ...] | None = None
    for_nodes: tuple[Hint, ...] | None = None


class Endpoint(_Value, frozen=True):
    """One backend of a slice; only `addresses[0]` counts (k/k pkg/apis/discovery)."""

    addresses: tuple[str, ...]
    conditions: EndpointConditions = EndpointConditions()
    node_name: str | None = None
    hostname: str | None = None
    zone: str | None = None
    target_ref: ObjectReference | None = None
    hints: EndpointHints | None = None

    @property
    def is_ready(self) -> bool:
        """Ready: an absent condition means yes."""
        return self.conditions.ready is not False

    @property
    def is_serving(self) -> bool:
        """Serving: an absent condition means the same as ready."""
        return self.is_ready if self.conditions.serving is None else self.conditions.serving

    @property
    def is_terminating(self) -> bool:
        """Terminating: an absent condition means no."""
        return self.conditions.terminating is True


class EndpointPort(_Value, frozen=True):
    """One port of all endpoints of a slice; a null port means none is known."""

    name: str | None = None
    protocol: Protocol = "TCP"
    port: Port | None = None


class EndpointSlice(Object, frozen=True):
    """Some of the backends of one Service, of one address family (discovery.k8s.io/v1)."""

    address_type: Literal["IPv4", "IPv6", "FQDN"]
    raw_endpoints: tuple[Endpoint, ...] | None = msgspec.field(name="endpoints", default=None)
    raw_ports: tuple[EndpointPort, ...] | None = msgspec.field(name="ports", default=None)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints; the API server writes null for none."""
        return self.raw_endpoints or ()

    @property
    def ports(self) -> tuple[EndpointPort, ...]:
        """The ports; the API server writes null for none."""
        return self.raw_ports or ()

    @property
    def service_name(self) -> str:
        """The Service in the same namespace that this slice belongs to; empty if to none."""
        return self.labels.get(SERVICE_NAME_LABEL, "")


class ContainerPort(_Value, frozen=True):
    """A port that a container names."""

    container_port: Port
    name: str = ""
    protocol: Protocol = "TCP"


class Container(_Value, frozen=True):
    """A container, as far as its ports go."""

    name: str = ""
    ports: tuple[ContainerPort, ...] | None = None


class PodSpec(_Value, frozen=True):
    """What the pod asked for."""

    node_name: str = ""
    containers: tuple[Container, ...] = ()
    host_network: bool = False
    hostname: str = ""
    subdomain: str = ""


class PodIP(_Value, frozen=True):
    """One address of a pod."""

    ip: str


class PodCondition(_Value, frozen=True):
    """One condition, e.g. Ready."""

    type: str
    status: str


class PodStatus(_Value, frozen=True):
    """What became of the pod."""

    phase: str = ""
    pod_ip: str = msgspec.field(name="podIP", default="")
    pod_ips: tuple[PodIP, ...] | None = msgspec.field(name="podIPs", default=None)
    conditions: tuple[PodCondition, ...] | None = None


class Pod(Object, frozen=True):
    """A pod (v1)."""

    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class ServiceCIDRSpec(_Value, frozen=True):
    """The networks that Services' addresses come from."""

    cidrs: tuple[str, ...] | None = None


class ServiceCIDR(Object, frozen=True):
    """Networks of Services' addresses (networking.k8s.io/v1)."""

    spec: ServiceCIDRSpec = ServiceCIDRSpec()


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
