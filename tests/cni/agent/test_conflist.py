"""The configuration list that is installed: what is filled in, and one line for what is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest

from cni.agent.conflist import read_conflist, render_conflist
from nodeplane.errors import ConfigError
from nodeplane.yamldoc import parse_documents

STORE = "sqlite:///x/ipam.sqlite"
OURS = {"type": "nodeplane-cni", "ipam": {"type": "nodeplane-ipam"}}
PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True}}
EXAMPLE = Path(__file__).parents[3] / "deploy/cni/10-nodeplane.conflist"


def conflist(*plugins: Any, **fields: Any) -> dict[str, Any]:
    return {"cniVersion": "1.1.0", "name": "nodeplane", "plugins": list(plugins), **fields}


def render(value: Any) -> Any:
    [document] = parse_documents(json.dumps(value), "FILE")
    return json.loads(render_conflist(document, "n1", STORE))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(
            conflist(OURS),
            conflist(
                {
                    "type": "nodeplane-cni",
                    "ipam": {"type": "nodeplane-ipam", "datastore": STORE},
                    "nodeName": "n1",
                }
            ),
            id="filled in",
        ),
        pytest.param(
            conflist({**OURS, "nodeName": "n1", "ipam": {"type": "nodeplane-ipam", "datastore": STORE}}),
            conflist({**OURS, "nodeName": "n1", "ipam": {"type": "nodeplane-ipam", "datastore": STORE}}),
            id="said already",
        ),
        pytest.param(
            conflist(PORTMAP, {**OURS, "ipam": {"type": "host-local", "subnet": "x"}}, disableCheck=True),
            conflist(
                PORTMAP,
                {**OURS, "ipam": {"type": "host-local", "subnet": "x"}, "nodeName": "n1"},
                disableCheck=True,
            ),
            id="other plugins, another ipam, other fields",
        ),
    ],
)
def test_render(given: Any, expected: Any) -> None:
    assert render(given) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param([], "FILE:1: expected `object`, got `array`", id="a list"),
        pytest.param({"cniVersion": "1.1.0", "name": "x"}, "FILE:1: plugins: expected a value", id="lacks"),
        pytest.param(
            conflist(PORTMAP),
            "FILE:1: plugins: expected one plugin of type nodeplane-cni, got none",
            id="without ours",
        ),
        pytest.param(
            conflist(OURS, OURS),
            "FILE:1: plugins: expected one plugin of type nodeplane-cni, got 2",
            id="ours twice",
        ),
        pytest.param(
            conflist({**OURS, "nodeName": "n2"}),
            "FILE:1: plugins[0].nodeName: expected none, or the agent's 'n1', got 'n2'",
            id="another node",
        ),
        pytest.param(
            conflist(PORTMAP, {**OURS, "ipam": {"type": "nodeplane-ipam", "datastore": "sqlite:///y"}}),
            f"FILE:1: plugins[1].ipam.datastore: expected none, or the agent's {STORE!r}, got 'sqlite:///y'",
            id="another datastore",
        ),
        pytest.param(
            conflist({**OURS, "mtu": 7}),
            "FILE:1: plugins[0].mtu: expected 68 to 65535 bytes, or 0 for the uplink's, got 7",
            id="what the plugin would refuse",
        ),
        pytest.param(
            conflist({**OURS, "ipam": {"type": "nodeplane-ipam", "pools": [{"name": "a", "cidr": "x"}]}}),
            "FILE:1: plugins[0].ipam.pools[0].cidr: expected a network: 'x' does not appear "
            "to be an IPv4 or IPv6 network",
            id="what the IPAM plugin would refuse",
        ),
        pytest.param(
            conflist({**OURS, "ipam": {"type": "nodeplane-ipam", "routes": [{"dst": "x"}]}}),
            "FILE:1: plugins[0].ipam.routes[0].dst: expected a network: 'x' does not appear "
            "to be an IPv4 or IPv6 network",
            id="routes that the IPAM plugin would refuse",
        ),
        pytest.param(
            {**conflist(OURS), "cniVersion": "2.0.0"},
            "FILE:1: cniVersion: expected one of 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0, "
            "got '2.0.0'",
            id="a version that nobody speaks",
        ),
        pytest.param(
            {**conflist(OURS), "name": "a/b"},
            "FILE:1: name: expected letters, digits, '_', '.', '-', the first a letter or a digit, got 'a/b'",
            id="a name that is none",
        ),
        pytest.param(
            conflist({"type": "nodeplane-cni"}),
            "FILE:1: plugins[0].ipam: expected, but missing",
            id="no ipam",
        ),
    ],
)
def test_refuse(given: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        render(given)
    assert str(caught.value) == message


def test_the_example_is_valid() -> None:
    [plugin] = json.loads(read_conflist(EXAMPLE, "n1", "sqlite:///var/lib/nodeplane/ipam.sqlite"))["plugins"]

    assert plugin["nodeName"] == "n1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "FILE: expected one JSON document, got 0", id="empty"),
        pytest.param(
            '{"name": "x"\n', "FILE:2: expected YAML: did not find expected ',' or '}'", id="cut off"
        ),
    ],
)
def test_refuse_a_file(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "list"
    file.write_text(text)

    with pytest.raises(ConfigError) as caught:
        read_conflist(file, "n1", STORE)
    assert str(caught.value) == message.replace("FILE", str(file))
