"""What Kubernetes would refuse: the checks an API server makes, for objects that people write by hand."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from socket import AF_INET, inet_pton

from nodeplane.dnsname import is_label, is_subdomain
from nodeplane.kube.objects import (
    CLUSTER_SCOPED,
    EndpointHints,
    EndpointSlice,
    Hint,
    Namespace,
    Node,
    Object,
    Service,
    ServiceCIDR,
    ServicePort,
    ServiceSpec,
)
from nodeplane.yamldoc import FieldPath

# ValidateEndpointIP in k/k pkg/apis/core/validation: unspecified, loopback, link-local, link-local multicast.
_NOT_REACHABLE: tuple[IPv4Network | IPv6Network, ...] = (
    *map(IPv4Network, ("0.0.0.0/32", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/24")),
    *map(IPv6Network, ("::/128", "::1/128", "fe80::/10", "ff02::/16")),
)
_NOT_REACHABLE_RANGES = {
    version: [(int(net[0]), int(net[-1])) for net in _NOT_REACHABLE if net.version == version]
    for version in (4, 6)
}
_ADDRESS_TYPES = {"IPv4": IPv4Address, "IPv6": IPv6Address}
_ENDPOINT_ADDRESS = "expected an address that other nodes can reach, not unspecified, loopback or link-local"
_PORT = "expected a port number from 1 to 65535"
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_MAX_HINTS = 8

# IsQualifiedName and IsValidLabelValue in k8s.io/apimachinery/pkg/util/validation.
_QUALIFIED_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")

Problem = tuple[FieldPath, str]


def problems(item: Object) -> Iterator[Problem]:
    """Yield the path of each wrong field and what is expected there."""
    yield from _metadata_problems(item)
    if isinstance(item, Service):
        yield from _service_problems(item)
    elif isinstance(item, EndpointSlice):
        yield from _slice_problems(item)
    elif isinstance(item, ServiceCIDR):
        yield from _service_cidr_problems(item)
    elif isinstance(item, Node):
        yield from _node_problems(item)


def label_problems(labels: Mapping[str, str]) -> Iterator[Problem]:
    """Yield what is wrong with labels, or a selector of labels."""
    yield from key_problems(labels)
    for key, text in labels.items():
        if text and not _QUALIFIED_NAME.fullmatch(text):
            yield (key,), "expected a label's value (up to 63 letters, digits, '-', '_', '.')"


def key_problems(keys: Iterable[str]) -> Iterator[Problem]:
    """Yield what is wrong with the keys of labels or annotations."""
    for key in keys:
        prefix, slash, name = key.rpartition("/")
        if not _QUALIFIED_NAME.fullmatch(name) or (slash and not is_subdomain(prefix)):
            yield (
                (key,),
                "expected a key such as app or example.com/app (up to 63 letters, digits, '-', '_', '.')",
            )


def _metadata_problems(item: Object) -> Iterator[Problem]:
    name, namespace = item.metadata.name, item.metadata.namespace
    # RFC 1123; the names of Services and namespaces become one DNS label, others may hold dots.
    if isinstance(item, Service | Namespace):
        is_good, words = is_label(name), "a DNS label"
    else:
        is_good, words = is_subdomain(name), "a DNS subdomain name"
    if not is_good:
        yield ("metadata", "name"), f"expected {words} (lower case, digits, '-')"
    if type(item) not in CLUSTER_SCOPED and not is_label(namespace):
        yield ("metadata", "namespace"), "expected a DNS label (lower case, digits, '-')"


def _node_problems(node: Node) -> Iterator[Problem]:
    versions: set[int] = set()
    for index, text in enumerate(node.spec.pod_cidrs or ()):
        network = _parse_network(text)
        if network is None:
            yield ("spec", "podCIDRs", index), "expected a network, e.g. 10.244.0.0/24"
        elif network.version in versions:
            yield ("spec", "podCIDRs", index), "expected at most one network of each family"
        versions |= {network.version} if network else set()
    for index, entry in enumerate(node.status.addresses or ()):
        if entry.type in {"InternalIP", "ExternalIP"} and not _is_address(entry.address):
            yield ("status", "addresses", index, "address"), "expected an IP address"


def _service_problems(service: Service) -> Iterator[Problem]:
    spec = service.spec
    if spec.cluster_ip not in {"", "None"} and not _is_virtual_address(spec.cluster_ip):
        yield ("spec", "clusterIP"), "expected an IP address or None"
    families: set[int] = set()
    for index, text in enumerate(spec.raw_cluster_ips or ()):
        address = _parse_address(text)
        if text != spec.cluster_ip and not _is_virtual_address(text):
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
        if entry.ip and not _is_address(entry.ip):
            yield (*path, "ip"), "expected an IP address"
        if entry.ip_mode is not None and (not entry.ip or entry.ip_mode not in {"VIP", "Proxy"}):
            yield (*path, "ipMode"), "expected VIP or Proxy, beside an ip"


def _access_problems(service: Service) -> Iterator[Problem]:
    """Yield what is wrong with who may come in, from where, and how they are led (ValidateService in k/k)."""
    spec = service.spec
    for index, text in enumerate(spec.raw_external_ips or ()):
        if not is_endpoint_address(text):
            yield ("spec", "externalIPs", index), _ENDPOINT_ADDRESS
    is_balancer = spec.type == "LoadBalancer"
    if spec.load_balancer_source_ranges and not is_balancer:
        yield ("spec", "loadBalancerSourceRanges"), "expected only with type LoadBalancer"
    for index, text in enumerate(spec.load_balancer_source_ranges or ()):
        if _parse_network(text.strip()) is None:
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


def _slice_problems(piece: EndpointSlice) -> Iterator[Problem]:
    family = _ADDRESS_TYPES.get(piece.address_type)
    for index, endpoint in enumerate(piece.endpoints):
        if not endpoint.addresses:
            yield ("endpoints", index, "addresses"), "expected at least one address"
        for number, text in enumerate(endpoint.addresses if family is not None else ()):
            address = _parse_address(text)
            if address is None or type(address) is not family:
                yield ("endpoints", index, "addresses", number), f"expected an {piece.address_type} address"
            elif not _is_reachable(address):
                yield ("endpoints", index, "addresses", number), _ENDPOINT_ADDRESS
        if endpoint.hints is not None:
            for path, expected in _hint_problems(endpoint.hints):
                yield ("endpoints", index, "hints", *path), expected
    names: set[str] = set()
    for index, port in enumerate(piece.ports):
        if (port.name or "") in names:
            yield ("ports", index, "name"), "expected each port name once"
        names.add(port.name or "")


def _hint_problems(hints: EndpointHints) -> Iterator[Problem]:
    listed: tuple[tuple[str, Sequence[Hint] | None], ...] = (
        ("forZones", hints.for_zones),
        ("forNodes", hints.for_nodes),
    )
    for field, names in listed:
        seen: set[str] = set()
        if len(names or ()) > _MAX_HINTS:
            yield (field,), f"expected at most {_MAX_HINTS}"
        for index, hint in enumerate(names or ()):
            is_good = _LABEL_VALUE.fullmatch(hint.name) if field == "forZones" else is_subdomain(hint.name)
            if not is_good:
                yield (field, index, "name"), f"expected the name of a {field[3:-1].lower()}"
            elif hint.name in seen:
                yield (field, index, "name"), "expected each name once"
            seen.add(hint.name)


def _service_cidr_problems(item: ServiceCIDR) -> Iterator[Problem]:
    cidrs = item.spec.cidrs or ()
    if not 1 <= len(cidrs) <= 2:
        yield ("spec", "cidrs"), "expected one network of one family or of each"
    versions: set[int] = set()
    for index, text in enumerate(cidrs):
        network = _parse_network(text)
        if network is None or str(network) != text:
            yield ("spec", "cidrs", index), "expected a network without host bits, e.g. 10.96.0.0/16"
        elif network.version in versions:
            yield ("spec", "cidrs", index), "expected at most one network of each family"
        versions |= {network.version} if network else set()


def _parse_network(text: str) -> IPv4Network | IPv6Network | None:
    address, slash, length = text.partition("/")
    if not slash or not (length.isascii() and length.isdigit()) or _parse_address(address) is None:
        return None
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def _is_address(text: str) -> bool:
    return _parse_address(text) is not None


def _is_virtual_address(text: str) -> bool:
    """Say whether an address can be a Service's: these never are in a range that an API server takes."""
    address = _parse_address(text)
    return address is not None and not (address.is_unspecified or address.is_loopback or address.is_multicast)


def is_endpoint_address(text: str) -> bool:
    """Say whether an address can be an endpoint's (ValidateEndpointIP in k/k pkg/apis/core/validation)."""
    address = _parse_address(text)
    return address is not None and _is_reachable(address)


def _is_reachable(address: IPv4Address | IPv6Address) -> bool:
    # As numbers, and without a generator: a source has to look at some 100,000 addresses.
    number = int(address)
    for low, high in _NOT_REACHABLE_RANGES[address.version]:  # noqa: SIM110
        if low <= number <= high:
            return False
    return True


def _parse_address(text: str) -> IPv4Address | IPv6Address | None:
    if "%" in text:
        # An interface of the machine that wrote it (RFC 4007): no address for a cluster.
        return None
    try:
        # The kernel's notation is a part of what `ip_address` takes, and read in C.
        return IPv4Address(inet_pton(AF_INET, text))
    except (OSError, ValueError):
        pass
    try:
        address = ip_address(text)
    except ValueError:
        return None
    # IPv4-mapped: an IPv4 address to some programs, an IPv6 address to others (KEP-4858).
    return None if isinstance(address, IPv6Address) and address.ipv4_mapped else address
