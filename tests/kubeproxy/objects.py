"""Services and slices in one line each, for tables."""

from typing import Any

from kubeproxy.rules.addresses import pack_address
from kubeproxy.rules.layout import encode_endpoint
from nodeplane.kube.objects import (
    SERVICE_NAME_LABEL,
    Endpoint,
    EndpointConditions,
    EndpointHints,
    EndpointPort,
    EndpointSlice,
    Hint,
    LoadBalancerIngress,
    LoadBalancerStatus,
    Metadata,
    Node,
    NodeAddress,
    NodeStatus,
    Object,
    ObjectReference,
    Service,
    ServiceCIDR,
    ServiceCIDRSpec,
    ServicePort,
    ServiceSpec,
    ServiceStatus,
)
from nodeplane.kube.source import Batch
from nodeplane.kube.store import diff_objects

READY = EndpointConditions()
UNREADY = EndpointConditions(ready=False)
DRAINING = EndpointConditions(ready=False, serving=True, terminating=True)
DYING = EndpointConditions(ready=False, serving=False, terminating=True)

HTTP = ServicePort(port=80, name="http")


def service(
    name: str = "web",
    *ips: str,
    ports: tuple[ServicePort, ...] = (HTTP,),
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    ingress: tuple[str | LoadBalancerIngress, ...] = (),
    **spec: Any,
) -> Service:
    """Build a Service in namespace `default`; without addresses it gets 10.96.0.1.

    With `ingress`, addresses or whole entries, it is a load balancer; `spec` is more of its spec.
    """
    ips = ips or ("10.96.0.1",)
    if ingress:
        spec = {"type": "LoadBalancer"} | spec
    entries = tuple(LoadBalancerIngress(each) if isinstance(each, str) else each for each in ingress)
    return Service(
        Metadata(name, "default", labels, annotations),
        ServiceSpec(cluster_ip=ips[0], raw_cluster_ips=ips, raw_ports=ports, **spec),
        ServiceStatus(LoadBalancerStatus(entries or None)),
    )


def endpoint(
    address: str,
    conditions: EndpointConditions = READY,
    node: str | None = "n1",
    *,
    pod: str = "",
    zones: tuple[str, ...] = (),
    nodes: tuple[str, ...] = (),
) -> Endpoint:
    """Build one endpoint; `zones` and `nodes` are its hints."""
    hints = EndpointHints(tuple(map(Hint, zones)) or None, tuple(map(Hint, nodes)) or None)
    return Endpoint(
        (address,),
        conditions,
        node_name=node,
        target_ref=ObjectReference("Pod", "default", pod) if pod else None,
        hints=hints if zones or nodes else None,
    )


def endpoint_slice(
    *endpoints: Endpoint,
    name: str = "web-1",
    of: str = "web",
    family: str = "IPv4",
    ports: tuple[EndpointPort, ...] = (EndpointPort("http", "TCP", 8080),),
    labels: dict[str, str] | None = None,
) -> EndpointSlice:
    """Build a slice of a Service in namespace `default`."""
    metadata = Metadata(name, "default", {SERVICE_NAME_LABEL: of} | (labels or {}))
    return EndpointSlice(metadata, "IPv6" if family == "IPv6" else "IPv4", endpoints, ports)


def node(name: str = "n1", *ips: str, zone: str = "") -> Node:
    """Build a Node with its InternalIPs."""
    labels = {"topology.kubernetes.io/zone": zone} if zone else None
    addresses = tuple(NodeAddress("InternalIP", ip) for ip in ips)
    return Node(Metadata(name, labels=labels), status=NodeStatus(addresses or None))


def service_cidr(name: str, *cidrs: str) -> ServiceCIDR:
    """Build a ServiceCIDR."""
    return ServiceCIDR(Metadata(name), ServiceCIDRSpec(cidrs))


def at(address: str, port: int = 8080) -> bytes:
    """Return an endpoint as `slots` has it."""
    return encode_endpoint(pack_address(address), port)


def additions(*items: Object) -> Batch:
    """Build the batch that brings these objects into an empty store."""
    return diff_objects({}, {item.key: item for item in items})
