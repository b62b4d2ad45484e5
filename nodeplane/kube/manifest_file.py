"""The Kubernetes objects of one file: YAML or JSON, several documents, `List` kinds unpacked.

Decides what counts as a good file; when it is read, and what a bad one means, is `manifests`' business.
"""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from nodeplane.kube.objects import CLUSTER_SCOPED, KINDS, Object, ObjectKey
from nodeplane.kube.source import Shrink, keep_whole
from nodeplane.kube.validation import problems
from nodeplane.yamldoc import FieldPath, YamlDocument, read_documents

log = logging.getLogger(__name__)


def read_manifest(path: Path, shrink: Shrink = keep_whole) -> dict[ObjectKey, Object]:
    """Read the objects of one file, `List` kinds unpacked; kinds that nodeplane does not use are left out.

    Each is shrunk before the next one is read, so that large files need little more than what is kept.

    Raises:
        ConfigError: the file is not YAML, or an object is not what Kubernetes would take.
    """
    objects: dict[ObjectKey, Object] = {}
    keys: set[ObjectKey] = set()
    for document in read_documents(path):
        for where, item in decode_objects(document):
            if item.key in keys:
                raise document.error(
                    (*where, "metadata", "name"), f"expected each object once, {item.key} is here twice"
                )
            keys.add(item.key)
            kept = shrink(item)
            if kept is not None:
                objects[kept.key] = kept
    return objects


def decode_objects(document: YamlDocument, at: FieldPath = ()) -> Iterator[tuple[FieldPath, Object]]:
    """Yield the object at `at` in a document, or those of the List there, also of Lists in it, with paths.

    Kinds that nodeplane does not use are left out.

    Raises:
        ConfigError: an object is not what Kubernetes would take; names file, line and field.
    """
    value = document.at(at)
    if not isinstance(value, dict):
        raise document.error(at, "expected a Kubernetes object (a mapping)")
    if not _is_list(value):
        items, outer = [at], {}
    else:
        # An API server's ServiceList says in its head what kind its items are; in kubectl's List each does.
        outer = {"apiVersion": value.get("apiVersion"), "kind": value["kind"].removesuffix("List") or None}
        if not isinstance(value.get("items") or [], list):
            raise document.error((*at, "items"), "expected a list of objects")
        items = [(*at, "items", index) for index in range(len(value.get("items") or []))]
    for where in items:
        if where != at and _is_list(document.at(where)):
            yield from decode_objects(document, where)
            continue
        item = _decode(document, where, outer)
        if item is not None:
            yield where, item


def _is_list(value: object) -> bool:
    kind = value.get("kind") if isinstance(value, dict) else None
    return isinstance(kind, str) and kind.endswith("List")


def _decode(document: YamlDocument, where: FieldPath, outer: Mapping[str, Any]) -> Object | None:
    """Decode one object; `outer` is what the list around it says of its kind."""
    value = document.at(where)
    if not isinstance(value, dict):
        raise document.error(where, "expected a Kubernetes object (a mapping)")
    named: dict[str, Any] = {name: value.get(name, outer.get(name)) for name in ("apiVersion", "kind")}
    for name, text in named.items():
        if not isinstance(text, str):
            raise document.error((*where, name), "expected a text")
    kind = KINDS.get((named["apiVersion"], named["kind"]))
    if kind is None:
        log.debug("kind not used place=%s kind=%s", document.file, named["kind"])
        return None
    item = document.convert(kind, where)
    if kind not in CLUSTER_SCOPED and not item.metadata.namespace:
        metadata = msgspec.structs.replace(item.metadata, namespace="default")
        item = msgspec.structs.replace(item, metadata=metadata)
    for path, expected in problems(item):
        raise document.error((*where, *path), expected)
    return item
