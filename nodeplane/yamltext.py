"""YAML text to untyped values, and where in the text a field stands.

Plain YAML has a parser of its own (`yamlplain`); whatever that does not take, PyYAML reads and judges
(`yamlloader`).
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import yaml
from yaml.reader import ReaderError

from nodeplane.errors import ConfigError
from nodeplane.yamlloader import Loader
from nodeplane.yamlplain import NotPlainError, parse_plain


def parse_yaml(text: str, file: str, refusal: json.JSONDecodeError | None = None) -> list[Any]:
    """Parse all documents of a text; `file` is the name that errors carry, `refusal` why it is no JSON.

    Raises:
        ConfigError: the text is not YAML; names the line.
    """
    if refusal is None:
        with suppress(NotPlainError):
            return parse_plain(text)
    try:
        return list(yaml.load_all(text, Loader=Loader))
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        if refusal is not None and mark and refusal.pos > mark.index:
            # As YAML it is wrong before that: so it is meant to be JSON.
            problem = refusal.msg[:1].lower() + refusal.msg[1:]
            raise ConfigError(f"{file}:{refusal.lineno}", "", f"expected JSON: {problem}") from exc
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(file + line, "", f"expected YAML: {exc.problem or exc.context}") from exc
    except ReaderError as exc:
        # libyaml counts in bytes.
        number = text.encode().count(b"\n", 0, exc.position) + 1
        raise ConfigError(f"{file}:{number}", "", f"expected YAML: {exc.reason}") from exc


def find_in_yaml(text: str, index: int, path: Sequence[str | int]) -> tuple[int, str | None]:
    """Return the line of what is at a path in a document, or of what should have it, and its text if a word.

    `index` is the document's number in the text.
    """
    node = _document_node(text, index)
    line = node.start_mark.line + 1 if node else 1
    for step in path:
        node = _child(node, step)
        if node is None:
            return line, None
        line = node.start_mark.line + 1
    return line, node.value if isinstance(node, yaml.ScalarNode) else None


def _document_node(text: str, index: int) -> yaml.Node | None:
    for number, node in enumerate(yaml.compose_all(text, Loader=Loader)):
        if number == index:
            return node
    return None


def _child(node: yaml.Node | None, step: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        child: yaml.Node = node.value[step]
        return child
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == step:
                return value  # type: ignore[no-any-return]  # the stubs leave a mapping's pairs untyped
    return None
