"""The topology file: what a person writes to get a lab, as frozen values and as a JSON schema.

Decides the file's fields and their defaults. Whether the values make sense together is decided in
`netns_lab.validation`, what is built from them in `netns_lab.plan`.
"""

from inspect import cleandoc
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

_NAME_PATTERN = "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
_LAB_PATTERN = "^[a-z][a-z0-9]{0,19}$"

# The patterns stand in the schema for editors; `validation` says the same in words that help.
Name = Annotated[str, Meta(extra_json_schema={"pattern": _NAME_PATTERN})]
Port = Annotated[int, Meta(ge=1, le=65535, description="Port number.")]
Labels = Annotated[dict[str, str], Meta(description="Kubernetes labels.")]


class _Part(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """A part of the file; a field that nobody reads is a mistake of the writer's and refused."""


class Network(_Part, frozen=True):
    """The address plan; all ranges lie inside the lab's namespaces and never touch the machine's own."""

    segment: Annotated[str, Meta(description="IPv4 network of the L2 segment that joins the nodes.")] = (
        "172.30.0.0/24"
    )
    pod_pool: Annotated[str, Meta(description="IPv4 network that pod addresses come from.")] = "10.244.0.0/16"
    block_size: Annotated[
        int, Meta(ge=20, le=32, description="Prefix length of the block that a node takes from the pool.")
    ] = 26
    service_cidr: Annotated[str, Meta(description="IPv4 network of the Services' virtual addresses.")] = (
        msgspec.field(name="serviceCIDR", default="10.96.0.0/16")
    )
    cluster_dns: Annotated[str, Meta(description="Virtual address of the cluster DNS.")] = msgspec.field(
        name="clusterDNS", default="10.96.0.10"
    )
    cluster_domain: Annotated[str, Meta(description="DNS zone of the cluster's names.")] = "cluster.local"

    @property
    def gateway(self) -> IPv4Address:
        """The fabric's own address: the segment's first."""
        return next(IPv4Network(self.segment).hosts())

    @property
    def api_service(self) -> IPv4Address:
        """The address that an API server gives to its own Service, `kubernetes`: the range's first."""
        return next(IPv4Network(self.service_cidr).hosts())


class NodeSpec(_Part, frozen=True):
    """A node: a namespace on the segment that runs kubeproxy, cni-agent and coredns-lite."""

    name: Name
    address: Annotated[
        str | None, Meta(description="Address on the segment; left out, the lowest free one in file order.")
    ] = None
    zone: Annotated[str, Meta(description="Value of the label topology.kubernetes.io/zone.")] = ""
    labels: Labels = {}


class PortSpec(_Part, frozen=True):
    """A port of a pod; `targetPort` of a Service may use its name."""

    port: Port
    name: Annotated[str, Meta(description="Name of the port.")] = ""
    protocol: Literal["TCP", "UDP"] = "TCP"


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

    @property
    def key(self) -> str:
        """Return `namespace/name`, the pod's identity inside a cluster."""
        return f"{self.namespace}/{self.name}"


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

    def node_addresses(self) -> dict[str, IPv4Address]:
        """Return each node's address: the one it names, else the lowest free one, in file order.

        The topology must be valid: `validation.problems` says when the segment is too small.
        """
        taken = {IPv4Address(node.address) for node in self.nodes if node.address}
        taken.add(self.network.gateway)
        free = (address for address in IPv4Network(self.network.segment).hosts() if address not in taken)
        return {node.name: IPv4Address(node.address) if node.address else next(free) for node in self.nodes}


def json_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of a topology file."""
    schema = msgspec.json.schema(Topology)
    for definition in schema["$defs"].values():
        definition["description"] = cleandoc(definition["description"])
    header = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "netns-lab topology"}
    return header | schema
