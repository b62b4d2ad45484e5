"""Our rtnetlink beside pyroute2's, an independent writer and reader of the same kernel."""

from collections.abc import Iterator
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from pyroute2 import IPRoute

from nodeplane.datapath import netns
from nodeplane.datapath.rtnl import (
    ROUTE_PROTOCOL,
    Address,
    Family,
    Interface,
    Network,
    Route,
    Rtnl,
    open_rtnl,
)
from tests.netns_fixture import namespace

pytestmark = pytest.mark.netns

MAC = "02:00:00:00:00:07"
ROUTES: dict[Family, tuple[Interface, Network, Address]] = {
    4: (ip_interface("10.0.0.1/24"), ip_network("10.244.7.64/26"), ip_address("10.0.0.2")),
    6: (ip_interface("2001:db8::1/64"), ip_network("2001:db8:7::/64"), ip_address("2001:db8::2")),
}
_FAMILY = {4: 2, 6: 10}


@pytest.fixture
def both() -> Iterator[tuple[Rtnl, Any]]:
    """Yield both, over a namespace whose link `v0` is up."""
    with namespace("near") as near, namespace("far") as far, open_rtnl(near) as ours:
        with netns.inside(near):
            theirs = IPRoute()
        with theirs:
            ours.add_veth("v0", "eth0", far, 1400)
            ours.set_up("v0")
            yield ours, theirs


def test_links(both: tuple[Rtnl, Any]) -> None:
    """What we set is what pyroute2 reads, and the other way round."""
    ours, theirs = both
    ours.set_mac("v0", MAC)
    ours.set_alias("v0", "c1/eth0 net")
    (found,) = theirs.get_links(ifname="v0")

    assert [found.get_attr(f"IFLA_{name}") for name in ("MTU", "ADDRESS", "IFALIAS")] == [
        1400,
        MAC,
        "c1/eth0 net",
    ]

    theirs.link("set", index=found["index"], mtu=1300, ifalias="theirs")
    link = ours.link("v0")
    assert (link.mtu_bytes, link.alias, link.mac, link.index) == (1300, "theirs", MAC, found["index"])


@pytest.mark.parametrize("version", [4, 6])
def test_addresses_and_routes(both: tuple[Rtnl, Any], version: Family) -> None:
    """Addresses and routes of both families, written by one and read by the other."""
    ours, theirs = both
    address, network, gateway = ROUTES[version]
    ours.add_address("v0", address)
    ours.add_route(Route(network, gateway=gateway, link="v0"))
    index = theirs.link_lookup(ifname="v0")[0]

    (route,) = theirs.get_routes(family=_FAMILY[version], proto=ROUTE_PROTOCOL)
    assert (route.get_attr("RTA_DST"), route["dst_len"]) == (str(network.network_address), network.prefixlen)
    assert (route.get_attr("RTA_GATEWAY"), route.get_attr("RTA_OIF")) == (str(gateway), index)
    held = {found.get_attr("IFA_ADDRESS") for found in theirs.get_addr(family=_FAMILY[version], index=index)}
    assert str(address.ip) in held

    theirs.route("del", dst=str(network), family=_FAMILY[version])
    theirs.route("add", dst=str(network), gateway=str(gateway), proto=ROUTE_PROTOCOL, family=_FAMILY[version])
    (read,) = ours.routes(ROUTE_PROTOCOL, link="v0", family=version)
    assert (read.destination, read.gateway, read.link) == (network, gateway, "v0")
