"""Label and field selectors: the text that clients send, as a predicate.

The grammar is that of k8s.io/apimachinery's labels.Parse and fields.ParseSelector.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import msgspec

from netns_lab.apiserver.resources import Resource
from netns_lab.apiserver.status import bad_request
from netns_lab.apiserver.wire import Item

_TOKEN = re.compile(r"\s*(==|!=|=|[(),!<>]|[^\s=!(),<>]+)")
_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_KEY = re.compile(rf"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?{_NAME.pattern}")

Operator = Literal["in", "notin", "exists", "absent", "gt", "lt"]


class Requirement(msgspec.Struct, frozen=True):
    """One condition on one label."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Say whether labels meet it; a label that is absent is `notin` everything."""
        value = labels.get(self.key)
        if self.operator == "exists":
            return value is not None
        if self.operator == "absent":
            return value is None
        if self.operator == "in":
            return value in self.values
        if self.operator == "notin":
            return value not in self.values
        (bound,) = self.values
        if value is None or not re.fullmatch(r"-?\d+", value):
            return False
        return int(value) > int(bound) if self.operator == "gt" else int(value) < int(bound)


class _Words:
    """The tokens of a selector, read one after the other."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[str] = []
        position = 0
        stripped = text.rstrip()
        while position < len(stripped):
            match = _TOKEN.match(stripped, position)
            if match is None:
                raise self.error("unexpected character")
            self._tokens.append(match[1])
            position = match.end()

    def peek(self) -> str:
        return self._tokens[0] if self._tokens else ""

    def take(self) -> str:
        return self._tokens.pop(0) if self._tokens else ""

    def error(self, what: str) -> Exception:
        return bad_request(f'unable to parse requirement: {what} in "{self._text}"')


def parse_labels(text: str) -> tuple[Requirement, ...]:
    """Parse a label selector; an empty one has no requirements.

    Raises:
        StatusError: 400, the text is no selector.
    """
    words = _Words(text)
    found: list[Requirement] = []
    while words.peek():
        found.append(_requirement(words))
        if words.peek() and (words.take() != "," or not words.peek()):
            raise words.error("expected ','")
    return tuple(found)


def _requirement(words: _Words) -> Requirement:
    if words.peek() == "!":
        words.take()
        return Requirement(_key(words), "absent")
    key = _key(words)
    operator = words.peek()
    if operator in {"", ","}:
        return Requirement(key, "exists")
    words.take()
    if operator in {"=", "==", "!="}:
        return Requirement(key, "notin" if operator == "!=" else "in", frozenset({_value(words)}))
    if operator in {"in", "notin"}:
        return Requirement(key, "in" if operator == "in" else "notin", frozenset(_values(words)))
    if operator in {"<", ">"}:
        bound = _value(words)
        if not re.fullmatch(r"-?\d+", bound):
            raise words.error("expected an integer after '<' or '>'")
        return Requirement(key, "gt" if operator == ">" else "lt", frozenset({bound}))
    raise words.error(f"found '{operator}', expected: in, notin, =, ==, !=, >, <")


def _key(words: _Words) -> str:
    key = words.take()
    if not _KEY.fullmatch(key):
        raise words.error(f"'{key}' is no label")
    return key


def _value(words: _Words) -> str:
    value = "" if words.peek() in {"", ",", ")"} else words.take()
    if value and not _NAME.fullmatch(value):
        raise words.error(f"'{value}' is no label value")
    return value


def _values(words: _Words) -> Iterator[str]:
    if words.take() != "(":
        raise words.error("expected '('")
    while True:
        yield _value(words)
        separator = words.take()
        if separator == ")":
            return
        if separator != ",":
            raise words.error("expected ',' or ')'")


class FieldTerm(msgspec.Struct, frozen=True):
    """One condition on one field."""

    path: str
    is_equal: bool
    value: str


def parse_fields(resource: Resource, text: str) -> tuple[FieldTerm, ...]:
    """Parse a field selector of a resource.

    Raises:
        StatusError: 400, the text is no selector, or names a field that the resource does not offer.
    """
    found = []
    # A comma, equals sign or backslash in a value is written with a backslash in front (fields.EscapeValue).
    for term in re.split(r"(?<!\\),", text) if text else ():
        match = re.fullmatch(r"([^=!\\]+?)(!=|==?)(.*)", term)
        if match is None:
            raise bad_request(f'invalid selector: "{text}"; can\'t understand "{term}"')
        path, operator, value = match.groups()
        known = path == "metadata.name" or (path == "metadata.namespace" and resource.namespaced)
        if not known and path not in resource.fields:
            raise bad_request(f"field label not supported: {path}")
        found.append(FieldTerm(path, operator != "!=", re.sub(r"\\(.)", r"\1", value)))
    return tuple(found)


Matcher = Callable[[Item], bool]


def build_matcher(resource: Resource, labels: str, fields: str) -> Matcher | None:
    """Return the predicate of a request's two selectors; None when they select everything.

    Raises:
        StatusError: 400, one of them is wrong.
    """
    requirements = parse_labels(labels)
    terms = parse_fields(resource, fields)
    if not requirements and not terms:
        return None

    def matches(item: Item) -> bool:
        return all(requirement.matches(item.labels) for requirement in requirements) and _fields_match(
            resource, terms, item
        )

    return matches


def _fields_match(resource: Resource, terms: tuple[FieldTerm, ...], item: Item) -> bool:
    content: Any = None
    for term in terms:
        if term.path == "metadata.name":
            value = item.name
        elif term.path == "metadata.namespace":
            value = item.namespace
        else:
            content = msgspec.json.decode(item.body) if content is None else content
            value = _field(content, term.path, resource.fields[term.path])
        if (value == term.value) is not term.is_equal:
            return False
    return True


def _field(content: Any, path: str, absent: str) -> str:
    for part in path.split("."):
        content = content.get(part) if isinstance(content, dict) else None
    if isinstance(content, bool):
        return str(content).lower()
    return absent if content is None else str(content)
