"""JSON merge patch (RFC 7386) and JSON patch (RFC 6902)."""

from typing import Any

import msgspec

from netns_lab.apiserver.status import StatusError, bad_request


def merge_patch(target: Any, patch: Any) -> Any:
    """Return `target` with a JSON merge patch applied; null removes a field."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def json_patch(target: Any, operations: Any) -> Any:
    """Return `target` with the operations of a JSON patch applied in order, all or none.

    Raises:
        StatusError: 400 the patch is no JSON patch, 422 an operation does not apply.
    """
    if not isinstance(operations, list) or not all(isinstance(entry, dict) for entry in operations):
        raise bad_request("json patch: expected a list of operations")
    # Decoded anew, so that nothing of the caller's value is changed.
    document: Any = msgspec.json.decode(msgspec.json.encode(target))
    for operation in operations:
        document = _apply(document, operation)
    return document


def _apply(document: Any, operation: dict[str, Any]) -> Any:
    action, path = operation.get("op"), operation.get("path")
    if not isinstance(path, str):
        raise bad_request("json patch: expected a path in each operation")
    if action in {"add", "replace", "test"} and "value" not in operation:
        raise bad_request(f"json patch: expected a value to {action}")
    if action in {"move", "copy"} and not isinstance(operation.get("from"), str):
        raise bad_request(f"json patch: expected a 'from' to {action}")
    if action == "add":
        return _add(document, _pointer(path), operation["value"])
    if action == "remove":
        return _remove(document, _pointer(path))
    if action == "replace":
        _find(document, _pointer(path))
        if not path:
            return operation["value"]
        return _add(_remove(document, _pointer(path)), _pointer(path), operation["value"])
    if action == "test":
        if _find(document, _pointer(path)) != operation["value"]:
            raise _unprocessable(f"testing value {path} failed")
        return document
    if action in {"move", "copy"}:
        source = _pointer(operation["from"])
        value = msgspec.json.decode(msgspec.json.encode(_find(document, source)))
        return _add(_remove(document, source) if action == "move" else document, _pointer(path), value)
    raise bad_request(f"json patch: unknown operation {action!r}")


def _pointer(text: str) -> list[str]:
    """Split a JSON pointer (RFC 6901)."""
    if text and not text.startswith("/"):
        raise bad_request(f"json patch: expected a path that begins with '/', not {text!r}")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _find(document: Any, pointer: list[str]) -> Any:
    for part in pointer:
        if isinstance(document, dict) and part in document:
            document = document[part]
        elif isinstance(document, list):
            document = document[_index(part, len(document) - 1)]
        else:
            raise _unprocessable(f"missing value at /{'/'.join(pointer)}")
    return document


def _add(document: Any, pointer: list[str], value: Any) -> Any:
    if not pointer:
        return value
    parent, last = _find(document, pointer[:-1]), pointer[-1]
    if isinstance(parent, list):
        parent.insert(len(parent) if last == "-" else _index(last, len(parent)), value)
    elif isinstance(parent, dict):
        parent[last] = value
    else:
        raise _unprocessable(f"no object or list around /{'/'.join(pointer)}")
    return document


def _remove(document: Any, pointer: list[str]) -> Any:
    _find(document, pointer)
    if not pointer:
        return None
    parent, last = _find(document, pointer[:-1]), pointer[-1]
    del parent[int(last) if isinstance(parent, list) else last]
    return document


def _index(part: str, highest: int) -> int:
    if not part.isdigit() or (len(part) > 1 and part[0] == "0") or int(part) > highest:
        raise _unprocessable(f"invalid index {part!r}")
    return int(part)


def _unprocessable(why: str) -> StatusError:
    return StatusError(
        422, "Invalid", f"the server rejected our request due to an error in our request: {why}", {}
    )
