"""The network configuration list that cni-agent installs: a given one, completed with what the agent knows.

The node's name and the datastore are the agent's to say, so that one text serves all nodes, and a plugin
never writes where the agent does not read.
"""

import json
from pathlib import Path
from typing import Any

import msgspec

from cni.network_config import decode_network
from ipam import config as ipam
from nodeplane.cnispec import SUPPORTED_VERSIONS, CniError, decode_config, decode_request
from nodeplane.errors import ConfigError
from nodeplane.file_watch import FileWatch
from nodeplane.yamldoc import FieldPath, YamlDocument, read_documents

NAME = "10-nodeplane.conflist"
"""Its name in the runtime's folder, where the first in alphabetical order counts."""

PLUGIN = "nodeplane-cni"
_IPAM = "nodeplane-ipam"
_ANY_ADD = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c", "CNI_NETNS": "/n", "CNI_IFNAME": "eth0"}


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


def watch_conflist(path: Path, node_name: str, datastore: str, known: bytes) -> FileWatch[bytes]:
    """Watch a configuration list, of which `known` was read before, for one that is right and another."""
    return FileWatch(path, lambda path: read_conflist(path, node_name, datastore), known)


def render_conflist(document: YamlDocument, node_name: str, datastore: str) -> bytes:
    """Render a configuration list with node and datastore filled in.

    Raises:
        ConfigError: as `read_conflist`.
    """
    head = document.convert(_List)
    plugins = head.plugins
    _check_head(document, head)
    places = [index for index, plugin in enumerate(plugins) if plugin.get("type") == PLUGIN]
    if len(places) != 1:
        raise document.error(
            ("plugins",), f"expected one plugin of type {PLUGIN}, got {len(places) or 'none'}"
        )
    index = places[0]
    path: FieldPath = ("plugins", index)
    plugin = plugins[index]
    plugin = _with(document, path, plugin, "nodeName", node_name)
    section = plugin.get("ipam")
    if isinstance(section, dict) and section.get("type") == _IPAM:
        plugin = {**plugin, "ipam": _with(document, (*path, "ipam"), section, "datastore", datastore)}
    _check(document, path, plugin)
    completed = [plugin if number == index else other for number, other in enumerate(plugins)]
    return (json.dumps({**document.value, "plugins": completed}, indent=2) + "\n").encode()


def _with(
    document: YamlDocument, path: FieldPath, section: dict[str, Any], field: str, value: str
) -> dict[str, Any]:
    if section.get(field, value) != value:
        raise document.error((*path, field), f"expected none, or the agent's {value!r}")
    return {**section, field: value}


def _check_head(document: YamlDocument, head: _List) -> None:
    """Have an ADD's reader judge what all plugins of the list get."""
    config = json.dumps({"cniVersion": head.cni_version, "name": head.name}).encode()
    try:
        decode_request(_ANY_ADD, config)
    except ConfigError as exc:
        raise document.error((exc.field,), exc.expected) from exc
    except CniError as exc:
        expected = f"expected one of {', '.join(SUPPORTED_VERSIONS)}"
        raise document.error(("cniVersion",), expected) from exc


def _check(document: YamlDocument, path: FieldPath, plugin: dict[str, Any]) -> None:
    """Have the plugins' own readers judge it now, not at the first pod."""
    text = json.dumps(plugin).encode()
    try:
        if decode_network(text).ipam.type == _IPAM:
            addresses = decode_config(text, ipam.NetworkConfig)
            ipam.build_supply(addresses)
            ipam.build_policy(addresses.ipam)
            ipam.build_routes(addresses.ipam.routes)
    except ConfigError as exc:
        field = exc.field.partition(".")[0]
        at = (*path, field) if field in plugin else path
        place = document.error(at, "").place
        raise ConfigError(place, f"plugins[{path[-1]}].{exc.field}", exc.expected) from exc
