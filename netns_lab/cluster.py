"""The lab as Kubernetes sees it: the objects that its API server is to hold, and the marks they are known by.

Pure: from what is asked for, and the addresses that pods got. Addresses of Services that name none, and the
EndpointSlices of those with a selector, are the API server's and its controllers' work.
"""

import hashlib
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address
from typing import Any, TypeAlias

import msgspec

from netns_lab.loader import CLUSTER_DNS, LabSpec, Manifest
from netns_lab.topology import NodeSpec, PodSpec, Topology
from nodeplane.kube.objects import KINDS, SERVICE_NAME_LABEL, Namespace

Json: TypeAlias = dict[str, Any]

ZONE_LABEL = "topology.kubernetes.io/zone"
DNS_PORT = 53

MANAGER = "netns-lab"
"""The lab's name at the server: as the manager of fields, and in the label of all that is the lab's."""

DIGEST_ANNOTATION = "netns-lab/digest"
"""Tells what an object was made from: a field that the file has no more leaves no other trace."""

READY: Json = {"type": "Ready", "status": "True", "reason": "NetnsLab"}
"""The condition of what works: the lab's nodes and pods do once they are there."""

# Kept of the metadata that people write; the rest (a dump's uid, version, owners) is a server's to say.
_METADATA = ("name", "labels", "annotations")

_POD_CONDITIONS = ("Initialized", "PodScheduled", "ContainersReady", "Ready")

# No container runs, and a container must have an image.
_IMAGE = "netns-lab"

PodAddresses = Mapping[str, IPv4Address]
"""The address of each attached pod, by `namespace/name`."""


def marks(lab: str) -> dict[str, str]:
    """Return the labels of everything that a lab has made; two labs may share a server."""
    return {"app.kubernetes.io/managed-by": MANAGER, "netns-lab/lab": lab}


def build_cluster(spec: LabSpec, addresses: PodAddresses) -> tuple[Manifest, ...]:
    """Return every object of the cluster; pods without an address are left out."""
    topology = spec.topology
    made = [
        *_namespaces(spec),
        *(_node(topology, node) for node in topology.nodes),
        *_cluster_dns(topology),
        *(_given(manifest) for manifest in spec.manifests),
        *(_pod(topology, pod, addresses[pod.key]) for pod in topology.pods if pod.key in addresses),
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


def _node(topology: Topology, node: NodeSpec) -> Json:
    zone = {ZONE_LABEL: node.zone} if node.zone else {}
    metadata = {"name": node.name, "labels": {"kubernetes.io/hostname": node.name, **zone, **node.labels}}
    addresses = [
        {"type": "InternalIP", "address": str(topology.node_addresses()[node.name])},
        {"type": "Hostname", "address": node.name},
    ]
    return _object("v1", "Node", metadata, status={"addresses": addresses, "conditions": [READY]})


def _pod(topology: Topology, pod: PodSpec, address: IPv4Address) -> Json:
    ports = [
        {"containerPort": port.port, "protocol": port.protocol, **({"name": port.name} if port.name else {})}
        for port in pod.ports
    ]
    container = {"name": "workload", "image": _IMAGE, "ports": ports}
    running = {
        "name": "workload",
        "image": _IMAGE,
        "imageID": "",
        "ready": True,
        "restartCount": 0,
        "state": {"running": {}},
    }
    return _object(
        "v1",
        "Pod",
        {"name": pod.name, "namespace": pod.namespace, "labels": pod.labels},
        # No grace: nobody ends containers here, so whoever deletes the pod would wait for nothing.
        spec={"nodeName": pod.node, "containers": [container], "terminationGracePeriodSeconds": 0},
        status={
            "phase": "Running",
            "hostIP": str(topology.node_addresses()[pod.node]),
            "podIP": str(address),
            "podIPs": [{"ip": str(address)}],
            "conditions": [{**READY, "type": name} for name in _POD_CONDITIONS],
            "containerStatuses": [running],
        },
    )


def _cluster_dns(topology: Topology) -> Iterator[Json]:
    """Yield the Service in front of the nodes' coredns-lite, and its slice: the nodes' own addresses."""
    namespace, name = CLUSTER_DNS
    nodes = topology.node_addresses()
    yield _object(
        "v1",
        "Service",
        {"name": name, "namespace": namespace, "labels": {"k8s-app": name}},
        spec={
            "clusterIP": topology.network.cluster_dns,
            "ports": [{"name": "dns", "protocol": "UDP", "port": DNS_PORT, "targetPort": DNS_PORT}],
        },
    )
    yield _object(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        {"name": f"{name}-nodes", "namespace": namespace, "labels": {SERVICE_NAME_LABEL: name}},
        addressType="IPv4",
        endpoints=[
            {
                "addresses": [str(nodes[node.name])],
                "conditions": {"ready": True},
                "nodeName": node.name,
                **({"zone": node.zone} if node.zone else {}),
            }
            for node in topology.nodes
        ],
        ports=[{"name": "dns", "protocol": "UDP", "port": DNS_PORT}],
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
    """Put the lab's marks on an object."""
    metadata = raw["metadata"]
    marked = {**metadata, "labels": {**(metadata.get("labels") or {}), **marks(lab)}}
    written = {name: value for name, value in raw.items() if name != "status"}
    digest = hashlib.sha256(msgspec.json.encode({**written, "metadata": marked}, order="deterministic"))
    annotations = {**(metadata.get("annotations") or {}), DIGEST_ANNOTATION: digest.hexdigest()[:16]}
    whole = {**raw, "metadata": {**marked, "annotations": annotations}}
    return Manifest(whole, msgspec.convert(whole, KINDS[raw["apiVersion"], raw["kind"]]))
