"""The Services of the matrix, each with addresses of its own, all in the kernel at the same time.

Endpoints are written as words: `mate:draining@z1#n2` is the pod `mate`, draining, with a hint for zone z1 and
one for node n2; `|` begins another slice.
"""

import re
from typing import Any

import msgspec

from nodeplane.kube.objects import ClientIPConfig as ClientIP
from nodeplane.kube.objects import (
    Endpoint,
    EndpointConditions,
    EndpointPort,
    EndpointSlice,
    LoadBalancerIngress,
    Protocol,
    Service,
    ServicePort,
    SessionAffinityConfig,
)
from tests.kubeproxy import objects
from tests.kubeproxy.matrix.topology import SITES, address_of

SERVICE_CIDRS = ("10.96.0.0/16", "fd00:96::/112")
ALL_PROTOCOLS: tuple[Protocol, ...] = ("TCP", "UDP", "SCTP")

_CONDITIONS = {
    "": objects.READY,
    "unready": objects.UNREADY,
    "draining": objects.DRAINING,
    "dying": objects.DYING,
    "unknown": EndpointConditions(),
}
_WORD = re.compile(r"(?P<site>\w+)(:(?P<condition>\w+))?(@(?P<zone>\w+))?(#(?P<node>\w+))?")


class Shape(msgspec.Struct, frozen=True):
    """One Service and its slices.

    Attributes:
        families: The IP versions that it has cluster IPs of.
        protocols: Of its ports, all of which are port 80.
        ip_mode: Of its load balancer's addresses.
        spec: More of its spec.
        is_large: Of thousands of elements, and so only there where it is asked for.
    """

    name: str
    endpoints: str = ""
    families: tuple[int, ...] = (4, 6)
    protocols: tuple[Protocol, ...] = ALL_PROTOCOLS
    ip_mode: str | None = None
    labels: dict[str, str] | None = None
    slice_labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    spec: dict[str, Any] = {}
    is_large: bool = False


def _sticky(name: str, endpoints: str, timeout_s: int, **spec: Any) -> Shape:
    config = SessionAffinityConfig(ClientIP(timeout_s))
    return Shape(
        name, endpoints, spec={"session_affinity": "ClientIP", "session_affinity_config": config} | spec
    )


_LOCAL = {"external_traffic_policy": "Local"}
_HERE = {"internal_traffic_policy": "Local"}


def _ranges(*networks: str, **spec: Any) -> dict[str, Any]:
    return {"load_balancer_source_ranges": networks} | spec


_ALL = "pod mate away"
_CLIENTS = ("203.0.113.0/24", "2001:db8::/64")
_PODS = ("10.244.1.0/24", "fd00:244:1::/48")

