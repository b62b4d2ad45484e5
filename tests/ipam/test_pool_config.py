"""Pools as they are written."""

import msgspec
import pytest

from ipam.model import Pool
from ipam.pool_config import PoolConfig, build_pools
from nodeplane.errors import ConfigError
from tests.ipam.values import network

NAME = "expected a DNS subdomain name (lower case, digits, '-', '.')"


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
        pytest.param(
            [
                PoolConfig("a", "10.0.0.0/24", gateway="10.0.0.1"),
                PoolConfig("b", "fd00::/64", gateway="fe80::1", on_link=True),
            ],
            [
                Pool("a", network("10.0.0.0/24"), 26, (network("10.0.0.1/32"),)),
                Pool("b", network("fd00::/64"), 122, on_link=True),
            ],
            id="both families, and a gateway inside its pool is reserved",
        ),
        pytest.param(
            [
                PoolConfig(
                    "a", "10.0.0.0/24", disabled=True, node_selector="a == 'b'", namespace_selector="has(c)"
                )
            ],
            [
                Pool(
                    "a",
                    network("10.0.0.0/24"),
                    26,
                    disabled=True,
                    node_selector="a == 'b'",
                    namespace_selector="has(c)",
                )
            ],
            id="who it is for",
        ),
        pytest.param(
            [PoolConfig("a", "10.0.0.0/24", mode="cross-subnet"), PoolConfig("b", "10.1.0.0/24", mode="bgp")],
            [
                Pool("a", network("10.0.0.0/24"), 26, mode="cross-subnet"),
                Pool("b", network("10.1.0.0/24"), 26, mode="bgp"),
            ],
            id="modes",
        ),
    ],
)
def test_build_pools(pools: list[PoolConfig], expected: list[Pool]) -> None:
    assert build_pools(pools, "PLACE", "ipam.pools") == tuple(expected)


@pytest.mark.parametrize(
    ("pools", "field", "expected"),
    [
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
            [PoolConfig("a", "10.0.0.0/24", mode="ipip")],
            "ipam.pools[0].mode",
            "expected one of direct, vxlan, cross-subnet, bgp, got 'ipip'",
            id="mode",
        ),
        pytest.param(
            [PoolConfig("a", "10.0.0.0/24", on_link=True, mode="vxlan")],
            "ipam.pools[0].mode",
            "expected direct, as the pool is onLink, got 'vxlan'",
            id="mode of a pool on a link",
        ),
        pytest.param(
            [PoolConfig("host-local-x", "10.0.0.0/16")],
            "ipam.pools[0].name",
            "expected another beginning: host-local- is for the pools of ranges, got 'host-local-x'",
            id="a range's name",
        ),
        pytest.param(
            [PoolConfig("a", "10.0.0.0/16", gateway="10.0.0")],
            "ipam.pools[0].gateway",
            "expected an address: '10.0.0' does not appear to be an IPv4 or IPv6 address",
            id="gateway",
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
        build_pools(pools, "PLACE", "ipam.pools")

    assert (caught.value.field, caught.value.expected) == (field, expected)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({"cidr": "224.0.0.0/24"}, "addresses that pods can have", id="multicast"),
        pytest.param({"cidr": "127.0.0.0/24"}, "addresses that pods can have", id="loopback"),
        pytest.param({"cidr": "169.254.0.0/20"}, "addresses that pods can have", id="link-local"),
        pytest.param({"cidr": "fe80::/64"}, "addresses that pods can have", id="link-local IPv6"),
        pytest.param({"cidr": "ff02::/64"}, "addresses that pods can have", id="multicast IPv6"),
        pytest.param({"reserved": ("10.0.0.0/25", "10.0.0.128/25")}, "all are reserved", id="all reserved"),
    ],
)
def test_a_pool_that_can_give_nothing_is_refused(fields: dict[str, object], expected: str) -> None:
    item = PoolConfig("p", "10.0.0.0/24")

    with pytest.raises(ConfigError, match=expected):
        build_pools([msgspec.structs.replace(item, **fields)], "PLACE", "pools")


def test_a_misspelt_field_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="blocksize"):
        msgspec.convert({"name": "p", "cidr": "10.0.0.0/24", "blocksize": 28}, PoolConfig)
