"""YAML read as Kubernetes reads it: how plain words become values, and what no manifest may hold.

Kubernetes goes through JSON (sigs.k8s.io/yaml over go-yaml), PyYAML follows YAML 1.1 to the letter. They
differ where it hurts: `10:20:30:40:50:51` is a MAC address there and a number in base 60 here, a date is
text there. A key that stands twice in a mapping is refused, as Kubernetes' strict field validation does.
"""

import re
from collections.abc import Callable
from typing import IO, Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from nodeplane.nesting import MAX_DEPTH

_TAG = "tag:yaml.org,2002:"
# YAML 1.1's own patterns (yaml.org/type) without base 60.
_INT = re.compile(r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)\Z")
_FLOAT = re.compile(
    r"[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?\Z|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?\Z"
    r"|[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z"
)
_REPLACED = {_TAG + name for name in ("int", "float", "timestamp", "value")}

_Resolvers = dict[str | None, list[tuple[str, "re.Pattern[str]"]]]


class Loader(yaml.CSafeLoader):
    """A loader for `yaml.load_all` and `yaml.compose_all`; whatever it refuses is a `yaml.YAMLError`."""

    yaml_implicit_resolvers: _Resolvers = {  # noqa: RUF012  # PyYAML looks for it in the class
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in _REPLACED]
        for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, stream: str | bytes | IO[str] | IO[bytes]) -> None:
        super().__init__(stream)
        self._depth = 0
        self._flat: set[yaml.MappingNode] = set()

    # The composer calls these two around each node. What they do in PyYAML is for `add_path_resolver`,
    # which nobody uses here, and costs a tenth of the time.
    def descend_resolver(self, current_node: yaml.Node | None, _current_index: object) -> None:
        """Count a level of nesting."""
        self._depth += 1
        if self._depth > MAX_DEPTH and current_node is not None:
            raise ComposerError(
                None, None, f"expected at most {MAX_DEPTH} levels of nesting", current_node.start_mark
            )

    def ascend_resolver(self) -> None:
        """Leave a level of nesting."""
        self._depth -= 1

    def construct_document(self, node: yaml.Node) -> Any:
        """Build the value of one document."""
        self._flat.clear()
        # From the inside out, which finds a node that holds itself: JSON knows none, go-yaml refuses it.
        self.deep_construct = True
        return super().construct_document(node)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Resolve the merge keys of a mapping, after a look at the keys that its author wrote."""
        # Once: a mapping that others merge comes here again, with the merged keys among its own.
        if node not in self._flat:
            self._flat.add(node)
            _refuse_doubles(node)
            super().flatten_mapping(node)


def _refuse_doubles(node: yaml.MappingNode) -> None:
    keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
    if len({key.value for key in keys}) == len(keys):
        return
    seen = set()
    for key in keys:
        # With the tag: 1 and "1" are two keys.
        if (key.tag, key.value) in seen:
            raise ConstructorError(None, None, f"found key {key.value!r} twice", key.start_mark)
        seen.add((key.tag, key.value))


def _checked(construct: Callable[[Any, Any], Any], name: str) -> Callable[[Any, Any], Any]:
    """Wrap one of PyYAML's scalar constructors, which let Python's own errors out (`!!int x`)."""

    def construct_checked(loader: Any, node: Any) -> Any:
        try:
            return construct(loader, node)
        except (ValueError, LookupError, ArithmeticError) as exc:
            raise ConstructorError(None, None, f"found what is no {name}", node.start_mark) from exc

    return construct_checked


Loader.add_implicit_resolver(_TAG + "int", _INT, list("-+0123456789"))
Loader.add_implicit_resolver(_TAG + "float", _FLOAT, list("-+0123456789."))
for _name in ("bool", "int", "float"):
    Loader.add_constructor(_TAG + _name, _checked(Loader.yaml_constructors[_TAG + _name], _name))
Loader.add_constructor(_TAG + "timestamp", Loader.yaml_constructors[_TAG + "str"])
