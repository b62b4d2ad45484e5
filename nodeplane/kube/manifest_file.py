"""The Kubernetes objects of one file: YAML or JSON, several documents, `List` kinds unpacked.

Decides what counts as a good file; when it is read, and what a bad one means, is `manifests`' business.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from nodeplane.errors import ConfigError
from nodeplane.jsondoc import iterate_items, looks_like_json
from nodeplane.kube.objects import CLUSTER_SCOPED, KINDS, Object, ObjectKey
from nodeplane.kube.source import Shrink, keep_whole
from nodeplane.kube.validation import problems
from nodeplane.yamldoc import FieldPath, YamlDocument, parse_documents, read_text

# A small one is read as a whole, a fifth faster: there is little to save.
_SMALL_TEXT = 1 << 16

log = logging.getLogger(__name__)


def read_manifest(path: Path, shrink: Shrink = keep_whole) -> dict[ObjectKey, Object]:
    """Read the objects of one file, `List` kinds unpacked; kinds that nodeplane does not use are left out.

    Each is shrunk before the next one is read, so that large files need little more than what is kept.

    Raises:
        ConfigError: the file is not YAML, or an object is not what Kubernetes would take.
    """
    file = str(path)
    text = read_text(path, file)
    if len(text) > _SMALL_TEXT and looks_like_json(text) and '"items"' in text:
        # What is wrong is read again as a whole, which knows what to say of it.
        with suppress(ValueError, ConfigError):
            return _collect(_decode_items(text, file), shrink)
    return _collect(
        (
            (document, where, item)
            for document in parse_documents(text, file)
            for where, item in decode_objects(document)
        ),
        shrink,
    )


_Place = tuple[YamlDocument, FieldPath, Object]


def _collect(places: Iterable[_Place], shrink: Shrink) -> dict[ObjectKey, Object]:
    """Shrink objects one by one; each may be there once."""
    objects: dict[ObjectKey, Object] = {}
    keys: set[ObjectKey] = set()
    for document, where, item in places:
        if item.key in keys:
            raise document.error(
                (*where, "metadata", "name"), f"expected each object once, {item.key} is here twice"
            )
        keys.add(item.key)
        kept = shrink(item)
        if kept is not None:
            objects[kept.key] = kept
    return objects


def _decode_items(text: str, file: str) -> Iterator[_Place]:
    """Yield the objects of a List in JSON, whose entries are parsed one after the other.

    Raises:
        ValueError: the text is something else, or its kind stands behind entries that don't say theirs.
        ConfigError: an object is not what Kubernetes would take; its place is not known here.
    """
    fields: Mapping[str, Any] = {}
    for fields, value in iterate_items(text):
        entry = YamlDocument(file, 0, value, "{}")
        for where, item in decode_objects(entry, outer=_kind_of_items(fields)):
            yield entry, where, item
    if not _is_list(fields):
        raise ValueError("expected a List")


def decode_objects(
    document: YamlDocument, at: FieldPath = (), outer: Mapping[str, Any] = MappingProxyType({})
) -> Iterator[tuple[FieldPath, Object]]:
    """Yield the object at `at` in a document, or those of the List there, also of Lists in it, with paths.

    Kinds that nodeplane does not use are left out; `outer` is what a List around it says of its kind.

    Raises:
        ConfigError: an object is not what Kubernetes would take; names file, line and field.
    """
    value = document.at(at)
    if not isinstance(value, dict):
        raise document.error(at, "expected a Kubernetes object (a mapping)")
    items = [at]
    if _is_list(value):
        outer = _kind_of_items(value)
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


def _kind_of_items(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a List says of the kind of its items: an API server's does, in kubectl's each says it."""
    kind = fields.get("kind")
    named = kind.removesuffix("List") if isinstance(kind, str) else None
    return {"apiVersion": fields.get("apiVersion"), "kind": named or None}


def _is_list(value: object) -> bool:
    kind = value.get("kind") if isinstance(value, Mapping) else None
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
