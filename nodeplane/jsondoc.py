"""JSON text to untyped values, and where in the text a field stands.

A file of JSON is read by JSON's rules. YAML's differ: no character may be written as a surrogate pair, and
`1e3` is a text. A key that stands twice in an object is refused, as in YAML; msgspec's decoder, which takes
two thirds of the time, does not tell of it.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from nodeplane.yamlloader import MAX_DEPTH

_NO_BRACKETS = bytes({*range(256)} - {*b"{}[]"})
_SPACE = re.compile(r"[ \t\n\r]*")


class DoubleKeyError(Exception):
    """An object has a key twice."""

    def __init__(self, key: str, line: int) -> None:
        super().__init__(f"found key {key!r} twice")
        self.line = line


class _DoubleError(Exception):
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
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse)
    except _DoubleError:
        raise _find_double(text) from None
    except RecursionError as exc:
        raise ValueError("nested too deep") from exc
    if not _is_surely_flat(text, MAX_DEPTH) and _is_deeper(value, MAX_DEPTH):
        raise ValueError("nested too deep")
    if "\\u" in text:
        # Half of a surrogate pair is no character.
        json.dumps(value, ensure_ascii=False).encode()
    return value


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


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _DoubleError
    return value


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


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
