"""Server-side apply: each manager states the fields it wants, and owns them.

What a manager stated before and no longer does goes, unless another states it too. Two managers that state
different values conflict, until one of them forces. Only managers that apply are tracked; a PUT or another
PATCH changes fields without owning them, so it never causes a conflict here.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from netns_lab.apiserver.field_paths import (
    FieldPathSet,
    entry_element,
    field_paths,
    parse_fields,
    render_fields,
)
from netns_lab.apiserver.merge_keys import MERGE_LISTS, MergeList, Path
from netns_lab.apiserver.resources import Resource
from netns_lab.apiserver.status import StatusError
from netns_lab.apiserver.wire import Json


class Manager(msgspec.Struct, frozen=True):
    """Who applies, through which subresource, when, and whether it overrides others."""

    name: str
    time: str
    force: bool = False
    subresource: str = ""


def apply_patch(resource: Resource, live: Json, applied: Json, manager: Manager) -> Json:
    """Return `live` with what a manager applies, and with who owns what.

    Raises:
        StatusError: 409, another manager owns a field that gets another value.
    """
    kind = resource.kind
    entries: list[Json] = list(live.get("metadata", {}).get("managedFields") or ())
    stated = field_paths(kind, applied)
    others = [entry for entry in entries if entry.get("operation") == "Apply" and not _is(entry, manager)]
    owned = [parse_fields(entry.get("fieldsV1") or {}) for entry in others]
    disputed = _disputed(kind, live, applied, stated, owned)
    if disputed and not manager.force:
        raise _conflict(resource, live, disputed, others, owned)
    mine = next((entry for entry in entries if _is(entry, manager)), None)
    before = parse_fields(mine.get("fieldsV1") or {}) if mine is not None else frozenset()
    kept = stated.union(*owned)
    merged = _merge(MERGE_LISTS[kind], (), _without(MERGE_LISTS[kind], live, before - kept, kept), applied)
    metadata = {**merged.get("metadata", {})}
    metadata["managedFields"] = [
        *_without_lost(entries, manager, disputed),
        {
            "manager": manager.name,
            "operation": "Apply",
            "apiVersion": resource.api_version,
            "time": manager.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": render_fields(stated),
            **({"subresource": manager.subresource} if manager.subresource else {}),
        },
    ]
    if mine is not None and mine.get("fieldsV1") == metadata["managedFields"][-1]["fieldsV1"]:
        # Applying the same again is no change.
        metadata["managedFields"][-1]["time"] = mine["time"]
    return {**merged, "metadata": metadata}


def _is(entry: Json, manager: Manager) -> bool:
    return (entry.get("manager"), entry.get("operation"), entry.get("subresource", "")) == (
        manager.name,
        "Apply",
        manager.subresource,
    )


def _without_lost(entries: list[Json], manager: Manager, lost: FieldPathSet) -> Iterator[Json]:
    """Yield the entries of the other managers without the fields that one has taken from them."""
    for entry in entries:
        if _is(entry, manager):
            continue
        before = parse_fields(entry.get("fieldsV1") or {})
        if entry.get("operation") != "Apply" or not before & lost:
            yield entry
        elif before - lost:
            yield {**entry, "fieldsV1": render_fields(before - lost)}
        # Who has nothing left is no manager any more (structured-merge-diff, ManagedFields).


def _disputed(
    kind: str, live: Json, applied: Json, stated: FieldPathSet, owned: Iterable[FieldPathSet]
) -> FieldPathSet:
    """Return the fields of other managers that would get another value."""
    candidates = stated & frozenset().union(*owned)
    lists = MERGE_LISTS[kind]
    return frozenset(
        path
        for path in candidates
        if path[-1] != "." and _value(lists, live, path) != _value(lists, applied, path)
    )


def _conflict(
    resource: Resource, live: Json, disputed: FieldPathSet, others: list[Json], owned: list[FieldPathSet]
) -> StatusError:
    causes = [
        {
            "reason": "FieldManagerConflict",
            "message": f'conflict with "{entry["manager"]}"',
            "field": _render(path),
        }
        for entry, paths in zip(others, owned, strict=True)
        for path in sorted(paths & disputed)
    ]
    count = f"{len(causes)} conflict{'s' if len(causes) > 1 else ''}"
    listed = ", ".join(f"{cause['message']}: {cause['field']}" for cause in causes)
    details = {"name": live["metadata"]["name"], "kind": resource.plural, "causes": causes}
    return StatusError(409, "Conflict", f"Apply failed with {count}: {listed}", details)


def _render(path: tuple[str, ...]) -> str:
    parts = [part.removeprefix("f:") if part.startswith("f:") else f"[{part[2:]}]" for part in path]
    return "".join(part if part.startswith("[") else f".{part}" for part in parts)


def _value(lists: dict[Path, MergeList], value: Any, path: tuple[str, ...]) -> Any:
    at: Path = ()
    for element in path:
        if element.startswith("f:"):
            at = (*at, element[2:])
            value = value.get(element[2:]) if isinstance(value, dict) else None
        else:
            value = next((entry for entry in value or () if entry_element(lists[at], entry) == element), None)
    return value


def _without(lists: dict[Path, MergeList], live: Json, gone: FieldPathSet, kept: FieldPathSet) -> Json:
    """Return an object without fields that nobody states any more."""
    result: Json = msgspec.json.decode(msgspec.json.encode(live))
    # Entries before fields: an entry is found by fields that would go as well.
    for path in sorted(gone, key=lambda path: (not _is_entry(path), path)):
        whole = path[:-1] if path[-1] == "." else path
        if _is_entry(path) and any(other[: len(whole)] == whole for other in kept):
            # Another manager states something of this entry.
            continue
        parent = _value(lists, result, whole[:-1])
        if isinstance(parent, dict):
            parent.pop(whole[-1].removeprefix("f:"), None)
        elif isinstance(parent, list):
            at = tuple(element[2:] for element in whole[:-1] if element.startswith("f:"))
            parent[:] = [entry for entry in parent if entry_element(lists[at], entry) != whole[-1]]
    return result


def _is_entry(path: tuple[str, ...]) -> bool:
    return path[-1] == "." or path[-1].startswith("v:")


def _merge(lists: dict[Path, MergeList], at: Path, live: Any, applied: Any) -> Any:
    if isinstance(applied, dict):
        merged = dict(live) if isinstance(live, dict) else {}
        for name, value in applied.items():
            merged[name] = _merge(lists, (*at, name), merged.get(name), value)
        return merged
    if not isinstance(applied, list) or at not in lists:
        return applied
    entry = lists[at]
    merged_list = list(live or ())
    for value in applied:
        element = entry_element(entry, value)
        place = next(
            (i for i, other in enumerate(merged_list) if entry_element(entry, other) == element), None
        )
        if place is None:
            merged_list.append(value)
        else:
            merged_list[place] = _merge(lists, at, merged_list[place], value)
    return merged_list
