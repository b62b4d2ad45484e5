"""JSON text to untyped values, and where in the text a field stands.

A file of JSON is read by JSON's rules. YAML's differ: no character may be written as a surrogate pair, and
`1e3` is a text. A key that stands twice in an object is refused, as in YAML; msgspec's decoder, which takes
two thirds of the time, does not tell of it.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nodeplane.nesting import MAX_DEPTH

_NO_BRACKETS = bytes({*range(256)} - {*b"{}[]"})
_SPACE = re.compile(r"[ \t\n\r]*")


class DoubleKeyError(Exception):
    """An object has a key twice."""

    def __init__(self, key: str, line: int) -> None:
        super().__init__(f"found key {key!r} twice")
        self.line = line


class _DoubleError(ValueError):
    """The same, before anybody knows where."""


def looks_like_json(text: str) -> bool:
    """Say whether a text may be JSON that holds more than a single word."""
    return text[_skip(text, 0) :][:1] in {"{", "["}


def parse_json(text: str) -> Any:
    """Parse a text that is JSON.

    Raises:
        DoubleKeyError: it is, but for a key that stands twice.
        ValueError: it is not JSON, or holds a value that we don't read.
    """
    try:
        value, end = _parse_at(text, _skip(text, 0), MAX_DEPTH)
    except _DoubleError:
        raise _find_double(text) from None
    _expect_end(text, end)
    return value


def iterate_items(text: str) -> Iterator[tuple[Mapping[str, Any], Any]]:
    """Yield each entry of the list `items` of a JSON object, with the object's fields that are known by then.

    The fields are the same mapping each time; it is complete when the last entry was taken. Of a large list
    one entry at a time is in memory.

    Raises:
        ValueError: there is no such list, or something that `parse_json` refuses; maybe behind some entries.
    """
    fields: dict[str, Any] = {}
    at = _expect(text, 0, "{")
    while True:
        name, at = _parse_at(text, at, 1)
        if not isinstance(name, str) or name in fields:
            raise ValueError("expected the name of another field")
        at = _expect(text, at, ":")
        if name == "items" and text.startswith("[", at):
            fields[name], at = [], _expect(text, at, "[")
            is_more = not text.startswith("]", at)
            while is_more:
                value, at = _parse_at(text, at, MAX_DEPTH - 2)
                yield fields, value
                at = _skip(text, at)
                is_more = not text.startswith("]", at)
                at = _expect(text, at, ",") if is_more else at
            at += 1
        else:
            fields[name], at = _parse_at(text, at, MAX_DEPTH - 1)
        at = _skip(text, at)
        if text.startswith("}", at):
            break
        at = _expect(text, at, ",")
    _expect_end(text, at + 1)
    if "items" not in fields:
        raise ValueError("expected items")


def find_in_json(text: str, path: Sequence[str | int]) -> tuple[int, str | None]:
    """Return the line of what is at a path, or of what should have it, and its text if it is a word."""
    at = _skip(text, 0)
    for step in path:
        places = dict(_entries(text, at)) if text[at] in "{[" else {}
        if step not in places:
            return _line(text, at), None
        at = places[step]
    if text[at] in "{[":
        return _line(text, at), None
    value, end = json.JSONDecoder().raw_decode(text, at)
    return _line(text, at), value if isinstance(value, str) else text[at:end]


def _parse_at(text: str, at: int, max_depth: int) -> tuple[Any, int]:
    """Parse the value at a place; return it and the place behind it."""
    try:
        value, end = _DECODER.raw_decode(text, at)
    except RecursionError as exc:
        raise ValueError("nested too deep") from exc
    # Most values have few brackets, those inside of strings too.
    is_short = text.count("{", at, end) + text.count("[", at, end) <= max_depth
    if not is_short and not _is_surely_flat(text[at:end], max_depth) and _is_deeper(value, max_depth):
        raise ValueError("nested too deep")
    if text.find("\\u", at, end) >= 0:
        # Half of a surrogate pair is no character.
        json.dumps(value, ensure_ascii=False).encode()
    return value, end


def _expect(text: str, at: int, mark: str) -> int:
    """Return the place of what follows a mark, which must be next."""
    at = _skip(text, at)
    if not text.startswith(mark, at):
        raise json.JSONDecodeError(f"Expecting {mark!r}", text, at)
    return _skip(text, at + 1)


def _expect_end(text: str, at: int) -> None:
    at = _skip(text, at)
    if at != len(text):
        raise json.JSONDecodeError("Extra data", text, at)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _DoubleError("a key stands twice")
    return value


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse)


def _is_surely_flat(text: str, depth: int) -> bool:
    """Say whether the brackets alone, those inside of strings too, show no deeper nesting.

    Takes a fifth of the time that a walk over the values takes: each round takes the innermost pairs away.
    """
    brackets = text.encode("utf-8", "surrogatepass").translate(None, _NO_BRACKETS)
    for _ in range(depth):
        if not brackets:
            return True
        before = len(brackets)
        brackets = brackets.replace(b"{}", b"").replace(b"[]", b"")
        if len(brackets) == before:
            return False
    return not brackets


def _is_deeper(value: Any, depth: int) -> bool:
    level = [value]
    for _ in range(depth):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) is dict or type(inner) is list
        ]
        if not level:
            return False
    return True


def _find_double(text: str) -> DoubleKeyError:
    places = [_skip(text, 0)]
    for at in places:
        seen = set[str | int]()
        for key, place in _entries(text, at):
            if key in seen:
                return DoubleKeyError(str(key), _line(text, place))
            seen.add(key)
            if text[place] in "{[":
                places.append(place)
    raise AssertionError("the parser has found a key twice")


def _entries(text: str, at: int) -> Iterator[tuple[str | int, int]]:
    """Yield the key or index of each entry of the object or list at a place, and the place of its value."""
    is_object, parse = text[at] == "{", json.JSONDecoder().raw_decode
    at, index = _skip(text, at + 1), 0
    while text[at] not in "}]":
        key: str | int = index
        if is_object:
            key, colon = parse(text, at)
            at = _skip(text, _skip(text, colon) + 1)
        yield key, at
        _, end = parse(text, at)
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
        index += 1


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1
