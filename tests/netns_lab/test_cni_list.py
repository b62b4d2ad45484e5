"""Configuration lists: which version is spoken, what each plugin is given, and one line for what is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest

from netns_lab.cni_list import NetworkList, build_config, read_list
from nodeplane.cnispec import SUPPORTED_VERSIONS
from nodeplane.errors import ConfigError

PTP = {"type": "ptp", "ipam": {"type": "host-local"}}


def read(tmp_path: Path, value: Any) -> NetworkList:
    file = tmp_path / "list"
    file.write_text(value if isinstance(value, str) else json.dumps(value))
    return read_list(file)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({"cniVersion": "1.0.0"}, NetworkList("x", "1.0.0", (PTP,)), id="version"),
        pytest.param({}, NetworkList("x", "0.1.0", (PTP,)), id="no version"),
        pytest.param(
            {"cniVersion": "1.0.0", "cniVersions": ["0.4.0", "1.1.0", "9.0.0"]},
            NetworkList("x", "1.1.0", (PTP,)),
            id="the newest that we speak",
        ),
        pytest.param(
            {"cniVersion": "1.1.0", "disableCheck": "true", "disableGC": True},
            NetworkList("x", "1.1.0", (PTP,), True, True),
            id="disabled",
        ),
    ],
)
def test_read(tmp_path: Path, fields: dict[str, Any], expected: NetworkList) -> None:
    assert read(tmp_path, {"name": "x", "plugins": [PTP], **fields}) == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param("", "FILE: expected one JSON document, got 0", id="empty"),
        pytest.param({"plugins": [PTP]}, "FILE:1: name: expected a value", id="no name"),
        pytest.param(
            {"name": "", "plugins": [PTP]},
            "FILE:1: name: expected the network's name, got ''",
            id="empty name",
        ),
        pytest.param(
            {"name": "x", "plugins": []}, "FILE:1: plugins: expected at least one plugin", id="none"
        ),
        pytest.param(
            {"cniVersion": "2.0.0", "name": "x", "plugins": [PTP]},
            f"FILE:1: cniVersion: expected one of {', '.join(SUPPORTED_VERSIONS)}, got '2.0.0'",
            id="version",
        ),
        pytest.param(
            {"name": "x", "plugins": [{"type": "../ptp"}]},
            "FILE:1: plugins[0].type: expected the name of a program, got '../ptp'",
            id="a path",
        ),
    ],
)
def test_refuse(tmp_path: Path, value: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, value)
    assert str(caught.value) == message.replace("FILE", str(tmp_path / "list"))


PORTS = [{"hostPort": 1, "containerPort": 2, "protocol": "tcp"}]
PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True, "ips": False}}
HEAD = {"cniVersion": "1.1.0", "name": "x"}


@pytest.mark.parametrize(
    ("plugin", "given", "expected"),
    [
        pytest.param(PTP, {"capabilities": {"portMappings": PORTS}}, {**PTP, **HEAD}, id="takes nothing"),
        pytest.param(
            PORTMAP,
            {"capabilities": {"portMappings": PORTS, "ips": ["10.0.0.1"], "mac": "x"}},
            {"type": "portmap", **HEAD, "runtimeConfig": {"portMappings": PORTS}},
            id="takes what it says",
        ),
        pytest.param(
            PTP,
            {"capabilities": {}, "previous": {"cniVersion": "1.1.0"}},
            {**PTP, **HEAD, "prevResult": {"cniVersion": "1.1.0"}},
            id="a result before",
        ),
        pytest.param(
            PTP,
            {"capabilities": {}, "valid": []},
            {**PTP, **HEAD, "cni.dev/valid-attachments": []},
            id="none in use",
        ),
    ],
)
def test_build_config(plugin: dict[str, Any], given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert build_config(NetworkList("x", "1.1.0", (plugin,)), plugin, **given) == expected
