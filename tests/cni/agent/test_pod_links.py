"""The host's side of pods' links: what is lacking, what is given back, what is removed."""

from collections.abc import Callable
from contextlib import nullcontext
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from cni.agent.pod_links import (
    Held,
    PodLink,
    Report,
    build_sides,
    concerns_pods,
    find_orphans,
    find_unknown,
    is_hurt,
    read_held,
    read_links,
    repair,
)
from cni.attachment import Attachment
from cni.wiring.apply import apply_plan, create_links
from cni.wiring.plan import Plan, build_plan
from ipam.model import Allocation, Handle, PodRef
from nodeplane.datapath.rtnl import Link, Route
from nodeplane.datapath.rtnl.fake import FakeKernel, FakeRtnl
from nodeplane.datapath.rtnl.monitor import AddressEvent, Event, LinkEvent, Overrun, RouteEvent
from nodeplane.datapath.sysctl import FakeSysctls

NETNS = Path("/run/netns/pod")
HANDLE = Handle("c1", "eth0", "")
WEB = Attachment("c1", "eth0", NETNS, "default", "web-0", "nodeplane")
NAME = WEB.host_link
ADDRESSES = (IPv4Address("10.244.0.5"), IPv6Address("fd00::5"))
NOW_S = 1_000_000.0
HOST_ROUTE = IPv4Network("10.244.0.5/32")
HOST_ROUTE_6 = IPv6Network("fd00::5/128")
OWN_PORT = 7


def plan() -> Plan:
    return build_plan(
        WEB, NETNS, ADDRESSES, mtu_bytes=1450, is_arp_strict=False, host_mac="ee:ee:ee:ee:ee:ee"
    )


def allocation(address: Any, handle: Handle = HANDLE, age_s: int = 60) -> Allocation:
    network = ip_network(f"{address}/{24 if address.version == 4 else 112}", strict=False)
    return Allocation(
        address=address,
        block=network,
        pool="default",
        node="n1",
        handle=handle,
        pod=PodRef("default", "web-0", ""),
        netns=str(NETNS),
        assigned_at_s=int(NOW_S) - age_s,
        sequence=1,
    )


HELD: Held = {HANDLE: tuple(allocation(address) for address in ADDRESSES)}


class Node(NamedTuple):
    """A node with one pod, as an ADD leaves them."""

    kernel: FakeKernel
    rtnl: FakeRtnl
    sysctls: FakeSysctls

    def state(self) -> Any:
        links = self.rtnl.links(), read_links(self.rtnl), self.rtnl.routes(110, link="lo")
        return *links, dict(self.sysctls.values)

    def sync(self, held: Held = HELD, orphans: tuple[Link, ...] = (), *, strict: bool = False) -> Report:
        links = read_links(self.rtnl)
        sides = build_sides(links, held, NOW_S, is_arp_strict=strict)
        return repair(self.rtnl, self.sysctls, links, sides, orphans)


@pytest.fixture
def node() -> Node:
    kernel, wanted = FakeKernel(), plan()
    host, pod = kernel.rtnl(), kernel.rtnl(NETNS)
    host.set_up("lo")
    sysctls, inside = (FakeSysctls(dict(side.sysctls)) for side in (wanted.host, wanted.pod))
    create_links(wanted, host)
    apply_plan(wanted, host, pod, sysctls, inside)
    sysctls.writes = host.writes = 0
    return Node(kernel, host, sysctls)


def test_what_is_whole_is_left(node: Node) -> None:
    assert node.sync() == Report()
    assert (node.rtnl.writes, node.sysctls.writes) == (0, 0)


def test_a_pod_that_may_send_from_elsewhere(node: Node) -> None:
    """Its link is not made strict again."""
    sides = build_sides(read_links(node.rtnl), HELD, NOW_S, is_arp_strict=False, loose={NAME})

    assert (f"net.ipv4.conf.{NAME}.rp_filter", 0) in sides[NAME].sysctls


