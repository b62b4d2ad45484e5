"""The lab as Kubernetes sees it: the objects that its API server is to hold, and the marks they are known by.

Pure: from what is asked for, and the addresses that pods got. Addresses of Services that name none, and the
EndpointSlices of those with a selector, are the API server's and its controllers' work.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any, TypeAlias

import msgspec

from netns_lab.address_plan import AddressPlan, build_address_plan
from netns_lab.loader import CLUSTER_DNS, LabSpec, Manifest
from netns_lab.topology import NodeSpec, PodSpec, Topology
from nodeplane.datapath.rtnl import Address
from nodeplane.kube.objects import KINDS, SERVICE_NAME_LABEL, Namespace, ObjectKey

Json: TypeAlias = dict[str, Any]

ZONE_LABEL = "topology.kubernetes.io/zone"
DNS_PORT = 53
# As kubeadm's: what is too long for a datagram is asked for again over TCP.
_DNS_PORTS: tuple[Json, ...] = (
    {"name": "dns", "protocol": "UDP", "port": DNS_PORT},
    {"name": "dns-tcp", "protocol": "TCP", "port": DNS_PORT},
)

MANAGER = "netns-lab"
"""The lab's name at the server: as the manager of fields, and in the label of all that is the lab's."""

DIGEST_ANNOTATION = "netns-lab/digest"
"""Tells what an object was made from: a field that the file has no more leaves no other trace."""

OWNER_ANNOTATION = "netns-lab/owner"
"""Tells whose an object is, and which one: a copy of it says that it is another, and so is nobody's."""

READY: Json = {"type": "Ready", "status": "True", "reason": "NetnsLab"}
"""The condition of what works: the lab's nodes and pods do once they are there."""

