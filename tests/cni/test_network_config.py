"""What of a network configuration is taken, and what refused."""

import json
from pathlib import Path
from typing import Any

import pytest

import ipam.config
from cni.network_config import IpamSection, NetworkConfig, decode_ipam_type, decode_network
from cni.prev_result import PrevIp, PrevResult
from ipam.config import build_supply
from nodeplane.cnispec import CniError, decode_config
from nodeplane.errors import ConfigError

IPAM = {"type": "nodeplane-ipam", "pools": []}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        pytest.param({"ipam": IPAM}, NetworkConfig(IpamSection("nodeplane-ipam")), id="least"),
        pytest.param(
            {"ipam": {"type": "host-local"}, "mtu": 1400, "capabilities": {"portMappings": True}},
            NetworkConfig(IpamSection("host-local"), mtu_bytes=1400),
            id="mtu, and fields of others",
        ),
        pytest.param(
            {"ipam": IPAM, "mtu": 0}, NetworkConfig(IpamSection("nodeplane-ipam")), id="mtu of the uplink"
        ),
        pytest.param(
            {
                "ipam": IPAM,
                "prevResult": {"ips": [{"address": "192.0.2.1/24", "version": "4"}], "routes": None},
            },
            NetworkConfig(
                IpamSection("nodeplane-ipam"), prev_result=PrevResult(ips=(PrevIp("192.0.2.1/24"),))
            ),
            id="prevResult",
        ),
    ],
)
def test_decode(config: dict[str, Any], expected: NetworkConfig) -> None:
    assert decode_network(json.dumps(config).encode()) == expected


@pytest.mark.parametrize(
    ("config", "message"),
    [
        pytest.param({}, "network configuration: ipam: expected, but missing", id="no ipam"),
        pytest.param(
            {"ipam": {}}, "network configuration: ipam.type: expected, but missing", id="no ipam.type"
        ),
        pytest.param(
            {"ipam": [1]}, "network configuration: ipam: expected `object`, got `array`", id="ipam is a list"
        ),
        pytest.param(
            {"ipam": IPAM, "mtu": 67},
            "network configuration: mtu: expected 68 to 65535 bytes, or 0 for the uplink's, got 67",
            id="mtu too small",
        ),
        pytest.param(
            {"ipam": IPAM, "mtu": "1500"},
            "network configuration: mtu: expected `int`, got `str`",
            id="mtu is text",
        ),
    ],
)
def test_refuse(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode_network(json.dumps(config).encode())
    assert str(caught.value) == message


def test_del_needs_the_ipam_type_alone() -> None:
    assert decode_ipam_type(b'{"ipam": {"type": "host-local"}, "mtu": "?", "prevResult": []}') == "host-local"


def test_what_is_not_json_is_a_decoding_failure() -> None:
    with pytest.raises(CniError) as caught:
        decode_network(b"{")
    assert caught.value.code == 6


def test_the_example_is_valid() -> None:
    conflist = json.loads((Path(__file__).parents[2] / "deploy/cni/10-nodeplane.conflist").read_text())
    [entry] = conflist["plugins"]

    # What a runtime makes of the entry (SPEC section 3, "Deriving request configuration").
    config = json.dumps({"cniVersion": conflist["cniVersion"], "name": conflist["name"], **entry}).encode()

    assert decode_network(config) == NetworkConfig(IpamSection("nodeplane-ipam"))
    [pool] = build_supply(decode_config(config, ipam.config.NetworkConfig)).pools
    assert str(pool.network) == "10.244.0.0/16"
