"""The MTU that pods get where the configuration says none."""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from cni.mtu import read_uplink_mtu
from nodeplane.datapath.rtnl import Route
from nodeplane.datapath.rtnl_fake import FakeRtnl

EVERYWHERE = IPv4Network("0.0.0.0/0")
VIA_ETH1 = Route(EVERYWHERE, gateway=IPv4Address("10.1.0.9"), protocol=4)
NOWHERE = Route(EVERYWHERE, kind="blackhole", protocol=4)


def node(links: dict[str, tuple[int, str]], *routes: Route) -> FakeRtnl:
    """Build a node of links by name: MTU and address, which may be none."""
    rtnl = FakeRtnl()
    rtnl.set_up("lo")
    for name, (mtu_bytes, address) in links.items():
        rtnl.add_veth(name, f"{name}-far", mtu_bytes=mtu_bytes)
        rtnl.set_up(name)
        if address:
            rtnl.add_address(name, IPv4Interface(address))
    for route in routes:
        rtnl.add_route(route)
    return rtnl


ETH0, ETH1 = (9000, "10.0.0.1/24"), (1400, "10.1.0.1/24")
POD = (68, "")


@pytest.mark.parametrize(
    ("rtnl", "expected"),
    [
        pytest.param(node({"eth0": ETH0, "eth1": ETH1}, VIA_ETH1), 1400, id="the default route's link"),
        pytest.param(
            node({"eth0": ETH0, "npl1": POD}), 9000, id="no default route: the only link with an address"
        ),
        pytest.param(
            node({"eth0": ETH0, "eth1": ETH1}), 1400, id="no default route: the smallest of several"
        ),
        pytest.param(node({"eth0": ETH0}, NOWHERE), 9000, id="a default route that refuses"),
        pytest.param(node({"npl1": POD}), 1500, id="nothing to go by: Ethernet's"),
    ],
)
def test_uplink_mtu(rtnl: FakeRtnl, expected: int) -> None:
    assert read_uplink_mtu(rtnl) == expected