LOST: Json = {"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}
"""The condition of a node that is not heard of any more (k/k pkg/controller/nodelifecycle)."""

# Kept of the metadata that people write; the rest (a dump's uid, version, owners) is a server's to say.
_METADATA = ("name", "labels", "annotations")

_READY_CONDITIONS = ("ContainersReady", "Ready")
_POD_CONDITIONS = ("Initialized", "PodScheduled", *_READY_CONDITIONS)

# No container runs, and a container must have an image.
_IMAGE = "netns-lab"

PodAddresses = Mapping[str, tuple[Address, ...]]
"""The addresses of each attached pod, by `namespace/name`: at least one, IPv4 before IPv6."""

PodEnds = Mapping[str, int]
"""The exit code of each pod's command that has ended, by `namespace/name`."""


def marks(lab: str) -> dict[str, str]:
    """Return the labels of everything that a lab has made, for people's selectors; copies carry them too."""
    return {"app.kubernetes.io/managed-by": MANAGER, "netns-lab/lab": lab}


def owner(lab: str, key: ObjectKey) -> dict[str, str]:
    """Return the annotation of an object that a lab has made; two labs may share a server.

    A digest, not a text: who copies an object with sed would change the name in it too.
    """
    return {OWNER_ANNOTATION: hashlib.sha256(f"{lab} {key}".encode()).hexdigest()[:16]}


def build_cluster(
    spec: LabSpec, addresses: PodAddresses, ends: PodEnds | None = None, lost: Collection[str] = ()
) -> tuple[Manifest, ...]:
    """Return every object of the cluster; pods without an address are left out.

    Of the nodes that are `lost` nobody has heard for so long that their pods are gone too.
    """
    topology = spec.topology
    plan = build_address_plan(topology)
    made = [
        *_namespaces(spec),
        *(_node(plan, node, is_lost=node.name in lost) for node in topology.nodes),
        *_cluster_dns(topology, lost),
        *(_given(manifest) for manifest in spec.manifests),
        *(
            _pod(plan, pod, addresses[pod.key], (ends or {}).get(pod.key))
            for pod in topology.pods
            if pod.key in addresses and pod.node not in lost
        ),
    ]
    return tuple(_marked(topology.name, raw) for raw in made)


def _namespaces(spec: LabSpec) -> Iterator[Json]:
    given = {
        manifest.item.metadata.name for manifest in spec.manifests if isinstance(manifest.item, Namespace)
    }
    used = {"default", CLUSTER_DNS[0]}
    used |= {pod.namespace for pod in spec.topology.pods}
    used |= {manifest.item.metadata.namespace for manifest in spec.manifests} - {""}
    return (_object("v1", "Namespace", {"name": name}) for name in sorted(used - given))


def _node(plan: AddressPlan, node: NodeSpec, *, is_lost: bool) -> Json:
    zone = {ZONE_LABEL: node.zone} if node.zone else {}
    metadata = {"name": node.name, "labels": {"kubernetes.io/hostname": node.name, **zone, **node.labels}}
    own = plan.node_addresses(node.name)
    addresses = [
        *({"type": "InternalIP", "address": str(address)} for address in own),
        {"type": "Hostname", "address": node.name},
    ]
    condition = LOST if is_lost else READY
    return _object("v1", "Node", metadata, status={"addresses": addresses, "conditions": [condition]})


def _pod(plan: AddressPlan, pod: PodSpec, addresses: tuple[Address, ...], exit_code: int | None) -> Json:
    host = plan.node_addresses(pod.node)
    ports = [
        {"containerPort": port.port, "protocol": port.protocol, **({"name": port.name} if port.name else {})}
        for port in pod.ports
    ]
    container = {"name": "workload", "image": _IMAGE, "ports": ports}
    return _object(
        "v1",
        "Pod",
        {"name": pod.name, "namespace": pod.namespace, "labels": pod.labels},
        # No grace: nobody ends containers here, so whoever deletes the pod would wait for nothing.
        spec={"nodeName": pod.node, "containers": [container], "terminationGracePeriodSeconds": 0},
        status={
            **_life(exit_code),
            "hostIP": str(host[0]),
            "podIP": str(addresses[0]),
            "podIPs": [{"ip": str(address)} for address in addresses],
        },
    )


def _life(exit_code: int | None) -> Json:
    """Return what a pod's status says of its command: without an exit code it runs."""
    container = {"name": "workload", "image": _IMAGE, "imageID": "", "restartCount": 0}
    if exit_code is None:
        return {
            "phase": "Running",
            "conditions": [{**READY, "type": name} for name in _POD_CONDITIONS],
            "containerStatuses": [{**container, "ready": True, "state": {"running": {}}}],
        }
    # As a kubelet says it (k/k pkg/kubelet/status, GeneratePodReadyConditionForTerminalPhase).
    is_done = exit_code == 0
    reason = "PodCompleted" if is_done else "PodFailed"
    gone = {"status": "False", "reason": reason}
    terminated = {"exitCode": exit_code, "reason": "Completed" if is_done else "Error"}
    return {
        "phase": "Succeeded" if is_done else "Failed",
        "conditions": [
            {**READY, "type": name, **(gone if name in _READY_CONDITIONS else {})} for name in _POD_CONDITIONS
        ],
        "containerStatuses": [{**container, "ready": False, "state": {"terminated": terminated}}],
    }


def _cluster_dns(topology: Topology, lost: Collection[str]) -> Iterator[Json]:
    """Yield the Service in front of the nodes' coredns-lite, and its slice: the nodes' own addresses."""
    namespace, name = CLUSTER_DNS
    plan = build_address_plan(topology)
    yield _object(
        "v1",
        "Service",
        {"name": name, "namespace": namespace, "labels": {"k8s-app": name}},
        spec={
            "clusterIP": topology.network.cluster_dns,
            "ports": [{**port, "targetPort": DNS_PORT} for port in _DNS_PORTS],
        },
    )
    yield _object(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        {"name": f"{name}-nodes", "namespace": namespace, "labels": {SERVICE_NAME_LABEL: name}},
        addressType="IPv4",
        endpoints=[
            {
                "addresses": [str(plan.node_addresses(node.name)[0])],
                "conditions": {"ready": True},
                "nodeName": node.name,
                **({"zone": node.zone} if node.zone else {}),
            }
            for node in topology.nodes
            if node.name not in lost
        ],
        ports=list(_DNS_PORTS),
    )


def _given(manifest: Manifest) -> Json:
    """Return an object as its author wrote it, without what a server says about objects."""
    written = manifest.raw.get("metadata") or {}
    metadata = {name: written[name] for name in _METADATA if written.get(name)}
    if manifest.item.metadata.namespace:
        metadata["namespace"] = manifest.item.metadata.namespace
    rest = {name: value for name, value in manifest.raw.items() if name not in {"metadata", "status"}}
    return {**rest, "metadata": metadata}


def _object(version: str, kind: str, metadata: Json, **fields: Any) -> Json:
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}


def _marked(lab: str, raw: Json) -> Manifest:
    """Put the lab's marks on an object, and whose it is."""
    metadata = raw["metadata"]
    kind = KINDS[raw["apiVersion"], raw["kind"]]
    marked = {**metadata, "labels": {**(metadata.get("labels") or {}), **marks(lab)}}
    written = {name: value for name, value in raw.items() if name != "status"}
    digest = hashlib.sha256(msgspec.json.encode({**written, "metadata": marked}, order="deterministic"))
    annotations = {
        **(metadata.get("annotations") or {}),
        **owner(lab, ObjectKey(kind, metadata.get("namespace", ""), metadata["name"])),
        DIGEST_ANNOTATION: digest.hexdigest()[:16],
    }
    whole = {**raw, "metadata": {**marked, "annotations": annotations}}
    return Manifest(whole, msgspec.convert(whole, kind))
