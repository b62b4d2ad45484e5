"""YAML or JSON text to typed values, with errors that name file, line and field.

The fast path (parse, then `msgspec.convert`) keeps no positions. Only when a document is refused is it
composed again to find the line of the field, so good files pay nothing for good messages.

JSON and plain YAML have parsers of their own, which give what `yamlloader` gives and take a quarter of its
time or less; whatever they don't take, it reads and judges.
"""

import json
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from nodeplane.errors import ConfigError
from nodeplane.jsondoc import DoubleKeyError, find_in_json, looks_like_json, parse_json

T = TypeVar("T")

# A place inside a document: mapping keys and list indexes from the top, e.g. ("spec", "ports", 0, "port").
FieldPath = Sequence[str | int]
Problem = tuple[FieldPath, str]
"""The path of a wrong field, and what is expected there."""

# What msgspec says, where ("key in" for a mapping's keys), and the field when it is one too few or too many.
_REFUSAL = re.compile(r"(?P<what>.*?)(?: - at (?P<key>`key` in )?`\$(?P<where>.*)`)?", re.DOTALL)
_FIELD = re.compile(r"Object (?P<is>missing required|contains unknown) field `(?P<name>.*)`", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|\[(\.\.\.)\]")


class YamlDocument(msgspec.Struct, frozen=True):
    """One document of a file, parsed but not yet typed.

    `text` is the whole file's and `index` the document's number in it, which is what finding a line needs.
    """

    file: str
    index: int
    value: Any
    text: str

    def at(self, path: FieldPath) -> Any:
        """Return the untyped value at `path`, which must be there."""
        value = self.value
        for step in path:
            value = value[step]
        return value

    def convert(self, kind: type[T], path: FieldPath = ()) -> T:
        """Turn the document, or the value at `path` inside it, into a `kind`.

        A field that is null where its type has no null is as good as absent, as Kubernetes reads it.

        Raises:
            ConfigError: the value does not fit; names file, line, field and what was expected.
        """
        value = self.at(path)
        while True:
            try:
                return msgspec.convert(value, kind)
            except msgspec.ValidationError as exc:
                null = _null_field(str(exc))
                if not null:
                    steps, expected = _explain(str(exc), kind)
                    raise self.error((*path, *steps), expected) from exc
                value = _without(value, null)

    def error(self, path: FieldPath, expected: str) -> ConfigError:
        """Build the error that says what was expected at `path`, with the line it stands on."""
        line, found = _find(self.text, self.index, path)
        got = f", got {found!r}" if found is not None and "got" not in expected else ""
        return ConfigError(f"{self.file}:{line}", field_text(path), expected + got)


def read_documents(path: Path, name: str | None = None) -> list[YamlDocument]:
    """Read all documents of a YAML (or JSON) file; empty documents are left out.

    Raises:
        ConfigError: the file can't be read, is none (a pipe, a device), or is not YAML; names the line.
    """
    file = name or str(path)
    return parse_documents(read_text(path, file), file)


def read_text(path: Path, file: str) -> str:
    """Read a file's text; `file` is the name that errors carry.

    Raises:
        ConfigError: the file can't be read, is none (a pipe, a device), or is not UTF-8; names the line.
    """
    try:
        # A pipe without a writer would stop the program here for good.
        with open(path, "rb", buffering=0, opener=_open_without_waiting) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise ConfigError(file, "", "expected a regular file")
            content = stream.read()
    except OSError as exc:
        raise ConfigError(file, "", f"expected a readable file: {exc.strerror}") from exc
    try:
        return content.decode()
    except UnicodeDecodeError as exc:
        line = content.count(b"\n", 0, exc.start) + 1
        raise ConfigError(f"{file}:{line}", "", f"expected UTF-8 text: {exc.reason}") from exc


def parse_documents(text: str, file: str) -> list[YamlDocument]:
    """Parse all documents of a text; `file` is the name that errors carry.

    Raises:
        ConfigError: the text is not YAML; names the line.
    """
    values = _parse(text, file)
    return [YamlDocument(file, index, value, text) for index, value in enumerate(values) if value is not None]


def _parse(text: str, file: str) -> list[Any]:
    """Parse the documents of a text that is JSON, or else YAML."""
    refusal = None
    if looks_like_json(text):
        try:
            return [parse_json(text)]
        except DoubleKeyError as exc:
            raise ConfigError(f"{file}:{exc.line}", "", f"expected JSON: {exc}") from exc
        except ValueError as exc:
            refusal = exc if isinstance(exc, json.JSONDecodeError) else None
    # Late: PyYAML takes 1 MB, which who has JSON, or no files, need not pay.
    from nodeplane.yamltext import parse_yaml

    return parse_yaml(text, file, refusal)


def field_text(path: FieldPath) -> str:
    """Render a path as people write it: `spec.ports[0].port`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _null_field(refusal: str) -> list[str | int]:
    """Return the path of the field that msgspec refuses because it is null; empty if it is no such refusal.

    A mapping's value is no field: a label that is null must not become a label that is not asked for.
    """
    parts = _REFUSAL.fullmatch(refusal)
    if parts is None or not parts["what"].endswith(", got `null`") or "[...]" in (parts["where"] or ""):
        return []
    steps = list(_steps(parts["where"] or ""))
    return steps if steps and isinstance(steps[-1], str) else []


def _without(value: Any, path: FieldPath) -> Any:
    """Copy a value without the field at `path`."""
    step, *rest = path
    copy = value.copy()
    if rest:
        copy[step] = _without(value[step], rest)
    else:
        del copy[step]
    return copy


def _explain(refusal: str, kind: Any) -> tuple[list[str | int], str]:
    """Turn what msgspec says of a value that is no `kind` into the path it speaks of and what is expected."""
    parts = _REFUSAL.fullmatch(refusal)
    if parts is None:
        raise AssertionError(f"the pattern takes any text: {refusal!r}")
    what, steps = parts["what"], list(_steps(parts["where"] or ""))
    field = _FIELD.fullmatch(what)
    if field:
        expected = "expected a value" if field["is"] == "missing required" else "expected no such field"
        return [*steps, field["name"]], expected
    if what.startswith("Invalid enum value"):
        choices = _choices(inspect.type_info(kind), steps)
        return steps, f"expected one of {', '.join(choices)}" if choices else what[:1].lower() + what[1:]
    return steps, what[:1].lower() + what[1:] + (" as a key" if parts["key"] else "")


def _choices(declared: inspect.Type, steps: Sequence[str | int]) -> list[str]:
    """List the values that an enumeration at `steps` inside a declared type takes."""
    found: list[str] = []
    match declared, steps:
        case inspect.LiteralType(values=values), []:
            found = [str(value) for value in values]
        case inspect.UnionType(types=types), _:
            found = [choice for each in types for choice in _choices(each, steps)]
        case inspect.Metadata(type=inner), _:
            found = _choices(inner, steps)
        case ((inspect.VarTupleType(item_type=inner) | inspect.ListType(item_type=inner)), [_, *rest]):
            found = _choices(inner, rest)
        case inspect.StructType(fields=fields), [name, *rest]:
            found = next((_choices(each.type, rest) for each in fields if each.encode_name == name), [])
    return found


def _steps(where: str) -> Iterator[str | int]:
    """Yield the steps of a msgspec path; stop at a mapping's key, which msgspec does not name."""
    for match in _STEP.finditer(where):
        name, index, any_key = match.groups()
        if any_key:
            return
        yield int(index) if index is not None else name


def _find(text: str, index: int, path: FieldPath) -> tuple[int, str | None]:
    """Return the line of what is at a path, or of what should have it, and its text if it is a word."""
    if looks_like_json(text):
        with suppress(ValueError, DoubleKeyError):
            parse_json(text)
            return find_in_json(text, path)
    from nodeplane.yamltext import find_in_yaml

    return find_in_yaml(text, index, path)
