"""Stale flows go, all others stay: with a table in memory."""

import asyncio
from collections.abc import Callable, Iterator
from ipaddress import ip_network

import pytest
from msgspec.structs import replace

from kubeproxy.rules.rule_options import RuleOptions, SourceInterface, SourceNetwork
from nodeplane.datapath.conntrack.fake import FakeConntrack
from nodeplane.datapath.conntrack.flow import UDP, Flow, FlowFilter
from nodeplane.kube.objects import Object
from tests.kubeproxy.flows.cleaner_world import (
    BACKING,
    DNS,
    HTTP,
    NODE,
    ODD,
    OUTSIDE,
    POD,
    SERVICE,
    TO_1,
    TO_2,
    World,
    all_of,
    at_node,
    local,
    pods,
    udp,
)
from tests.kubeproxy.objects import DRAINING, endpoint, endpoint_slice, service


@pytest.mark.parametrize(
    ("flows", "steps", "expected"),
    [
        pytest.param([TO_1, TO_2], [(SERVICE, pods(1, 2))], [TO_1, TO_2], id="nothing is stale"),
        pytest.param(
            [TO_1, TO_2], [(SERVICE, pods(1, 2)), (SERVICE, pods(1, 3))], [TO_1], id="endpoint replaced"
        ),
        pytest.param(
            [TO_1, TO_2], [(SERVICE, pods(1, 2)), (SERVICE, pods())], [], id="scale to zero, empty slice"
        ),
        pytest.param([TO_1, TO_2], [(SERVICE, pods(1, 2)), (SERVICE,)], [], id="scale to zero, no slice"),
        pytest.param([TO_1, TO_2, at_node(POD, 1)], [(SERVICE, pods(1, 2)), ()], [], id="service deleted"),
        pytest.param(
            [TO_1, udp(POD, None, port=54)],
            [(SERVICE, pods(1)), (service("dns", "10.96.0.10", ports=(HTTP,)), pods(1))],
            [udp(POD, None, port=54)],
            id="port removed",
        ),
        pytest.param([ODD], [(), (SERVICE, pods(1))], [], id="older than the service"),
        pytest.param([ODD], [(), (SERVICE,)], [], id="older than the service, which refuses"),
        pytest.param([ODD], [()], [ODD], id="no service"),
        pytest.param(
            [TO_2],
            [
                (SERVICE, pods(1, 2)),
                (
                    SERVICE,
                    endpoint_slice(
                        endpoint("10.244.0.1"),
                        endpoint("10.244.0.2", DRAINING),
                        name="dns-1",
                        of="dns",
                        ports=BACKING,
                    ),
                ),
            ],
            [TO_2],
            id="terminates beside a ready one, and still serves",
        ),
        pytest.param(
            [TO_2],
            [
                (SERVICE, pods(2)),
                (
                    SERVICE,
                    endpoint_slice(endpoint("10.244.0.2", DRAINING), name="dns-1", of="dns", ports=BACKING),
                ),
            ],
            [TO_2],
            id="drains, the last one",
        ),
        pytest.param(
            [TO_1, udp(POD, 1, "10.96.0.11"), udp(POD, 1, port=54)],
            [(SERVICE, pods(1)), (SERVICE, pods(2))],
            [udp(POD, 1, "10.96.0.11"), udp(POD, 1, port=54)],
            id="what others lead to the same pod",
        ),
        pytest.param(
            [TO_1],
            [(SERVICE, pods(1)), (SERVICE, service("a", "10.96.0.10", ports=(DNS,)), pods(1))],
            [],
            id="frontend taken by another service",
        ),
        pytest.param(
            [TO_1, udp(POD, None, "10.96.0.20")],
            [
                (SERVICE, pods(1), service("a", "10.96.0.10", ports=(DNS,))),
                (SERVICE, pods(1)),
            ],
            [udp(POD, None, "10.96.0.20")],
            id="never led here by the one who had it",
        ),
        pytest.param(
            [at_node(POD, None), at_node(POD, None, "192.0.2.9"), at_node(POD, None, "127.0.0.1")],
            [(), (SERVICE, pods(1))],
            [at_node(POD, None, "192.0.2.9"), at_node(POD, None, "127.0.0.1")],
            id="older than the node port",
        ),
        pytest.param(
            [at_node(OUTSIDE, 1), at_node(OUTSIDE, 77, "192.0.2.9"), at_node(POD, 2)],
            [(SERVICE, pods(1, 2)), (SERVICE, pods(2))],
            [at_node(OUTSIDE, 77, "192.0.2.9"), at_node(POD, 2)],
            id="node port, and another's translation of its number",
        ),
        pytest.param(
            [at_node(OUTSIDE, 1), at_node("198.51.100.8", 2), at_node(NODE, 2), at_node(POD, 2)],
            [(SERVICE, pods(1, 2)), (local(SERVICE), pods(1, 2))],
            [at_node(OUTSIDE, 1), at_node(NODE, 2), at_node(POD, 2)],
            id="flip to Local",
        ),
    ],
)
def test_clean(flows: list[Flow], steps: list[tuple[Object, ...]], expected: list[Flow]) -> None:
    """After each sync the flows that go where their frontend leads are left, and those of others."""
    world = World(*flows, options=RuleOptions(local_detector=SourceNetwork(ip_network("10.244.0.0/24"))))
    deleted = sum(world.show(*items) for items in steps)

    assert world.left() == expected
    assert deleted == len(flows) - len(expected)


