"""Several changes at once, and several of one link in one."""

from ipaddress import IPv4Interface

import pytest

from nodeplane.datapath.rtnl import (
    ROUTE_PROTOCOL,
    AddressAddition,
    Change,
    LinkChange,
    Route,
    RouteAddition,
    open_rtnl,
)
from tests.datapath.rtnl.pair import BLOCK, BLOCK_6, PEER_6, POD, SUBNET, SUBNET_6, Pair, on_link
from tests.netns_fixture import namespace

V0_OTHERWISE = LinkChange("v0", is_up=False, mtu_bytes=1300, mac="02:00:00:00:00:07", alias="pod")


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        pytest.param([], {}, id="nothing"),
        pytest.param(
            [
                LinkChange("v0", mtu_bytes=1300, mac="02:00:00:00:00:07", alias="pod"),
                AddressAddition("v0", IPv4Interface("192.0.2.1/32")),
                AddressAddition("v0", SUBNET_6),
                RouteAddition(on_link("v0")),
                RouteAddition(Route(BLOCK, gateway=POD.network_address, link="v0")),
                RouteAddition(Route(BLOCK_6, gateway=PEER_6, link="v0")),
            ],
            {},
            id="each builds on those before it",
        ),
        pytest.param(
            [
                LinkChange("no", is_up=True),
                AddressAddition("v0", SUBNET),
                RouteAddition(on_link("v0")),
                RouteAddition(on_link("v0")),
                RouteAddition(on_link("no")),
                AddressAddition("v0", SUBNET_6),
            ],
            {0: "ENODEV", 1: "EEXIST", 3: "EEXIST", 4: "ENODEV"},
            id="a refusal does not stop the rest",
        ),
    ],
)
def test_several_changes_at_once(pair: Pair, changes: list[Change], refused: dict[int, str]) -> None:
    found = pair.near.apply(changes)

    assert {
        position: str(error).rpartition("(")[2].rstrip(")") for position, error in found.items()
    } == refused
    if changes:
        assert on_link("v0") in pair.near.routes(ROUTE_PROTOCOL)
        assert SUBNET_6 in pair.near.addresses("v0", 6)


def test_a_changed_link(pair: Pair) -> None:
    assert pair.near.apply([V0_OTHERWISE]) == {}

    link = pair.near.link("v0")
    assert LinkChange(link.name, link.is_up, link.mtu_bytes, link.mac, link.alias) == V0_OTHERWISE


@pytest.mark.netns
def test_a_brief_piece_of_work_knows_a_link_made_anew() -> None:
    """It asks for an index once; another link of the same name has another."""
    with namespace() as path, open_rtnl(path, is_brief=True) as rtnl:
        for _ in range(2):
            rtnl.add_veth("v0", "v1")
            assert rtnl.apply([LinkChange("v0", is_up=True), RouteAddition(on_link("v0"))]) == {}
            assert rtnl.routes(link="v0") == [on_link("v0")]
            rtnl.delete_link("v0")
