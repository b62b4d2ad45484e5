"""host-local's ranges as pools."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipam.host_local import Range, RangeConfig, build_range_sets
from ipam.model import Pool
from ipam.pool_space import excluded
from nodeplane.errors import ConfigError
from tests.ipam.values import network


def ranges(*sets: list[RangeConfig]) -> tuple[tuple[Range, ...], ...]:
    return build_range_sets(sets, [f"ipam.ranges[{index}]" for index in range(len(sets))])


def pool(name: str, cidr: str, size: int, *reserved: str) -> Pool:
    return Pool(f"host-local-{name}", network(cidr), size, tuple(map(network, reserved)), on_link=True)


@pytest.mark.parametrize(
    ("item", "expected", "gateway"),
    [
        pytest.param(
            RangeConfig("10.1.0.0/24"),
            pool("10.1.0.0-24", "10.1.0.0/24", 26, "10.1.0.0/31", "10.1.0.255/32"),
            "10.1.0.1",
            id="a subnet",
        ),
        pytest.param(
            RangeConfig("10.1.0.0/30"),
            pool("10.1.0.0-30", "10.1.0.0/30", 30, "10.1.0.0/31", "10.1.0.3/32"),
            "10.1.0.1",
            id="the smallest",
        ),
        pytest.param(
            RangeConfig("10.1.0.0/28", "10.1.0.4", "10.1.0.7", "10.1.0.6"),
            pool("10.1.0.0-28", "10.1.0.0/28", 28, "10.1.0.0/30", "10.1.0.6/32", "10.1.0.8/29"),
            "10.1.0.6",
            id="start, end and a gateway between",
        ),
        pytest.param(
            RangeConfig("10.1.0.0/28", "10.1.0.0", "10.1.0.15", "192.0.2.1"),
            pool("10.1.0.0-28", "10.1.0.0/28", 28),
            "192.0.2.1",
            id="a gateway elsewhere",
        ),
        pytest.param(
            RangeConfig("fd00::/64"),
            pool("fd00---64", "fd00::/64", 122, "fd00::/127"),
            "fd00::1",
            id="IPv6",
        ),
    ],
)
def test_one_range(item: RangeConfig, expected: Pool, gateway: str) -> None:
    assert ranges([item]) == ((Range(expected, ip_address(gateway)),),)


def test_a_few_of_a_vast_subnet() -> None:
    """All that is outside is reserved, in no more parts than there are bits."""
    [[found]] = ranges([RangeConfig("fd00::/64", "fd00::10", "fd00::1f")])

    assert len(found.pool.reserved) < 64
    assert found.pool.network.num_addresses - sum(part.num_addresses for part in found.pool.reserved) == 16


def test_two_ranges_of_one_subnet_are_one_pool() -> None:
    [[found]] = ranges(
        [
            RangeConfig("10.1.0.0/24", "10.1.0.10", "10.1.0.11"),
            RangeConfig("10.1.0.0/24", "10.1.0.8", "10.1.0.9"),
        ]
    )

    reserved = found.pool.reserved
    free = {address for address in found.pool.network if not any(address in item for item in reserved)}
    assert free == {ip_address(f"10.1.0.{number}") for number in (8, 9, 10, 11)}


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        pytest.param([[]], "ipam.ranges[0]: expected at least one range", id="empty set"),
        pytest.param([[RangeConfig()]], "ipam.ranges[0][0].subnet: expected, but missing", id="no subnet"),
        pytest.param(
            [[RangeConfig("10.1.0.0/31")]],
            "ipam.ranges[0][0].subnet: expected /30 or larger, got 10.1.0.0/31",
            id="too small",
        ),
        pytest.param(
            [[RangeConfig("10.1.0.7/24")]],
            "ipam.ranges[0][0].subnet: expected a network: 10.1.0.7/24 has host bits set",
            id="host bits",
        ),
        pytest.param(
            [[RangeConfig("10.1.0.0/24", "10.1.1.1")]],
            "ipam.ranges[0][0].rangeStart: expected an address of 10.1.0.0/24, got 10.1.1.1",
            id="start elsewhere",
        ),
        pytest.param(
            [[RangeConfig("10.1.0.0/24", "10.1.0.9", "10.1.0.8")]],
            "ipam.ranges[0][0].rangeEnd: expected it after rangeStart 10.1.0.9, got 10.1.0.8",
            id="backwards",
        ),
        pytest.param(
            [[RangeConfig("10.1.0.0/24", gateway="x")]],
            "ipam.ranges[0][0].gateway: expected an address: 'x' does not appear to be an IPv4 or IPv6 "
            "address",
            id="gateway",
        ),
        pytest.param(
            [[RangeConfig("10.1.0.0/24", gateway="fd00::1")]],
            "ipam.ranges[0][0].gateway: expected IPv4, got fd00::1",
            id="gateway's family",
        ),
        pytest.param(
            [[RangeConfig("10.1.0.0/24"), RangeConfig("fd00::/64")]],
            "ipam.ranges[0][1]: expected ranges of one address family in a set",
            id="families",
        ),
        pytest.param(
            [[RangeConfig("10.1.0.0/24"), RangeConfig("10.1.0.0/24")]],
            "ipam.ranges[0][0]: expected ranges apart, 10.1.0.1-10.1.0.254 overlaps 10.1.0.1-10.1.0.254",
            id="twice",
        ),
        pytest.param(
            [[RangeConfig("10.1.0.0/24"), RangeConfig("10.1.0.0/16")]],
            "ipam.ranges[0][0]: expected a subnet apart from 10.1.0.0/16",
            id="nested",
        ),
        pytest.param(
            [[RangeConfig("10.1.0.0/24")], [RangeConfig("10.1.0.0/16")]],
            "ipam.ranges[1][0]: expected each subnet in one range set, ipam.ranges[0][0] has 10.1.0.0/24",
            id="in two sets",
        ),
    ],
)
def test_refused(sets: list[list[RangeConfig]], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ranges(*sets)
    assert str(caught.value) == f"network configuration: {message}"


@given(data=st.data())
@settings(deadline=None)
def test_what_is_free_is_what_the_range_says(data: st.DataObject) -> None:
    """Exactly the addresses from start to end, less the subnet's two ends and the gateway."""
    prefix_len = data.draw(st.integers(24, 30))
    subnet = ip_network(f"10.1.0.0/{prefix_len}")
    first = data.draw(st.integers(0, subnet.num_addresses - 1))
    last = data.draw(st.integers(first, subnet.num_addresses - 1))
    gateway = data.draw(st.integers(0, subnet.num_addresses - 1))
    item = RangeConfig(str(subnet), str(subnet[first]), str(subnet[last]), str(subnet[gateway]))

    [[found]] = ranges([item])

    out = excluded(found.pool)
    free = {address for address in subnet if not any(address in part for part in out)}
    assert free == {
        subnet[number] for number in range(max(first, 1), min(last + 1, subnet.num_addresses - 1))
    } - {subnet[gateway]}
    assert found.pool.network == subnet
