"""The wiring as facts: what a topology asks for, and what is done about what is there."""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from netns_lab.topology import InterfaceSpec, NodeSpec, PodSpec, RouterSpec, RouteSpec, SegmentSpec, Topology
from netns_lab.wiring import (
    Address,
    Bridge,
    Cable,
    Fact,
    Master,
    Mtu,
    Namespace,
    StaticRoute,
    Stray,
    Sysctl,
    Up,
    WiringDelta,
    build_wiring,
    diff_wiring,
)

WIRING = build_wiring(Topology("lab", (NodeSpec("n1"),), (PodSpec("p", "n1"),)))
CABLE = Cable("nl-lab-n1", "eth0", "nl-lab-fabric", "to-n1")
DEFAULT = IPv4Network("0.0.0.0/0")
OLD_ROUTE = StaticRoute("nl-lab-n1", IPv4Network("10.9.0.0/16"), IPv4Address("172.30.0.1"))
FORWARDING6 = "net.ipv6.conf.all.forwarding"
OLD_ADDRESS = Address("nl-lab-n1", "eth0", IPv4Interface("10.9.9.9/24"))


def test_build_wiring() -> None:
    built = build_wiring(Topology("lab", (NodeSpec("n1"),), (PodSpec("p", "n1"),)))

    assert built == (
        Namespace("nl-lab-fabric"),
        Bridge("nl-lab-fabric", "segment"),
        Address("nl-lab-fabric", "segment", IPv4Interface("172.30.0.1/24")),
        Up("nl-lab-fabric", "lo"),
        Up("nl-lab-fabric", "segment"),
        Namespace("nl-lab-n1"),
        Sysctl("nl-lab-n1", "net.ipv4.ip_forward", "1"),
        Sysctl("nl-lab-n1", "net.ipv4.conf.all.rp_filter", "0"),
        Sysctl("nl-lab-n1", "net.ipv4.conf.default.rp_filter", "0"),
        CABLE,
        Master("nl-lab-fabric", "to-n1", "segment"),
        Address("nl-lab-n1", "eth0", IPv4Interface("172.30.0.2/24")),
        Up("nl-lab-fabric", "to-n1"),
        Up("nl-lab-n1", "eth0"),
        Up("nl-lab-n1", "lo"),
        StaticRoute("nl-lab-n1", DEFAULT, IPv4Address("172.30.0.1")),
        Namespace("nl-lab-pod-default-p"),
        Up("nl-lab-pod-default-p", "lo"),
    )


def test_segments_and_routers() -> None:
    """Both families; a link's MTU where it is not the usual one; the API server on the node's own segment."""
    topology = Topology(
        "lab",
        (NodeSpec("n1", segment="a"), NodeSpec("n2", segment="b")),
        segments=(SegmentSpec("a", "10.0.1.0/24,fd00:1::/64", mtu=9000), SegmentSpec("b", "10.0.2.0/24")),
        routers=(
            RouterSpec(
                "r1",
                (InterfaceSpec("a"), InterfaceSpec("b")),
                routes=(RouteSpec("10.9.0.0/16", "10.0.1.3"), RouteSpec("fd09::/64", "fd00:1::3")),
            ),
        ),
    )
    built = build_wiring(topology)

    assert [fact for fact in built if isinstance(fact, Mtu)] == [
        Mtu("nl-lab-fabric", "a", 9000),
        Mtu("nl-lab-fabric", "to-r1-a", 9000),
        Mtu("nl-lab-r1", "a", 9000),
        Mtu("nl-lab-fabric", "to-n1", 9000),
        Mtu("nl-lab-n1", "eth0", 9000),
    ]
    assert [str(fact) for fact in built if isinstance(fact, StaticRoute)] == [
        "10.9.0.0/16 route via 10.0.1.3 in nl-lab-r1",
        "fd09::/64 route via fd00:1::3 in nl-lab-r1",
        "default route via 10.0.1.2 in nl-lab-n1",
        "default route via fd00:1::2 in nl-lab-n1",
        "default route via 10.0.2.2 in nl-lab-n2",
        "10.0.1.1/32 route on eth0 in nl-lab-n2",
    ]
    assert [(fact.link, str(fact.address)) for fact in built if isinstance(fact, Address)] == [
        ("a", "10.0.1.1/24"),
        ("a", "fd00:1::1/64"),
        ("b", "10.0.2.1/24"),
        ("a", "10.0.1.2/24"),
        ("a", "fd00:1::2/64"),
        ("b", "10.0.2.2/24"),
        ("eth0", "10.0.1.3/24"),
        ("eth0", "fd00:1::3/64"),
        ("eth0", "10.0.2.3/24"),
    ]
    assert Sysctl("nl-lab-fabric", "net.ipv4.ip_forward", "0") in built
    forwarding = {fact.namespace for fact in built if fact == Sysctl(fact.namespace, FORWARDING6, "1")}
    assert forwarding == {"nl-lab-r1", "nl-lab-n1"}


@pytest.mark.parametrize(
    ("actual", "delta"),
    [
        pytest.param((), WiringDelta((), WIRING), id="nothing there: all, in order"),
        pytest.param(WIRING, WiringDelta((), ()), id="all there: nothing"),
        pytest.param(WIRING[::-1], WiringDelta((), ()), id="the order that is read does not matter"),
        pytest.param(
            tuple(fact for fact in WIRING if fact != CABLE), WiringDelta((), (CABLE,)), id="one missing"
        ),
        pytest.param(
            (*WIRING, Stray("nl-lab-fabric", "to-n9"), OLD_ADDRESS),
            WiringDelta((OLD_ADDRESS, Stray("nl-lab-fabric", "to-n9")), ()),
            id="links and addresses of an older plan go",
        ),
        pytest.param(
            (*WIRING, Mtu("nl-lab-n1", "eth0", 9000), OLD_ROUTE),
            WiringDelta((OLD_ROUTE, Mtu("nl-lab-n1", "eth0", 9000)), ()),
            id="so do its MTU and routes",
        ),
        pytest.param((*WIRING, Up("nl-lab-n1", "npl0")), WiringDelta((), ()), id="what others own stays"),
        pytest.param((*WIRING, Namespace("nl-lab-n2")), WiringDelta((), ()), id="namespaces are swept later"),
    ],
)
def test_diff_wiring(actual: tuple[Fact, ...], delta: WiringDelta) -> None:
    assert diff_wiring(WIRING, actual) == delta
    assert bool(delta) == bool(delta.remove or delta.make)
