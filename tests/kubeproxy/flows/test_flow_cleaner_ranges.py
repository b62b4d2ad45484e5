"""Flows from sources, and at addresses, that a Service no longer takes."""

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from kubeproxy.rules.rule_options import RuleOptions
from nodeplane.datapath.conntrack.flow import UDP, Flow
from tests.kubeproxy.flows.cleaner_world import (
    AT_BALANCER,
    NODE,
    OUTSIDE,
    SERVICE,
    TO_1,
    World,
    all_of,
    at_node,
    pods,
    restricted,
    udp,
)


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        pytest.param([(), ("192.0.2.0/24",)], AT_BALANCER[1:], id="ranges given"),
        pytest.param([("0.0.0.0/0",), ("192.0.2.0/24",)], AT_BALANCER[1:], id="no longer all"),
        pytest.param(
            [("192.0.2.0/24", "198.51.100.0/24"), ("192.0.2.0/24",)], AT_BALANCER[1:], id="one range less"
        ),
        pytest.param([("192.0.2.0/24",), ("2001:db8::/32",)], AT_BALANCER[2:], id="nobody of this family"),
        pytest.param([("198.51.100.7/32", "192.0.2.0/24"), ()], AT_BALANCER, id="open to all"),
    ],
)
def test_source_ranges(ranges: Sequence[tuple[str, ...]], expected: Sequence[Flow]) -> None:
    """A client that is not let in any more loses its flow to the load balancer, and no other."""
    world = World(*AT_BALANCER)
    for each in ranges:
        world.show(restricted(*each), pods(1))

    assert world.left() == [*expected]


def test_source_ranges_after_a_restart() -> None:
    """A new process removes the flows of those who were shut out meanwhile."""
    world = World(*AT_BALANCER)
    world.show(restricted(), pods(1))
    world.start()
    world.show(restricted("192.0.2.0/24"), pods(1))

    assert world.left() == [*AT_BALANCER[1:]]


LAN = "192.0.2.9"


@pytest.mark.parametrize(
    ("flows", "addresses", "expected"),
    [
        pytest.param([at_node(OUTSIDE, None)], [(LAN,), (LAN, NODE)], [], id="served here now"),
        pytest.param([at_node(OUTSIDE, 1)], [(LAN, NODE), (LAN,)], [], id="not served here any more"),
        pytest.param([at_node(OUTSIDE, 1)], [(NODE,), (LAN, NODE)], [at_node(OUTSIDE, 1)], id="another one"),
        pytest.param(
            [at_node(OUTSIDE, 77), TO_1, udp(OUTSIDE, None, port=9)],
            [(LAN, NODE), (LAN,)],
            [at_node(OUTSIDE, 77), TO_1, udp(OUTSIDE, None, port=9)],
            id="what is others'",
        ),
    ],
)
def test_node_port_addresses(
    flows: list[Flow], addresses: Sequence[tuple[str, ...]], expected: list[Flow]
) -> None:
    """Flows at an address where node ports begin or cease to be served are stale."""
    world = World(options=RuleOptions(node_port_everywhere=False))
    world.show(SERVICE, pods(1))
    world.serve_at(*addresses[0])
    added = [world.conntrack.add(flow) for flow in flows]
    world.serve_at(*addresses[1])

    found = all_of(world.conntrack, UDP)
    assert [replace(flow, id=0) for flow in added if flow in found] == expected


def test_node_ports_restricted_by_a_restart() -> None:
    """Flows at an address of this node that the last process served, and this one does not."""
    world = World()
    world.show(SERVICE, pods(1))
    for flow in (at_node(OUTSIDE, 1), at_node(OUTSIDE, 1, "192.0.2.9")):
        world.conntrack.add(flow)
    world.options = RuleOptions(node_port_everywhere=False)
    world.start()
    world.show(SERVICE, pods(1))

    left = [replace(flow, id=0) for flow in all_of(world.conntrack, UDP)]
    assert left == [at_node(OUTSIDE, 1, "192.0.2.9")]
