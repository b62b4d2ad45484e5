"""The lab's objects as manifests: what a person would have written to get them."""

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from netns_lab.cluster import DIGEST_ANNOTATION, OWNER_ANNOTATION, marks
from netns_lab.cluster_api import open_writer
from netns_lab.cluster_delta import key_of
from netns_lab.lab_server import load_remote
from netns_lab.loader import RESERVED
from netns_lab.names import fabric_namespace
from netns_lab.state import StateDirectory
from nodeplane.datapath import netns
from nodeplane.kube.objects import KINDS, Namespace, ServiceCIDR

Json = dict[str, Any]

# A server's to say, in any object's metadata (ObjectMeta, meta/v1).
_SERVER_METADATA = frozenset(
    {"uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink"}
)

# What every cluster has by itself.
_OWN_NAMESPACES = frozenset({"default", "kube-system", "kube-public", "kube-node-lease"})
_CONTROLLED_LABEL = "endpointslice.kubernetes.io/managed-by"


def read_manifests(state: StateDirectory, *, every: bool) -> list[Json]:
    """Read the objects of a lab's API server, without what a server or the lab says of them.

    Left out, unless it is `every`: what controllers have made of others, and what each cluster has.
    """
    remote = load_remote(state)
    kubeconfig = state.kubeconfig if remote is None else Path(remote.kubeconfig)
    place = netns.NETNS_DIR / fabric_namespace(state.lab) if remote is None else None

    async def read() -> list[Json]:
        async with open_writer(kubeconfig, is_direct=remote is None) as writer:
            return [value for kind in KINDS.values() for value in await writer.read(kind)]

    with netns.inside(place):
        values = asyncio.run(read())
    return [clean(state.lab, value) for value in values if every or _is_asked_for(value)]


def clean(lab: str, value: Json) -> Json:
    """Return an object without what its server and its lab have written on it."""
    metadata = {name: part for name, part in value["metadata"].items() if name not in _SERVER_METADATA}
    labels = {
        name: text for name, text in (metadata.get("labels") or {}).items() if marks(lab).get(name) != text
    }
    annotations = {
        name: text
        for name, text in (metadata.get("annotations") or {}).items()
        if name not in {OWNER_ANNOTATION, DIGEST_ANNOTATION}
    }
    for name, part in (("labels", labels), ("annotations", annotations)):
        metadata.pop(name, None)
        if part:
            metadata[name] = part
    rest = {name: part for name, part in value.items() if name not in {"metadata", "status"}}
    head = {name: rest.pop(name) for name in ("apiVersion", "kind")}
    return {**head, "metadata": metadata, **rest}


def render_manifests(values: Iterable[Json], output: str) -> str:
    """Render objects as YAML documents, or as one List in JSON."""
    if output == "json":
        return json.dumps({"apiVersion": "v1", "kind": "List", "items": [*values]}, indent=2) + "\n"
    import yaml

    return yaml.safe_dump_all(values, sort_keys=False)


def _is_asked_for(value: Json) -> bool:
    key = key_of(value)
    if key.kind is Namespace:
        return key.name not in _OWN_NAMESPACES
    is_own = key in RESERVED or key.kind is ServiceCIDR
    return not is_own and _CONTROLLED_LABEL not in (value["metadata"].get("labels") or {})
