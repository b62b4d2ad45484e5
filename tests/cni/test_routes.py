"""The routes that a node needs, and the events that make the agent look again."""

from ipaddress import IPv4Address, IPv4Network, ip_network

import pytest

from cni.routes import build_routes, concerns_agent, find_next_hops, is_agents
from ipam.model import Block, Lent
from nodeplane.datapath.rtnl import Route
from nodeplane.datapath.rtnl_monitor import AddressEvent, Event, LinkEvent, Overrun, RouteEvent
from nodeplane.kube.objects import Metadata, Node, NodeAddress, NodeStatus

B1, B2, B3 = (IPv4Network(f"10.244.{number}.0/26") for number in (1, 2, 3))
N2 = IPv4Address("192.0.2.2")
LENT = IPv4Network("10.244.1.1/32")


def node(name: str, *addresses: str, kind: str = "InternalIP") -> Node:
    entries = tuple(NodeAddress(kind, address) for address in addresses)
    return Node(Metadata(name), status=NodeStatus(entries or None))


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        pytest.param([], {}, id="no nodes"),
        pytest.param([node("n2", "192.0.2.2")], {"n2": N2}, id="one"),
        pytest.param([node("n2", "2001:db8::2", "192.0.2.2", "192.0.2.9")], {"n2": N2}, id="the first IPv4"),
        pytest.param([node("n2")], {}, id="no address yet"),
        pytest.param([node("n2", "2001:db8::2")], {}, id="IPv6 alone"),
        pytest.param([node("n2", "192.0.2.2", kind="ExternalIP")], {}, id="ExternalIP is not for nodes"),
    ],
)
def test_find_next_hops(nodes: list[Node], expected: dict[str, IPv4Address]) -> None:
    assert find_next_hops(nodes) == expected


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        pytest.param([], {}, id="none"),
        pytest.param([Block(B1, "p", "n1")], {B1: Route(B1, kind="blackhole")}, id="own"),
        pytest.param([Block(B2, "p", "n2")], {B2: Route(B2, gateway=N2)}, id="a peer's"),
        pytest.param([Block(B3, "p", "n3")], {}, id="of a node that is not known"),
        pytest.param([Block(ip_network("2001:db8::/122"), "p", "n1")], {}, id="IPv6"),
        pytest.param(
            [Block(B1, "p", "n1", 3, lent=(Lent(1, "n2"), Lent(2, "n9")))],
            {B1: Route(B1, kind="blackhole"), LENT: Route(LENT, gateway=N2)},
            id="own, an address lent to a peer, and to a node that is not known",
        ),
        pytest.param(
            [Block(B2, "p", "n2", 2, lent=(Lent(1, "n1"),))],
            {B2: Route(B2, gateway=N2)},
            id="a peer's, an address of it borrowed: the pod's own route is there",
        ),
        pytest.param(
            [Block(B1, "p", "", 2, lent=(Lent(1, "n2"),))], {LENT: Route(LENT, gateway=N2)}, id="of no node"
        ),
        pytest.param(
            [Block(B1, "p", "n1"), Block(B2, "p", "n2"), Block(B3, "q", "n2")],
            {B1: Route(B1, kind="blackhole"), B2: Route(B2, gateway=N2), B3: Route(B3, gateway=N2)},
            id="several",
        ),
    ],
)
def test_build_routes(blocks: list[Block], expected: dict[IPv4Network, Route]) -> None:
    assert build_routes("n1", {"n1": IPv4Address("192.0.2.1"), "n2": N2}, blocks) == expected


POD = IPv4Network("10.244.1.5/32")


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        pytest.param(Route(B1, kind="blackhole"), True, id="own block"),
        pytest.param(Route(B2, gateway=N2, link="eth0"), True, id="a peer's block"),
        pytest.param(Route(POD, gateway=N2, link="eth0"), True, id="a borrowed address elsewhere"),
        pytest.param(Route(POD, link="npl0", scope="link"), False, id="a pod"),
        pytest.param(Route(POD, link="lo", kind="local", scope="host"), False, id="the pods' gateway"),
    ],
)
def test_ownership_follows_from_the_shape(route: Route, expected: bool) -> None:
    assert is_agents(route) is expected


OWN_PORT, OTHERS_PORT = 4711, 12


def route_event(
    destination: IPv4Network, *, protocol: int = 110, is_on_link: bool = False, port: int = OTHERS_PORT
) -> RouteEvent:
    return RouteEvent(destination, protocol, is_on_link=is_on_link, is_deleted=True, port=port)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        pytest.param(route_event(B1), True, id="one of ours, by another hand"),
        pytest.param(route_event(B1, port=OWN_PORT), False, id="by our own"),
        pytest.param(route_event(B3), True, id="like ours, not wanted"),
        pytest.param(route_event(B1, protocol=4), True, id="foreign, where ours must be"),
        pytest.param(route_event(B3, protocol=4), False, id="foreign"),
        pytest.param(route_event(POD, is_on_link=True), False, id="a pod's"),
        pytest.param(LinkEvent("eth0", is_up=True), True, id="an uplink"),
        pytest.param(LinkEvent("npl0123456789a", is_up=True), False, id="a pod's link"),
        pytest.param(AddressEvent(), True, id="an address"),
        pytest.param(Overrun(), True, id="events lost"),
    ],
)
def test_concerns_agent(event: Event, expected: bool) -> None:
    assert concerns_agent(event, {B1}, OWN_PORT) is expected
