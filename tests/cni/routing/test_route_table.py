"""The laws of the agent's routes, on the strict fake: path independence, resync, ownership."""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network, ip_address, ip_interface, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cni.routing.route_table import RouteTable, SyncReport
from nodeplane.datapath.rtnl import Network, NextHop, Route, Vxlan
from nodeplane.datapath.rtnl.fake import FakeRtnl

BLOCKS: list[Network] = [ip_network(f"10.244.{number}.0/26") for number in range(4)]
PEERS = [IPv4Address("192.0.2.2"), IPv4Address("192.0.2.3")]

Routes = dict[Network, Route]

FOREIGN = [
    Route(IPv4Network("0.0.0.0/0"), gateway=PEERS[0], link="eth0", protocol=4),
    Route(BLOCKS[0], kind="blackhole", protocol=4, metric=50),
]
WIRING = [
    Route(IPv4Network("10.244.0.5/32"), link="npl0", scope="link"),
    Route(IPv4Network("169.254.1.1/32"), link="lo", kind="local", scope="host"),
]


def node() -> FakeRtnl:
    """Build a node with an uplink, a pod, and routes of the administrator and of the pod wiring."""
    rtnl = FakeRtnl()
    rtnl.set_up("lo")
    for name in ("eth0", "npl0"):
        rtnl.add_veth(name, f"{name}-far")
        rtnl.set_up(name)
    rtnl.add_address("eth0", IPv4Interface("192.0.2.1/24"))
    for route in FOREIGN + WIRING:
        rtnl.add_route(route)
    return rtnl


def route(block: Network, peer: IPv4Address | None) -> Route:
    return Route(block, kind="blackhole") if peer is None else Route(block, gateway=peer)


def written(desired: Routes) -> set[Route]:
    """Return all that the kernel must hold, as it reads back."""
    ours = {
        item if item.gateway is None else Route(item.destination, gateway=item.gateway, link="eth0")
        for item in desired.values()
    }
    return ours | set(FOREIGN) | set(WIRING)


states = st.dictionaries(st.sampled_from(BLOCKS), st.sampled_from([None, *PEERS])).map(
    lambda hops: {block: route(block, peer) for block, peer in hops.items()}
)


@settings(deadline=None)
@given(st.lists(st.tuples(states, st.booleans(), st.booleans()), min_size=1))
def test_path_does_not_matter(path: list[tuple[Routes, bool, bool]]) -> None:
    """What is in the kernel depends on the last state alone: with or without reading first, or a restart."""
    rtnl = node()
    table = RouteTable(rtnl)
    for number, (desired, full, restart) in enumerate(path):
        if restart:
            table = RouteTable(rtnl)
        table.sync(desired, changed=None if full or restart or number == 0 else BLOCKS)

    assert set(rtnl.routes()) == written(path[-1][0])


@settings(deadline=None)
@given(states)
def test_a_restart_over_a_correct_state_writes_nothing(desired: Routes) -> None:
    rtnl = node()
    RouteTable(rtnl).sync(desired)
    before = rtnl.writes

    assert RouteTable(rtnl).sync(desired) == SyncReport()
    assert rtnl.writes == before


@settings(deadline=None)
@given(states, st.sets(st.sampled_from(BLOCKS)), st.booleans())
def test_damage_is_repaired(desired: Routes, lost: set[Network], has_extra: bool) -> None:
    rtnl = node()
    table = RouteTable(rtnl)
    table.sync(desired)
    for block in lost & desired.keys():
        rtnl.delete_route(desired[block])
    if has_extra:
        rtnl.add_route(Route(IPv4Network("10.9.0.0/16"), gateway=PEERS[1]))

    report = table.sync(desired)

    assert report == SyncReport(len(lost & desired.keys()), int(has_extra))
    assert set(rtnl.routes()) == written(desired)


def test_only_what_changes_is_written() -> None:
    rtnl = node()
    table = RouteTable(rtnl)
    desired = {block: route(block, PEERS[0]) for block in BLOCKS}
    table.sync(desired)
    before = rtnl.writes

    report = table.sync({BLOCKS[3]: route(BLOCKS[3], PEERS[1])}, changed=[BLOCKS[3]])

    assert (report, rtnl.writes - before) == (SyncReport(written=1), 1)


def test_one_of_ours_with_a_metric_is_stale() -> None:
    rtnl = node()
    rtnl.add_route(Route(BLOCKS[1], gateway=PEERS[0], metric=10))

    report = RouteTable(rtnl).sync({BLOCKS[1]: route(BLOCKS[1], PEERS[0])})

    assert report == SyncReport(written=1, deleted=1)
    assert set(rtnl.routes()) == written({BLOCKS[1]: route(BLOCKS[1], PEERS[0])})