_SHAPES = (
    # Readiness.
    Shape("web", _ALL),
    Shape("empty"),
    Shape("some-unready", "pod mate:unready away:unready"),
    Shape("all-unready", "pod:unready away:unready"),
    Shape("draining", "mate:draining away:draining"),
    Shape("draining-beside-ready", "pod mate:draining away:draining"),
    Shape("dying", "mate:dying away:dying"),
    Shape("unknown-readiness", "pod:unknown mate:unready"),
    Shape("host", "node away"),
    Shape("only-away", "away"),
    Shape("only-mate", "mate"),
    # Policies.
    Shape("local", _ALL, spec=_LOCAL),
    Shape("local-away", "away", spec=_LOCAL),
    Shape("local-here", "pod mate", spec=_LOCAL),
    Shape("local-empty", spec=_LOCAL),
    Shape("local-draining", "mate:draining away", spec=_LOCAL),
    Shape("local-draining-beside-ready", "pod mate:draining away", spec=_LOCAL),
    Shape("local-unready", "mate:unready away", spec=_LOCAL),
    Shape("local-dying", "mate:dying away", spec=_LOCAL),
    Shape("local-all-draining", "mate:draining away:draining", spec=_LOCAL),
    Shape("internal", _ALL, spec=_HERE),
    Shape("internal-away", "away", spec=_HERE),
    Shape("internal-empty", spec=_HERE),
    Shape("internal-draining", "mate:draining away", spec=_HERE),
    Shape("internal-unready", "mate:unready away", spec=_HERE),
    Shape("both-local", _ALL, spec=_LOCAL | _HERE),
    Shape("both-local-away", "away", spec=_LOCAL | _HERE),
    # Hints; this node is n1 in zone z1.
    Shape("zones", "pod@z1 mate@z2 away@z1"),
    Shape("zones-away", "pod@z2 mate@z2 away@z1"),
    Shape("zone-missing", "pod@z1 mate away@z2"),
    Shape("zones-elsewhere", "pod@z2 mate@z3 away@z2"),
    Shape("zones-with-unready", "pod@z1 mate@z2 away:unready"),
    Shape("nodes", "pod#n1 mate#n2 away#n2"),
    Shape("nodes-away", "pod#n2 mate#n2 away#n1"),
    Shape("node-missing", "pod#n1 mate away#n2"),
    Shape("nodes-before-zones", "pod@z1#n1 mate@z1#n2 away@z1#n2"),
    Shape("zones-after-nodes", "pod@z1#n2 mate@z2#n2 away@z1#n3"),
    Shape("local-zones", "pod@z2 mate@z2 away@z1", spec=_LOCAL),
    Shape("internal-zones", "pod@z2 mate@z2 away@z1", spec=_HERE),
    Shape("draining-zones", "pod:draining@z2 away:draining@z1"),
    # Source ranges.
    Shape("for-clients", _ALL, spec=_ranges(f" {_CLIENTS[0]} ", _CLIENTS[1])),
    Shape("for-pods", _ALL, spec=_ranges(*_PODS)),
    Shape("for-all", _ALL, spec=_ranges("0.0.0.0/0", "::/0")),
    Shape("for-all-and-more", _ALL, spec=_ranges("192.0.2.0/24", "0.0.0.0/0", "2001:db8:f::/64", "::/0")),
    Shape("for-all-v4", _ALL, spec=_ranges("0.0.0.0/0")),
    Shape("for-all-v4-clients-v6", _ALL, spec=_ranges("0.0.0.0/0", _CLIENTS[1])),
    Shape("for-clients-v4", _ALL, spec=_ranges(_CLIENTS[0])),
    Shape("for-pods-empty", spec=_ranges(*_PODS)),
    Shape("for-pods-local", _ALL, spec=_ranges(*_PODS, **_LOCAL)),
    Shape("for-clients-local", _ALL, spec=_ranges(*_CLIENTS, **_LOCAL)),
    Shape("for-clients-local-away", "away", spec=_ranges(*_CLIENTS, **_LOCAL)),
    # Published, or not.
    Shape("mode-vip", _ALL, ip_mode="VIP"),
    Shape("mode-proxy", _ALL, ip_mode="Proxy"),
    Shape("hostname", _ALL, ip_mode="hostname"),
    Shape("headless", _ALL, spec={"cluster_ip": "None", "raw_cluster_ips": ("None",)}),
    Shape("by-name", _ALL, spec={"type": "ExternalName", "external_name": "example.org"}),
    Shape("others", _ALL, labels={"service.kubernetes.io/service-proxy-name": "theirs"}),
    Shape("headless-slice", _ALL, slice_labels={"service.kubernetes.io/headless": ""}),
    Shape("others-slice", _ALL, slice_labels={"service.kubernetes.io/service-proxy-name": "theirs"}),
    Shape("node-port-type", _ALL, spec={"type": "NodePort"}),
    Shape("single-v4", _ALL, families=(4,)),
    Shape("single-v6", _ALL, families=(6,)),
    Shape("tcp-only", _ALL, protocols=("TCP",)),
    Shape("udp-only", _ALL, protocols=("UDP",)),
    # Slices together.
    Shape("two-slices", "pod mate|away"),
    Shape("duplicate", "pod away|pod"),
    Shape("duplicate-unready-first", "pod:unready away|pod"),
    Shape("duplicate-unready-last", "pod away|pod:unready"),
    Shape("duplicate-draining", "pod:draining away|pod"),
    # Choice.
    _sticky("sticky", _ALL, 10800),
    _sticky("sticky-two", "mate away", 10800),
    _sticky("sticky-briefly", _ALL, 1),
    _sticky("sticky-local", _ALL, 10800, **_LOCAL),
    _sticky("sticky-empty", "", 10800),
    Shape("by-source", _ALL, annotations={"nodeplane.io/lb": "source-hash"}, is_large=True),
    Shape("by-flow", _ALL, annotations={"nodeplane.io/lb": "maglev"}, is_large=True),
    Shape(
        "weighted",
        _ALL,
        annotations={
            "nodeplane.io/weights": ",".join(
                f"{address_of(site, version)}={weight}"
                for site, weight in (("pod", 0), ("mate", 3), ("away", 1))
                for version in (4, 6)
            )
        },
    ),
)
SHAPES = {shape.name: shape for shape in _SHAPES}
_NUMBERS = {name: number for number, name in enumerate(SHAPES, start=1)}
FREE_NUMBER = 250
"""Of no Service."""


