"""The topology file: what a person writes to get a lab, as frozen values and as a JSON schema.

Decides the file's fields and their defaults. Whether the values make sense together is decided in
`netns_lab.validation`, which addresses everything gets in `netns_lab.address_plan`, what is built from that
in `netns_lab.plan`.

A range is one network, or two with a comma between them, IPv4 and IPv6, as Kubernetes' own options have it.
"""

from inspect import cleandoc
from ipaddress import IPv4Address, IPv4Network, ip_network
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from nodeplane.datapath.rtnl import Network as IpNetwork

_NAME_PATTERN = "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
_LAB_PATTERN = "^[a-z][a-z0-9]{0,19}$"

# The patterns stand in the schema for editors; `validation` says the same in words that help.
Name = Annotated[str, Meta(extra_json_schema={"pattern": _NAME_PATTERN})]
Port = Annotated[int, Meta(ge=1, le=65535, description="Port number.")]
Labels = Annotated[dict[str, str], Meta(description="Kubernetes labels.")]
Asn = Annotated[int, Meta(ge=1, le=4294967294, description="Number of an autonomous system (RFC 6793).")]
Mtu = Annotated[
    int,
    Meta(ge=1280, le=65535, description="Largest packet of a segment in bytes; 1280 is the least of IPv6."),
]
Mode = Literal["direct", "vxlan", "cross-subnet", "bgp"]
ProxyMode = Literal["nftables", "ipvs", "auto"]
Protocol = Literal["TCP", "UDP", "SCTP"]
Percent = Annotated[float, Meta(ge=0, le=100)]
Address = Annotated[
    str | None,
    Meta(description="Address on the segment, IPv4,IPv6 for both; else the lowest free one in file order."),
]

DEFAULT_MTU_BYTES = 1500
DEFAULT_SEGMENT = "segment"
"""The name of the one segment of a lab that names none."""


