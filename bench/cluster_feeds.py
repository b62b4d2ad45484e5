"""The ways of a cluster into a program: objects, a directory of manifests, the store of an API server."""

import json
from collections.abc import Iterable
from pathlib import Path

import msgspec

from bench.cluster_objects import Cluster, Json
from netns_lab.apiserver.resources import ENDPOINT_SLICES, SERVICES
from netns_lab.apiserver.sqlite_store import SqliteStore
from netns_lab.apiserver.store import FIRST_REVISION, MAX_RECORDS, Record, build_key
from netns_lab.apiserver.wire import encode_stored
from nodeplane.kube.objects import EndpointSlice, Service
from nodeplane.kube.source import Change

_OBJECTS_PER_FILE = 1000
_KEPT = ("name", "namespace", "labels")


def as_service(value: Json) -> Service:
    """Return what a program makes of a Service."""
    return msgspec.convert(value, Service)


def as_slice(value: Json) -> EndpointSlice:
    """Return what a program makes of a slice."""
    return msgspec.convert(value, EndpointSlice)


def as_changes(cluster: Cluster) -> tuple[Change, ...]:
    """Return the additions that bring a cluster into an empty store."""
    items = (*map(as_service, cluster.services), *map(as_slice, cluster.slices))
    return tuple(Change(item.key, None, item) for item in items)


def write_manifests(directory: Path, cluster: Cluster) -> None:
    """Write a cluster as JSON manifests, a thousand objects a file, without what a server adds."""
    directory.mkdir()
    for kind, version, items in (
        ("Service", "v1", cluster.services),
        ("EndpointSlice", "discovery.k8s.io/v1", cluster.slices),
    ):
        for start in range(0, len(items), _OBJECTS_PER_FILE):
            part = [
                {"apiVersion": version, "kind": kind, **_keep(item)}
                for item in items[start : start + _OBJECTS_PER_FILE]
            ]
            path = directory / f"{kind.lower()}-{start:06d}.json"
            path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": part}))


def _keep(item: Json) -> Json:
    metadata = {name: item["metadata"][name] for name in _KEPT}
    return {**{name: value for name, value in item.items() if name != "status"}, "metadata": metadata}


def fill_store(directory: Path, cluster: Cluster) -> None:
    """Write a cluster into the store of a `netns-lab apiserver` that does not run yet."""
    store = SqliteStore(directory / "apiserver.sqlite")
    batch: list[Record] = []
    for revision, (key, value) in enumerate(_stored(cluster), start=FIRST_REVISION + 1):
        batch.append(Record(revision, key, value))
        if len(batch) == MAX_RECORDS:
            store.append(batch)
            batch = []
    store.append(batch)
    store.close()


def _stored(cluster: Cluster) -> Iterable[tuple[str, bytes]]:
    for resource, items in ((SERVICES, cluster.services), (ENDPOINT_SLICES, cluster.slices)):
        for item in items:
            metadata = item["metadata"]
            key = build_key(resource.qualified, metadata["namespace"], metadata["name"])
            yield key, encode_stored(item)