def cluster_ip(name: str, version: int) -> str:
    """Return a Service's own address."""
    return _number(_NUMBERS[name], version, "10.96.0", "fd00:96::")


def external_ip(name: str, version: int) -> str:
    """Return a Service's external address."""
    return _number(_NUMBERS[name], version, "198.51.100", "2001:db8:e::")


def balancer_ip(name: str, version: int) -> str:
    """Return the address of a Service's load balancer."""
    return _number(_NUMBERS[name], version, "198.18.0", "2001:db8:b::")


def node_port(name: str) -> int:
    """Return a Service's node port, the same for all protocols."""
    return 30000 + _NUMBERS[name]


def free_ip(version: int, *, is_inside: bool) -> str:
    """Return an address that no Service has, inside of the ServiceCIDRs or outside."""
    prefixes = ("10.96.0", "fd00:96::") if is_inside else ("198.18.9", "2001:db8:9::")
    return _number(FREE_NUMBER, version, *prefixes)


def _number(number: int, version: int, prefix_4: str, prefix_6: str) -> str:
    return f"{prefix_4}.{number}" if version == 4 else f"{prefix_6}{number:x}"


def build_service(shape: Shape) -> Service:
    """Build the Service, with everything published everywhere unless the shape says otherwise."""
    name = shape.name
    entries = (
        (LoadBalancerIngress(hostname="lb.example.org"),)
        if shape.ip_mode == "hostname"
        else tuple(LoadBalancerIngress(balancer_ip(name, end), ip_mode=shape.ip_mode) for end in (4, 6))
    )
    ports = tuple(
        ServicePort(80, protocol.lower(), protocol, node_port=node_port(name)) for protocol in shape.protocols
    )
    built = objects.service(
        name,
        *(cluster_ip(name, version) for version in shape.families),
        ports=ports,
        labels=shape.labels,
        annotations=shape.annotations,
        ingress=entries,
        raw_external_ips=tuple(external_ip(name, version) for version in (4, 6)),
    )
    return msgspec.structs.replace(built, spec=msgspec.structs.replace(built.spec, **shape.spec))


def build_slices(shape: Shape, endpoints: str | None = None) -> list[EndpointSlice]:
    """Build the slices of both families; `endpoints` stand in for the shape's own."""
    ports = tuple(EndpointPort(protocol.lower(), protocol, 8080) for protocol in ALL_PROTOCOLS)
    pieces = (shape.endpoints if endpoints is None else endpoints).split("|")
    return [
        objects.endpoint_slice(
            *(_build_endpoint(word, version) for word in piece.split()),
            name=f"{shape.name}-{version}-{number}",
            of=shape.name,
            family=f"IPv{version}",
            ports=ports,
            labels=shape.slice_labels,
        )
        for version in (4, 6)
        for number, piece in enumerate(pieces)
    ]


def _build_endpoint(word: str, version: int) -> Endpoint:
    found = _WORD.fullmatch(word)
    assert found is not None, word
    site = found["site"]
    return objects.endpoint(
        address_of(site, version),
        _CONDITIONS[found["condition"] or ""],
        "n1" if site == "node" else SITES[site].node,
        zones=(found["zone"],) if found["zone"] else (),
        nodes=(found["node"],) if found["node"] else (),
    )
