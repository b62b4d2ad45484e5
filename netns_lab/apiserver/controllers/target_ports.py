"""To which ports a Service leads in one pod. Pure; it follows k8s.io/endpointslice (getEndpointPorts)."""

from collections.abc import Iterator

from nodeplane.kube.objects import ContainerPort, EndpointPort, Pod, Service, ServicePort

Ports = tuple[EndpointPort, ...]


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
