"""The IPAM section of a network configuration."""

import os
from ipaddress import ip_address, ip_network
from typing import Any

import msgspec
import pytest

from ipam.config import (
    IpamConfig,
    KubernetesConfig,
    NetworkConfig,
    RouteConfig,
    Supply,
    build_node_name,
    build_pod,
    build_policy,
    build_routes,
    build_supply,
    wanted_addresses,
)
from ipam.host_local import RangeConfig
from ipam.model import Address, PodRef, Policy, Pool
from ipam.pool_config import PoolConfig
from nodeplane.cniresult import Route
from nodeplane.cnispec import decode_config
from nodeplane.errors import ConfigError
from tests.ipam.values import network

NAME = "expected a DNS subdomain name (lower case, digits, '-', '.')"


def decode(**fields: Any) -> NetworkConfig:
    """Decode a configuration of these fields."""
    return decode_config(msgspec.json.encode({"name": "n", "cniVersion": "1.1.0", **fields}), NetworkConfig)


def test_decode_config() -> None:
    text = b"""{"name": "n", "nodeName": "n1", "mtu": 1500, "ipam": {
        "type": "nodeplane-ipam", "datastore": "sqlite:///x", "strictAffinity": true, "maxBlocksPerNode": 2,
        "pools": [{"name": "a", "cidr": "10.0.0.0/16", "blockSize": 26, "reserved": ["10.0.0.1"],
                   "disabled": true, "nodeSelector": "all()", "namespaceSelector": "has(x)",
                   "gateway": "10.0.0.2"}],
        "ipv4_pools": ["a"], "kubernetes": {"manifests": "/m"}, "routes": [{"dst": "0.0.0.0/0"}],
        "resolvConf": "/etc/resolv.conf", "subnet": "10.1.0.0/24", "rangeStart": "10.1.0.9", "dataDir": "/d",
        "ranges": [[{"subnet": "10.2.0.0/24", "rangeEnd": "10.2.0.9", "gateway": "10.2.0.1"}]]}}"""

    assert decode_config(text, NetworkConfig) == NetworkConfig(
        IpamConfig(
            "nodeplane-ipam",
            "sqlite:///x",
            (PoolConfig("a", "10.0.0.0/16", 26, ("10.0.0.1",), True, "all()", "has(x)", "10.0.0.2"),),
            ("a",),
            strict_affinity=True,
            max_blocks_per_node=2,
            kubernetes=KubernetesConfig("/m"),
            routes=(RouteConfig("0.0.0.0/0"),),
            resolv_conf="/etc/resolv.conf",
            subnet="10.1.0.0/24",
            range_start="10.1.0.9",
            data_dir="/d",
            ranges=((RangeConfig("10.2.0.0/24", range_end="10.2.0.9", gateway="10.2.0.1"),),),
        ),
        "n1",
    )


def pool(name: str, cidr: str, *reserved: str) -> Pool:
    size = 122 if ":" in cidr else 26
    on_link = name.startswith("host-local-")
    return Pool(name, network(cidr), size, tuple(network(text) for text in reserved), on_link=on_link)


SUBNET = pool("host-local-10.1.0.0-24", "10.1.0.0/24", "10.1.0.0/31", "10.1.0.255/32")
OTHER = pool("host-local-10.2.0.0-24", "10.2.0.0/24", "10.2.0.0/32", "10.2.0.9/32", "10.2.0.255/32")
GATEWAYS = {SUBNET.name: ip_address("10.1.0.1"), OTHER.name: ip_address("10.2.0.9")}
OTHER_RANGE = {"subnet": "10.2.0.0/24", "gateway": "10.2.0.9"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({"ipam": {}}, Supply(), id="the datastore's"),
        pytest.param(
            {
                "ipam": {
                    "pools": [{"name": "a", "cidr": "10.0.0.0/16"}, {"name": "b", "cidr": "fd00::/64"}],
                    "gateway": "10.0.0.1",
                }
            },
            Supply(
                (pool("a", "10.0.0.0/16", "10.0.0.1/32"), pool("b", "fd00::/64")),
                gateways={"a": ip_address("10.0.0.1")},
                gateway=ip_address("10.0.0.1"),
            ),
            id="pools of two families with a gateway for one",
        ),
        pytest.param(
            {"ipam": {"subnet": "10.1.0.0/24"}, "runtimeConfig": {"ipRanges": [[OTHER_RANGE]]}},
            Supply((OTHER, SUBNET), sets=((OTHER.name,), (SUBNET.name,)), gateways=GATEWAYS),
            id="the runtime's ranges come first, then the old form",
        ),
        pytest.param(
            {"ipam": {"ranges": [[{"subnet": "10.1.0.0/24"}, OTHER_RANGE]]}},
            Supply((SUBNET, OTHER), sets=((SUBNET.name, OTHER.name),), gateways=GATEWAYS),
            id="two ranges of a set",
        ),
    ],
)
def test_build_supply(fields: dict[str, Any], expected: Supply) -> None:
    assert build_supply(decode(**fields)) == expected


