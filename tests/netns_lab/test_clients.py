"""External clients: their place, their wiring, their row."""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from netns_lab.address_plan import build_address_plan
from netns_lab.execute import find_place, place_namespace
from netns_lab.report import client_rows
from netns_lab.topology import (
    ClientSpec,
    InterfaceSpec,
    LinkSpec,
    NodeSpec,
    RouterSpec,
    RouteSpec,
    SegmentSpec,
    Topology,
)
from netns_lab.wiring import Address, Cable, Down, Master, Namespace, StaticRoute, Sysctl, Up, build_wiring

RGUESTE = RouteSpec("10.244.0.0/16", "172.30.0.2")
GUEST = ClientSpec("guest", routes=(RGUESTE,))
TOPOLOGY = Topology("lab", (NodeSpec("n1"),), clients=(GUEST,))


def test_wiring() -> None:
    """A host: addresses and routes, no forwarding."""
    facts = [fact for fact in build_wiring(TOPOLOGY) if "guest" in str(fact)]

    assert facts == [
        Namespace("nl-lab-guest"),
        Cable("nl-lab-guest", "eth0", "nl-lab-fabric", "to-guest"),
        Master("nl-lab-fabric", "to-guest", "segment"),
        Address("nl-lab-guest", "eth0", IPv4Interface("172.30.0.3/24")),
        Up("nl-lab-fabric", "to-guest"),
        Up("nl-lab-guest", "eth0"),
        Up("nl-lab-guest", "lo"),
        StaticRoute("nl-lab-guest", IPv4Network("0.0.0.0/0"), IPv4Address("172.30.0.1")),
        StaticRoute("nl-lab-guest", IPv4Network("10.244.0.0/16"), IPv4Address("172.30.0.2")),
    ]


def test_segment_of_its_own() -> None:
    """A router leads out of it, in both families; the fabric has no address there."""
    topology = Topology(
        "lab",
        (NodeSpec("n1"),),
        segments=(SegmentSpec("lan", "10.1.0.0/24"), SegmentSpec("wan", "10.2.0.0/24,fd02::/64")),
        routers=(RouterSpec("r1", (InterfaceSpec("lan"), InterfaceSpec("wan"))),),
        clients=(ClientSpec("guest", "wan"),),
    )
    plan = build_address_plan(topology)
    facts = build_wiring(topology)

    assert [str(address) for address in plan.clients["guest"].addresses] == ["10.2.0.2/24", "fd02::2/64"]
    assert "wan" not in plan.fabric
    assert Sysctl("nl-lab-guest", "net.ipv6.conf.all.forwarding", "0") in facts
    assert [str(fact) for fact in facts if isinstance(fact, StaticRoute) and "guest" in fact.namespace] == [
        "default route via 10.2.0.1 in nl-lab-guest",
        "default route via fd02::1 in nl-lab-guest",
    ]


def test_segment_that_leads_nowhere() -> None:
    topology = Topology(
        "lab",
        (NodeSpec("n1"),),
        segments=(SegmentSpec("lan", "10.1.0.0/24"), SegmentSpec("far", "10.2.0.0/24")),
        clients=(ClientSpec("guest", "far"),),
    )

    assert not [
        fact for fact in build_wiring(topology) if isinstance(fact, StaticRoute) and "guest" in str(fact)
    ]


def test_pulled_cable() -> None:
    """The fabric's end is down, the host's own stays up and has what it had."""
    pulled = Topology("lab", (NodeSpec("n1", link=LinkSpec(down=True)),))
    well = Topology("lab", (NodeSpec("n1"),))

    assert {*build_wiring(pulled)} ^ {*build_wiring(well)} == {
        Down("nl-lab-fabric", "to-n1"),
        Up("nl-lab-fabric", "to-n1"),
    }


def test_place() -> None:
    assert find_place(TOPOLOGY, "guest") == GUEST
    assert place_namespace("lab", GUEST) == "nl-lab-guest"
    assert client_rows(TOPOLOGY) == [
        {"client": "guest", "address": "172.30.0.3", "segment": "segment", "namespace": "nl-lab-guest"}
    ]
