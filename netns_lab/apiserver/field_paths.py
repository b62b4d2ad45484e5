"""Which fields an object states, as the paths that `managedFields` holds (metav1.FieldsV1).

A path is a tuple of FieldsV1 elements: `f:NAME` for a field, `k:{KEYS}` for an entry of a keyed list,
`v:VALUE` for one of a list of plain values, and `.` at the end for the entry itself.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from netns_lab.apiserver.merge_keys import MERGE_LISTS, MergeList, Path
from netns_lab.apiserver.wire import Json

FieldPathSet: TypeAlias = frozenset[tuple[str, ...]]

_ITSELF = "."
# Who an object is belongs to nobody (structured-merge-diff's stripSet).
_IDENTITY = {("f:apiVersion",), ("f:kind",)} | {
    ("f:metadata", f"f:{name}")
    for name in (
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "managedFields",
    )
}


def field_paths(kind: str, value: Json) -> FieldPathSet:
    """Return the paths of the fields that an object states."""
    return frozenset(
        path
        for path in _walk(MERGE_LISTS[kind], (), (), value)
        if path[:1] not in _IDENTITY and path[:2] not in _IDENTITY
    )


def entry_element(entry: MergeList, value: Any) -> str:
    """Return the element that names an entry of a list."""
    if not entry.key:
        return f"v:{json.dumps(value)}"
    keys = {name: value.get(name) for name in sorted(entry.map_keys) if value.get(name) is not None}
    if "protocol" in entry.map_keys:
        # A port that names no protocol means TCP (listMapKey with a default).
        keys.setdefault("protocol", "TCP")
    return f"k:{json.dumps(keys, separators=(',', ':'), sort_keys=True)}"


def render_fields(paths: Iterable[tuple[str, ...]]) -> Json:
    """Return paths as the tree of `fieldsV1`."""
    tree: Json = {}
    for path in sorted(paths):
        node = tree
        for element in path:
            node = node.setdefault(element, {})
    return tree


def parse_fields(tree: Json) -> FieldPathSet:
    """Return the paths of a `fieldsV1` tree."""
    return frozenset(_leaves(tree, ()))


def _leaves(tree: Json, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for element, below in tree.items():
        if below:
            yield from _leaves(below, (*path, element))
        else:
            yield (*path, element)


def _walk(
    lists: dict[Path, MergeList], at: Path, path: tuple[str, ...], value: Any
) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict) and value:
        for name, child in value.items():
            yield from _walk(lists, (*at, name), (*path, f"f:{name}"), child)
    elif isinstance(value, list) and value and at in lists:
        for child in value:
            element = (*path, entry_element(lists[at], child))
            yield (*element, _ITSELF)
            if isinstance(child, dict):
                for name, field in child.items():
                    yield from _walk(lists, (*at, name), (*element, f"f:{name}"), field)
    elif path:
        yield path
