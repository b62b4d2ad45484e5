"""VXLAN links, their neighbours and forwarding entries, and routes through them: the kernel and the fake."""

from collections.abc import Iterator
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import IPRoute

from nodeplane.datapath import netns
from nodeplane.datapath.rtnl import (
    Address,
    Change,
    Deletion,
    FdbEntry,
    LinkChange,
    Neighbour,
    Network,
    NextHop,
    Replacement,
    Route,
    Rtnl,
    Vxlan,
    open_rtnl,
)
from nodeplane.datapath.rtnl.fake import FakeKernel
from nodeplane.errors import KernelError
from tests.netns_fixture import namespace

MAC, PEER_MAC, OTHER_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03"
V4 = Vxlan(4096, 4789, ip_address("10.0.0.1"), fragmentation="inherit")
V6 = Vxlan(4096, 4789, ip_address("2001:db8::1"), has_checksum=True)
PEER, PEER_6 = ip_address("10.244.7.64"), ip_address("fd00::7")
BLOCK, BLOCK_6 = ip_network("10.244.7.64/26"), ip_network("fd00::/122")
NEIGHBOUR = Neighbour("vx4", PEER, PEER_MAC)
FDB = FdbEntry("vx4", PEER_MAC, ip_address("10.0.0.2"))


@pytest.fixture(params=["fake", pytest.param("kernel", marks=pytest.mark.netns)])
def near(request: pytest.FixtureRequest) -> Iterator[Rtnl]:
    """A namespace with a veth `v0` (up, 10.0.0.1/24) and the VXLAN links `vx4` and `vx6` (up)."""
    if request.param == "fake":
        kernel = FakeKernel()
        yield wired(kernel.rtnl(), Path("/far"), kernel.rtnl(Path("/far")))
        return
    with namespace("near") as a, namespace("far") as b, open_rtnl(a) as here, open_rtnl(b) as there:
        yield wired(here, b, there)


def wired(near: Rtnl, far_path: Path, far: Rtnl) -> Rtnl:
    near.set_up("lo")
    near.add_veth("v0", "eth0", far_path)
    near.set_up("v0")
    far.set_up("eth0")
    near.add_address("v0", ip_interface("10.0.0.1/24"))
    near.add_address("v0", ip_interface("10.1.0.1/24"))
    near.add_address("v0", ip_interface("2001:db8::1/64"))
    near.add_vxlan("vx4", V4, mac=MAC, mtu_bytes=1450)
    near.add_vxlan("vx6", V6, mac=MAC, mtu_bytes=1430)
    near.set_up("vx4")
    near.set_up("vx6")
    return near


def refusals(rtnl: Rtnl, *changes: Change) -> dict[int, str]:
    """Apply changes; return the names of the refusals' errnos."""
    found = rtnl.apply(changes)
    return {position: str(error).rpartition("(")[2].rstrip(")") for position, error in found.items()}


def test_a_link_reads_as_it_was_made(near: Rtnl) -> None:
    assert (near.find_vxlan("vx4"), near.find_vxlan("vx6")) == (V4, V6)
    assert (near.find_vxlan("v0"), near.find_vxlan("no")) == (None, None)
    link = near.link("vx4")
    assert (link.kind, link.mac, link.mtu_bytes, link.is_up) == ("vxlan", MAC, 1450, True)


@pytest.mark.parametrize(
    ("name", "vxlan", "expected"),
    [
        pytest.param("vx4", Vxlan(7, 4789, V4.local), "EEXIST", id="name"),
        pytest.param("vx9", V4, "EEXIST", id="network and port of another"),
        pytest.param("vx9", Vxlan(4096, 4789, V4.local), "EEXIST", id="whatever else differs"),
        pytest.param("vx9", Vxlan(1 << 24, 4789, V4.local), "ERANGE", id="network too large"),
        pytest.param("v" * 16, Vxlan(7, 4789, V4.local), "ERANGE", id="name too long"),
    ],
)
def test_links_that_can_not_be_made(near: Rtnl, name: str, vxlan: Vxlan, expected: str) -> None:
    with pytest.raises(KernelError, match=rf"\({expected}\)\Z"):
        near.add_vxlan(name, vxlan)


