"""What a restart and a failure leave to be cleaned."""

import errno
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from kubeproxy.rules.skeleton import build_skeleton
from nodeplane.datapath.conntrack.fake import FakeConntrack
from nodeplane.datapath.conntrack.flow import UDP, Flow, FlowFilter
from nodeplane.errors import KernelError, kernel_error
from tests.kubeproxy.flows.cleaner_world import OUTSIDE, SERVICE, TO_1, TO_2, World, all_of, at_node, pods
from tests.kubeproxy.objects import service


def test_restart() -> None:
    """A new process finds what went stale while there was none, node ports of ours included."""
    flows = [TO_1, TO_2, at_node(OUTSIDE, 1), at_node(OUTSIDE, 77, "192.0.2.9")]
    world = World()
    world.show(SERVICE, pods(1, 2))
    for flow in flows:
        world.conntrack.add(flow)
    world.start()

    assert world.show(SERVICE, pods(2)) == 2
    left = [replace(flow, id=0) for flow in all_of(world.conntrack, UDP)]
    assert left == [TO_2, at_node(OUTSIDE, 77, "192.0.2.9")]


def test_restart_asks_once() -> None:
    """A restart over a correct state reads the UDP flows once and deletes nothing."""
    world = World(TO_1)
    world.show(SERVICE, pods(1))
    world.start()
    world.conntrack.finds.clear()

    assert world.show(SERVICE, pods(1)) == 0
    assert world.conntrack.finds == [FlowFilter("ip", UDP)]


def test_nothing_is_asked_without_need() -> None:
    """Endpoints that come, and changes of TCP ports, cost no look at the flows (law 5)."""
    world = World(TO_1)
    world.show(SERVICE, pods(1))
    world.conntrack.finds.clear()
    web = service("web", "10.96.0.11")
    world.show(SERVICE, pods(1, 2))
    world.show(SERVICE, pods(1, 2), web)
    world.show(SERVICE, pods(1, 2))

    assert world.conntrack.finds == []


class _Refusing(FakeConntrack):
    """A table that can't be read when `is_broken`."""

    is_broken = False

    def find(self, wanted: FlowFilter) -> Iterator[list[Flow]]:
        if self.is_broken:
            raise kernel_error("find tracked flows", errno.ENOMEM)
        return super().find(wanted)


def test_failure_is_made_good() -> None:
    """What one cleaning could not do the next one does, though nothing has changed since."""
    world = World()
    world.conntrack = table = _Refusing()
    world.start()
    world.show(SERVICE, pods(1))
    table.add(TO_1)
    table.is_broken = True
    with pytest.raises(KernelError):
        world.show(SERVICE, pods(2))
    table.is_broken = False

    assert world.show(SERVICE, pods(2)) == 1


def test_failure_after_a_restart_is_made_good() -> None:
    """A new process that fails at first still knows whose flows there may be."""
    world = World()
    world.conntrack = table = _Refusing()
    world.start()
    world.show(SERVICE, pods(1))
    flow = table.add(at_node(OUTSIDE, 1))
    world.start()
    table.is_broken = True
    with pytest.raises(KernelError):
        world.show(SERVICE, pods(2))
    table.is_broken = False
    state = world.table.read(build_skeleton("ip"))
    assert state is not None
    world.cleaner.learn(state.elements)

    assert world.show(SERVICE, pods(2)) == 1
    assert flow not in all_of(table, UDP)
