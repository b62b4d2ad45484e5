"""What a router makes of nodes, blocks and events, on the strict fakes: when it writes, and what."""

import asyncio
from collections.abc import Awaitable, Callable
from ipaddress import ip_address, ip_interface, ip_network
from typing import TypeVar

import pytest

from cni.routing.kernel import KernelState, StepReport
from cni.routing.router import Router
from cni.routing.vxlan import VxlanConfig
from ipam.model import Block, Lent, Mode, Pool
from ipam.watch import LedgerNews, Tunnel
from nodeplane.datapath.nft.fake import FakeTable
from nodeplane.datapath.rtnl import Rtnl
from nodeplane.datapath.rtnl.fake import FakeRtnl
from nodeplane.datapath.rtnl.monitor import LinkEvent, LinkState
from nodeplane.datapath.sysctl import FakeSysctls
from nodeplane.kube.objects import Metadata, Node, NodeAddress, NodeStatus
from nodeplane.kube.source import Change
from tests.cni.routing.test_links import SETTINGS

T = TypeVar("T")

POOL = ip_network("10.244.0.0/16")
BLOCKS = {name: ip_network(f"10.244.{name[1:]}.0/26") for name in ("n1", "n2", "n3")}
ADDRESSES = {name: f"192.0.2.{name[1:]}" for name in BLOCKS}
FORWARDING = {"net.ipv4.ip_forward": "0"}


class Stage:
    """A router, what it writes to, and the syncs that it has made."""

    def __init__(self) -> None:
        self.rtnl = FakeRtnl()
        self.rtnl.set_up("lo")
        self.rtnl.add_veth("eth0", "far")
        self.rtnl.set_up("eth0")
        self.rtnl.set_up("far")
        self.rtnl.add_address("eth0", ip_interface("192.0.2.1/24"))
        self.sysctls = FakeSysctls({**SETTINGS, **FORWARDING})
        state = KernelState(self.rtnl, self.sysctls, FakeTable())
        self.router = Router("n1", self._call, (state, 0), self.sysctls, VxlanConfig())
        self.reports: list[StepReport] = []
        self.announced: list[frozenset[object]] = []
        self.router.on_synced = lambda report, _duration_s: self.reports.append(report)
        self.router.on_announced = self.announced.append

    def _call(self, step: Callable[[Rtnl], T], /) -> Awaitable[T]:
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        done.set_result(step(self.rtnl))
        return done

    def say_nodes(self, *names: str, gone: tuple[str, ...] = (), **addresses: str) -> None:
        said = {**{name: ADDRESSES[name] for name in names}, **addresses}
        nodes = [node(name, address) for name, address in said.items()]
        gone_nodes = [node(name, ADDRESSES[name]) for name in gone]
        self.router.take_nodes(
            (*(Change(item.key, None, item) for item in nodes), *(Change(i.key, i, None) for i in gone_nodes))
        )

    def say_blocks(self, mode: Mode = "direct", **lent: tuple[Lent, ...]) -> None:
        """Tell all blocks, and those addresses of them that are lent."""
        blocks = {name: Block(BLOCKS[name], "p", name, 9, lent=lent.get(name, ())) for name in BLOCKS}
        self.router.take_news(LedgerNews(blocks, {}, (Pool("p", POOL, 26, mode=mode),), is_whole=True))

    def say_block(self, name: str, fresh: int, *lent: Lent) -> None:
        """Tell one block again, with so many of its addresses given."""
        block = Block(BLOCKS[name], "p", name, fresh, lent=lent)
        self.router.take_news(LedgerNews({name: block}, {}, None, is_whole=False))

    def ways(self) -> dict[str, str]:
        """Return the agent's routes: destination and gateway."""
        return {str(each.destination): str(each.gateway or each.kind) for each in self.rtnl.routes(110)}


def node(name: str, address: str) -> Node:
    return Node(Metadata(name), status=NodeStatus((NodeAddress("InternalIP", address),)))


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr("cni.routing.router._MIN_INTERVAL_S", 0.0)
    return Stage()


def live(stage: Stage, *steps: Callable[[], object]) -> list[int]:
    """Let a router live through some steps; return how many syncs each of them led to."""
    counts = []

    async def work() -> None:
        task = asyncio.create_task(stage.router.runner.run())
        for step in steps:
            before = len(stage.reports)
            step()
            # Nothing here waits for anything but turns of the loop.
            for _ in range(30):
                await asyncio.sleep(0)
            counts.append(len(stage.reports) - before)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(work())
    return counts


ALL = {"10.244.1.0/26": "blackhole", "10.244.2.0/26": "192.0.2.2", "10.244.3.0/26": "192.0.2.3"}


def test_nothing_before_all_is_known(stage: Stage) -> None:
    assert live(stage, lambda: stage.say_nodes("n1", "n2", "n3")) == [0]
    assert live(stage, stage.say_blocks) == [1]
    assert stage.ways() == ALL
    assert stage.sysctls.values["net.ipv4.ip_forward"] == "1"


