"""What Kubernetes would refuse: the checks an API server makes, for objects that people write by hand."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address

from nodeplane.dnsname import is_label, is_subdomain
from nodeplane.kube.address_text import (
    ENDPOINT_ADDRESS,
    is_address,
    is_reachable,
    parse_address,
    parse_network,
)
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
)
from nodeplane.kube.service_validation import service_problems
from nodeplane.yamldoc import Problem

_ADDRESS_TYPES = {"IPv4": IPv4Address, "IPv6": IPv6Address}
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_MAX_HINTS = 8

# IsQualifiedName and IsValidLabelValue in k8s.io/apimachinery/pkg/util/validation.
_QUALIFIED_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


def problems(item: Object) -> Iterator[Problem]:
    """Yield the path of each wrong field and what is expected there."""
    yield from _metadata_problems(item)
    if isinstance(item, Service):
        yield from service_problems(item)
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
        network = parse_network(text)
        if network is None:
            yield ("spec", "podCIDRs", index), "expected a network, e.g. 10.244.0.0/24"
        elif network.version in versions:
            yield ("spec", "podCIDRs", index), "expected at most one network of each family"
        versions |= {network.version} if network else set()
    for index, entry in enumerate(node.status.addresses or ()):
        if entry.type in {"InternalIP", "ExternalIP"} and not is_address(entry.address):
            yield ("status", "addresses", index, "address"), "expected an IP address"


def _slice_problems(piece: EndpointSlice) -> Iterator[Problem]:
    family = _ADDRESS_TYPES.get(piece.address_type)
    for index, endpoint in enumerate(piece.endpoints):
        if not endpoint.addresses:
            yield ("endpoints", index, "addresses"), "expected at least one address"
        for number, text in enumerate(endpoint.addresses if family is not None else ()):
            address = parse_address(text)
            if address is None or type(address) is not family:
                yield ("endpoints", index, "addresses", number), f"expected an {piece.address_type} address"
            elif not is_reachable(address):
                yield ("endpoints", index, "addresses", number), ENDPOINT_ADDRESS
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
        network = parse_network(text)
        if network is None or str(network) != text:
            yield ("spec", "cidrs", index), "expected a network without host bits, e.g. 10.96.0.0/16"
        elif network.version in versions:
            yield ("spec", "cidrs", index), "expected at most one network of each family"
        versions |= {network.version} if network else set()
