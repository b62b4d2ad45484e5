"""From frames and rules to passages."""

import pytest

from netns_lab.trace.passage import Passage, build_passages
from netns_lab.trace.steps import build_steps
from netns_lab.trace.watch import Met, Observed, Sighting
from tests.netns_lab.trace.samples import (
    CLIENT,
    MARK,
    N1,
    N2,
    SENT_NS,
    SYN_SENT,
    TO_WEB,
    TRANSLATED,
    WAY_BACK,
    WAY_THERE,
    WEB,
    came,
    case,
    chain,
    left,
    syn,
)


def _shape(passage: Passage) -> tuple[object, ...]:
    """Say the parts that these tests are about."""
    links = [sighting.link for sighting in passage.left]
    chains = [section.chain for section in passage.sections]
    return (passage.role, passage.namespace, passage.came and passage.came.link, links, chains, passage.times)


@pytest.mark.parametrize(
    ("sightings", "met", "shapes"),
    [
        pytest.param(
            (*WAY_THERE, *WAY_BACK),
            TRANSLATED,
            [
                ("request", CLIENT, None, ["eth0"], [], 1),
                ("request", N1, "veth-client", ["eth0"], ["nat-prerouting"], 1),
                ("request", N2, "eth0", ["veth-web"], [], 1),
                ("request", WEB, "eth0", [], [], 1),
                ("reply", WEB, None, ["eth0"], [], 1),
                ("reply", N2, "veth-web", ["eth0"], [], 1),
                ("reply", N1, "eth0", ["veth-client"], [], 1),
                ("reply", CLIENT, "eth0", [], [], 1),
            ],
            id="there and back",
        ),
        pytest.param(
            (*WAY_THERE[:2], left(1000, CLIENT, "eth0", syn()), came(1000.1, N1, "veth-client", syn())),
            [],
            [
                ("request", CLIENT, None, ["eth0"], [], 2),
                ("request", N1, "veth-client", [], [], 2),
            ],
            id="sent twice",
        ),
        pytest.param(
            (
                came(0.2, N1, "veth-client", syn()),
                left(0.3, N1, "veth-client", syn(TO_WEB, ttl=63)),
                came(0.4, N1, "eth0", syn(TO_WEB, ttl=61)),
                left(0.5, N1, "eth0", syn(TO_WEB, ttl=60)),
            ),
            [],
            [
                ("request", N1, "veth-client", ["veth-client"], [], 1),
                ("request", N1, "eth0", ["eth0"], [], 1),
            ],
            id="out where it came in, and round again",
        ),
        pytest.param(
            (),
            chain(CLIENT, "out-chain", 1, iif=""),
            [("request", CLIENT, None, [], ["out-chain"], 1)],
            id="rules, and no frame",
        ),
        pytest.param(
            (left(0.1, CLIENT, "eth0", syn(ttl=64)),),
            chain(CLIENT, "out", 1, iif="", table="netns-lab-trace"),
            [("request", CLIENT, None, ["eth0"], [], 1)],
            id="the trace's own rules are not shown",
        ),
    ],
)
def test_passages(sightings: tuple[Sighting, ...], met: list[Met], shapes: list[tuple[object, ...]]) -> None:
    assert [_shape(each) for each in build_passages(Observed(sightings, tuple(met)), MARK, SENT_NS)] == shapes


def test_packets_of_others_are_no_passage() -> None:
    stranger = came(0.2, N1, "eth0", syn().__class__("tcp", SYN_SENT, 64, "S", 5))

    assert build_passages(Observed((stranger,), ()), MARK, SENT_NS) == ()


def test_steps() -> None:
    """Frames have times; between them stands what the place did."""
    steps = build_steps(case("answered", *WAY_THERE[:4], words="HTTP/1.1 200 OK"))

    assert [(step.where, step.step, step.packet, step.why) for step in steps] == [
        ("pod default/client", "send", "10.244.1.2:40000 > 10.96.0.80:80 SYN", ""),
        ("pod default/client", "out eth0", "10.244.1.2:40000 > 10.96.0.80:80 SYN", ""),
        ("node n1", "in veth-client", "10.244.1.2:40000 > 10.96.0.80:80 SYN", ""),
        (
            "node n1",
            "prerouting ip nodeplane-kubeproxy",
            "10.244.1.2:40000 > 10.96.0.80:80 SYN",
            "an address and port of a service → by chance [dnat]",
        ),
        ("node n1", "route", "to 10.244.2.3", "10.244.2.0/26 via 172.30.0.3 dev eth0 proto nodeplane"),
        ("node n1", "translated", "to 10.96.0.80:80 becomes 10.244.2.3:8080", ""),
        ("node n1", "out eth0", "10.244.1.2:40000 > 10.244.2.3:8080 SYN", ""),
        ("node n2", "in eth0", "10.244.1.2:40000 > 10.244.2.3:8080 SYN", ""),
        ("node n2", "route", "to 10.244.2.3", "10.244.2.3/32 dev veth-web proto nodeplane"),
        ("pod default/client", "answered", "", "HTTP/1.1 200 OK"),
    ]
    assert [step.at_ns and (step.at_ns - SENT_NS) // 1000 for step in steps] == [
        *(100, 100, 200, None, None, None, 300, 400, None, 2000),
    ]