SETS = [[{"subnet": "10.1.0.0/24"}], [{"subnet": "10.2.0.0/24"}]]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param(
            {"ipam": {"subnet": "10.1.0.0/24", "pools": [{"name": "a", "cidr": "10.0.0.0/16"}]}},
            "ipam.pools: expected either pools or host-local's ranges, got both",
            id="pools and ranges",
        ),
        pytest.param(
            {"ipam": {"ranges": SETS}, "cniVersion": "0.2.0"},
            "ipam.ranges: expected one range set of each family, CNI 0.2.0 has room for no more",
            id="an old result's room",
        ),
        pytest.param(
            {"ipam": {"gateway": "x"}},
            "ipam.gateway: expected an address: 'x' does not appear to be an IPv4 or IPv6 address",
            id="gateway",
        ),
    ],
)
def test_build_supply_refuses(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_supply(decode(**fields))
    assert str(caught.value) == f"network configuration: {message}"


def test_a_field_that_ipam_lacks_is_named() -> None:
    """Mistyped, it would be left at its default without a word; `nodeName` stands above, where CNI has it."""
    with pytest.raises(ConfigError) as caught:
        decode_config(b'{"ipam": {"type": "nodeplane-ipam", "nodeName": "n1"}, "mtu": 1400}', NetworkConfig)

    assert str(caught.value) == "network configuration: ipam.nodeName: expected no such field"


def test_build_policy() -> None:
    assert build_policy(IpamConfig(strict_affinity=True, max_blocks_per_node=3)) == Policy(True, 3)
    with pytest.raises(ConfigError) as caught:
        build_policy(IpamConfig(max_blocks_per_node=-1))
    assert caught.value.expected == "expected a number of blocks, 0 for no limit, got -1"


def test_build_routes() -> None:
    routes = build_routes(
        [RouteConfig("10.0.0.9/16", "10.1.0.1", 1400, 1360, 7, 0, 253), RouteConfig("::/0")]
    )

    assert routes == (
        Route(ip_network("10.0.0.0/16"), ip_address("10.1.0.1"), 1400, 1360, 7, 0, 253),
        Route(ip_network("::/0")),
    )


@pytest.mark.parametrize(
    ("route", "message"),
    [
        pytest.param(
            RouteConfig("x"),
            "ipam.routes[0].dst: expected a network: 'x' does not appear to be an IPv4 or IPv6 network",
            id="dst",
        ),
        pytest.param(
            RouteConfig("::/0", "x"),
            "ipam.routes[0].gw: expected an address: 'x' does not appear to be an IPv4 or IPv6 address",
            id="gw",
        ),
    ],
)
def test_build_routes_refuses(route: RouteConfig, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_routes([route])
    assert str(caught.value) == f"network configuration: {message}"


@pytest.mark.parametrize(
    ("fields", "args", "expected"),
    [
        pytest.param({}, {}, (), id="none"),
        pytest.param({}, {"IP": "10.0.0.1"}, ("10.0.0.1",), id="CNI_ARGS"),
        pytest.param(
            {"args": {"cni": {"ips": ["10.0.0.2"]}}, "runtimeConfig": {"ips": ["10.0.0.3/24", "fd00::3"]}},
            {"IP": "10.0.0.2"},
            ("10.0.0.2", "10.0.0.3", "fd00::3"),
            id="all, each once",
        ),
        pytest.param({"args": {}, "runtimeConfig": {"ips": None}}, {}, (), id="nothing in them"),
    ],
)
def test_wanted_addresses(fields: dict[str, Any], args: dict[str, str], expected: tuple[str, ...]) -> None:
    wanted: tuple[Address, ...] = tuple(ip_address(text) for text in expected)

    assert wanted_addresses(decode(ipam={}, **fields), args) == wanted


def test_a_wanted_address_that_is_none_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        wanted_addresses(decode(ipam={}, runtimeConfig={"ips": ["10.0.0.1", "x"]}), {})
    assert caught.value.field == "runtimeConfig.ips[1]"


@pytest.mark.parametrize(
    ("given_name", "expected"),
    [
        pytest.param("n1.example", "n1.example", id="given"),
        pytest.param("", os.uname().nodename.lower(), id="the host's"),
    ],
)
def test_build_node_name(given_name: str, expected: str) -> None:
    assert build_node_name(NetworkConfig(IpamConfig(), given_name)) == expected


@pytest.mark.parametrize("name", ["N1", "a/b", "-a", "a" * 254, "a\n"])
def test_build_node_name_refuses(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_node_name(NetworkConfig(IpamConfig(), name))

    assert str(caught.value) == f"network configuration: nodeName: {NAME}, got {name!r}"


def test_build_pod() -> None:
    args = {"K8S_POD_NAMESPACE": "a", "K8S_POD_NAME": "b", "K8S_POD_UID": "c", "IgnoreUnknown": "1"}

    assert [build_pod(args), build_pod({})] == [PodRef("a", "b", "c"), PodRef()]
    assert msgspec.structs.asdict(PodRef()) == {"namespace": "", "name": "", "uid": ""}
