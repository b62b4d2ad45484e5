"""The arithmetic of a pool."""

from ipaddress import ip_address

import msgspec
import pytest

from ipam.model import Pool
from ipam.pool_space import block_at, covering, edges, excluded, number_of, start_of
from tests.ipam.values import POOL, network

SIX = Pool("six", network("fd00::/48"), 122)


@pytest.mark.parametrize(
    ("pool", "number", "block"),
    [
        pytest.param(POOL, 0, "10.0.0.0/26", id="the first"),
        pytest.param(POOL, 3, "10.0.0.192/26", id="the last"),
        pytest.param(SIX, 1, "fd00::40/122", id="IPv6"),
        pytest.param(SIX, (1 << 74) - 1, "fd00:0:0:ffff:ffff:ffff:ffff:ffc0/122", id="the last of 2^74"),
        pytest.param(Pool("low", network("::/120"), 122), 2, "::80/122", id="IPv6 with a small number"),
    ],
)
def test_blocks_have_numbers(pool: Pool, number: int, block: str) -> None:
    assert block_at(pool, number) == network(block)
    assert number_of(pool, network(block).network_address) == number
    assert number_of(pool, network(block).broadcast_address) == number


@pytest.mark.parametrize(
    ("cidr", "expected"),
    [
        pytest.param("10.0.0.0/24", ["10.0.0.0/32", "10.0.0.255/32"], id="network and broadcast"),
        pytest.param("10.0.0.0/30", ["10.0.0.0/32", "10.0.0.3/32"], id="/30"),
        pytest.param("10.0.0.0/31", [], id="/31: RFC 3021"),
        pytest.param("10.0.0.0/32", [], id="/32"),
        pytest.param("fd00::/64", ["fd00::/128"], id="IPv6: no broadcast"),
        pytest.param("fd00::/127", [], id="/127: RFC 6164"),
        pytest.param("fd00::/128", [], id="/128"),
    ],
)
def test_edges(cidr: str, expected: list[str]) -> None:
    assert edges(network(cidr)) == tuple(map(network, expected))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({}, [], id="nothing"),
        pytest.param({"reserved": (network("10.0.0.4/31"),)}, ["10.0.0.4/31"], id="reserved"),
        pytest.param({"on_link": True}, ["10.0.0.0/32", "10.0.0.255/32"], id="on a link"),
        pytest.param(
            {"on_link": True, "reserved": (network("10.0.0.1/32"), network("10.0.0.2/31"))},
            ["10.0.0.0/30", "10.0.0.255/32"],
            id="both, collapsed",
        ),
    ],
)
def test_excluded(fields: dict[str, object], expected: list[str]) -> None:
    assert excluded(msgspec.structs.replace(POOL, **fields)) == tuple(map(network, expected))


def test_covering() -> None:
    outer = (network("10.0.0.0/27"), network("10.0.0.128/25"))

    assert covering(outer, network("10.0.0.0/26")) is None
    assert covering(outer, network("10.0.0.192/26")) == outer[1]


def test_nodes_start_apart() -> None:
    """A hundred nodes that claim at one moment in a pool of a thousand blocks hardly meet."""
    pool = Pool("p", network("10.0.0.0/16"), 26)

    chosen = {start_of(pool, f"node-{number}") for number in range(100)}

    assert len(chosen) > 90
    assert all(0 <= number < 1024 for number in chosen)
    assert block_at(pool, 0).network_address == ip_address("10.0.0.0")
