"""Routes: adding, replacing, deleting and reading them, and where they lead."""

from ipaddress import IPv4Address, IPv4Network

import pytest

from nodeplane.datapath.rtnl import ROUTE_PROTOCOL, EgressLink, Route
from nodeplane.errors import KernelError
from tests.datapath.rtnl.pair import (
    BLACKHOLE,
    BLOCK,
    BLOCK_6,
    FAR,
    FAR_6,
    FAR_NETWORK,
    PEER,
    PEER_6,
    POD,
    POD_6,
    POD_ROUTE_6,
    SUBNET,
    SUBNET_6,
    Pair,
    Step,
    on_link,
    rows,
    twice,
    via,
)

REFUSALS: list[tuple[str, Step, str]] = [
    ("routes of no link", lambda p: p.near.routes(link="no"), "ENODEV"),
    ("route through no link", lambda p: p.near.add_route(on_link("no")), "ENODEV"),
    ("route through a link that is down", lambda p: p.near.add_route(on_link("lo")), "ENETDOWN"),
    ("route with neither gateway nor link", lambda p: p.near.add_route(Route(BLOCK)), "ENODEV"),
    ("gateway on no subnet", lambda p: p.near.add_route(via(FAR)), "ENETUNREACH"),
    ("gateway behind another link", lambda p: p.near.add_route(via(PEER, link="lo")), "ENETUNREACH"),
    ("gateway behind no link", lambda p: p.near.add_route(via(PEER, link="no")), "ENODEV"),
    ("delete a route not there", lambda p: p.near.delete_route(BLACKHOLE), "ESRCH"),
    ("egress to nowhere", lambda p: p.near.egress_link(FAR), "ENETUNREACH"),
    ("IPv6 egress to nowhere", lambda p: p.near.egress_link(FAR_6), "ENETUNREACH"),
    ("IPv6 route twice", lambda p: twice(p, lambda q: q.near.add_route(POD_ROUTE_6)), "EEXIST"),
    ("IPv6 route not there", lambda p: p.near.delete_route(POD_ROUTE_6), "ESRCH"),
]


@rows(REFUSALS)
def test_refusals_carry_the_kernels_errno(pair: Pair, step: Step, expected: str) -> None:
    with pytest.raises(KernelError, match=rf"\({expected}\)\Z"):
        step(pair)


ROUTES: list[tuple[str, list[Step], list[Route]]] = [
    ("none", [], []),
    ("on link", [lambda p: p.near.add_route(on_link("v0"))], [on_link("v0")]),
    ("via a gateway, the link found", [lambda p: p.near.add_route(via(PEER))], [via(PEER, link="v0")]),
    ("blackhole", [lambda p: p.near.add_route(BLACKHOLE)], [BLACKHOLE]),
    (
        "gateway behind an on-link route",
        [
            lambda p: p.near.add_route(on_link("v0", FAR_NETWORK)),
            lambda p: p.near.add_route(via(FAR)),
        ],
        [via(FAR, link="v0"), on_link("v0", FAR_NETWORK)],
    ),
    (
        "replaced, also by another kind",
        [lambda p: p.near.add_route(BLACKHOLE), lambda p: p.near.replace_route(via(PEER))],
        [via(PEER, link="v0")],
    ),
    ("replaced where none was", [lambda p: p.near.replace_route(BLACKHOLE)], [BLACKHOLE]),
    (
        "deleted without naming the gateway's link",
        [lambda p: p.near.add_route(via(PEER)), lambda p: p.near.delete_route(via(PEER))],
        [],
    ),
    (
        "other protocols are not ours to list",
        [lambda p: p.near.add_route(Route(BLOCK, kind="blackhole", protocol=4))],
        [],
    ),
    (
        "link down takes its routes along, a blackhole stays",
        [
            lambda p: p.near.add_route(on_link("v0")),
            lambda p: p.near.add_route(BLACKHOLE),
            lambda p: p.near.set_down("v0"),
        ],
        [BLACKHOLE],
    ),
    (
        "link deleted from the far side takes them along too",
        [lambda p: p.near.add_route(on_link("v0")), lambda p: p.far.delete_link("eth0")],
        [],
    ),
    (
        "an address takes the routes that send from it along",
        [
            lambda p: p.near.add_route(Route(POD, link="v0", scope="link", source=SUBNET.ip)),
            lambda p: p.near.delete_address("v0", SUBNET),
        ],
        [],
    ),
    (
        "a local route needs no link that is up, and a unicast route may take its place",
        [
            lambda p: p.near.add_route(Route(POD, link="lo", kind="local", scope="host")),
            lambda p: p.near.replace_route(on_link("v0")),
        ],
        [on_link("v0")],
    ),
]


@pytest.mark.parametrize(
    ("steps", "expected"), [pytest.param(steps, routes, id=row) for row, steps, routes in ROUTES]
)
def test_routes_are_read_as_written(pair: Pair, steps: list[Step], expected: list[Route]) -> None:
    for step in steps:
        step(pair)

    assert sorted(pair.near.routes(ROUTE_PROTOCOL), key=str) == sorted(expected, key=str)


