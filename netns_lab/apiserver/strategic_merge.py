"""Strategic merge patch: a merge patch that knows which lists are sets of things with a key.

It follows k8s.io/apimachinery/pkg/util/strategicpatch, with its directives: `$patch: replace|delete|merge`,
`$deleteFromPrimitiveList/F`, `$setElementOrder/F` and `$retainKeys`.
"""

from collections.abc import Mapping
from typing import Any

from netns_lab.apiserver.merge_keys import MERGE_LISTS, MergeList, Path
from netns_lab.apiserver.status import bad_request
from netns_lab.apiserver.wire import Json

_DELETE_FROM = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"
_RETAIN = "$retainKeys"
_PATCH = "$patch"


def strategic_merge(kind: str, target: Json, patch: Any) -> Json:
    """Return an object of a kind with a strategic merge patch applied; a second time changes nothing.

    Raises:
        StatusError: 400, the patch is no strategic merge patch of the kind.
    """
    if not isinstance(patch, dict):
        raise bad_request("strategic merge patch: expected an object")
    return _merge_mapping(MERGE_LISTS[kind], (), target, patch)


def _merge_mapping(lists: Mapping[Path, MergeList], at: Path, target: Json, patch: Json) -> Json:
    directive = patch.get(_PATCH)
    if directive == "replace":
        return {
            name: _cleaned(value) for name, value in patch.items() if name != _PATCH and value is not None
        }
    if directive == "delete":
        return {}
    if directive not in {None, "merge"}:
        raise bad_request(f"strategic merge patch: unknown directive {directive!r} at {_words(at)}")
    merged = dict(target)
    if _RETAIN in patch:
        merged = {name: value for name, value in merged.items() if name in patch[_RETAIN]}
    for name, value in patch.items():
        if name.startswith(_DELETE_FROM):
            field = name.removeprefix(_DELETE_FROM)
            merged[field] = [entry for entry in merged.get(field) or () if entry not in value]
        elif value is None:
            merged.pop(name, None)
        elif not name.startswith("$"):
            merged[name] = _merge_value(lists, (*at, name), merged.get(name), value)
    for name, order in patch.items():
        field = name.removeprefix(_ORDER)
        if field != name and merged.get(field):
            merged[field] = _ordered(lists.get((*at, field), MergeList()), merged[field], order)
    return merged


def _merge_value(lists: Mapping[Path, MergeList], at: Path, target: Any, patch: Any) -> Any:
    if isinstance(patch, dict):
        return _merge_mapping(lists, at, target if isinstance(target, dict) else {}, patch)
    if isinstance(patch, list) and at in lists:
        return _merge_list(lists, at, target or [], patch)
    return _cleaned(patch)


def _merge_list(lists: Mapping[Path, MergeList], at: Path, target: list[Any], patch: list[Any]) -> list[Any]:
    key = lists[at].key
    if not key:
        return [*target, *(entry for entry in dict.fromkeys(patch) if entry not in target)]
    if any(not isinstance(entry, dict) for entry in patch):
        raise bad_request(f"strategic merge patch: expected objects in {_words(at)}")
    if any(entry.get(_PATCH) == "replace" and len(entry) == 1 for entry in patch):
        return [_cleaned(entry) for entry in patch if entry.get(_PATCH) != "replace"]
    merged = list(target)
    for entry in patch:
        if key not in entry:
            raise bad_request(f"map: does not contain declared merge key: {key} ({_words(at)})")
        # As upstream, the first entry of that key counts: two ports may share a number, by protocol.
        place = next((index for index, other in enumerate(merged) if other.get(key) == entry[key]), None)
        if entry.get(_PATCH) == "delete":
            merged = [other for other in merged if other.get(key) != entry[key]]
        elif place is None:
            merged.append(_merge_mapping(lists, at, {}, entry))
        else:
            merged[place] = _merge_mapping(lists, at, merged[place], entry)
    return merged


def _ordered(entry: MergeList, merged: list[Any], order: list[Any]) -> list[Any]:
    """Put the entries that the patch names in its order; others keep their place behind their predecessor."""

    def name(value: Any) -> Any:
        return value.get(entry.key) if entry.key and isinstance(value, dict) else value

    rank = {name(value): index for index, value in enumerate(order)}
    placed: list[tuple[int, Any]] = []
    last = -1
    for value in merged:
        last = rank.get(name(value), last)
        placed.append((last, value))
    return [value for _, value in sorted(placed, key=lambda pair: pair[0])]


def _cleaned(value: Any) -> Any:
    """Drop directives and nulls from what is taken over whole."""
    if isinstance(value, dict):
        return {
            name: _cleaned(entry)
            for name, entry in value.items()
            if not name.startswith("$") and entry is not None
        }
    if isinstance(value, list):
        return [_cleaned(entry) for entry in value]
    return value


def _words(at: Path) -> str:
    return ".".join(at) or "the object"
