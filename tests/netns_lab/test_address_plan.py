"""Which addresses the places of a lab get."""

from ipaddress import IPv4Address, ip_address, ip_interface

import pytest

from netns_lab.address_plan import Place, build_address_plan
from netns_lab.topology import InterfaceSpec, Network, NodeSpec, RouterSpec, SegmentSpec, Topology

RACKS = Topology(
    "lab",
    (NodeSpec("n1", segment="b"), NodeSpec("n2", "10.0.1.2", segment="a"), NodeSpec("n3")),
    segments=(
        SegmentSpec("a", "10.0.1.0/24,fd00:1::/64", mtu=9000),
        SegmentSpec("b", "10.0.2.0/24,fd00:2::/64"),
        SegmentSpec("up", "10.0.3.0/31,fd00:3::/127"),
    ),
    routers=(
        RouterSpec("r1", (InterfaceSpec("a"), InterfaceSpec("up", "10.0.3.1,fd00:3::1"))),
        RouterSpec("r2", (InterfaceSpec("up"), InterfaceSpec("b", "10.0.2.254"))),
    ),
)


@pytest.mark.parametrize(
    ("nodes", "addresses"),
    [
        pytest.param(("", "", ""), ("10.0.0.2", "10.0.0.3", "10.0.0.4"), id="lowest free, after the gateway"),
        pytest.param(("", "10.0.0.2", ""), ("10.0.0.3", "10.0.0.2", "10.0.0.4"), id="given ones are taken"),
    ],
)
def test_one_segment(nodes: tuple[str, ...], addresses: tuple[str, ...]) -> None:
    named = tuple(NodeSpec(f"n{number}", address or None) for number, address in enumerate(nodes))
    plan = build_address_plan(Topology("a", named, network=Network("10.0.0.0/29")))

    assert [plan.node_addresses(node.name) for node in named] == [
        (IPv4Address(address),) for address in addresses
    ]
    assert plan.gateways == {"segment": (IPv4Address("10.0.0.1"),)}
    assert plan.server == IPv4Address("10.0.0.1")


def test_several_segments() -> None:
    """Routers before nodes; the fabric has an address only where there are nodes."""
    plan = build_address_plan(RACKS)

    def place(segment: str, link: str, *addresses: str, mtu_bytes: int = 1500) -> Place:
        return Place(segment, link, tuple(map(ip_interface, addresses)), mtu_bytes)

    assert plan.fabric == {
        "a": (ip_interface("10.0.1.1/24"), ip_interface("fd00:1::1/64")),
        "b": (ip_interface("10.0.2.1/24"), ip_interface("fd00:2::1/64")),
    }
    assert plan.routers == {
        "r1": (
            place("a", "a", "10.0.1.3/24", "fd00:1::2/64", mtu_bytes=9000),
            place("up", "up", "10.0.3.1/31", "fd00:3::1/127"),
        ),
        "r2": (
            place("up", "up", "10.0.3.0/31", "fd00:3::/127"),
            place("b", "b", "10.0.2.254/24", "fd00:2::2/64"),
        ),
    }
    assert plan.nodes == {
        "n1": place("b", "eth0", "10.0.2.2/24", "fd00:2::3/64"),
        "n2": place("a", "eth0", "10.0.1.2/24", "fd00:1::3/64", mtu_bytes=9000),
        "n3": place("a", "eth0", "10.0.1.4/24", "fd00:1::4/64", mtu_bytes=9000),
    }


def test_the_first_router_leads_out_of_a_segment() -> None:
    gateways = build_address_plan(RACKS).gateways

    assert gateways["a"] == (ip_address("10.0.1.3"), ip_address("fd00:1::2"))
    assert gateways["b"] == (ip_address("10.0.2.254"), ip_address("fd00:2::2"))