class _Part(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """A part of the file; a field that nobody reads is a mistake of the writer's and refused."""


class Network(_Part, frozen=True):
    """The address plan; all ranges lie inside the lab's namespaces and never touch the machine's own."""

    segment: Annotated[
        str,
        Meta(description="Network of the L2 segment that joins the nodes, where `segments` names none."),
    ] = "172.30.0.0/24"
    pod_pool: Annotated[
        str, Meta(description="Network that pod addresses come from; IPv4,IPv6 for both families.")
    ] = "10.244.0.0/16"
    block_size: Annotated[
        int, Meta(ge=20, le=32, description="Prefix length of the block that a node takes from the pool.")
    ] = 26
    block_size6: Annotated[
        int, Meta(ge=116, le=128, description="Prefix length of a block of the IPv6 pool.")
    ] = msgspec.field(name="blockSize6", default=122)
    service_cidr: Annotated[
        str, Meta(description="Network of the Services' virtual addresses; IPv4,IPv6 for both families.")
    ] = msgspec.field(name="serviceCIDR", default="10.96.0.0/16")
    cluster_dns: Annotated[str, Meta(description="Virtual address of the cluster DNS.")] = msgspec.field(
        name="clusterDNS", default="10.96.0.10"
    )
    cluster_domain: Annotated[str, Meta(description="DNS zone of the cluster's names.")] = "cluster.local"
    mode: Annotated[Mode, Meta(description="How pods of one node reach those of another.")] = "direct"
    proxy_mode: Annotated[
        ProxyMode, Meta(description="How kubeproxy programs the Services' virtual addresses.")
    ] = "nftables"

    @property
    def pod_pools(self) -> tuple[IpNetwork, ...]:
        """The pools that pods' addresses come from, one of each family."""
        return split_ranges(self.pod_pool)

    @property
    def service_ranges(self) -> tuple[IpNetwork, ...]:
        """The ranges of the Services' addresses, one of each family."""
        return split_ranges(self.service_cidr)

    @property
    def api_service(self) -> IPv4Address:
        """The address that an API server gives to its own Service, `kubernetes`: the range's first."""
        return next(IPv4Network(self.service_cidr.partition(",")[0]).hosts())


class SegmentSpec(_Part, frozen=True):
    """An L2 segment: nodes and routers on it reach one another without a hop."""

    name: Name
    network: Annotated[str, Meta(description="The segment's network; IPv4,IPv6 for both families.")]
    mtu: Mtu = DEFAULT_MTU_BYTES


class LinkSpec(_Part, frozen=True):
    """What is wrong with a link, in each of its two directions."""

    loss: Annotated[Percent, Meta(description="Packets that are lost, in percent.")] = 0
    duplicate: Annotated[Percent, Meta(description="Packets that come twice, in percent.")] = 0
    rate: Annotated[str, Meta(description="Bits a second: 64kbit, 10mbit, 1.5gbit.")] = ""
    delay: Annotated[str, Meta(description="Time on the way: 200us, 20ms, 1s. The kernel needs netem.")] = ""
    jitter: Annotated[str, Meta(description="How far the delay is off, at most; only with a delay.")] = ""
    down: Annotated[bool, Meta(description="Nothing passes.")] = False


class NodeSpec(_Part, frozen=True):
    """A node: a namespace on a segment that runs kubeproxy, cni-agent and coredns-lite."""

    name: Name
    address: Address = None
    zone: Annotated[str, Meta(description="Value of the label topology.kubernetes.io/zone.")] = ""
    labels: Labels = {}
    segment: Annotated[str, Meta(description="Name of the node's segment; left out, the first one.")] = ""
    agent: Annotated[dict[str, Any], Meta(description="As the lab's `agent`, for this node alone.")] = {}
    link: Annotated[LinkSpec, Meta(description="What is wrong with the node's uplink.")] = LinkSpec()


class InterfaceSpec(_Part, frozen=True):
    """A router's link to a segment; it is named as the segment is."""

    segment: Name
    address: Address = None
    link: Annotated[LinkSpec, Meta(description="What is wrong with this link.")] = LinkSpec()


class RouteSpec(_Part, frozen=True):
    """A route that a router or an external client always has."""

    to: Annotated[str, Meta(description="The destination, a network of either family.")]
    via: Annotated[str, Meta(description="The next hop, an address on a segment of its own.")]


class ClientSpec(_Part, frozen=True):
    """A host outside of the cluster, on a segment: a namespace to run commands in."""

    name: Name
    segment: Annotated[str, Meta(description="Name of the host's segment; left out, the first one.")] = ""
    address: Address = None
    routes: Annotated[
        tuple[RouteSpec, ...], Meta(description="Ways beside the default one, such as by a node to Services.")
    ] = ()
    link: Annotated[LinkSpec, Meta(description="What is wrong with the host's uplink.")] = LinkSpec()


class PeerSpec(_Part, frozen=True):
    """With whom a router speaks BGP: another router, or all nodes of a segment."""

    router: Annotated[str, Meta(description="Name of a router on a segment of this one's.")] = ""
    segment: Annotated[str, Meta(description="Name of a segment whose nodes are the peers.")] = ""
    asn: Annotated[Asn | None, Meta(description="The nodes' AS number; a router's is its own `asn`.")] = None
    password: Annotated[str, Meta(description="Shared secret of the session (TCP MD5, RFC 2385).")] = ""
    bfd: Annotated[bool, Meta(description="Watch the peer by BFD (RFC 5880).")] = False


class RouterSpec(_Part, frozen=True):
    """A router: a namespace on several segments that forwards and, with `asn`, runs BIRD.

    The first router on a segment is the default gateway of its nodes.
    """

    name: Name
    interfaces: Annotated[tuple[InterfaceSpec, ...], Meta(extra_json_schema={"minItems": 1})]
    routes: tuple[RouteSpec, ...] = ()
    asn: Annotated[Asn | None, Meta(description="AS number; left out, the router runs no BGP.")] = None
    peers: tuple[PeerSpec, ...] = ()


class PortSpec(_Part, frozen=True):
    """A port of a pod; `targetPort` of a Service may use its name."""

    port: Port
    name: Annotated[str, Meta(description="Name of the port.")] = ""
    protocol: Protocol = "TCP"


class PodSpec(_Part, frozen=True):
    """A pod: a namespace that nodeplane-cni has attached to its node.

    With ports and no command the built-in echo server answers on them; with neither the pod is idle.
    """

    name: Name
    node: Name
    namespace: Annotated[Name, Meta(description="Kubernetes namespace.")] = "default"
    labels: Labels = {}
    ports: tuple[PortSpec, ...] = ()
    command: Annotated[
        tuple[str, ...], Meta(description="Program and arguments to run in place of the echo server.")
    ] = ()
    link: Annotated[LinkSpec, Meta(description="What is wrong with the pod's link.")] = LinkSpec()

    @property
    def key(self) -> str:
        """Return `namespace/name`, the pod's identity inside a cluster."""
        return f"{self.namespace}/{self.name}"


class DeploymentSpec(_Part, frozen=True):
    """Pods that are alike, spread over nodes in turn; their names end in -1, -2 and so on."""

    name: Name
    replicas: Annotated[int, Meta(ge=0, le=10_000, description="How many pods.")]
    nodes: Annotated[tuple[Name, ...], Meta(description="Where they run; left out, on all nodes.")] = ()
    namespace: Annotated[Name, Meta(description="Kubernetes namespace.")] = "default"
    labels: Labels = {}
    ports: tuple[PortSpec, ...] = ()
    command: Annotated[
        tuple[str, ...], Meta(description="Program and arguments to run in place of the echo server.")
    ] = ()
    link: Annotated[LinkSpec, Meta(description="What is wrong with each pod's link.")] = LinkSpec()


class Topology(_Part, frozen=True):
    """A lab of nodes, pods and Kubernetes objects."""

    name: Annotated[
        str, Meta(extra_json_schema={"pattern": _LAB_PATTERN}, description="Name of the lab, short.")
    ]
    nodes: Annotated[tuple[NodeSpec, ...], Meta(extra_json_schema={"minItems": 1})]
    pods: tuple[PodSpec, ...] = ()
    network: Network = Network()
    manifests: Annotated[
        tuple[str | dict[str, Any], ...],
        Meta(
            description="Services, EndpointSlices and Namespaces: objects, or paths of YAML files relative "
            "to this file. A Service without clusterIP gets one; one with a selector gets its EndpointSlices."
        ),
    ] = ()
    segments: Annotated[
        tuple[SegmentSpec, ...],
        Meta(description="The L2 segments; left out, there is one, `network.segment`."),
    ] = ()
    routers: Annotated[tuple[RouterSpec, ...], Meta(description="What joins the segments.")] = ()
    clients: Annotated[tuple[ClientSpec, ...], Meta(description="Hosts outside of the cluster.")] = ()
    deployments: Annotated[
        tuple[DeploymentSpec, ...], Meta(description="Pods by the number; they come after `pods`.")
    ] = ()
    agent: Annotated[
        dict[str, Any],
        Meta(description="More fields of each node's cni-agent configuration, such as `bgp` and `vxlan`."),
    ] = {}

    @property
    def all_segments(self) -> tuple[SegmentSpec, ...]:
        """The segments that there are, named or not."""
        return self.segments or (SegmentSpec(DEFAULT_SEGMENT, self.network.segment),)

    @property
    def hosts(self) -> tuple[NodeSpec | ClientSpec, ...]:
        """The nodes and the external clients: who has one link, to one segment."""
        return (*self.nodes, *self.clients)

    def segment_of(self, node: NodeSpec | ClientSpec) -> str:
        """Return the name of the segment that a node or a client is on."""
        return node.segment or self.all_segments[0].name


def split_ranges(text: str) -> tuple[IpNetwork, ...]:
    """Return the networks of a range, IPv4 first.

    Raises:
        ValueError: one of them is no network.
    """
    return tuple(ip_network(part) for part in text.split(","))


def json_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of a topology file."""
    schema = msgspec.json.schema(Topology)
    for definition in schema["$defs"].values():
        definition["description"] = cleandoc(definition["description"])
    header = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "netns-lab topology"}
    return header | schema
