"""The IPAM section of a network configuration."""

import os
from pathlib import Path

import msgspec
import pytest

from ipam.config import (
    IpamConfig,
    NetworkConfig,
    PoolConfig,
    build_node_name,
    build_pod,
    build_pools,
    decode_datastore,
)
from ipam.model import PodRef, Pool
from nodeplane.cnispec import decode_config
from nodeplane.errors import ConfigError
from tests.ipam.values import network

NAME = "expected a DNS subdomain name (lower case, digits, '-', '.')"


def test_decode_config() -> None:
    text = b"""{"name": "n", "nodeName": "n1", "mtu": 1500, "ipam": {
        "type": "nodeplane-ipam", "datastore": "sqlite:///x",
        "pools": [{"name": "a", "cidr": "10.0.0.0/16", "blockSize": 26, "reserved": ["10.0.0.1"]}]}}"""

    assert decode_config(text, NetworkConfig) == NetworkConfig(
        IpamConfig("nodeplane-ipam", "sqlite:///x", (PoolConfig("a", "10.0.0.0/16", 26, ("10.0.0.1",)),)),
        "n1",
    )


@pytest.mark.parametrize(
    ("pools", "expected"),
    [
        pytest.param(
            [PoolConfig("a", "10.0.0.0/16")],
            [Pool("a", network("10.0.0.0/16"), 26)],
            id="blocks of /26 by default",
        ),
        pytest.param(
            [PoolConfig("a", "fd00::/64")], [Pool("a", network("fd00::/64"), 122)], id="and of /122 for IPv6"
        ),
        pytest.param(
            [PoolConfig("a", "10.0.0.0/30", 32), PoolConfig("b.c-d", "10.0.0.4/30", 30)],
            [Pool("a", network("10.0.0.0/30"), 32), Pool("b.c-d", network("10.0.0.4/30"), 30)],
            id="two, in their order",
        ),
        pytest.param(
            [
                PoolConfig(
                    "a", "10.0.0.0/24", 26, ("10.0.0.3-10.0.0.4", "10.0.0.5", "10.0.0.6/31", "10.0.0.0")
                )
            ],
            [
                Pool(
                    "a",
                    network("10.0.0.0/24"),
                    26,
                    (network("10.0.0.0/32"), network("10.0.0.3/32"), network("10.0.0.4/30")),
                )
            ],
            id="reserved ranges, collapsed",
        ),
    ],
)
def test_build_pools(pools: list[PoolConfig], expected: list[Pool]) -> None:
    assert build_pools(IpamConfig(pools=tuple(pools))) == tuple(expected)


@pytest.mark.parametrize(
    ("pools", "field", "expected"),
    [
        pytest.param([], "ipam.pools", "expected at least one pool", id="none"),
        pytest.param(
            [PoolConfig("A/b", "10.0.0.0/16")], "ipam.pools[0].name", f"{NAME}, got 'A/b'", id="name"
        ),
        pytest.param(
            [PoolConfig("a\n", "10.0.0.0/16")],
            "ipam.pools[0].name",
            f"{NAME}, got 'a\\n'",
            id="name with a newline",
        ),
        pytest.param(
            [PoolConfig("a", "10.0.0.1/16")],
            "ipam.pools[0].cidr",
            "expected a network: 10.0.0.1/16 has host bits set",
            id="host bits",
        ),
        pytest.param(
            [PoolConfig("a", "10.0.0.0")],
            "ipam.pools[0].cidr",
            "expected address/prefix length, got '10.0.0.0'",
            id="no length",
        ),
        pytest.param(
            [PoolConfig("a", "10.0.0.0/33")],
            "ipam.pools[0].cidr",
            "expected a network: '10.0.0.0/33' does not appear to be an IPv4 or IPv6 network",
            id="length",
        ),
        pytest.param(
            [PoolConfig("a", "10.0.0.0/28", 26)],
            "ipam.pools[0].blockSize",
            "expected a prefix length from 28 to 32 for 10.0.0.0/28, got 26",
            id="block larger than the pool",
        ),
        pytest.param(
            [PoolConfig("a", "10.0.0.0/8", 19)],
            "ipam.pools[0].blockSize",
            "expected a prefix length from 20 to 32 for 10.0.0.0/8, got 19",
            id="block too large",
        ),
        pytest.param(
            [PoolConfig("a", "fd00::/64", 64)],
            "ipam.pools[0].blockSize",
            "expected a prefix length from 116 to 128 for fd00::/64, got 64",
            id="IPv6 block too large",
        ),
        pytest.param(
            [PoolConfig("a", "10.0.0.0/24"), PoolConfig("a", "10.0.1.0/24")],
            "ipam.pools[1].name",
            "expected each name once, got 'a' twice",
            id="name twice",
        ),
        pytest.param(
            [PoolConfig("a", "10.0.0.0/16"), PoolConfig("b", "10.0.1.0/24")],
            "ipam.pools[1].cidr",
            "expected pools apart, 10.0.1.0/24 overlaps 10.0.0.0/16",
            id="overlap",
        ),
        pytest.param(
            [PoolConfig("a", "10.0.0.0/16"), PoolConfig("b", "fd00::/64")],
            "ipam.pools[1].cidr",
            "expected pools of one address family",
            id="families",
        ),
        pytest.param(
            [PoolConfig("a", "10.0.0.0/24", 26, ("10.0.0.1", "10.0.1.0"))],
            "ipam.pools[0].reserved[1]",
            "expected what lies inside 10.0.0.0/24, got '10.0.1.0'",
            id="reserved outside",
        ),
        pytest.param(
            [PoolConfig("a", "10.0.0.0/24", 26, ("10.0.0.9-10.0.0.1",))],
            "ipam.pools[0].reserved[0]",
            "expected an address, a network or first-last: last IP address must be greater than first",
            id="reserved backwards",
        ),
        pytest.param(
            [PoolConfig("a", "10.0.0.0/24", 26, ("10.0.0.1-fd00::1",))],
            "ipam.pools[0].reserved[0]",
            "expected an address, a network or first-last: 10.0.0.1 and fd00::1 are not of the same version",
            id="reserved of two families",
        ),
    ],
)
def test_build_pools_refuses(pools: list[PoolConfig], field: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_pools(IpamConfig(pools=tuple(pools)))

    assert (caught.value.field, caught.value.expected) == (field, expected)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param("sqlite:///a/b.sqlite", "/a/b.sqlite", id="three slashes"),
        pytest.param("sqlite:////a/b.sqlite", "/a/b.sqlite", id="four, as SQLAlchemy writes it"),
        pytest.param("sqlite:///a b?c#d", "/a b?c#d", id="odd names"),
    ],
)
def test_decode_datastore(url: str, expected: str) -> None:
    assert decode_datastore(url) == Path(expected)


@pytest.mark.parametrize(
    "url", ["", "sqlite://", "sqlite:///", "sqlite://a/b", "etcd://host:2379/p", "/a/b", "sqlite:/a"]
)
def test_decode_datastore_refuses(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode_datastore(url, "", "--datastore")

    assert str(caught.value) == f"--datastore: expected sqlite:///absolute/path, got {url!r}"


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
