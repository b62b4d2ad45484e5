"""What a topology must be beyond its types: the checks that need two fields, or words of their own."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Container, Iterator, Mapping
from ipaddress import IPv4Address
from typing import Any, TypeVar

from netns_lab.host_validation import client_problems, link_problems
from netns_lab.names import (
    LAB_NAME_WORDS,
    fabric_namespace,
    is_lab_name,
    node_namespace,
    pod_namespace,
    port_link,
)
from netns_lab.segment_validation import (
    node_address_problems,
    range_problems,
    router_problems,
    segment_problems,
)
from netns_lab.topology import Network, NodeSpec, PodSpec, Topology
from nodeplane.kube.objects import Object, Service
from nodeplane.kube.validation import key_problems, label_problems
from nodeplane.yamldoc import Problem

# RFC 1123: the name becomes a DNS label and a part of a file's name.
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_DOMAIN = re.compile(rf"{_LABEL.pattern}(\.{_LABEL.pattern})*")

_LABEL_WORDS = "expected a DNS label (up to 63 lower case letters, digits, '-')"

# kube-apiserver's own --service-node-port-range, and that of `netns-lab apiserver`.
_NODE_PORTS = range(30000, 32768)

T = TypeVar("T")


def problems(topology: Topology) -> Iterator[Problem]:
    """Yield the path of each wrong field and what is expected there."""
    if not is_lab_name(topology.name):
        yield ("name",), LAB_NAME_WORDS
    yield from range_problems(topology)
    yield from _network_problems(topology.network)
    if not topology.nodes:
        yield ("nodes",), "expected at least one node"
    names = Counter({fabric_namespace(topology.name): 1})
    for index, node in enumerate(topology.nodes):
        yield from ((("nodes", index, *path), words) for path, words in _node_problems(topology, index, node))
        names[node_namespace(topology.name, node.name)] += 1
    yield from segment_problems(topology)
    ports = {port_link(node.name) for node in topology.nodes}
    for index, router in enumerate(topology.routers):
        where = ("routers", index)
        yield from (((*where, *path), words) for path, words in _name_problems(topology, router.name, names))
        yield from (((*where, *path), words) for path, words in router_problems(topology, router))
        for each in router.interfaces:
            port = port_link(router.name, each.segment)
            if port in ports:
                # Dashes join the parts of a link's name: n1-a on b and n1 on a-b would be one.
                yield (*where, "name"), f"expected a name whose {port} is free"
            ports.add(port)
    for index, client in enumerate(topology.clients):
        where = ("clients", index)
        yield from (((*where, *path), words) for path, words in _name_problems(topology, client.name, names))
        yield from (((*where, *path), words) for path, words in client_problems(topology, client))
        names[node_namespace(topology.name, client.name)] += 1
        if port_link(client.name) in ports:
            yield (*where, "name"), f"expected a name whose {port_link(client.name)} is free"
        ports.add(port_link(client.name))
    yield from node_address_problems(topology)
    for index, pod in enumerate(topology.pods):
        yield from ((("pods", index, *path), words) for path, words in _pod_problems(topology, index, pod))
        names[pod_namespace(topology.name, pod)] += 1
        if names[pod_namespace(topology.name, pod)] > 1:
            # Dashes join the parts of a namespace's name: a-b/c and a/b-c would be one.
            yield (
                ("pods", index, "name"),
                f"expected a name whose {pod_namespace(topology.name, pod)} is free",
            )
    yield from link_problems(topology)


def object_problems(item: Object) -> Iterator[Problem]:
    """Yield what an API server refuses in any object, and nodeplane itself does not look at."""
    metadata = item.metadata
    yield from ((("metadata", "labels", *path), words) for path, words in label_problems(item.labels))
    # ValidateAnnotations (k8s.io/apimachinery/pkg/api/validation) is lenient about capitals in a prefix.
    keys = {key.lower(): key for key in metadata.annotations or {}}
    for path, words in key_problems(keys):
        yield ("metadata", "annotations", *(keys[str(step)] for step in path)), words


def service_problems(
    service: Service, spec: Mapping[str, Any], taken: set[tuple[str, int]], configured: Collection[str]
) -> Iterator[Problem]:
    """Yield what the lab's API server refuses in a Service, and put its node ports to those `taken`.

    `spec` is the Service's as it was written: nodeplane itself has no use for the address families, of which
    those `configured` have addresses.
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
    if not {*families} <= {*configured}:
        yield ("spec", "ipFamilies"), f"expected [{', '.join(configured)}], the lab has no other addresses"
    if spec.get("ipFamilyPolicy") == "RequireDualStack" and len(configured) == 1:
        yield ("spec", "ipFamilyPolicy"), "expected SingleStack or PreferDualStack, the lab has IPv4 alone"


def _network_problems(network: Network) -> Iterator[Problem]:
    """Yield what is wrong with the network's other fields, once its ranges are right."""
    services = network.service_ranges[0]
    dns = _parse(IPv4Address, network.cluster_dns)
    if dns is None or dns not in services:
        yield ("network", "clusterDNS"), f"expected an IPv4 address in serviceCIDR {services}"
    elif dns == network.api_service:
        yield ("network", "clusterDNS"), f"expected another address, {dns} is the API server's"
    if not _DOMAIN.fullmatch(network.cluster_domain):
        yield ("network", "clusterDomain"), "expected a DNS name in lower case without a final dot"


def _node_problems(topology: Topology, index: int, node: NodeSpec) -> Iterator[Problem]:
    yield from _name_problems(
        topology, node.name, {node_namespace(topology.name, other.name) for other in topology.nodes[:index]}
    )
    yield from ((("labels", *path), words) for path, words in label_problems(node.labels))
    for _, words in label_problems({"zone": node.zone}):
        yield ("zone",), words


def _name_problems(topology: Topology, name: str, taken: Container[str]) -> Iterator[Problem]:
    if not _LABEL.fullmatch(name):
        yield ("name",), _LABEL_WORDS
    elif node_namespace(topology.name, name) == fabric_namespace(topology.name):
        yield ("name",), "expected another name, this one is the segment's"
    elif node_namespace(topology.name, name) in taken:
        yield ("name",), "expected each node once"


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


def _parse(kind: Callable[[str], T], text: str) -> T | None:
    try:
        return kind(text)
    except ValueError:
        return None
