"""The network configuration list that cni-agent installs: a given one, completed with what the agent knows.

The node's name and the datastore are the agent's to say, so that one text serves all nodes, and a plugin
never writes where the agent does not read.
"""

import json
from pathlib import Path
from typing import Any

import msgspec

from cni.network_config import decode_network
from nodeplane.errors import ConfigError
from nodeplane.yamldoc import FieldPath, YamlDocument, read_documents

NAME = "10-nodeplane.conflist"
"""Its name in the runtime's folder, where the first in alphabetical order counts."""

PLUGIN = "nodeplane-cni"
_IPAM = "nodeplane-ipam"


class _List(msgspec.Struct, frozen=True, rename="camel"):
    """What SPEC section 1 demands of a list, as far as it matters here."""

    cni_version: str
    name: str
    plugins: tuple[dict[str, Any], ...]


def read_conflist(path: Path, node_name: str, datastore: str) -> bytes:
    """Read a configuration list and return it as it is to be installed.

    Raises:
        ConfigError: it can't be read, a field is wrong, or it names another node or datastore than the agent.
    """
    documents = read_documents(path)
    if len(documents) != 1:
        raise ConfigError(str(path), "", f"expected one JSON document, got {len(documents)}")
    return render_conflist(documents[0], node_name, datastore)


def render_conflist(document: YamlDocument, node_name: str, datastore: str) -> bytes:
    """Render a configuration list with node and datastore filled in.

    Raises:
        ConfigError: as `read_conflist`.
    """
    plugins = document.convert(_List).plugins
    places = [index for index, plugin in enumerate(plugins) if plugin.get("type") == PLUGIN]
    if len(places) != 1:
        raise document.error(
            ("plugins",), f"expected one plugin of type {PLUGIN}, got {len(places) or 'none'}"
        )
    index = places[0]
    path: FieldPath = ("plugins", index)
    plugin = plugins[index]
    plugin = _with(document, path, plugin, "nodeName", node_name)
    ipam = plugin.get("ipam")
    if isinstance(ipam, dict) and ipam.get("type") == _IPAM:
        plugin = {**plugin, "ipam": _with(document, (*path, "ipam"), ipam, "datastore", datastore)}
    _check(document, path, plugin)
    completed = [plugin if number == index else other for number, other in enumerate(plugins)]
    return (json.dumps({**document.value, "plugins": completed}, indent=2) + "\n").encode()


def _with(
    document: YamlDocument, path: FieldPath, section: dict[str, Any], field: str, value: str
) -> dict[str, Any]:
    if section.get(field, value) != value:
        raise document.error((*path, field), f"expected none, or the agent's {value!r}")
    return {**section, field: value}


def _check(document: YamlDocument, path: FieldPath, plugin: dict[str, Any]) -> None:
    """Have the plugin's own reader judge it now, not at the first pod."""
    try:
        decode_network(json.dumps(plugin).encode())
    except ConfigError as exc:
        field = exc.field.partition(".")[0]
        at = (*path, field) if field in plugin else path
        place = document.error(at, "").place
        raise ConfigError(place, f"plugins[{path[-1]}].{exc.field}", exc.expected) from exc