def test_pods_by_interface() -> None:
    """A pod of this node may be told by the link that leads to it."""
    flows = [at_node(OUTSIDE, 2), at_node(POD, 2)]
    world = World(*flows, options=RuleOptions(local_detector=SourceInterface("cni", is_prefix=True)))
    world.show(SERVICE, pods(1, 2))
    world.show(local(SERVICE), pods(1, 2))

    assert world.left() == [at_node(POD, 2)]


class _Busy(FakeConntrack):
    """A table during whose reading something happens, once."""

    happens: Callable[[], object] | None = None

    def find(self, wanted: FlowFilter) -> Iterator[list[Flow]]:
        for part in super().find(wanted):
            happens, self.happens = self.happens, None
            if happens is not None:
                happens()
            yield part


@pytest.mark.parametrize(
    ("then", "deleted", "expected"),
    [
        pytest.param((SERVICE, pods(1)), [0, 0], [TO_1], id="back again"),
        pytest.param((SERVICE, pods(3)), [0, 1], [], id="to a third one"),
        pytest.param((), [0, 1], [], id="service deleted"),
        pytest.param((SERVICE, pods(2), service("other", "10.96.0.20")), [1, 0], [], id="of no matter"),
    ],
)
def test_changes_in_between(then: tuple[Object, ...], deleted: list[int], expected: list[Flow]) -> None:
    """What changes while flows are looked at is judged anew by the next call."""
    world = World()
    world.conntrack = table = _Busy()
    world.start()
    world.show(SERVICE, pods(1))
    flow = table.add(TO_1)
    world.change(SERVICE, pods(2))
    table.happens = lambda: world.change(*then)

    assert [world.clean(), world.clean()] == deleted
    assert [replace(each, id=0) for each in all_of(table, UDP) if each == flow] == expected


def test_others_run_in_between() -> None:
    """Looking at many flows, and removing them, leaves the loop to others again and again."""

    async def run() -> tuple[int, int]:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as tasks:
            counting = tasks.create_task(count())
            report = await world.cleaner.clean(world.desired)
            counting.cancel()
        return report.deleted, turns

    flows = [replace(TO_1, source_port=number) for number in range(1000)]
    world = World(*flows)
    world.change(SERVICE, pods(2))
    deleted, turns = asyncio.run(run())

    assert deleted == 1000
    assert turns >= 1000


def test_weight_zero_keeps() -> None:
    """An endpoint that gets no new connections by its weight keeps those that it has."""
    world = World(TO_1)
    world.show(SERVICE, pods(1, 2))
    metadata = replace(SERVICE.metadata, annotations={"nodeplane.io/weights": "10.244.0.1=0"})
    world.show(replace(SERVICE, metadata=metadata), pods(1, 2))

    assert world.left() == [TO_1]