def test_a_foreign_route_in_the_way_stays_and_the_others_are_in_force() -> None:
    rtnl = node()
    foreign = Route(BLOCKS[1], gateway=PEERS[1], link="eth0", protocol=4)
    rtnl.add_route(foreign)
    table = RouteTable(rtnl)
    desired = {block: route(block, PEERS[0]) for block in BLOCKS[:3]}

    report = table.sync(desired)

    expected = "add route 10.244.1.0/26 via 192.0.2.2: File exists (EEXIST)"
    assert report == SyncReport(written=2, refused=frozenset({expected}))
    assert foreign in rtnl.routes(4)

    rtnl.delete_route(foreign)

    assert table.sync(desired) == SyncReport(written=1)
    assert set(rtnl.routes()) == written(desired)


@pytest.mark.parametrize("full", [False, True], ids=["from memory", "after reading"])
def test_a_peer_that_is_not_on_link_is_refused_until_it_is(full: bool) -> None:
    rtnl = node()
    table = RouteTable(rtnl)
    far: Routes = {BLOCKS[1]: route(BLOCKS[1], IPv4Address("198.51.100.7"))}

    assert table.sync(far).refused

    rtnl.add_address("eth0", IPv4Interface("198.51.100.1/24"))

    assert table.sync(far, changed=None if full else far) == SyncReport(written=1)


def test_what_is_gone_already_counts_as_deleted() -> None:
    rtnl = node()
    table = RouteTable(rtnl)
    table.sync({BLOCKS[1]: route(BLOCKS[1], None)})
    rtnl.delete_route(route(BLOCKS[1], None))

    assert table.sync({}, changed=[BLOCKS[1]]) == SyncReport(deleted=1)
    assert table.sync({}, changed=[BLOCKS[1]]) == SyncReport()


@pytest.mark.parametrize("changed", [None, [BLOCKS[1]]], ids=["after reading", "from memory"])
def test_one_that_is_held_stays_until_another_has_come(changed: list[Network] | None) -> None:
    """Its pool went over to BGP, whose route is not there yet."""
    rtnl = node()
    table = RouteTable(rtnl)
    ours = route(BLOCKS[1], PEERS[0])
    table.sync({BLOCKS[1]: ours})

    assert table.sync({}, {BLOCKS[1]}, changed) == SyncReport()
    assert table.leftovers == {BLOCKS[1]: ours}

    rtnl.add_route(Route(BLOCKS[1], gateway=PEERS[1], protocol=12, metric=32))

    assert table.sync({}, {BLOCKS[1]}) == SyncReport(deleted=1)
    assert table.leftovers == {}
    assert table.sync({}, {BLOCKS[1]}, [BLOCKS[1]]) == SyncReport()


def test_one_that_is_held_is_not_written() -> None:
    rtnl = node()

    assert RouteTable(rtnl).sync({}, {BLOCKS[1]}) == SyncReport()
    assert RouteTable(rtnl).leftovers == {}


def test_a_held_one_that_is_wanted_again_is_replaced() -> None:
    rtnl = node()
    table = RouteTable(rtnl)
    table.sync({BLOCKS[1]: route(BLOCKS[1], PEERS[0])})
    table.sync({}, {BLOCKS[1]}, [BLOCKS[1]])

    assert table.sync({BLOCKS[1]: route(BLOCKS[1], PEERS[1])}, (), [BLOCKS[1]]) == SyncReport(written=1)
    assert table.leftovers == {}


def test_ways_of_all_kinds_and_families_are_read_as_written() -> None:
    rtnl = node()
    rtnl.add_address("eth0", ip_interface("198.51.100.1/24"))
    rtnl.add_address("eth0", ip_interface("2001:db8::1/64"))
    rtnl.add_vxlan("np-vxlan4", Vxlan(4096, 4789, ip_address("192.0.2.1")))
    rtnl.set_up("np-vxlan4")
    hops = (NextHop(PEERS[0]), NextHop(ip_address("198.51.100.2")))
    block_6, own_6 = ip_network("fd00::/122"), ip_network("fd00::40/122")
    routes = [
        Route(BLOCKS[1], gateway=BLOCKS[1][0], link="np-vxlan4", is_onlink=True),
        Route(BLOCKS[2], next_hops=hops),
        Route(block_6, gateway=ip_address("2001:db8::2")),
        Route(own_6, kind="blackhole"),
    ]
    desired: Routes = {item.destination: item for item in routes}

    assert RouteTable(rtnl).sync(desired) == SyncReport(written=4)
    assert RouteTable(rtnl).sync(desired) == SyncReport()
    assert RouteTable(rtnl).sync({}) == SyncReport(deleted=4)
