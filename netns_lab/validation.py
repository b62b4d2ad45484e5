"""What a topology must be beyond its types: the checks that need two fields, or words of their own."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any, TypeVar

from netns_lab.names import LAB_NAME_WORDS, fabric_namespace, is_lab_name, node_namespace, pod_namespace
from netns_lab.topology import Network, NodeSpec, PodSpec, Topology
from nodeplane.kube.objects import Object, Service
from nodeplane.kube.validation import key_problems, label_problems
from nodeplane.yamldoc import FieldPath

# RFC 1123: the name becomes a DNS label and a part of a file's name.
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_DOMAIN = re.compile(rf"{_LABEL.pattern}(\.{_LABEL.pattern})*")

# `netns-lab apiserver` takes no smaller ranges.
_SMALLEST_RANGE = 8

_LABEL_WORDS = "expected a DNS label (up to 63 lower case letters, digits, '-')"

# What the kernel never routes from host to host as an ordinary address; pods' gateway is link-local too.
_UNUSABLE = {
    IPv4Network("0.0.0.0/8"): "this host's",
    IPv4Network("127.0.0.0/8"): "loopback",
    IPv4Network("169.254.0.0/16"): "link-local",
    IPv4Network("224.0.0.0/4"): "multicast",
}

# kube-apiserver's own --service-node-port-range, and that of `netns-lab apiserver`.
_NODE_PORTS = range(30000, 32768)

T = TypeVar("T")

Problem = tuple[FieldPath, str]


def problems(topology: Topology) -> Iterator[Problem]:
    """Yield the path of each wrong field and what is expected there."""
    if not is_lab_name(topology.name):
        yield ("name",), LAB_NAME_WORDS
    yield from _network_problems(topology.network)
    if not topology.nodes:
        yield ("nodes",), "expected at least one node"
    names = Counter({fabric_namespace(topology.name): 1})
    for index, node in enumerate(topology.nodes):
        yield from ((("nodes", index, *path), words) for path, words in _node_problems(topology, index, node))
        names[node_namespace(topology.name, node.name)] += 1
    yield from _segment_problems(topology)
    for index, pod in enumerate(topology.pods):
        yield from ((("pods", index, *path), words) for path, words in _pod_problems(topology, index, pod))
        names[pod_namespace(topology.name, pod)] += 1
        if names[pod_namespace(topology.name, pod)] > 1:
            # Dashes join the parts of a namespace's name: a-b/c and a/b-c would be one.
            yield (
                ("pods", index, "name"),
                f"expected a name whose {pod_namespace(topology.name, pod)} is free",
            )


def object_problems(item: Object) -> Iterator[Problem]:
    """Yield what an API server refuses in any object, and nodeplane itself does not look at."""
    metadata = item.metadata
    yield from ((("metadata", "labels", *path), words) for path, words in label_problems(item.labels))
    # ValidateAnnotations (k8s.io/apimachinery/pkg/api/validation) is lenient about capitals in a prefix.
    keys = {key.lower(): key for key in metadata.annotations or {}}
    for path, words in key_problems(keys):
        yield ("metadata", "annotations", *(keys[str(step)] for step in path)), words


def service_problems(
    service: Service, spec: Mapping[str, Any], taken: set[tuple[str, int]]
) -> Iterator[Problem]:
    """Yield what the lab's API server refuses in a Service, and put its node ports to those `taken`.

    `spec` is the Service's as it was written: nodeplane itself has no use for the address families.
    """
    for index, port in enumerate(service.spec.ports):
        path, number = ("spec", "ports", index, "nodePort"), port.node_port
        if not number:
            continue
        if number not in _NODE_PORTS:
            yield path, f"expected a port number from {_NODE_PORTS[0]} to {_NODE_PORTS[-1]}"
        if (port.protocol, number) in taken:
            yield path, "expected each protocol and node port once"
        taken.add((port.protocol, number))
    yield from (
        (("spec", "selector", *path), words) for path, words in label_problems(service.spec.selector or {})
    )
    if service.is_headless and not service.spec.selector:
        return  # its endpoints are its author's, of any family
    families = spec.get("ipFamilies") or []
    if families not in ([], ["IPv4"]):
        yield ("spec", "ipFamilies"), "expected [IPv4], the lab has no other addresses"
    if spec.get("ipFamilyPolicy") == "RequireDualStack":
        yield ("spec", "ipFamilyPolicy"), "expected SingleStack or PreferDualStack, the lab has IPv4 alone"


def _network_problems(network: Network) -> Iterator[Problem]:
    fields = {"segment": network.segment, "podPool": network.pod_pool, "serviceCIDR": network.service_cidr}
    ranges: dict[str, IPv4Network] = {}
    for field, text in fields.items():
        parsed = _parse(IPv4Network, text)
        if parsed is None:
            yield ("network", field), "expected an IPv4 network such as 10.0.0.0/16, host bits zero"
            continue
        for unusable, words in _UNUSABLE.items():
            if parsed.overlaps(unusable):
                yield ("network", field), f"expected a network apart from {unusable} ({words} addresses)"
        if field != "segment" and parsed.num_addresses < _SMALLEST_RANGE:
            yield ("network", field), f"expected a network of {_SMALLEST_RANGE} addresses or more"
        for other, taken in ranges.items():
            if parsed.overlaps(taken):
                yield ("network", field), f"expected a network apart from {other} {taken}"
        ranges[field] = parsed
    if "podPool" in ranges and network.block_size < ranges["podPool"].prefixlen:
        yield (
            ("network", "blockSize"),
            f"expected at least the pool's prefix length {ranges['podPool'].prefixlen}",
        )
    dns = _parse(IPv4Address, network.cluster_dns)
    if dns is None or ("serviceCIDR" in ranges and dns not in ranges["serviceCIDR"]):
        yield ("network", "clusterDNS"), f"expected an IPv4 address in serviceCIDR {network.service_cidr}"
    elif "serviceCIDR" in ranges and dns == network.api_service:
        yield ("network", "clusterDNS"), f"expected another address, {dns} is the API server's"
    if not _DOMAIN.fullmatch(network.cluster_domain):
        yield ("network", "clusterDomain"), "expected a DNS name in lower case without a final dot"


def _node_problems(topology: Topology, index: int, node: NodeSpec) -> Iterator[Problem]:
    before = topology.nodes[:index]
    if not _LABEL.fullmatch(node.name):
        yield ("name",), _LABEL_WORDS
    elif node_namespace(topology.name, node.name) == fabric_namespace(topology.name):
        yield ("name",), "expected another name, this one is the segment's"
    elif node.name in {other.name for other in before}:
        yield ("name",), "expected each node once"
    yield from ((("labels", *path), words) for path, words in label_problems(node.labels))
    for _, words in label_problems({"zone": node.zone}):
        yield ("zone",), words
    if node.address is None:
        return
    address, segment = _parse(IPv4Address, node.address), _parse(IPv4Network, topology.network.segment)
    if address is None or segment is None or not _is_host(address, segment):
        yield ("address",), f"expected a host's address in segment {topology.network.segment}"
    elif address == topology.network.gateway:
        yield ("address",), f"expected another address, {address} is the segment's gateway"
    elif node.address in {other.address for other in before}:
        yield ("address",), "expected each address once"


def _segment_problems(topology: Topology) -> Iterator[Problem]:
    segment = _parse(IPv4Network, topology.network.segment)
    # Network and broadcast address and the gateway are no node's (a /31 and a /32 have room for none).
    if segment is not None and segment.num_addresses - 3 < len(topology.nodes):
        yield ("network", "segment"), f"expected room for {len(topology.nodes)} nodes and a gateway"


def _pod_problems(topology: Topology, index: int, pod: PodSpec) -> Iterator[Problem]:
    for field, name in (("namespace", pod.namespace), ("name", pod.name)):
        if not _LABEL.fullmatch(name):
            yield (field,), _LABEL_WORDS
    yield from ((("labels", *path), words) for path, words in label_problems(pod.labels))
    if pod.key in {other.key for other in topology.pods[:index]}:
        yield ("name",), f"expected each pod once, {pod.key} is here twice"
    if pod.node not in {node.name for node in topology.nodes}:
        yield ("node",), "expected the name of a node"
    if pod.command and not pod.command[0]:
        yield ("command", 0), "expected a program"
    for number, word in enumerate(pod.command):
        if "\0" in word:  # execve(2) takes words that end there
            yield ("command", number), "expected a word without a NUL character"
    numbers: set[tuple[str, int]] = set()
    port_names: set[str] = set()
    for number, port in enumerate(pod.ports):
        if (port.protocol, port.port) in numbers:
            yield ("ports", number, "port"), "expected each protocol and port once"
        if port.name and not _LABEL.fullmatch(port.name):
            yield ("ports", number, "name"), _LABEL_WORDS
        elif port.name in port_names:
            yield ("ports", number, "name"), "expected each port name once"
        numbers.add((port.protocol, port.port))
        port_names |= {port.name} - {""}


def _is_host(address: IPv4Address, segment: IPv4Network) -> bool:
    return address in segment and address not in {segment.network_address, segment.broadcast_address}


def _parse(kind: Callable[[str], T], text: str) -> T | None:
    try:
        return kind(text)
    except ValueError:
        return None