ROUTES_6: list[tuple[str, list[Step], list[Route]]] = [
    ("on link", [lambda p: p.near.add_route(POD_ROUTE_6)], [POD_ROUTE_6]),
    (
        "a scope is nothing to IPv6, nor is the kernel's own metric",
        [lambda p: p.near.add_route(Route(POD_6, link="v0", scope="link", metric=1024))],
        [POD_ROUTE_6],
    ),
    (
        "via a gateway, the link found",
        [lambda p: p.near.add_route(Route(BLOCK_6, gateway=PEER_6))],
        [Route(BLOCK_6, gateway=PEER_6, link="v0")],
    ),
    (
        "blackhole, which the kernel binds to the loopback",
        [lambda p: p.near.add_route(Route(BLOCK_6, kind="blackhole"))],
        [Route(BLOCK_6, kind="blackhole", link="lo")],
    ),
    (
        "replaced, and deleted without naming the link",
        [
            lambda p: p.near.add_route(POD_ROUTE_6),
            lambda p: p.near.replace_route(Route(POD_6, gateway=PEER_6)),
            lambda p: p.near.add_route(Route(BLOCK_6, gateway=PEER_6)),
            lambda p: p.near.delete_route(Route(BLOCK_6, gateway=PEER_6)),
        ],
        [Route(POD_6, gateway=PEER_6, link="v0")],
    ),
    (
        "two metrics are two routes",
        [
            lambda p: p.near.add_route(POD_ROUTE_6),
            lambda p: p.near.add_route(Route(POD_6, link="v0", metric=7)),
        ],
        [POD_ROUTE_6, Route(POD_6, link="v0", metric=7)],
    ),
]


@pytest.mark.parametrize(
    ("steps", "expected"), [pytest.param(steps, routes, id=row) for row, steps, routes in ROUTES_6]
)
def test_ipv6_routes_are_read_as_written(pair: Pair, steps: list[Step], expected: list[Route]) -> None:
    pair.near.set_up("lo")
    pair.near.add_address("v0", SUBNET_6)
    for step in steps:
        step(pair)

    found = pair.near.routes(ROUTE_PROTOCOL, family=6)

    assert sorted(found, key=repr) == sorted(expected, key=repr)
    assert pair.near.routes(ROUTE_PROTOCOL) == []


@pytest.mark.parametrize(
    "route",
    [
        pytest.param(Route(BLOCK, gateway=PEER, link="v0", mtu_bytes=1400, advmss_bytes=1300), id="IPv4"),
        pytest.param(Route(BLOCK_6, gateway=PEER_6, link="v0", mtu_bytes=1400, advmss_bytes=1300), id="IPv6"),
        pytest.param(Route(BLOCK, link="v0", scope="link", table=1000), id="in another table"),
    ],
)
def test_what_a_route_says_beside_the_way(pair: Pair, route: Route) -> None:
    pair.near.add_address("v0", SUBNET_6)
    pair.near.add_route(route)

    for table in (route.table, 0):
        found = pair.near.routes(ROUTE_PROTOCOL, table=table, family=route.destination.version)
        assert found == [route]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(Route(BLOCK, kind="blackhole", protocol=4), id="protocol"),
        pytest.param(Route(BLOCK, gateway=PEER), id="kind"),
        pytest.param(Route(BLOCK, kind="blackhole", metric=5), id="metric"),
        pytest.param(Route(IPv4Network("10.244.0.0/26"), kind="blackhole"), id="destination"),
    ],
)
def test_delete_takes_only_the_route_described(pair: Pair, other: Route) -> None:
    pair.near.add_route(BLACKHOLE)

    with pytest.raises(KernelError, match="ESRCH"):
        pair.near.delete_route(other)
    assert pair.near.routes(ROUTE_PROTOCOL) == [BLACKHOLE]


def test_routes_are_listed_by_link(pair: Pair) -> None:
    for route in (on_link("v0"), BLACKHOLE, Route(FAR_NETWORK, link="lo", kind="local", scope="host")):
        pair.near.add_route(route)

    assert pair.near.routes(ROUTE_PROTOCOL, link="v0") == [on_link("v0")]


def test_a_foreign_route_is_in_the_way_of_add(pair: Pair) -> None:
    foreign = Route(BLOCK, kind="blackhole", protocol=4)
    pair.near.add_route(foreign)

    with pytest.raises(KernelError, match="EEXIST"):
        pair.near.add_route(via(PEER))
    assert pair.near.routes(4) == [foreign]


def test_egress_follows_the_most_specific_route(pair: Pair) -> None:
    pair.near.add_veth("v1", "v2")
    pair.near.set_up("v1")
    pair.near.set_up("v2")
    pair.near.add_route(Route(IPv4Network("0.0.0.0/0"), gateway=PEER))
    pair.near.add_route(on_link("v1"))

    assert pair.near.egress_link(FAR) == EgressLink("v0", 1400)
    assert pair.near.egress_link(POD.network_address) == EgressLink("v1", 1500)


def test_which_addresses_are_its_own(pair: Pair) -> None:
    """Those of its links, and what a local route leads to; not where a way leads out, or none."""
    pair.near.add_route(Route(IPv4Network("203.0.113.9/32"), link="lo", kind="local", scope="host"))

    own = {address: pair.near.is_own(address) for address in (SUBNET.ip, PEER, FAR)}
    assert own == {SUBNET.ip: True, PEER: False, FAR: False}
    assert pair.near.is_own(IPv4Address("203.0.113.9"))