@pytest.mark.parametrize(
    "vxlan",
    [
        pytest.param(Vxlan(7, 4789, V4.local), id="another network"),
        pytest.param(Vxlan(4096, 8472, V4.local, is_learning=True, has_checksum=True), id="another port"),
        pytest.param(Vxlan(7, 4789, V6.local), id="IPv6"),
    ],
)
def test_links_side_by_side(near: Rtnl, vxlan: Vxlan) -> None:
    near.add_vxlan("vx9", vxlan)

    assert near.find_vxlan("vx9") == vxlan
    near.delete_link("vx9")
    assert near.find_vxlan("vx9") is None


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(NEIGHBOUR, Neighbour("vx4", PEER, OTHER_MAC), id="neighbour"),
        pytest.param(Neighbour("vx6", PEER_6, PEER_MAC), Neighbour("vx6", PEER_6, OTHER_MAC), id="of IPv6"),
        pytest.param(FDB, FdbEntry("vx4", PEER_MAC, ip_address("10.0.0.3")), id="forwarding entry"),
        pytest.param(
            FdbEntry("vx6", PEER_MAC, ip_address("2001:db8::2")),
            FdbEntry("vx6", PEER_MAC, ip_address("2001:db8::3")),
            id="forwarding entry of IPv6",
        ),
    ],
)
def test_entries(near: Rtnl, first: Neighbour | FdbEntry, second: Neighbour | FdbEntry) -> None:
    """They are added, replaced and deleted, each by its key."""

    def there() -> set[Neighbour | FdbEntry]:
        return {*near.neighbours(first.link), *near.neighbours(first.link, 6), *near.fdb(first.link)}

    assert refusals(near, Replacement(first), Replacement(first)) == {}
    assert there() == {first}
    assert refusals(near, Replacement(second)) == {}
    assert there() == {second}
    # The key is enough: `first` is not what is there.
    assert refusals(near, Deletion(first), Deletion(second)) == {1: "ENOENT"}
    assert there() == set()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(Replacement(Neighbour("no", PEER, MAC)), "ENODEV", id="neighbour of no link"),
        pytest.param(Replacement(FdbEntry("no", MAC, PEER)), "ENODEV", id="forwarding entry of no link"),
        pytest.param(Replacement(FdbEntry("vx4", MAC, PEER_6)), "EAFNOSUPPORT", id="of the other family"),
        pytest.param(Deletion(NEIGHBOUR), "ENOENT", id="neighbour not there"),
        pytest.param(Deletion(FDB), "ENOENT", id="forwarding entry not there"),
        pytest.param(
            Replacement(Route(BLOCK, gateway=PEER, is_onlink=True)), "ENODEV", id="on-link behind no link"
        ),
        pytest.param(
            Replacement(Route(BLOCK_6, gateway=PEER_6, is_onlink=True)), "ENODEV", id="the same of IPv6"
        ),
        pytest.param(
            Replacement(Route(BLOCK, next_hops=(NextHop(ip_address("192.0.2.9")), NextHop(PEER)))),
            "ENETUNREACH",
            id="several, none to be reached",
        ),
    ],
)
def test_what_is_refused(near: Rtnl, change: Change, expected: str) -> None:
    assert refusals(near, change) == {0: expected}


@pytest.mark.parametrize(
    ("gateway", "link", "destination", "expected"),
    [
        pytest.param(PEER_6, "vx6", BLOCK_6, {1: "EINVAL"}, id="IPv6, behind another link"),
        pytest.param(ip_address("fe80::7"), "vx6", BLOCK_6, {}, id="IPv6, link-local"),
        pytest.param(PEER, "vx4", BLOCK, {}, id="IPv4"),
    ],
)
def test_a_gateway_that_another_route_leads_to(
    near: Rtnl, gateway: Address, link: str, destination: Network, expected: dict[int, str]
) -> None:
    """A block's route can be moved to a tunnel, if its gateway does not lie in the block."""
    direct = ip_address("10.0.0.2" if destination.version == 4 else "2001:db8::2")
    first = Replacement(Route(destination, gateway=direct))
    second = Replacement(Route(destination, gateway=gateway, link=link, is_onlink=True))

    assert refusals(near, first, second) == expected


def test_entries_that_lead_nowhere(near: Rtnl) -> None:
    """A link may be down, and one that is no VXLAN link takes a forwarding entry as an address of its own."""
    changes = (LinkChange("vx4", is_up=False), Replacement(NEIGHBOUR), Replacement(FdbEntry("v0", MAC, PEER)))

    assert refusals(near, *changes) == {}
    assert (near.neighbours("vx4"), near.fdb("v0")) == ({NEIGHBOUR}, set())


@pytest.mark.parametrize(
    ("change", "left"),
    [
        pytest.param(LinkChange("vx4", is_up=False), {FDB}, id="down"),
        pytest.param(LinkChange("vx4", mac=OTHER_MAC), {FDB}, id="another MAC"),
        pytest.param(LinkChange("vx4", mac=MAC), {FDB}, id="the same MAC"),
        pytest.param(LinkChange("vx4", mtu_bytes=1400), {NEIGHBOUR, FDB}, id="another MTU"),
    ],
)
def test_what_a_change_of_the_link_takes_along(
    near: Rtnl, change: LinkChange, left: set[Neighbour | FdbEntry]
) -> None:
    assert refusals(near, Replacement(NEIGHBOUR), Replacement(FDB), change) == {}

    assert {*near.neighbours("vx4"), *near.fdb("vx4")} == left


@pytest.mark.parametrize(
    "route",
    [
        pytest.param(Route(BLOCK, gateway=PEER, link="vx4", is_onlink=True), id="IPv4"),
        pytest.param(Route(BLOCK_6, gateway=PEER_6, link="vx6", is_onlink=True), id="IPv6"),
        pytest.param(
            Route(
                BLOCK,
                next_hops=(NextHop(ip_address("10.0.0.2"), "v0"), NextHop(ip_address("10.1.0.2"), "v0")),
            ),
            id="several next hops",
        ),
        pytest.param(
            Route(
                BLOCK_6,
                next_hops=(
                    NextHop(ip_address("2001:db8::2"), "v0"),
                    NextHop(ip_address("2001:db8::3"), "v0"),
                ),
            ),
            id="several of IPv6",
        ),
    ],
)
def test_routes(near: Rtnl, route: Route) -> None:
    """Read as they were written, replaced in one step by another kind and back, and deleted whole."""
    family = route.destination.version
    plain = Route(route.destination, kind="blackhole", link="lo" if family == 6 else None)

    for wanted in (route, plain, route):
        assert refusals(near, Replacement(wanted)) == {}
        assert near.routes(110, family=family) == [wanted]

    assert refusals(near, Deletion(Route(route.destination)), Deletion(route)) == {1: "ESRCH"}
    assert near.routes(110, family=family) == []


def test_many_at_once(near: Rtnl) -> None:
    """More than one message to the kernel holds, and each is refused by its own position."""
    bad = Replacement(FdbEntry("no", MAC, PEER))
    good = [
        Replacement(FdbEntry("vx4", f"02:00:00:00:{n >> 8:02x}:{n & 255:02x}", PEER)) for n in range(2500)
    ]

    assert refusals(near, bad, *good[:1500], bad, *good[1500:], bad) == {
        0: "ENODEV",
        1501: "ENODEV",
        2502: "ENODEV",
    }
    assert near.fdb("vx4") == {change.item for change in good}


@pytest.mark.netns
def test_an_independent_reader() -> None:
    """pyroute2 reads what we write, and we what it writes."""
    with namespace("near") as path, open_rtnl(path) as rtnl:
        with netns.inside(path):
            theirs: Any = IPRoute()
        with theirs:
            rtnl.add_vxlan("vx4", V4, mac=MAC, mtu_bytes=1450)
            rtnl.add_vxlan("vx6", V6)
            rtnl.set_up("vx4")
            index = theirs.link_lookup(ifname="vx4")[0]
            found = {
                name: dict(
                    theirs.get_links(ifname=name)[0].get_nested("IFLA_LINKINFO", "IFLA_INFO_DATA")["attrs"]
                )
                for name in ("vx4", "vx6")
            }
            names = ("ID", "PORT", "LEARNING", "UDP_CSUM", "UDP_ZERO_CSUM6_TX")
            read = {key: [data[f"IFLA_VXLAN_{name}"] for name in names] for key, data in found.items()}
            assert read["vx4"][:4] == [4096, 4789, 0, 0]
            assert read["vx6"][:3] + read["vx6"][4:] == [4096, 4789, 0, 0]
            assert found["vx4"]["IFLA_VXLAN_LOCAL"] == "10.0.0.1"
            assert "IFLA_VXLAN_GROUP" not in found["vx4"]

            assert rtnl.apply([Replacement(NEIGHBOUR), Replacement(FDB)]) == {}
            (neighbour,) = theirs.get_neighbours(ifindex=index, family=2)
            assert (neighbour.get_attr("NDA_DST"), neighbour.get_attr("NDA_LLADDR")) == (str(PEER), PEER_MAC)
            assert neighbour["state"] == 0x80
            (entry,) = theirs.fdb("dump", ifindex=index)
            assert (entry.get_attr("NDA_DST"), entry.get_attr("NDA_LLADDR")) == ("10.0.0.2", PEER_MAC)

            theirs.fdb("append", ifindex=index, lladdr=OTHER_MAC, dst="10.0.0.3", state=0x80)
            theirs.neigh("replace", ifindex=index, dst="10.244.8.1", lladdr=OTHER_MAC, state=0x80)
            assert rtnl.fdb("vx4") == {FDB, FdbEntry("vx4", OTHER_MAC, ip_address("10.0.0.3"))}
            assert rtnl.neighbours("vx4") == {
                NEIGHBOUR,
                Neighbour("vx4", ip_address("10.244.8.1"), OTHER_MAC),
            }
