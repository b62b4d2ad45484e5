"""From a Service and its Pods to the endpoints it should have: pure.

It follows k8s.io/endpointslice (podToEndpoint, getEndpointPorts, trafficdist). One difference: an endpoint
on a node that is not ready is not ready; upstream gets there by writing each of the node's pods.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from typing import Literal, TypeAlias

import msgspec

from netns_lab.apiserver.controllers.target_ports import target_ports
from nodeplane.kube.objects import (
    Endpoint,
    EndpointConditions,
    EndpointHints,
    EndpointPort,
    EndpointSlice,
    Hint,
    Metadata,
    ObjectReference,
    Pod,
    Service,
    ServiceSpec,
)

Family: TypeAlias = Literal["IPv4", "IPv6"]
Ports: TypeAlias = tuple[EndpointPort, ...]

_ENDED = ("Failed", "Succeeded")


class Identity(Metadata, frozen=True):
    """Metadata with what ties objects to one another and ends them."""

    uid: str = ""
    deletion_timestamp: str | None = None


class BackingPod(Pod, frozen=True):
    """A Pod as the controller reads it."""

    metadata: Identity


class BackedServiceSpec(ServiceSpec, frozen=True):
    """A Service's spec with the fields that decide about endpoints."""

    publish_not_ready_addresses: bool = False
    traffic_distribution: str = ""
    ip_families: tuple[Family, ...] | None = None


class BackedService(Service, frozen=True):
    """A Service as the controller reads it."""

    metadata: Identity
    spec: BackedServiceSpec = BackedServiceSpec()

    @property
    def has_selector(self) -> bool:
        """Whether its endpoints are the controller's to make."""
        return bool(self.spec.selector) and self.spec.type != "ExternalName"


class PodReference(ObjectReference, frozen=True):
    """The pod behind an endpoint."""

    uid: str = ""


class Backend(Endpoint, frozen=True):
    """An endpoint with everything that the controller writes."""

    target_ref: PodReference | None = None


class BackendSlice(EndpointSlice, frozen=True):
    """An EndpointSlice as the controller reads and writes it."""

    raw_endpoints: tuple[Backend, ...] | None = msgspec.field(name="endpoints", default=None)

    @property
    def endpoints(self) -> tuple[Backend, ...]:
        """The endpoints; the API server writes null for none."""
        return self.raw_endpoints or ()


class NodeFacts(msgspec.Struct, frozen=True):
    """What of a node decides about its endpoints."""

    zone: str = ""
    is_ready: bool = True


class SliceGroup(msgspec.Struct, frozen=True):
    """What the endpoints of one slice have in common."""

    family: Family
    ports: Ports


Backends: TypeAlias = dict[SliceGroup, tuple[Backend, ...]]


def build_backends(
    service: BackedService, pods: Iterable[BackingPod], nodes: Mapping[str, NodeFacts]
) -> Backends:
    """Return the endpoints of a Service with a selector, by what their slices have in common."""
    found: defaultdict[SliceGroup, list[Backend]] = defaultdict(list)
    selector = (service.spec.selector or {}).items()
    for pod in pods:
        if pod.status.phase in _ENDED or not selector <= pod.labels.items():
            continue
        for family in service.spec.ip_families or ("IPv4",):
            address = _address(pod, family)
            if address is not None:
                group = SliceGroup(family, target_ports(service, pod))
                found[group].append(
                    _backend(service, pod, address, nodes.get(pod.spec.node_name, NodeFacts()))
                )
    return {group: tuple(sorted(entries, key=_order)) for group, entries in found.items()}


def _order(backend: Backend) -> tuple[int, str]:
    return int(ip_address(backend.addresses[0])), backend.target_ref.name if backend.target_ref else ""


def _address(pod: BackingPod, family: Family) -> str | None:
    return next(
        (address for address in _addresses(pod) if f"IPv{ip_address(address).version}" == family), None
    )


def _addresses(pod: BackingPod) -> Iterator[str]:
    if pod.status.pod_ips:
        yield from (entry.ip for entry in pod.status.pod_ips)
    elif pod.status.pod_ip:
        yield pod.status.pod_ip


def _backend(service: BackedService, pod: BackingPod, address: str, node: NodeFacts) -> Backend:
    conditions = {condition.type: condition.status for condition in pod.status.conditions or ()}
    is_serving = conditions.get("Ready") == "True" and node.is_ready
    is_terminating = pod.metadata.deletion_timestamp is not None
    is_ready = service.spec.publish_not_ready_addresses or (is_serving and not is_terminating)
    # A hostname becomes a name in DNS only below the Service that the pod names as its subdomain.
    has_name = pod.spec.hostname and pod.spec.subdomain == service.metadata.name
    return Backend(
        addresses=(address,),
        conditions=EndpointConditions(ready=is_ready, serving=is_serving, terminating=is_terminating),
        hostname=pod.spec.hostname if has_name else None,
        node_name=pod.spec.node_name or None,
        zone=node.zone or None,
        target_ref=PodReference(
            kind="Pod", namespace=pod.metadata.namespace, name=pod.metadata.name, uid=pod.metadata.uid
        ),
        hints=_hints(service.spec.traffic_distribution, pod, node) if is_ready else None,
    )


def _hints(distribution: str, pod: BackingPod, node: NodeFacts) -> EndpointHints | None:
    zones = (Hint(node.zone),) if node.zone else ()
    if distribution in {"PreferClose", "PreferSameZone"} and zones:
        return EndpointHints(for_zones=zones)
    if distribution == "PreferSameNode" and pod.spec.node_name:
        return EndpointHints(for_zones=zones or None, for_nodes=(Hint(pod.spec.node_name),))
    return None
