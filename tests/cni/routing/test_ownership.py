"""Whose a route is, and the events that make the agent look again."""

from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network

import pytest

from cni.routing.links import LinkFacts
from cni.routing.ownership import Watched, concerns_agent, is_agents
from cni.routing.vxlan import entry_key
from nodeplane.datapath.rtnl import FdbEntry, Neighbour, Network, NextHop, Route
from nodeplane.datapath.rtnl.monitor import (
    AddressEvent,
    Event,
    ForwardingEvent,
    LinkEvent,
    LinkState,
    NeighbourEvent,
    Overrun,
    RouteEvent,
)

B1, B2, B3 = (IPv4Network(f"10.244.{number}.0/26") for number in (1, 2, 3))
N2 = IPv4Address("192.0.2.2")
POD, POD_6 = IPv4Network("10.244.1.5/32"), ip_network("fd00::5/128")
BLOCK_6 = ip_network("fd00::/122")


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        pytest.param(Route(B1, kind="blackhole"), True, id="own block"),
        pytest.param(Route(BLOCK_6, kind="blackhole", link="lo"), True, id="own block of IPv6"),
        pytest.param(Route(B2, gateway=N2, link="eth0"), True, id="a peer's block"),
        pytest.param(Route(B2, next_hops=(NextHop(N2, "eth0"),)), True, id="by several ways"),
        pytest.param(Route(POD, gateway=N2, link="eth0"), True, id="a borrowed address elsewhere"),
        pytest.param(Route(POD, link="npl0", scope="link"), False, id="a pod"),
        pytest.param(Route(POD, link="lo", kind="local", scope="host"), False, id="the pods' gateway"),
    ],
)
def test_ownership_follows_from_the_shape(route: Route, expected: bool) -> None:
    assert is_agents(route) is expected


OWN_PORT, OTHERS_PORT = 4711, 12
MAC, OTHER_MAC = "02:00:00:00:00:02", "02:00:00:00:00:03"
NEIGHBOUR = Neighbour("np-vxlan4", ip_address("10.244.2.0"), MAC)
FDB = FdbEntry("np-vxlan4", MAC, N2)
WATCHED = Watched(
    {B1},
    {B2},
    {entry_key(item): item for item in (NEIGHBOUR, FDB)},
    {7: "np-vxlan4"},
    {2},
    OWN_PORT,
    {2: LinkFacts(has_carrier=True, mtu_bytes=1500), 7: LinkFacts(has_carrier=True, mtu_bytes=1450)},
)
NOWHERE = Watched(set(), set(), {}, {}, None, OWN_PORT)
ALONE = Watched(set(), set(), {}, {}, set(), OWN_PORT)


def route_event(
    destination: Network, *, protocol: int = 110, is_on_link: bool = False, port: int = OTHERS_PORT
) -> RouteEvent:
    return RouteEvent(destination, protocol, is_on_link=is_on_link, is_deleted=True, port=port)


def neighbour(address: str, mac: str | None, index: int = 7) -> NeighbourEvent:
    item = None if mac is None else Neighbour("", ip_address(address), mac)
    return NeighbourEvent(index, ip_address(address), item)


def fdb(mac: str, destination: str | None, index: int = 7) -> NeighbourEvent:
    return NeighbourEvent(
        index, mac, None if destination is None else FdbEntry("", mac, ip_address(destination))
    )


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        pytest.param(route_event(B1), True, id="one of ours, by another hand"),
        pytest.param(route_event(B1, port=OWN_PORT), False, id="by our own"),
        pytest.param(route_event(B3), True, id="like ours, not wanted"),
        pytest.param(route_event(BLOCK_6), True, id="like ours, IPv6"),
        pytest.param(route_event(B1, protocol=4), True, id="foreign, where ours must be"),
        pytest.param(route_event(B2, protocol=12), True, id="bird's, where one of ours waits for it"),
        pytest.param(route_event(B3, protocol=4), False, id="foreign"),
        pytest.param(route_event(POD, is_on_link=True), False, id="a pod's"),
        pytest.param(LinkEvent("eth0", is_up=True), True, id="an uplink"),
        pytest.param(LinkEvent("np-vxlan4", is_up=False), True, id="a VXLAN link"),
        pytest.param(LinkEvent("npl0123456789a", is_up=True), False, id="a pod's link"),
        pytest.param(LinkState(2, has_carrier=True, mtu_bytes=1500), False, id="an uplink's statistics"),
        pytest.param(LinkState(2, has_carrier=False, mtu_bytes=1500), True, id="an uplink's carrier"),
        pytest.param(LinkState(2, has_carrier=True, mtu_bytes=9000), True, id="an uplink's MTU"),
        pytest.param(LinkState(7, has_carrier=True, mtu_bytes=1400), True, id="a VXLAN link's MTU"),
        pytest.param(LinkState(9, has_carrier=False, mtu_bytes=9), False, id="another link's state"),
        pytest.param(AddressEvent(4, 9, is_deleted=False), True, id="an address"),
        pytest.param(AddressEvent(6, 9, is_deleted=False), False, id="a pod's gateway of IPv6"),
        pytest.param(AddressEvent(6, 2, is_deleted=True), True, id="an uplink's address of IPv6"),
        pytest.param(AddressEvent(6, 7, is_deleted=True), True, id="a VXLAN link's"),
        pytest.param(neighbour("10.244.2.0", None), True, id="a neighbour gone"),
        pytest.param(neighbour("10.244.2.0", OTHER_MAC), True, id="a neighbour changed"),
        pytest.param(neighbour("10.244.2.0", MAC), False, id="a neighbour as it should be"),
        pytest.param(neighbour("10.244.9.0", OTHER_MAC), True, id="one that is not wanted"),
        pytest.param(neighbour("10.244.9.0", None), False, id="one that was not wanted gone"),
        pytest.param(neighbour("10.244.2.0", None, index=2), False, id="another link's"),
        pytest.param(fdb(MAC, None), True, id="a forwarding entry gone"),
        pytest.param(fdb(MAC, "192.0.2.3"), True, id="a forwarding entry changed"),
        pytest.param(fdb(MAC, "192.0.2.2"), False, id="a forwarding entry as it should be"),
        pytest.param(fdb(OTHER_MAC, "192.0.2.2"), True, id="a forwarding entry that is not wanted"),
        pytest.param(ForwardingEvent(4, is_on=False), True, id="forwarding off"),
        pytest.param(ForwardingEvent(6, is_on=True), False, id="forwarding on"),
        pytest.param(Overrun(), True, id="events lost"),
    ],
)
def test_concerns_agent(event: Event, expected: bool) -> None:
    assert concerns_agent(event, WATCHED) is expected


def test_an_own_address_that_is_on_no_link_may_come_on_any() -> None:
    assert concerns_agent(AddressEvent(6, 9, is_deleted=False), NOWHERE)


def test_pods_gateways_matter_to_nobody_who_has_no_address() -> None:
    """An agent without a source has no Node, and each pod has a gateway of IPv6 come and go."""
    assert not concerns_agent(AddressEvent(6, 9, is_deleted=False), ALONE)
