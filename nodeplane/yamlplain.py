"""The plain part of YAML, in which nearly all manifests are written, read line by line.

Each line is a key, an item of a list, or both, with at most one word, text or quoted text behind it:

    metadata:
      name: web
      labels: {}
    ports:
    - name: "http"
      port: 80            # what a word means, `yamlloader` says

Whatever else YAML has (text over several lines, `{a: b}`, anchors, tags, escapes, tabs, characters outside
ASCII) is not read here, nor is what is wrong: then `yamlloader` is to read the whole text and to judge it.

libyaml takes 0.08 s for 10,000 Services, but PyYAML 1.2: it makes an event, two marks and a node in Python
for each word. A line here makes one tuple: 0.3 s.
"""

import re
from functools import lru_cache
from typing import Any

import yaml

from nodeplane.nesting import MAX_DEPTH
from nodeplane.yamlloader import Loader

# What is one plain scalar in the block context, whatever stands around it (YAML 1.1, section 9.1.3): no
# indicator at its beginning, no colon at its end and no `#` in it.
_LETTER = r"[A-Za-z0-9_./+=,@()%*;~^<>|!?&$-]"
_WORD = rf"{_LETTER}+(?::{{1,2}}{_LETTER}+)*"
_PLAIN = rf"[A-Za-z0-9_./](?:{_LETTER}*(?::{{1,2}}{_LETTER}+)*)(?:\ {_WORD})*"
_KEY = r"[A-Za-z0-9_](?:[A-Za-z0-9_./:-]{0,250}[A-Za-z0-9_])?"
_LINE = re.compile(
    r"^(?P<indent>\ *)(?P<dash>-\ +)?"
    rf"(?:(?P<key>{_KEY}):(?:\ +|$))?"
    # Quoted text without an escape in it; nothing, in brackets.
    rf"""(?P<value>{_PLAIN}|"[ !\#-\[\]-~]*"|'[ -&(-~]*'|\{{\}}|\[\])?"""
    r"\ *(?:(?:^|(?<=\ ))\#[ -~]*)?$"
    r"|^(?P<other>.+)$",
    re.VERBOSE | re.MULTILINE,
)
_LOADER = Loader("")
_STR = Loader.DEFAULT_SCALAR_TAG
_SEPARATOR = -1
_END = -2

# The column of a line, whether it begins an item, its key and its value.
_Line = tuple[int, bool, str, str]


class NotPlainError(Exception):
    """There is more to this text than is read here."""


def parse_plain(text: str) -> list[Any]:
    """Parse all documents of a text, as `yaml.load_all` with `yamlloader.Loader` does.

    Raises:
        NotPlainError: there is more to it, or something is wrong.
    """
    reader = _Reader(_read_lines(text))
    documents = []
    if reader.column >= 0:
        documents.append(reader.read_node(-1, 0))
    while reader.column == _SEPARATOR:
        reader.at += 1
        documents.append(reader.read_node(-1, 0))
    if reader.column != _END:
        raise NotPlainError
    return documents


def _read_lines(text: str) -> list[_Line]:
    lines: list[_Line] = []
    for indent, dash, key, value, other in _LINE.findall(text):
        if key or value:
            column = len(indent)
            if dash:
                lines.append((column, True, "", ""))
                column += len(dash)
            elif not key:
                raise NotPlainError
            lines.append((column, False, key, value))
        elif other == "---":
            lines.append((_SEPARATOR, False, "", ""))
        elif other or dash:
            raise NotPlainError
    lines.append((_END, False, "", ""))
    return lines


class _Reader:
    """Reads values from the line `at` on; what follows the dash of an item is a line of its own."""

    def __init__(self, lines: list[_Line]) -> None:
        self._lines = lines
        self.at = 0

    @property
    def column(self) -> int:
        """The column of the line."""
        return self._lines[self.at][0]

    def read_node(self, outer: int, depth: int) -> Any:
        """Read what stands below a key at column `outer`; a list need not be indented."""
        if depth >= MAX_DEPTH - 1:
            raise NotPlainError
        column, is_item, _, _ = self._lines[self.at]
        if column > outer or (is_item and column == outer):
            return self._read_list(column, depth + 1) if is_item else self._read_mapping(column, depth + 1)
        return None

    def _read_list(self, column: int, depth: int) -> list[Any]:
        items = []
        while self._lines[self.at][:2] == (column, True):
            inner, _, key, text = self._lines[self.at + 1]
            if key:
                self.at += 1
                items.append(self._read_mapping(inner, depth + 1))
            else:
                self.at += 2
                items.append(_scalar(text))
        return items

    def _read_mapping(self, column: int, depth: int) -> dict[Any, Any]:
        mapping: dict[Any, Any] = {}
        lines, at, entries = self._lines, self.at, 0
        while True:
            found, is_item, key, text = lines[at]
            if found != column or is_item:
                break
            at += 1
            if text:
                mapping[_word(key)] = _scalar(text)
            else:
                self.at = at
                mapping[_word(key)] = self.read_node(column, depth)
                at = self.at
            entries += 1
        self.at = at
        if len(mapping) != entries:
            raise NotPlainError
        return mapping


def _scalar(text: str) -> Any:
    if text[0] in "{[":
        return {} if text == "{}" else []
    return _word(text)


# Most words of a file are those of the file before.
@lru_cache(maxsize=4096)
def _word(text: str) -> Any:
    """Return what a word means, or what is quoted."""
    if text[0] in "\"'":
        return text[1:-1]
    tag = _LOADER.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]  # as the stubs have it
    if tag == _STR:
        return text
    try:
        return Loader.yaml_constructors[tag](_LOADER, yaml.ScalarNode(tag, text))
    except yaml.YAMLError:
        raise NotPlainError from None
