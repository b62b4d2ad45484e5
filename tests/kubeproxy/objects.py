"""Services and slices in one line each, for tables."""

from nodeplane.kube.objects import (
    SERVICE_NAME_LABEL,
    Endpoint,
    EndpointConditions,
    EndpointPort,
    EndpointSlice,
    Metadata,
    Service,
    ServicePort,
    ServiceSpec,
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
) -> Service:
    """Build a Service in namespace `default`; without addresses it gets 10.96.0.1."""
    ips = ips or ("10.96.0.1",)
    spec = ServiceSpec(cluster_ip=ips[0], raw_cluster_ips=ips, raw_ports=ports)
    return Service(Metadata(name, "default", labels), spec)


def endpoint(address: str, conditions: EndpointConditions = READY, node: str | None = "n1") -> Endpoint:
    """Build one endpoint."""
    return Endpoint((address,), conditions, node_name=node)


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


def additions(*items: Service | EndpointSlice) -> Batch:
    """Build the batch that brings these objects into an empty store."""
    return diff_objects({}, {item.key: item for item in items})
