"""Objects of a cluster in one line each, and an index of them, for tables."""

from coredns_lite.name_index import NameIndex
from nodeplane.kube.objects import (
    SERVICE_NAME_LABEL,
    Endpoint,
    EndpointConditions,
    EndpointSlice,
    Metadata,
    Namespace,
    Object,
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


def service(name: str, *ips: str, namespace: str = "default") -> Service:
    """Build a ClusterIP Service; `None` as its address makes it headless."""
    spec = ServiceSpec(cluster_ip=ips[0], raw_cluster_ips=ips, raw_ports=(ServicePort(80),))
    return Service(Metadata(name, namespace), spec)


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
    metadata = Metadata(name, "default", {SERVICE_NAME_LABEL: of})
    return EndpointSlice(metadata, "IPv6" if is_ipv6 else "IPv4", endpoints)


def namespace(name: str) -> Namespace:
    """Build a Namespace."""
    return Namespace(Metadata(name))


def additions(*items: Object) -> Batch:
    """Build the batch that brings these objects into an empty store."""
    return diff_objects({}, {item.key: item for item in items})


def build_index(*items: Object) -> NameIndex:
    """Build the index of exactly these objects."""
    index = NameIndex(TTL_S)
    index.apply(additions(*items), SERIAL)
    return index
