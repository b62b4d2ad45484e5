"""Bodies in YAML: what an alias stands for counts each time it stands there.

A few aliases of aliases stand for millions of nodes ("billion laughs"), which a copy of the object would hold
all. They are counted on the graph that the composer returns, before anything is built of it.
"""

from typing import Any

import yaml

from netns_lab.apiserver.status import bad_request, too_large
from nodeplane.yamlloader import Loader

# As many as a person may write, and few beside what a body without aliases may hold.
MAX_ALIAS_NODES = 10_000
MAX_ALIAS_CHARACTERS = 1 << 20


def decode_yaml(body: bytes) -> Any:
    """Read a body of one document.

    Raises:
        StatusError: 400 it is no YAML, 413 its aliases stand for too much.
    """
    try:
        loader = Loader(body)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            if b"*" in body:
                _check_aliases(node)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as exc:
        raise bad_request(f"the body of the request could not be read: {exc}") from exc


class _Weight:
    """What a node stands for, aliases written out."""

    def __init__(self) -> None:
        self.nodes = 1
        self.characters = 0


def _check_aliases(root: yaml.Node) -> None:
    """Refuse a document that is much larger with its aliases written out."""
    weights: dict[int, _Weight] = {}
    # What stands there once, and so is no alias's fault.
    own = _Weight()
    own.nodes = 0

    def weigh(node: yaml.Node) -> _Weight:
        found = weights.get(id(node))
        if found is not None:
            return found
        # Before its children: a node that holds itself has its end here; building refuses it.
        weight = weights[id(node)] = _Weight()
        own.nodes += 1
        if isinstance(node, yaml.ScalarNode):
            weight.characters = len(node.value)
            own.characters += weight.characters
            return weight
        entries = node.value
        if isinstance(node, yaml.MappingNode):
            entries = [part for pair in node.value for part in pair]
        for entry in entries:
            inner = weigh(entry)
            weight.nodes += inner.nodes
            weight.characters += inner.characters
        return weight

    # The loader has bound the depth of nesting, so this recursion's.
    whole = weigh(root)
    if whole.nodes - own.nodes > MAX_ALIAS_NODES or whole.characters - own.characters > MAX_ALIAS_CHARACTERS:
        raise too_large(
            f"aliases stand for more than {MAX_ALIAS_NODES} values or {MAX_ALIAS_CHARACTERS} characters"
        )