def test_is_hurt(node: Node) -> None:
    """What was reported of links that have ended since is no damage."""
    index = node.rtnl.link(NAME).index

    assert not is_hurt(node.rtnl, {"npl-gone"}, {index + 9})
    assert is_hurt(node.rtnl, {NAME}, ())
    assert is_hurt(node.rtnl, (), {index})
    # The loopback is none of ours.
    assert not is_hurt(node.rtnl, {"lo"}, {node.rtnl.link("lo").index})


def delete_routes(node: Node) -> None:
    for family in (4, 6):
        for route in node.rtnl.routes(110, family=family):
            node.rtnl.delete_route(route)


def forget_setting(node: Node) -> None:
    node.sysctls.write(f"net.ipv4.conf.{NAME}.proxy_arp", 0)


def delete_address(node: Node) -> None:
    [address] = node.rtnl.addresses(NAME, 6)
    node.rtnl.delete_address(NAME, address)


DAMAGES = [
    pytest.param(delete_routes, id="routes"),
    pytest.param(lambda node: node.rtnl.set_down(NAME), id="down"),
    pytest.param(forget_setting, id="a setting"),
    pytest.param(delete_address, id="gateway address of IPv6"),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_repaired(node: Node, damage: Callable[[Node], None]) -> None:
    """As it was, and then nothing is to be done."""
    before = node.state()
    damage(node)
    assert node.state() != before

    assert node.sync() == Report(repaired=(NAME,))

    assert node.state() == before
    assert node.sync() == Report()


def test_a_foreign_route_in_the_way(node: Node) -> None:
    """It stays, and the rest is repaired all the same."""
    delete_routes(node)
    foreign = Route(HOST_ROUTE, kind="blackhole", protocol=4)
    node.rtnl.add_route(foreign)

    report = node.sync()

    assert report.repaired == ()
    [reason] = report.refused
    assert reason.startswith(f"{NAME}: add route 10.244.0.5/32 dev {NAME}: ")
    assert node.rtnl.routes(4) == [foreign]


@pytest.mark.parametrize(
    "held",
    [
        pytest.param({HANDLE: ()}, id="no address in IPAM"),
        pytest.param({}, id="not asked for"),
    ],
)
def test_what_ipam_does_not_know_is_left(node: Node, held: Held) -> None:
    delete_routes(node)
    before = node.state()

    assert node.sync(held) == Report()
    assert node.state() == before


@pytest.mark.parametrize(("age_s", "repaired"), [(0, ()), (29, ()), (30, (NAME,))])
def test_a_link_that_is_just_being_made_is_the_adds(
    node: Node, age_s: int, repaired: tuple[str, ...]
) -> None:
    node.rtnl.set_down(NAME)

    report = node.sync({HANDLE: tuple(allocation(address, age_s=age_s) for address in ADDRESSES)})

    assert report.repaired == repaired


def test_the_link_of_another_sandbox_is_left(node: Node) -> None:
    """A pod of another name: it is not the link that this container's ADD made."""
    other = tuple(msgspec.structs.replace(each, pod=PodRef("default", "other", "")) for each in HELD[HANDLE])

    links = read_links(node.rtnl)
    assert build_sides(links, {HANDLE: other}, NOW_S, is_arp_strict=False) == {}


def test_strict_arp(node: Node) -> None:
    """The gateway's route follows the node's present settings."""
    assert node.sync(strict=True).repaired == (NAME,)
    [gateway] = node.rtnl.routes(110, link="lo")
    assert (gateway.kind, gateway.scope) == ("unicast", "link")


class FakeLedger:
    """What `read_held` asks of IPAM."""

    def __init__(self, *allocations: Allocation) -> None:
        self._allocations = {item.address: item for item in allocations}

    def namesakes(self, handle: Handle) -> list[Handle]:
        holders = {item.handle for item in self._allocations.values()}
        return sorted(each for each in holders if str(each) == str(handle))

    def addresses(self, handle: Handle) -> tuple[Any, ...]:
        return tuple(address for address, item in self._allocations.items() if item.handle == handle)

    def allocation(self, address: Any) -> Allocation | None:
        return self._allocations.get(address)


def test_read_held(node: Node) -> None:
    links = read_links(node.rtnl)
    other = allocation(ip_address("10.244.0.9"), Handle("c2", "eth0", ""))

    assert read_held(FakeLedger(*HELD[HANDLE], other), links) == HELD  # type: ignore[arg-type]
    assert read_held(FakeLedger(other), links) == {HANDLE: ()}  # type: ignore[arg-type]


def test_read_held_under_any_node_name(node: Node) -> None:
    """What the plugin asked for under a node's name is the container's, whatever the agent's name is."""
    mine = allocation(ip_address("10.244.0.9"), Handle("c1", "eth0", "host-a"))

    assert read_held(FakeLedger(mine), read_links(node.rtnl)) == {HANDLE: (mine,)}  # type: ignore[arg-type]


def test_find_unknown(node: Node) -> None:
    links = read_links(node.rtnl)
    unnamed = PodLink(msgspec.structs.replace(links[0].link, alias=""))

    assert find_unknown((*links, unnamed), HELD) == []
    assert find_unknown((*links, unnamed), {HANDLE: ()}) == [links[0].link]


@pytest.mark.parametrize(
    ("live", "is_orphan"),
    [
        pytest.param((NETNS,), False, id="alive"),
        pytest.param((Path("/run/netns/other"), NETNS), False, id="among others"),
        pytest.param((Path("/run/netns/other"),), True, id="gone"),
    ],
)
def test_find_orphans(node: Node, live: tuple[Path, ...], is_orphan: bool) -> None:
    link = node.rtnl.link(NAME)

    found = find_orphans([link], live, lambda path: nullcontext(node.kernel.rtnl(path)))

    assert found == ([link] if is_orphan else [])


def test_an_orphan_is_removed_unless_its_name_has_gone_over(node: Node) -> None:
    link = node.rtnl.link(NAME)

    assert node.sync({}, (msgspec.structs.replace(link, index=link.index + 9),)) == Report()
    assert node.sync({}, (link,)) == Report(removed=(NAME,))
    assert node.sync({}, (link,)) == Report()
    assert read_links(node.rtnl) == ()


@pytest.mark.parametrize(
    ("event", "concerns"),
    [
        pytest.param(RouteEvent(HOST_ROUTE, 110, True, True, 9), True, id="route deleted"),
        pytest.param(RouteEvent(HOST_ROUTE, 110, True, True, OWN_PORT), False, id="by ourselves"),
        pytest.param(RouteEvent(HOST_ROUTE, 110, True, False, 9), False, id="route added"),
        pytest.param(RouteEvent(HOST_ROUTE, 110, False, True, 9), False, id="the agent's route"),
        pytest.param(RouteEvent(HOST_ROUTE, 4, True, True, 9), False, id="a foreign route"),
        pytest.param(LinkEvent(NAME, False), True, id="pod's link down"),
        pytest.param(LinkEvent(NAME, True), False, id="pod's link up"),
        pytest.param(LinkEvent("eth0", False), False, id="another link"),
        pytest.param(AddressEvent(4, 5, is_deleted=True), False, id="address of IPv4"),
        pytest.param(AddressEvent(6, 5, is_deleted=True), True, id="address of IPv6 deleted"),
        pytest.param(AddressEvent(6, 5, is_deleted=False), False, id="address of IPv6 added"),
        pytest.param(RouteEvent(HOST_ROUTE_6, 110, True, True, 9), True, id="route of IPv6 deleted"),
        pytest.param(RouteEvent(HOST_ROUTE_6, 110, True, True, 0), False, id="with its link"),
        pytest.param(Overrun(), True, id="events lost"),
    ],
)
def test_concerns_pods(event: Event, concerns: bool) -> None:
    assert concerns_pods(event, OWN_PORT) is concerns
