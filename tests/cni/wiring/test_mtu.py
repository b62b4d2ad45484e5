"""The MTU that pods get where the configuration says none."""

from ipaddress import ip_address, ip_interface, ip_network

import pytest

from cni.network_config import Encapsulation
from cni.wiring.mtu import read_pod_mtu
from nodeplane.datapath.rtnl import Route
from nodeplane.datapath.rtnl.fake import FakeRtnl

EVERYWHERE, EVERYWHERE_6 = ip_network("0.0.0.0/0"), ip_network("::/0")
VIA_ETH1 = Route(EVERYWHERE, gateway=ip_address("10.1.0.9"), protocol=4)
VIA_ETH0 = Route(EVERYWHERE, gateway=ip_address("10.0.0.9"), protocol=4)
VIA_ETH2_6 = Route(EVERYWHERE_6, gateway=ip_address("2001:db8::9"), protocol=4)
NOWHERE = Route(EVERYWHERE, kind="blackhole", protocol=4)


def node(links: dict[str, tuple[int, str]], *routes: Route) -> FakeRtnl:
    """Build a node of links by name: MTU and address, which may be none."""
    rtnl = FakeRtnl()
    rtnl.set_up("lo")
    for name, (mtu_bytes, address) in links.items():
        rtnl.add_veth(name, f"{name}-far", mtu_bytes=mtu_bytes)
        rtnl.set_up(name)
        if address:
            rtnl.add_address(name, ip_interface(address))
    for route in routes:
        rtnl.add_route(route)
    return rtnl


ETH0, ETH1 = (9000, "10.0.0.1/24"), (1400, "10.1.0.1/24")
ETH2_6 = (1380, "2001:db8::1/64")
POD = (68, "")
POD_6 = (68, "fe80::ecee:eeff:feee:eeee/64")


@pytest.mark.parametrize(
    ("rtnl", "encapsulation", "expected"),
    [
        pytest.param(
            node({"eth0": ETH0, "eth1": ETH1}, VIA_ETH1), "none", 1400, id="the default route's link"
        ),
        pytest.param(
            node({"eth0": ETH0, "eth2": ETH2_6}, VIA_ETH0, VIA_ETH2_6),
            "none",
            1380,
            id="of two default routes' links, the smaller",
        ),
        pytest.param(
            node({"eth0": ETH0, "npl1": POD}),
            "none",
            9000,
            id="no default route: the only link with an address",
        ),
        pytest.param(
            node({"eth0": ETH0, "eth1": ETH1}), "none", 1400, id="no default route: the smallest of several"
        ),
        pytest.param(
            node({"eth2": ETH2_6, "npl1": POD_6, "eth9": (70, "fe80::1/64")}),
            "none",
            1380,
            id="IPv6 alone, no default route: neither pods nor links with no more than their own",
        ),
        pytest.param(node({"eth0": ETH0}, NOWHERE), "none", 9000, id="a default route that refuses"),
        pytest.param(node({"npl1": POD}), "none", 1500, id="nothing to go by: Ethernet's"),
        pytest.param(node({"eth0": ETH0}, VIA_ETH0), "ipip", 8980, id="IP in IP"),
        pytest.param(node({"eth0": ETH0}, VIA_ETH0), "vxlan", 8950, id="VXLAN"),
        pytest.param(node({"eth0": ETH0}, VIA_ETH0), "wireguard", 8940, id="WireGuard"),
        pytest.param(node({"eth2": ETH2_6}, VIA_ETH2_6), "vxlan", 1310, id="VXLAN over IPv6"),
        pytest.param(node({}), "vxlan", 1450, id="VXLAN, nothing to go by"),
    ],
)
def test_pod_mtu(rtnl: FakeRtnl, encapsulation: Encapsulation, expected: int) -> None:
    assert read_pod_mtu(rtnl, encapsulation) == expected
