"""What Kubernetes would refuse of a Service (ValidateService in k/k pkg/apis/core/validation)."""

from collections.abc import Iterator, Sequence

from nodeplane.dnsname import is_label, is_subdomain
from nodeplane.kube.address_text import (
    ENDPOINT_ADDRESS,
    is_address,
    is_endpoint_address,
    is_virtual_address,
    parse_address,
    parse_network,
)
from nodeplane.kube.objects import (
    Service,
    ServicePort,
    ServiceSpec,
)
from nodeplane.yamldoc import Problem

_PORT = "expected a port number from 1 to 65535"


def service_problems(service: Service) -> Iterator[Problem]:
    """Yield what is wrong with a Service."""
    spec = service.spec
    if spec.cluster_ip not in {"", "None"} and not is_virtual_address(spec.cluster_ip):
        yield ("spec", "clusterIP"), "expected an IP address or None"
    families: set[int] = set()
    for index, text in enumerate(spec.raw_cluster_ips or ()):
        address = parse_address(text)
        if text != spec.cluster_ip and not is_virtual_address(text):
            yield ("spec", "clusterIPs", index), "expected an IP address or None"
        elif index > 0 and (address is None or spec.cluster_ip == "None"):
            yield ("spec", "clusterIPs", index), "expected None alone"
        elif address is not None and address.version in families:
            yield ("spec", "clusterIPs", index), "expected at most one address of each family"
        families |= {address.version} if address else set()
    if spec.raw_cluster_ips and spec.raw_cluster_ips[0] != spec.cluster_ip:
        yield ("spec", "clusterIPs", 0), "expected the same address as in clusterIP"
    if spec.type == "ExternalName" and not is_subdomain(spec.external_name.rstrip(".").lower()):
        yield ("spec", "externalName"), "expected a DNS name"
    if not spec.ports and not service.is_headless and spec.type != "ExternalName":
        yield ("spec", "ports"), "expected at least one port"
    if spec.cluster_ip == "None" and spec.type in {"NodePort", "LoadBalancer"}:
        yield ("spec", "clusterIP"), f"expected an address, since the type is {spec.type}"
    yield from _port_problems(spec.ports, has_node_ports=spec.type in {"NodePort", "LoadBalancer"})
    yield from _access_problems(service)
    for index, entry in enumerate(service.status.load_balancer.ingress or ()):
        path = ("status", "loadBalancer", "ingress", index)
        if entry.ip and not is_address(entry.ip):
            yield (*path, "ip"), "expected an IP address"
        if entry.ip_mode is not None and (not entry.ip or entry.ip_mode not in {"VIP", "Proxy"}):
            yield (*path, "ipMode"), "expected VIP or Proxy, beside an ip"


def _access_problems(service: Service) -> Iterator[Problem]:
    """Yield what is wrong with who may come in, from where, and how they are led."""
    spec = service.spec
    for index, text in enumerate(spec.raw_external_ips or ()):
        if not is_endpoint_address(text):
            yield ("spec", "externalIPs", index), ENDPOINT_ADDRESS
    is_balancer = spec.type == "LoadBalancer"
    if spec.load_balancer_source_ranges and not is_balancer:
        yield ("spec", "loadBalancerSourceRanges"), "expected only with type LoadBalancer"
    for index, text in enumerate(spec.load_balancer_source_ranges or ()):
        if parse_network(text.strip()) is None:
            yield ("spec", "loadBalancerSourceRanges", index), "expected a network, e.g. 10.0.0.0/8"
    is_external = is_balancer or spec.type == "NodePort" or bool(spec.raw_external_ips)
    if spec.external_traffic_policy is not None and (not is_external or spec.type == "ExternalName"):
        yield (
            ("spec", "externalTrafficPolicy"),
            "expected only with type NodePort or LoadBalancer, or with externalIPs",
        )
    if spec.health_check_node_port and not (is_balancer and spec.external_traffic_policy == "Local"):
        yield (
            ("spec", "healthCheckNodePort"),
            "expected only with type LoadBalancer and externalTrafficPolicy Local",
        )
    for name, word in (
        ("internalTrafficPolicy", spec.internal_traffic_policy),
        ("externalTrafficPolicy", spec.external_traffic_policy),
    ):
        if word not in {None, "Cluster", "Local"}:
            yield ("spec", name), "expected Cluster or Local"
    yield from _affinity_problems(spec)


def _affinity_problems(spec: ServiceSpec) -> Iterator[Problem]:
    if spec.session_affinity not in {"None", "ClientIP"}:
        yield ("spec", "sessionAffinity"), "expected None or ClientIP"
    client_ip = spec.session_affinity_config.client_ip if spec.session_affinity_config else None
    if client_ip and client_ip.timeout_seconds is not None and not 1 <= client_ip.timeout_seconds <= 86400:
        path = ("spec", "sessionAffinityConfig", "clientIP", "timeoutSeconds")
        yield path, "expected seconds, from 1 to 86400"
    if spec.session_affinity == "None" and spec.session_affinity_config is not None:
        yield ("spec", "sessionAffinityConfig"), "expected only with sessionAffinity ClientIP"


def _port_problems(ports: Sequence[ServicePort], *, has_node_ports: bool) -> Iterator[Problem]:
    seen: set[tuple[str, int]] = set()
    node_ports: set[tuple[str, int]] = set()
    names: set[str] = set()
    for index, port in enumerate(ports):
        if (port.protocol, port.port) in seen:
            yield ("spec", "ports", index, "port"), "expected each protocol and port once"
        if len(ports) > 1 and not port.name:
            yield ("spec", "ports", index, "name"), "expected a name, since there are several ports"
        elif port.name in names:
            yield ("spec", "ports", index, "name"), "expected each port name once"
        elif port.name and not is_label(port.name):
            yield ("spec", "ports", index, "name"), "expected a DNS label (lower case, digits, '-')"
        if isinstance(port.target_port, int) and not 1 <= port.target_port <= 65535:
            yield ("spec", "ports", index, "targetPort"), _PORT
        if port.node_port and not has_node_ports:
            yield ("spec", "ports", index, "nodePort"), "expected only with type NodePort or LoadBalancer"
        elif port.node_port and (port.protocol, port.node_port) in node_ports:
            yield ("spec", "ports", index, "nodePort"), "expected each protocol and node port once"
        node_ports.add((port.protocol, port.node_port or 0))
        seen.add((port.protocol, port.port))
        names.add(port.name)
