"""One contract for the kernel's rtnetlink and for the fake that stands in for it."""

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import Path
from typing import NamedTuple

import pytest

from nodeplane.datapath.rtnl import (
    ALIAS_BYTES,
    ROUTE_PROTOCOL,
    AddressAddition,
    Change,
    LinkChange,
    Route,
    RouteAddition,
    Rtnl,
    open_rtnl,
)
from nodeplane.datapath.rtnl_fake import FakeKernel
from nodeplane.errors import KernelError
from tests.netns_fixture import namespace

MISSING = Path("/run/netns/npt-never-made")
LOOPBACK = IPv4Interface("127.0.0.1/8")
SUBNET = IPv4Interface("10.0.0.1/24")
BLOCK = IPv4Network("10.244.0.64/26")
POD = IPv4Network("10.244.0.5/32")
SUBNET_6 = IPv6Interface("2001:db8::1/64")
POD_6, BLOCK_6 = IPv6Network("2001:db8:5::5/128"), IPv6Network("2001:db8:5::/64")
PEER_6, FAR_6 = IPv6Address("2001:db8::2"), IPv6Address("2001:db8:9::9")
PEER, OTHER, FAR = IPv4Address("10.0.0.2"), IPv4Address("10.0.0.3"), IPv4Address("192.0.2.9")


class Pair(NamedTuple):
    """Two namespaces: `near` has a veth `v0` (up, 10.0.0.1/24) whose peer is `eth0` (up) in `far`."""

    near: Rtnl
    far: Rtnl
    far_path: Path


@pytest.fixture(params=["fake", pytest.param("kernel", marks=pytest.mark.netns)])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    if request.param == "fake":
        kernel = FakeKernel()
        yield _wired(Pair(kernel.rtnl(), kernel.rtnl(Path("/far")), Path("/far")))
        return
    with namespace("near") as a, namespace("far") as b, open_rtnl(a) as near, open_rtnl(b) as far:
        yield _wired(Pair(near, far, b))


def _wired(pair: Pair) -> Pair:
    for side in (pair.near, pair.far):
        side.set_up("lo")
        side.set_down("lo")
    pair.near.add_veth("v0", "eth0", pair.far_path, 1400)
    pair.near.set_up("v0")
    pair.far.set_up("eth0")
    pair.near.add_address("v0", SUBNET)
    return pair


def via(gateway: IPv4Address, destination: IPv4Network = BLOCK, link: str | None = None) -> Route:
    return Route(destination, gateway=gateway, link=link)


def on_link(link: str, destination: IPv4Network = POD) -> Route:
    return Route(destination, link=link, scope="link")


BLACKHOLE = Route(BLOCK, kind="blackhole")
POD_ROUTE_6 = Route(POD_6, link="v0")

FAR_NETWORK = IPv4Network(FAR)

Step = Callable[[Pair], object]


def twice(pair: Pair, step: Step) -> None:
    for _ in range(2):
        step(pair)


REFUSALS: list[tuple[str, Step, str]] = [
    ("link that is not there", lambda p: p.near.link("no"), "ENODEV"),
    ("delete a link that is not there", lambda p: p.near.delete_link("no"), "ENODEV"),
    ("delete the loopback", lambda p: p.near.delete_link("lo"), "ENOTSUP"),
    ("set up a link that is not there", lambda p: p.near.set_up("no"), "ENODEV"),
    ("veth, name taken here", lambda p: p.near.add_veth("v0", "eth9", p.far_path), "EEXIST"),
    ("veth, name taken there", lambda p: p.near.add_veth("v9", "eth0", p.far_path), "EEXIST"),
    ("veth into no namespace", lambda p: p.near.add_veth("v9", "eth9", MISSING), "ENOENT"),
    ("veth, MTU too small", lambda p: p.near.add_veth("v9", "eth9", p.far_path, 67), "EINVAL"),
    ("veth, name too long", lambda p: p.near.add_veth("v" * 16, "eth9"), "ERANGE"),
    ("veth, slash in a name", lambda p: p.near.add_veth("v9", "eth/9"), "EINVAL"),
    ("veth, no name", lambda p: p.near.add_veth("", "eth9"), "EINVAL"),
    ("bridge, name taken", lambda p: p.near.add_bridge("v0"), "EEXIST"),
    ("MTU too small", lambda p: p.near.set_mtu("v0", 67), "EINVAL"),
    ("alias too long", lambda p: p.near.set_alias("v0", "a" * 255), "ERANGE"),
    ("master that is not there", lambda p: p.near.set_master("v0", "no"), "ENODEV"),
    ("address twice", lambda p: p.near.add_address("v0", SUBNET), "EEXIST"),
    ("address on no link", lambda p: p.near.add_address("no", SUBNET), "ENODEV"),
    (
        "delete an address not there",
        lambda p: p.near.delete_address("v0", IPv4Interface(FAR)),
        "EADDRNOTAVAIL",
    ),
    ("routes of no link", lambda p: p.near.routes(link="no"), "ENODEV"),
    ("addresses of no link", lambda p: p.near.addresses("no"), "ENODEV"),
    ("route through no link", lambda p: p.near.add_route(on_link("no")), "ENODEV"),
    ("route through a link that is down", lambda p: p.near.add_route(on_link("lo")), "ENETDOWN"),
    ("route with neither gateway nor link", lambda p: p.near.add_route(Route(BLOCK)), "ENODEV"),
    ("gateway on no subnet", lambda p: p.near.add_route(via(FAR)), "ENETUNREACH"),
    ("gateway behind another link", lambda p: p.near.add_route(via(PEER, link="lo")), "ENETUNREACH"),
    ("gateway behind no link", lambda p: p.near.add_route(via(PEER, link="no")), "ENODEV"),
    ("delete a route not there", lambda p: p.near.delete_route(BLACKHOLE), "ESRCH"),
    ("egress to nowhere", lambda p: p.near.egress_link(FAR), "ENETUNREACH"),
    ("IPv6 egress to nowhere", lambda p: p.near.egress_link(FAR_6), "ENETUNREACH"),
    ("a group's MAC", lambda p: p.near.set_mac("v0", "01:00:00:00:00:01"), "EADDRNOTAVAIL"),
    (
        "veth, no MAC",
        lambda p: p.near.add_veth("v9", "eth9", p.far_path, mac="00:00:00:00:00:00"),
        "EADDRNOTAVAIL",
    ),
    (
        "IPv6 address twice",
        lambda p: twice(p, lambda q: q.near.add_address("v0", SUBNET_6)),
        "EEXIST",
    ),
    ("IPv6 route twice", lambda p: twice(p, lambda q: q.near.add_route(POD_ROUTE_6)), "EEXIST"),
    ("IPv6 route not there", lambda p: p.near.delete_route(POD_ROUTE_6), "ESRCH"),
    (
        "delete an IPv6 address not there",
        lambda p: p.near.delete_address("v0", SUBNET_6),
        "EADDRNOTAVAIL",
    ),
]


