"""Wrong calls of `nodeplane-cni`, answered by exact JSON."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cni import plugin
from tests.cni.conftest import network_config

CONFIG = network_config(Path("/nowhere/ipam.sqlite"))
ADD = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/run/netns/npt-never-made",
    "CNI_IFNAME": "eth0",
}
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
        "ipam without a type",
        ADD,
        {**CONFIG, "ipam": {}},
        {"code": 7, "msg": "network configuration: ipam.type: expected, but missing"},
    ),
    (
        "an ipam plugin that is nowhere",
        {**ADD, "CNI_COMMAND": "DEL", "CNI_NETNS": "", "CNI_PATH": "/nowhere"},
        {**CONFIG, "ipam": {"type": "host-local"}},
        {
            "code": 7,
            "msg": "network configuration: ipam.type: expected a plugin in CNI_PATH (/nowhere), "
            "found no 'host-local'",
        },
    ),
    (
        "an ipam plugin by its path",
        {**ADD, "CNI_COMMAND": "DEL", "CNI_NETNS": ""},
        {**CONFIG, "ipam": {"type": "/bin/sh"}},
        {"code": 7, "msg": "network configuration: ipam.type: expected a file name, got '/bin/sh'"},
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
        "an encapsulation that we don't know",
        ADD,
        {**CONFIG, "encapsulation": "gre"},
        {"code": 7, "msg": "network configuration: encapsulation: invalid enum value 'gre'"},
    ),
    (
        "no MAC",
        ADD,
        {**CONFIG, "hostMAC": "here"},
        {
            "code": 7,
            "msg": "network configuration: hostMAC: expected the Ethernet address of one interface, such as "
            "02:00:00:00:00:01, got 'here'",
        },
    ),
    (
        "a network name that is no name",
        ADD,
        {**CONFIG, "name": "a/b"},
        {
            "code": 7,
            "msg": "network configuration: name: expected letters, digits, '_', '.', '-', the first a letter "
            "or a digit, got 'a/b'",
        },
    ),
    (
        "a container id that is none",
        {**ADD, "CNI_CONTAINERID": "a/b"},
        CONFIG,
        {
            "code": 4,
            "msg": "invalid CNI_CONTAINERID",
            "details": "expected letters, digits, '_', '.', '-', the first a letter or a digit, got 'a/b'",
        },
    ),
    (
        "nothing of what ADD needs",
        {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "", "CNI_NETNS": "", "CNI_IFNAME": ""},
        CONFIG,
        {"code": 4, "msg": "required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME] missing"},
    ),
    (
        "CNI_ARGS that are no pairs",
        {**ADD, "CNI_ARGS": "K8S_POD_NAME"},
        CONFIG,
        {"code": 4, "msg": "invalid CNI_ARGS", "details": "expected KEY=VALUE;KEY=VALUE, got 'K8S_POD_NAME'"},
    ),
    (
        "CNI_ARGS that nobody knows",
        {**ADD, "CNI_ARGS": "FOO=bar;K8S_POD_NAME=web-0"},
        CONFIG,
        {"code": 4, "msg": "unknown CNI_ARGS", "details": "without IgnoreUnknown=1: FOO=bar"},
    ),
    (
        "CHECK in a version that has none",
        {**ADD, "CNI_COMMAND": "CHECK"},
        {**CONFIG, "cniVersion": "0.3.1"},
        {
            "cniVersion": "0.3.1",
            "code": 1,
            "msg": "config version does not allow CHECK",
            "details": "config is '0.3.1', CHECK came with 0.4.0",
        },
    ),
    (
        "GC in a version that has none",
        {"CNI_COMMAND": "GC"},
        {**CONFIG, "cniVersion": "1.0.0"},
        {
            "cniVersion": "1.0.0",
            "code": 1,
            "msg": "config version does not allow GC",
            "details": "config is '1.0.0', GC came with 1.1.0",
        },
    ),
    (
        "STATUS in a version that has none",
        {"CNI_COMMAND": "STATUS"},
        {**CONFIG, "cniVersion": "1.0.0"},
        {
            "cniVersion": "1.0.0",
            "code": 1,
            "msg": "config version does not allow STATUS",
            "details": "config is '1.0.0', STATUS came with 1.1.0",
        },
    ),
    (
        "CHECK without a result",
        {**ADD, "CNI_COMMAND": "CHECK"},
        CONFIG,
        {"code": 7, "msg": "network configuration: prevResult: expected, but missing"},
    ),
    (
        "CHECK without its namespace",
        {**ADD, "CNI_COMMAND": "CHECK"},
        {**CONFIG, "prevResult": {}},
        {
            "code": 8,
            "msg": "expected CNI_NETNS to be a network namespace",
            "details": "got /run/netns/npt-never-made",
        },
    ),
    (
        "GC that does not say what is valid",
        {"CNI_COMMAND": "GC"},
        CONFIG,
        {"code": 7, "msg": "network configuration: cni.dev/valid-attachments: expected, but missing"},
    ),
    (
        "STATUS of a wrong configuration",
        {"CNI_COMMAND": "STATUS"},
        {**CONFIG, "mtu": 1},
        {
            "code": 7,
            "msg": "network configuration: mtu: expected 68 to 65535 bytes, or 0 for the uplink's, got 1",
        },
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
    """Pod start-up waits for these imports."""
    slow = "{'asyncio', 'click', 'rich', 'subprocess', 'yaml'}"
    code = f"import sys, cni.plugin; print(*sorted({slow} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []
