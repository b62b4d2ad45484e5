"""A node's kernel brought to what is desired, on the strict fake: order, resync, and what a change costs."""

from ipaddress import ip_address

import pytest

from cni.routing.desired import Changed, Desired
from cni.routing.kernel import KernelState, Step, StepReport
from cni.routing.peers import Peer
from cni.routing.route_table import SyncReport
from cni.routing.vxlan import VxlanConfig, build_link, entry_key
from ipam.model import Block
from nodeplane.datapath.nft.fake import FakeTable
from nodeplane.datapath.rtnl import Deletion, FdbEntry, Replacement
from nodeplane.datapath.rtnl.fake import FakeRtnl
from nodeplane.datapath.sysctl import FakeSysctls
from tests.cni.routing.test_links import A4, SETTINGS, node
from tests.ipam.values import network

LINK = build_link("n1", VxlanConfig(), A4, 1500, ip_address("10.244.1.0"))
BLOCK = network("10.244.2.0/26")


def desired() -> Desired:
    found = Desired("n1")
    found.set_peer("n2", Peer((ip_address("192.0.2.2"),)))
    found.set_modes({"p": "vxlan"})
    found.set_own(frozenset(), frozenset({4}))
    found.set_tunnel("n2", 4, BLOCK[1])
    found.set_block("b", Block(BLOCK, "p", "n2"))
    return found


def full(found: Desired, *links: object) -> Step:
    return Step(dict(found.routes), frozenset(found.held), dict(found.entries), links)  # type: ignore[arg-type]


def state() -> tuple[FakeRtnl, KernelState]:
    rtnl = node()
    return rtnl, KernelState(rtnl, FakeSysctls(SETTINGS), FakeTable())


def test_all_at_once_and_again() -> None:
    rtnl, kernel = state()
    found = desired()

    report = kernel.apply(full(found, LINK))

    assert report == StepReport(
        SyncReport(written=1), SyncReport(written=2), ("np-vxlan4",), written=(BLOCK,)
    )
    assert set(found.entries.values()) == {*rtnl.neighbours("np-vxlan4"), *rtnl.fdb("np-vxlan4")}
    writes = rtnl.writes
    for again in (kernel, KernelState(rtnl, FakeSysctls(SETTINGS), FakeTable())):
        assert again.apply(full(found, LINK)) == StepReport()
    assert rtnl.writes == writes


def test_a_change_is_written_by_itself() -> None:
    rtnl, kernel = state()
    found = desired()
    kernel.apply(full(found, LINK))
    found.take_changed()
    other = network("10.244.3.0/26")
    found.set_block("c", Block(other, "p", "n2"))
    changed = found.take_changed()
    writes = rtnl.writes

    report = kernel.apply(Step({other: found.routes[other]}, (), {}, changed=changed))

    assert report == StepReport(SyncReport(written=1), written=(other,))
    assert rtnl.writes == writes + 1
    found.set_peer("n2", None)
    report = kernel.apply(Step({}, (), {}, changed=found.take_changed()))
    assert (report.routes, report.entries) == (SyncReport(deleted=2), SyncReport(deleted=2))


def test_the_link_goes_when_no_route_needs_it() -> None:
    rtnl, kernel = state()
    found = desired()
    kernel.apply(full(found, LINK))
    found.set_modes({"p": "direct"})
    found.set_own(frozenset(), frozenset())

    report = kernel.apply(full(found))

    assert report.routes == SyncReport(written=1)
    assert report.links == ("np-vxlan4",)
    assert rtnl.find_link("np-vxlan4") is None
    assert [route.gateway for route in rtnl.routes(110)] == [ip_address("192.0.2.2")]


def test_a_link_is_kept_while_its_peers_may_need_it() -> None:
    rtnl, kernel = state()
    kernel.apply(full(desired(), LINK))

    kernel.apply(Step({}, (), {}, kept_links=frozenset({4})))

    assert rtnl.find_link("np-vxlan4") is not None
    kernel.apply(Step({}, (), {}))
    assert rtnl.find_link("np-vxlan4") is None


@pytest.mark.parametrize("stray", [FdbEntry("np-vxlan4", "02:00:00:00:00:99", ip_address("192.0.2.9"))])
def test_what_others_did_to_our_link(stray: FdbEntry) -> None:
    rtnl, kernel = state()
    found = desired()
    kernel.apply(full(found, LINK))
    entries = list(found.entries.values())
    rtnl.apply([Deletion(entries[0]), Replacement(stray)])

    report = kernel.apply(full(found, LINK))

    assert report.entries == SyncReport(written=1, deleted=1)
    assert {entry_key(entry) for entry in rtnl.fdb("np-vxlan4")} <= found.entries.keys()


def test_a_foreign_link_in_the_way_holds_up_nothing_else() -> None:
    """It has our network and our port: packets would be its own."""
    rtnl, kernel = state()
    rtnl.add_vxlan("flannel.1", LINK.vxlan)
    found = desired()
    own = network("10.244.1.0/26")
    found.set_block("own", Block(own, "p", "n1"))

    report = kernel.apply(full(found, LINK))

    assert report.routes.written == 1
    assert [route.destination for route in rtnl.routes(110)] == [own]
    assert sorted(report.refused) == ["create vxlan np-vxlan4: File exists (EEXIST)"]
    assert rtnl.find_link("flannel.1") is not None


def test_nothing_to_do() -> None:
    _, kernel = state()

    assert kernel.apply(Step({}, (), {}, changed=Changed())) == StepReport()