@pytest.mark.parametrize(
    ("step", "expected"), [pytest.param(step, name, id=row) for row, step, name in REFUSALS]
)
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


def test_a_veth_knows_its_peer(pair: Pair) -> None:
    near, far = pair.near.link("v0"), pair.far.link("eth0")

    assert (near.peer_index, far.peer_index) == (far.index, near.index)
    assert (near.kind, near.mtu_bytes, near.is_up, near.has_carrier) == ("veth", 1400, True, True)
    assert near.mac != far.mac


def test_links_lists_what_link_returns(pair: Pair) -> None:
    pair.near.add_bridge("br0")
    pair.near.set_master("v0", "br0")
    pair.near.set_alias("v0", "pod default/web-0")
    pair.near.set_mac("v0", "02:00:00:00:00:07")
    pair.near.set_mtu("v0", 9000)

    links = pair.near.links()

    assert links.keys() == {"lo", "v0", "br0"}
    assert links == {name: pair.near.link(name) for name in links}
    v0 = links["v0"]
    assert (v0.master, v0.alias, v0.mac, v0.mtu_bytes) == (
        "br0",
        "pod default/web-0",
        "02:00:00:00:00:07",
        9000,
    )


def test_the_longest_alias(pair: Pair) -> None:
    pair.near.set_alias("v0", "a" * ALIAS_BYTES)

    assert pair.near.link("v0").alias == "a" * 254


def test_addresses_are_listed_by_link(pair: Pair) -> None:
    second = IPv4Interface("198.51.100.7/32")
    pair.near.add_address("lo", second, scope="host")

    assert pair.near.addresses_by_link() == {"v0": {SUBNET}, "lo": {LOOPBACK, second}}
    assert pair.near.addresses("v0") == {SUBNET}
    assert pair.far.addresses_by_link() == {"lo": {LOOPBACK}}


def test_carrier_needs_both_ends(pair: Pair) -> None:
    pair.far.set_down("eth0")

    assert not pair.near.link("v0").has_carrier


def test_deleting_one_end_deletes_the_other(pair: Pair) -> None:
    pair.near.delete_link("v0")

    assert pair.far.links().keys() == {"lo"}


def test_egress_follows_the_most_specific_route(pair: Pair) -> None:
    pair.near.add_veth("v1", "v2")
    pair.near.set_up("v1")
    pair.near.set_up("v2")
    pair.near.add_route(Route(IPv4Network("0.0.0.0/0"), gateway=PEER))
    pair.near.add_route(on_link("v1"))

    assert pair.near.egress_link(FAR).name == "v0"
    assert pair.near.egress_link(POD.network_address).name == "v1"


def test_which_addresses_are_its_own(pair: Pair) -> None:
    """Those of its links, and what a local route leads to; not where a way leads out, or none."""
    pair.near.add_route(Route(IPv4Network("203.0.113.9/32"), link="lo", kind="local", scope="host"))

    own = {address: pair.near.is_own(address) for address in (SUBNET.ip, PEER, FAR)}
    assert own == {SUBNET.ip: True, PEER: False, FAR: False}
    assert pair.near.is_own(IPv4Address("203.0.113.9"))


@pytest.mark.netns
def test_opening_no_namespace_is_refused() -> None:
    with pytest.raises(KernelError, match="ENOENT"), open_rtnl(MISSING):
        pass


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


def test_find_link(pair: Pair) -> None:
    assert pair.near.find_link("v0") == pair.near.link("v0")
    assert pair.near.find_link("no") is None


def test_a_veth_with_addresses_of_its_own(pair: Pair) -> None:
    pair.near.add_veth(
        "v1", "eth1", pair.far_path, 1300, mac="ee:ee:ee:ee:ee:ee", peer_mac="02:00:00:00:00:09"
    )

    near, far = pair.near.link("v1"), pair.far.link("eth1")
    assert (near.mac, far.mac, near.is_up, far.is_up) == (
        "ee:ee:ee:ee:ee:ee",
        "02:00:00:00:00:09",
        False,
        False,
    )


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
