"""`nodeplane-cni`: wrong calls answered by exact JSON, and what a call loads."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cni import plugin
from tests.cni.conftest import network_config
from tests.cni.plugin_node import ADD

CONFIG = network_config(Path("/nowhere/ipam.sqlite"))

OWN_NETNS = "/proc/self/ns/net"


def without(field: str) -> dict[str, Any]:
    return {key: value for key, value in CONFIG.items() if key != field}


WRONG_CALLS: list[tuple[str, dict[str, str], Any, dict[str, Any]]] = [
    (
        "no ipam",
        ADD,
        without("ipam"),
        {"code": 7, "msg": "network configuration: ipam: expected, but missing"},
    ),
    (
        "no ipam, DEL",
        {**ADD, "CNI_COMMAND": "DEL"},
        without("ipam"),
        {"code": 7, "msg": "network configuration: ipam: expected, but missing"},
    ),
    (
        "ipam without a type",
        ADD,
        {**CONFIG, "ipam": {}},
        {"code": 7, "msg": "network configuration: ipam.type: expected, but missing"},
    ),
    (
        "an ipam plugin that is not called yet",
        ADD,
        {**CONFIG, "ipam": {"type": "host-local"}},
        {"code": 7, "msg": "network configuration: ipam.type: expected nodeplane-ipam, got 'host-local'"},
    ),
    (
        "an MTU that no link has",
        ADD,
        {**CONFIG, "mtu": 70000},
        {
            "code": 7,
            "msg": "network configuration: mtu: expected 68 to 65535 bytes, or 0 for the uplink's, got 70000",
        },
    ),
    (
        "no network name",
        ADD,
        without("name"),
        {"code": 7, "msg": "network configuration: name: expected the network's name"},
    ),
    (
        "a version from the future",
        ADD,
        {**CONFIG, "cniVersion": "2.0.0"},
        {
            "code": 1,
            "msg": "incompatible CNI versions",
            "details": "config is '2.0.0', plugin supports 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0",
        },
    ),
    (
        "no interface",
        {**ADD, "CNI_IFNAME": ""},
        CONFIG,
        {"code": 4, "msg": "required env variables [CNI_IFNAME] missing"},
    ),
    (
        "an interface name that Linux refuses",
        {**ADD, "CNI_IFNAME": "a/b"},
        CONFIG,
        {
            "code": 4,
            "msg": "invalid CNI_IFNAME",
            "details": "expected 1 to 15 characters without '/', ':' and spaces, not '.' or '..', got 'a/b'",
        },
    ),
    (
        "a command that is not there yet",
        {**ADD, "CNI_COMMAND": "CHECK"},
        CONFIG,
        {"code": 4, "msg": "unknown CNI_COMMAND: CHECK"},
    ),
    (
        "a command that does not exist",
        {**ADD, "CNI_COMMAND": "MOVE"},
        CONFIG,
        {"code": 4, "msg": "unknown CNI_COMMAND: MOVE"},
    ),
    (
        "a namespace that is not there",
        ADD,
        CONFIG,
        {
            "code": 8,
            "msg": "expected CNI_NETNS to be a network namespace",
            "details": "got /run/netns/npt-never-made",
        },
    ),
    (
        "a file that is no namespace",
        {**ADD, "CNI_NETNS": "/etc/hostname"},
        CONFIG,
        {"code": 8, "msg": "expected CNI_NETNS to be a network namespace", "details": "got /etc/hostname"},
    ),
    (
        "the plugin's own namespace",
        {**ADD, "CNI_NETNS": OWN_NETNS},
        CONFIG,
        {"code": 8, "msg": "CNI_NETNS is the plugin's own namespace", "details": f"got {OWN_NETNS}"},
    ),
]


@pytest.mark.parametrize(
    ("environ", "config", "expected"),
    [pytest.param(environ, config, error, id=row) for row, environ, config, error in WRONG_CALLS],
)
def test_wrong_calls(
    environ: dict[str, str],
    config: Any,
    expected: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(config).encode())))

    assert plugin.main() == 1

    shown = capsysbinary.readouterr()
    assert json.loads(shown.out) == {"cniVersion": "1.1.0", **expected}
    assert shown.err == b""


def test_nothing_slow_is_loaded_that_a_pod_does_not_need() -> None:
    """Pod start-up waits for these imports; pyroute2 itself comes with the first kernel call."""
    code = (
        "import sys, cni.plugin; print(*sorted({'click', 'pyroute2', 'rich', 'yaml'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []
