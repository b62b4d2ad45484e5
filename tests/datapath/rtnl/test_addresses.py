"""Links' addresses."""

from ipaddress import IPv4Interface

import pytest

from nodeplane.errors import KernelError
from tests.datapath.rtnl.pair import FAR, PEER_6, SUBNET, SUBNET_6, Pair, Step, rows, twice

LOOPBACK = IPv4Interface("127.0.0.1/8")

REFUSALS: list[tuple[str, Step, str]] = [
    ("address twice", lambda p: p.near.add_address("v0", SUBNET), "EEXIST"),
    ("address on no link", lambda p: p.near.add_address("no", SUBNET), "ENODEV"),
    (
        "delete an address not there",
        lambda p: p.near.delete_address("v0", IPv4Interface(FAR)),
        "EADDRNOTAVAIL",
    ),
    ("addresses of no link", lambda p: p.near.addresses("no"), "ENODEV"),
    (
        "IPv6 address twice",
        lambda p: twice(p, lambda q: q.near.add_address("v0", SUBNET_6)),
        "EEXIST",
    ),
    (
        "delete an IPv6 address not there",
        lambda p: p.near.delete_address("v0", SUBNET_6),
        "EADDRNOTAVAIL",
    ),
]


@rows(REFUSALS)
def test_refusals_carry_the_kernels_errno(pair: Pair, step: Step, expected: str) -> None:
    with pytest.raises(KernelError, match=rf"\({expected}\)\Z"):
        step(pair)


def test_addresses_are_listed_by_link(pair: Pair) -> None:
    second = IPv4Interface("198.51.100.7/32")
    pair.near.add_address("lo", second, scope="host")

    assert pair.near.addresses_by_link() == {"v0": {SUBNET}, "lo": {LOOPBACK, second}}
    assert pair.near.addresses("v0") == {SUBNET}
    assert pair.far.addresses_by_link() == {"lo": {LOOPBACK}}


def test_ipv6_addresses(pair: Pair) -> None:
    pair.near.add_address("v0", SUBNET_6)

    assert SUBNET_6 in pair.near.addresses("v0", 6)
    assert pair.near.addresses("v0") == {SUBNET}
    assert SUBNET_6 in pair.near.addresses_by_link(6)["v0"]
    assert pair.near.egress_link(PEER_6).name == "v0"

    pair.near.delete_address("v0", SUBNET_6)

    assert SUBNET_6 not in pair.near.addresses("v0", 6)


def test_a_link_that_is_down_loses_its_ipv6_addresses(pair: Pair) -> None:
    pair.near.add_address("v0", SUBNET_6)
    pair.near.set_down("v0")

    assert (pair.near.addresses("v0"), pair.near.addresses("v0", 6)) == ({SUBNET}, set())
