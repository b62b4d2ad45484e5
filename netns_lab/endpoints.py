"""From Services with selectors and Pods to EndpointSlices: what the endpoint slice controller does.

Pure. It follows k8s.io/endpointslice: pods whose ports lead to the same numbers share a slice, a named
target port that a pod does not have leaves that port out for it, and pods without an address are left out.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address

from nodeplane.kube.objects import (
    SERVICE_NAME_LABEL,
    ContainerPort,
    Endpoint,
    EndpointConditions,
    EndpointPort,
    EndpointSlice,
    Metadata,
    ObjectReference,
    Pod,
    Service,
    ServicePort,
)

Ports = tuple[EndpointPort, ...]


def build_slices(
    services: Iterable[Service], pods: Iterable[Pod], zones: Mapping[str, str]
) -> Iterator[EndpointSlice]:
    """Yield the EndpointSlices of every Service that has a selector; `zones` tells the zone of a node."""
    by_namespace: defaultdict[str, list[Pod]] = defaultdict(list)
    for pod in pods:
        by_namespace[pod.metadata.namespace].append(pod)
    for service in services:
        if service.spec.selector and service.spec.type != "ExternalName":
            yield from _service_slices(service, by_namespace[service.metadata.namespace], zones)


def _service_slices(
    service: Service, pods: Iterable[Pod], zones: Mapping[str, str]
) -> Iterator[EndpointSlice]:
    selector = (service.spec.selector or {}).items()
    backends: defaultdict[Ports, list[Endpoint]] = defaultdict(list)
    for pod in pods:
        if pod.status.pod_ip and pod.status.phase == "Running" and selector <= pod.labels.items():
            backends[target_ports(service, pod)].append(_endpoint(pod, zones))
    for ports, endpoints in backends.items():
        yield EndpointSlice(
            metadata=Metadata(
                name=f"{service.metadata.name}-{_ports_hash(ports)}",
                namespace=service.metadata.namespace,
                labels={SERVICE_NAME_LABEL: service.metadata.name},
            ),
            address_type="IPv4",
            raw_endpoints=tuple(sorted(endpoints, key=_address)),
            raw_ports=ports,
        )


def target_ports(service: Service, pod: Pod) -> Ports:
    """Return the ports that a Service's ports lead to in one pod; a name that the pod lacks is left out."""
    resolved = ((port, _target_number(port, pod)) for port in service.spec.ports)
    return tuple(
        EndpointPort(name=port.name, protocol=port.protocol, port=number)
        for port, number in resolved
        if number is not None
    )


def _target_number(port: ServicePort, pod: Pod) -> int | None:
    if isinstance(port.target_port, str):
        return next(
            (
                candidate.container_port
                for candidate in _container_ports(pod)
                if (candidate.name, candidate.protocol) == (port.target_port, port.protocol)
            ),
            None,
        )
    # "Defaults to the port" (v1.ServicePort.targetPort).
    return port.target_port or port.port


def _container_ports(pod: Pod) -> Iterator[ContainerPort]:
    for container in pod.spec.containers:
        yield from container.ports or ()


def _endpoint(pod: Pod, zones: Mapping[str, str]) -> Endpoint:
    # A pod without a Ready condition is ready: the lab's own pods are, once they have an address.
    conditions = {condition.type: condition.status for condition in pod.status.conditions or ()}
    ready = conditions.get("Ready", "True") == "True"
    return Endpoint(
        addresses=(pod.status.pod_ip,),
        conditions=EndpointConditions(ready=ready, serving=ready, terminating=False),
        node_name=pod.spec.node_name,
        zone=zones.get(pod.spec.node_name) or None,
        target_ref=ObjectReference(kind="Pod", namespace=pod.metadata.namespace, name=pod.metadata.name),
    )


def _address(endpoint: Endpoint) -> IPv4Address:
    return IPv4Address(endpoint.addresses[0])


def _ports_hash(ports: Ports) -> str:
    """Name a set of ports in five characters, as the controller's generated names end."""
    text = ",".join(f"{port.name}/{port.protocol}/{port.port}" for port in ports)
    return hashlib.sha256(text.encode()).hexdigest()[:5]
