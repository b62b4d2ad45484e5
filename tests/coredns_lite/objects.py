"""Objects of a cluster in one line each, and an index of them, for tables."""

from collections.abc import Iterable

from coredns_lite.plugins.kubernetes.facts import Scope, shrink_to
from coredns_lite.plugins.kubernetes.index import Index
from nodeplane.kube.objects import (
    SERVICE_NAME_LABEL,
    Endpoint,
    EndpointConditions,
    EndpointPort,
    EndpointSlice,
    Metadata,
    Namespace,
    Object,
    ObjectKey,
    ObjectReference,
    Pod,
    PodIP,
    PodSpec,
    PodStatus,
    Service,
    ServicePort,
    ServiceSpec,
)
from nodeplane.kube.source import Batch
from nodeplane.kube.store import diff_objects

READY = EndpointConditions()
UNREADY = EndpointConditions(ready=False)

TTL_S = 5
SERIAL = 1_700_000_000


def service(name: str, *ips: str, namespace: str = "default", ports: str = "80", **labels: str) -> Service:
    """Build a ClusterIP Service, headless with `None` as its address; ports are `NAME:NUMBER/PROTOCOL`."""
    spec = ServiceSpec(
        cluster_ip=ips[0],
        raw_cluster_ips=ips,
        raw_ports=tuple(
            ServicePort(number, port_name, protocol)  # type: ignore[arg-type]  # a text of the table's
            for port_name, number, protocol in map(_port, ports.split())
        ),
    )
    return Service(Metadata(name, namespace, labels), spec)


def external_name(name: str, target: str) -> Service:
    """Build a Service that is only a name for another host."""
    return Service(Metadata(name, "default"), ServiceSpec(type="ExternalName", external_name=target))


def endpoint_slice(name: str, of: str, **conditions_by_address: EndpointConditions) -> EndpointSlice:
    """Build a slice; addresses are keywords with `_` for `.`, or with a leading `x` and `_` for `:`."""
    is_ipv6 = any(key.startswith("x") for key in conditions_by_address)
    endpoints = tuple(
        Endpoint((key.removeprefix("x").replace("_", ":" if is_ipv6 else "."),), conditions)
        for key, conditions in conditions_by_address.items()
    )
    return slice_of(name, of, endpoints, is_ipv6=is_ipv6)


def slice_of(
    name: str,
    of: str,
    endpoints: Iterable[Endpoint],
    *,
    namespace: str = "default",
    ports: str = "",
    is_ipv6: bool = False,
) -> EndpointSlice:
    """Build a slice of these endpoints."""
    return EndpointSlice(
        Metadata(name, namespace, {SERVICE_NAME_LABEL: of}),
        "IPv6" if is_ipv6 else "IPv4",
        tuple(endpoints),
        tuple(
            EndpointPort(port_name, protocol, number)  # type: ignore[arg-type]  # a text of the table's
            for port_name, number, protocol in map(_port, ports.split())
        ),
    )


def endpoint(address: str, hostname: str | None = None, pod: str = "", **conditions: bool | None) -> Endpoint:
    """Build an endpoint, ready unless told otherwise."""
    target = ObjectReference("Pod", "default", pod) if pod else None
    return Endpoint((address,), EndpointConditions(**conditions), hostname=hostname, target_ref=target)


def pod(
    name: str, *ips: str, namespace: str = "default", phase: str = "Running", on_host: bool = False
) -> Pod:
    """Build a pod with these addresses."""
    status = PodStatus(phase, ips[0], tuple(map(PodIP, ips)))
    return Pod(Metadata(name, namespace), PodSpec(host_network=on_host), status)


def _port(text: str) -> tuple[str, int, str]:
    name, _, rest = text.rpartition(":")
    number, _, protocol = rest.partition("/")
    return name, int(number), protocol or "TCP"


def namespace(name: str, **labels: str) -> Namespace:
    """Build a Namespace."""
    return Namespace(Metadata(name, labels=labels))


def additions(*items: Object, scope: Scope | None = None) -> Batch:
    """Build the batch that brings these objects into an empty index."""
    return diff_objects({}, shrunk(items, scope))


def shrunk(items: Iterable[Object], scope: Scope | None = None) -> dict[ObjectKey, Object]:
    """Return what a scope has of these objects."""
    shrink = shrink_to(scope or Scope(has_pods=True))
    return {item.key: fact for item in items if (fact := shrink(item)) is not None}


def build_index(*items: Object, scope: Scope | None = None) -> Index:
    """Build the index of exactly these objects."""
    index = Index(scope)
    index.apply(additions(*items, scope=scope), SERIAL)
    return index
