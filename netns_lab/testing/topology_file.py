"""Which topology a test's lab has: the file beside it."""

import secrets
from pathlib import Path
from typing import Any

import msgspec
import yaml

from nodeplane.errors import ConfigError

COMMON = "lab.yaml"
"""The file of all tests in a folder that have none of their own."""


def find_topology(test_file: Path, chosen: str | None = None) -> Path:
    """Return the topology file of a test: chosen by its module, of its own name, or the folder's.

    Raises:
        ConfigError: there is none.
    """
    names = [chosen] if chosen is not None else [test_file.with_suffix(".yaml").name, COMMON]
    for name in names:
        if (test_file.parent / name).is_file():
            return test_file.parent / name
    raise ConfigError(str(test_file), "lab", f"expected a topology beside the test: {' or '.join(names)}")


def renamed_copy(file: Path, folder: Path) -> Path:
    """Write a copy under a name that no other lab has, and return its path.

    Paths of manifests in it lead where they led.

    Raises:
        ConfigError: the file is no mapping.
    """
    topology: Any = yaml.safe_load(file.read_bytes())
    if not isinstance(topology, dict):
        raise ConfigError(str(file), "", "expected a topology")
    topology["name"] = f"t{secrets.token_hex(5)}"
    manifests = topology.get("manifests", [])
    if isinstance(manifests, list):
        topology["manifests"] = [
            str((file.parent / each).resolve()) if isinstance(each, str) else each for each in manifests
        ]
    copy = folder / f"{topology['name']}.yaml"
    copy.write_bytes(msgspec.json.encode(topology))
    return copy
