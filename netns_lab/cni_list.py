"""A network configuration list, and what each of its plugins is given of it (CNI SPEC sections 1 and 3)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from nodeplane.cnispec import SUPPORTED_VERSIONS
from nodeplane.errors import ConfigError
from nodeplane.yamldoc import read_documents

Json = dict[str, Any]


class _File(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    plugins: tuple[Json, ...]
    cni_version: str = ""
    cni_versions: tuple[str, ...] = ()
    disable_check: bool | str = False
    disable_gc: bool | str = msgspec.field(name="disableGC", default=False)


class NetworkList(msgspec.Struct, frozen=True):
    """A list; `version` is the newest of its versions that we speak."""

    name: str
    version: str
    plugins: tuple[Json, ...]
    is_check_disabled: bool = False
    is_gc_disabled: bool = False

    def is_at_least(self, version: str) -> bool:
        """Say whether the list speaks a version."""
        return SUPPORTED_VERSIONS.index(self.version) >= SUPPORTED_VERSIONS.index(version)


def read_list(path: Path) -> NetworkList:
    """Read a configuration list.

    Raises:
        ConfigError: it can't be read, a field is wrong, or it has no version that we speak.
    """
    documents = read_documents(path)
    if len(documents) != 1:
        raise ConfigError(str(path), "", f"expected one JSON document, got {len(documents)}")
    document = documents[0]
    file = document.convert(_File)
    # SPEC section 1: without a version it is 0.1.0; `cniVersions` are those to choose from.
    offered = {file.cni_version or "0.1.0", *file.cni_versions}
    spoken = [version for version in SUPPORTED_VERSIONS if version in offered]
    if not spoken:
        raise document.error(("cniVersion",), f"expected one of {', '.join(SUPPORTED_VERSIONS)}")
    if not file.name:
        raise document.error(("name",), "expected the network's name")
    if not file.plugins:
        raise document.error(("plugins",), "expected at least one plugin")
    for index, plugin in enumerate(file.plugins):
        kind = plugin.get("type")
        # It is looked for in folders, so it must not be a path.
        if not isinstance(kind, str) or not kind or Path(kind).name != kind:
            raise document.error(("plugins", index, "type"), "expected the name of a program")
    return NetworkList(
        file.name, spoken[-1], file.plugins, _is_set(file.disable_check), _is_set(file.disable_gc)
    )


def build_config(
    network: NetworkList,
    plugin: Json,
    capabilities: Mapping[str, Any],
    previous: Json | None = None,
    valid: Sequence[Mapping[str, str]] | None = None,
) -> Json:
    """Build the configuration of one plugin (SPEC section 3, "Deriving execution configuration").

    Args:
        network: The list.
        plugin: One of its plugins.
        capabilities: What the runtime has for capabilities; a plugin gets those that it says it has.
        previous: The result so far.
        valid: For GC, the attachments that are in use.
    """
    taken = {
        name: capabilities[name]
        for name, is_taken in (plugin.get("capabilities") or {}).items()
        if is_taken and name in capabilities
    }
    config: Json = {key: value for key, value in plugin.items() if key != "capabilities"}
    config |= {"cniVersion": network.version, "name": network.name}
    if taken:
        config["runtimeConfig"] = taken
    if previous is not None:
        config["prevResult"] = previous
    if valid is not None:
        config["cni.dev/valid-attachments"] = list(valid)
    return config


def _is_set(flag: bool | str) -> bool:
    # SPEC section 1: a string is allowed, for the sake of old writers.
    return flag if isinstance(flag, bool) else flag.lower() == "true"