def test_a_list_without_us_says_nothing_about_others(stage: Stage) -> None:
    """A wrong name, or a Node that is gone: neither writes nor sweeps; with us it counts."""
    live(stage, stage.say_blocks, lambda: stage.say_nodes("n2"))
    assert (stage.ways(), stage.router.is_in_cluster, stage.router.node_names) == ({}, False, None)

    live(stage, lambda: stage.say_nodes("n1", "n3"))
    assert (stage.ways(), stage.router.is_in_cluster) == (ALL, True)

    live(stage, lambda: stage.say_nodes(gone=("n1", "n2", "n3")))
    assert (stage.ways(), stage.router.is_in_cluster) == (ALL, False)

    live(stage, lambda: stage.say_nodes("n1", "n2"))
    assert stage.ways() == {key: value for key, value in ALL.items() if key != "10.244.3.0/26"}


def test_without_others(stage: Stage) -> None:
    live(stage, stage.say_blocks, stage.router.be_alone)
    assert stage.ways() == {"10.244.1.0/26": "blackhole"}


def test_no_sync_for_what_changes_nothing(stage: Stage) -> None:
    """Each address that comes or goes is news; a sync for nothing would make the next one wait."""
    start = (lambda: stage.say_nodes("n1", "n2", "n3"), stage.say_blocks)
    lent = Lent(5, "n3")
    steps = (
        lambda: stage.say_block("n2", 10),
        lambda: stage.say_nodes("n2"),
        lambda: stage.say_block("n2", 11, lent),
    )
    assert live(stage, *start, *steps) == [0, 1, 0, 0, 1]
    assert stage.ways() == {**ALL, "10.244.2.5/32": "192.0.2.3"}


def test_what_is_announced_alone_is_a_change(stage: Stage) -> None:
    """An address that we borrow has no route of the agent's, and must be told to others by BGP."""
    live(stage, lambda: stage.say_nodes("n1", "n2", "n3"), lambda: stage.say_blocks("bgp"))
    assert live(stage, lambda: stage.say_block("n2", 9, Lent(5, "n1"))) == [1]
    own = {BLOCKS["n1"]}
    assert stage.announced == [own, {*own, ip_network("10.244.2.5/32")}]


def test_a_record_that_can_not_be_read_stays_as_it_was(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """And what comes with it is taken in."""
    unreadable = {"n2": "n2: spoilt: run ipamctl check"}
    blocks = {name: Block(BLOCKS[name], "p", name) for name in ("n1", "n3")}
    pools = (Pool("p", POOL, 26),)
    whole = LedgerNews(blocks, {}, pools, is_whole=True, unreadable=unreadable)
    later = LedgerNews({"n3": None}, {}, None, is_whole=False, unreadable=unreadable)
    start = (lambda: stage.say_nodes("n1", "n2", "n3"), stage.say_blocks)

    live(stage, *start, lambda: stage.router.take_news(whole))
    assert stage.ways() == ALL
    live(stage, lambda: stage.router.take_news(later))

    assert stage.ways() == {key: value for key, value in ALL.items() if key != "10.244.3.0/26"}
    assert "unreadable record, what it said before stays in force error='n2: spoilt" in caplog.text


def test_an_address_of_ours_that_another_node_says(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    live(stage, stage.say_blocks, lambda: stage.say_nodes("n1", "n3", n2="192.0.2.1"))
    assert stage.ways() == {key: value for key, value in ALL.items() if key != "10.244.2.0/26"}
    [line] = [item.getMessage() for item in caplog.records if "InternalIP" in item.getMessage()]
    assert line.endswith("error='192.0.2.1 is of n1, n2'")


def test_an_address_that_moves_to_another_link(stage: Stage) -> None:
    """A route through the link that had it is wrong, though its gateway is right."""
    live(stage, stage.say_blocks, lambda: stage.say_nodes("n1", "n2", "n3"))
    assert {route.link for route in stage.rtnl.routes(110) if route.gateway} == {"eth0"}

    stage.rtnl.add_bridge("br0")
    stage.rtnl.set_up("br0")
    stage.rtnl.delete_address("eth0", ip_interface("192.0.2.1/24"))
    stage.rtnl.add_address("br0", ip_interface("192.0.2.1/24"))
    live(stage, lambda: stage.router.take_event(LinkEvent("br0", is_up=True)))

    assert {route.link for route in stage.rtnl.routes(110) if route.gateway} == {"br0"}
    assert stage.ways() == ALL


def test_tunnels_follow_the_mtu_of_the_uplink(stage: Stage) -> None:
    tunnel = Tunnel("n1", "p", ip_address("10.244.1.0"))
    pools = (Pool("p", POOL, 26, mode="vxlan"),)
    live(
        stage,
        lambda: stage.say_nodes("n1", "n2"),
        lambda: stage.router.take_news(LedgerNews({}, {"t": tunnel}, pools, is_whole=True)),
    )
    assert stage.rtnl.link("np-vxlan4").mtu_bytes == 1450

    stage.rtnl.set_mtu("eth0", 9000)
    index = stage.rtnl.link("eth0").index
    event = LinkState(index, has_carrier=True, mtu_bytes=9000)
    assert live(stage, lambda: stage.router.take_event(event)) == [1]

    assert stage.rtnl.link("np-vxlan4").mtu_bytes == 8950
