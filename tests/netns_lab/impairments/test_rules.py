"""What a topology says of links, as rules for each end."""

import pytest

from netns_lab.impairments.rules import (
    Cut,
    Impairment,
    build_impairments,
    expected_chains,
    healthy,
    is_healthy,
    render_rules,
)
from netns_lab.topology import (
    ClientSpec,
    InterfaceSpec,
    LinkSpec,
    NodeSpec,
    PodSpec,
    RouterSpec,
    SegmentSpec,
    Topology,
)

LOSS = LinkSpec(loss=5)
WELL = Topology("lab", (NodeSpec("n1"), NodeSpec("n2")), (PodSpec("p", "n1"),))
SEGMENTS = (SegmentSpec("a", "10.1.0.0/24"), SegmentSpec("b", "10.2.0.0/24"))
ROUTER = RouterSpec("r1", (InterfaceSpec("a"), InterfaceSpec("b", link=LOSS)))


@pytest.mark.parametrize(
    ("topology", "links"),
    [
        pytest.param(WELL, {}, id="nothing wrong"),
        pytest.param(
            Topology("lab", (NodeSpec("n1", link=LOSS), NodeSpec("n2"))),
            {("nl-lab-fabric", "to-n1"): LOSS, ("nl-lab-n1", "eth0"): LOSS},
            id="a node's uplink",
        ),
        pytest.param(
            Topology("lab", (NodeSpec("n1"),), clients=(ClientSpec("c", link=LOSS),)),
            {("nl-lab-fabric", "to-c"): LOSS, ("nl-lab-c", "eth0"): LOSS},
            id="a client's uplink",
        ),
        pytest.param(
            Topology("lab", (NodeSpec("n1"),), segments=SEGMENTS, routers=(ROUTER,)),
            {("nl-lab-fabric", "to-r1-b"): LOSS, ("nl-lab-r1", "b"): LOSS},
            id="one of a router's links",
        ),
        pytest.param(
            Topology(
                "lab", (NodeSpec("n1"),), (PodSpec("p", "n1", link=LOSS), PodSpec("q", "n1", link=LOSS))
            ),
            {("nl-lab-n1", "npl1"): LOSS, ("nl-lab-pod-default-p", "eth0"): LOSS},
            id="pods' links: of the one that is attached",
        ),
        pytest.param(
            Topology("lab", (NodeSpec("n1", link=LinkSpec(down=True)),)), {}, id="down is the wiring's matter"
        ),
        pytest.param(
            Topology("lab", (NodeSpec("n1"),), (PodSpec("p", "n1", link=LinkSpec(down=True)),)),
            {
                ("nl-lab-n1", "npl1"): LinkSpec(loss=100),
                ("nl-lab-pod-default-p", "eth0"): LinkSpec(loss=100),
            },
            id="down of a pod is the loss of all",
        ),
    ],
)
def test_both_ends(topology: Topology, links: dict[tuple[str, str], LinkSpec]) -> None:
    built = build_impairments(topology, {"default/p": "npl1"})

    assert {
        (namespace, name): link for namespace, each in built.items() for name, link in each.links.items()
    } == links
    assert is_healthy(topology) == (topology == healthy(topology))
    assert build_impairments(healthy(topology), {"default/p": "npl1"}) == {}


def test_rules() -> None:
    """A copy is not copied again; what is there is replaced in one transaction."""
    impairment = Impairment({"eth0": LinkSpec(loss=0.5, duplicate=10)})

    assert render_rules(impairment).splitlines() == [
        "table netdev netns-lab",
        "delete table netdev netns-lab",
        "table bridge netns-lab",
        "delete table bridge netns-lab",
        "table netdev netns-lab {",
        f"  chain made-from-{impairment.digest} {{",
        "  }",
        "  chain out-eth0 {",
        '    type filter hook egress device "eth0" priority 0; policy accept;',
        "    numgen random mod 1000000 < 5000 drop",
        "    meta mark 0x6e6c6162 accept",
        '    numgen random mod 1000000 < 100000 meta mark set 0x6e6c6162 dup to "eth0"',
        "  }",
        "}",
    ]


@pytest.mark.parametrize(
    ("link", "rules"),
    [
        pytest.param(LinkSpec(loss=100), ["drop"], id="all is lost"),
        pytest.param(
            LinkSpec(duplicate=100),
            ["meta mark 0x6e6c6162 accept", 'meta mark set 0x6e6c6162 dup to "l"'],
            id="all comes twice",
        ),
        pytest.param(LinkSpec(rate="1mbit"), None, id="a rate needs no chain"),
        pytest.param(
            LinkSpec(loss=0.00001), ["numgen random mod 1000000 < 1 drop"], id="as little as there is"
        ),
    ],
)
def test_shares(link: LinkSpec, rules: list[str] | None) -> None:
    impairment = Impairment({"l": link})
    lines = [line.strip() for line in render_rules(impairment).splitlines()]

    chains = {f"made-from-{impairment.digest}", *(["out-l"] if rules is not None else [])}
    assert expected_chains(impairment) == chains
    if rules is not None:
        start = lines.index("chain out-l {") + 2
        assert lines[start : lines.index("}", start)] == rules


def test_cuts() -> None:
    """Between ports in both directions; from the bridge itself, its in and its out."""
    impairment = Impairment({}, (Cut(("to-n1",), ()), Cut(("to-n1",), ("to-n2", "to-n3"))))
    lines = [line.strip() for line in render_rules(impairment).splitlines()]

    assert [line for line in lines if line.endswith(" drop")] == [
        'iifname { "to-n1" } oifname { "to-n2", "to-n3" } drop',
        'iifname { "to-n2", "to-n3" } oifname { "to-n1" } drop',
        'iifname { "to-n1" } drop',
        'oifname { "to-n1" } drop',
    ]


def test_digest_tells_any_difference() -> None:
    others = [
        Impairment(),
        Impairment({"a": LOSS}),
        Impairment({"b": LOSS}),
        Impairment({"a": LinkSpec(loss=6)}),
        Impairment({}, (Cut(("a",), ()),)),
    ]

    assert len({each.digest for each in others}) == len(others)
