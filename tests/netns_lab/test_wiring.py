"""The wiring as facts: what a topology asks for, and what is done about what is there."""

from ipaddress import IPv4Address, IPv4Interface

import pytest

from netns_lab.topology import NodeSpec, PodSpec, Topology
from netns_lab.wiring import (
    Address,
    Bridge,
    Cable,
    DefaultRoute,
    Fact,
    Master,
    Namespace,
    Stray,
    Sysctl,
    Up,
    WiringDelta,
    build_wiring,
    diff_wiring,
)

WIRING = build_wiring(Topology("lab", (NodeSpec("n1"),), (PodSpec("p", "n1"),)))
CABLE = Cable("nl-lab-n1", "eth0", "nl-lab-fabric", "to-n1")
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
        Up("nl-lab-n1", "lo"),
        Up("nl-lab-n1", "eth0"),
        DefaultRoute("nl-lab-n1", IPv4Address("172.30.0.1")),
        Namespace("nl-lab-pod-default-p"),
        Up("nl-lab-pod-default-p", "lo"),
    )


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
            (
                *WIRING,
                Up("nl-lab-n1", "npl0"),
                DefaultRoute("nl-lab-pod-default-p", IPv4Address("169.254.1.1")),
            ),
            WiringDelta((), ()),
            id="what others own stays",
        ),
        pytest.param((*WIRING, Namespace("nl-lab-n2")), WiringDelta((), ()), id="namespaces are swept later"),
    ],
)
def test_diff_wiring(actual: tuple[Fact, ...], delta: WiringDelta) -> None:
    assert diff_wiring(WIRING, actual) == delta
    assert bool(delta) == bool(delta.remove or delta.make)
