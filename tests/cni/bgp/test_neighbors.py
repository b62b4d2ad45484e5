"""Whom a node speaks to."""

from ipaddress import IPv4Address, ip_address

import pytest

from cni.bgp.config import BgpConfig, Peer, Reflectors
from cni.bgp.neighbors import (
    Neighbor,
    Speaker,
    build_neighbors,
    choose_by_address,
    keep_router_id,
    read_speakers,
)
from nodeplane.kube.objects import Metadata, Node, NodeAddress, NodeStatus

MESH = BgpConfig(as_number=64512)
TWO_RACKS = BgpConfig(
    as_number=64512,
    mesh=False,
    route_reflectors=(
        Reflectors('reflector == "a"', IPv4Address("244.0.0.1"), 'rack == "a"'),
        Reflectors('reflector == "b"', IPv4Address("244.0.0.2"), 'rack == "b"'),
    ),
)
LABELS = {
    "a0": {"reflector": "a", "rack": "a"},
    "a1": {"rack": "a"},
    "b0": {"reflector": "b", "rack": "b"},
    "b1": {"rack": "b"},
}


def make_node(
    name: str,
    *addresses: str,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
) -> Node:
    return Node(
        metadata=Metadata(name=name, labels=labels, annotations=annotations),
        status=NodeStatus(addresses=tuple(NodeAddress("InternalIP", text) for text in addresses)),
    )


def neighbors(config: BgpConfig, own: str, nodes: list[Node]) -> tuple[Neighbor, ...]:
    speakers, wrong = read_speakers(config, nodes)
    assert wrong == []
    return build_neighbors(config, speakers.pop(own), list(speakers.values()))


@pytest.mark.parametrize(
    ("own", "roles"),
    [
        pytest.param("a0", {"a1": "client", "b0": "reflector"}, id="reflector"),
        pytest.param("a1", {"a0": "node"}, id="client"),
        pytest.param("b1", {"b0": "node"}, id="client of the other rack"),
    ],
)
def test_reflectors_by_rack(own: str, roles: dict[str, str]) -> None:
    """A client speaks to its rack's reflector, reflectors to their clients and to one another."""
    nodes = [make_node(name, f"10.0.0.{number}", labels=LABELS[name]) for number, name in enumerate(LABELS)]
    found = neighbors(TWO_RACKS, own, nodes)
    assert {item.name: item.role for item in found} == roles
    assert {item.name: item.cluster_id for item in found if item.role == "client"} == (
        {"a1": IPv4Address("244.0.0.1")} if own == "a0" else {}
    )


@pytest.mark.parametrize(
    ("addresses", "wanted"),
    [
        pytest.param(["fd00::2", "10.0.0.2"], ["10.0.0.2", "fd00::2"], id="both"),
        pytest.param(["fd00::2"], ["fd00::2"], id="one"),
        pytest.param(["10.0.0.2", "10.0.0.3"], ["10.0.0.2"], id="the first counts"),
        pytest.param(["nonsense", "10.0.0.2"], ["10.0.0.2"], id="what is no address is left out"),
        pytest.param([], [], id="none"),
        pytest.param(["10.0.0.1"], [], id="the same as ours"),
    ],
)
def test_families(addresses: list[str], wanted: list[str]) -> None:
    """A session for each family in which both have an address, by the first one."""
    found = neighbors(MESH, "n1", [make_node("n1", "10.0.0.1", "fd00::1"), make_node("n2", *addresses)])
    assert [str(item.address) for item in found] == wanted


def test_names_last() -> None:
    """A session's name depends on its neighbour alone, so others that come and go do not touch it."""
    own, other = make_node("n1", "10.0.0.1"), make_node("node.example.org", "10.0.0.2")
    alone = neighbors(MESH, "n1", [own, other])
    among_others = neighbors(MESH, "n1", [make_node("a", "10.0.0.9"), other, own])
    assert alone[0] in among_others


@pytest.mark.parametrize("addresses", [("10.0.0.9", "10.0.0.10"), ("fd00::9", "fd00::10")])
def test_one_of_two_connects(addresses: tuple[str, str]) -> None:
    """Two connections at once may cost the session that was there first."""
    nodes = [make_node(f"n{number}", address) for number, address in enumerate(addresses)]
    [low], [high] = (neighbors(MESH, name, nodes) for name in ("n0", "n1"))

    assert (low.is_passive, high.is_passive) == (True, False)


def test_as_number_by_node() -> None:
    """A node's annotation counts before the cluster's number, ours before Calico's; sessions span hops."""
    theirs = {"nodeplane.io/bgp-as-number": "64513", "projectcalico.org/ASNumber": "64514"}
    [session] = neighbors(
        MESH, "n1", [make_node("n1", "10.0.0.1"), make_node("n2", "10.0.0.2", annotations=theirs)]
    )
    assert (session.as_number, session.multihop) == (64513, 64)


@pytest.mark.parametrize("text", ["0", "4294967295", "x", "-1", "", "9" * 5000])
def test_wrong_annotations_are_told(text: str) -> None:
    """One that is wrong is left out, and named."""
    node = make_node("n1", "10.0.0.1", annotations={"nodeplane.io/bgp-as-number": text})
    speakers, wrong = read_speakers(MESH, [node])
    assert speakers["n1"].as_number == 64512
    assert wrong == [f"Node n1: nodeplane.io/bgp-as-number: expected an AS number, got {text!r}"]


def test_router_id() -> None:
    """The IPv4 address, or an annotation; without either a number out of the name that is not zero."""
    nodes = [
        make_node("n1", "fd00::1", "10.0.0.1"),
        make_node("n2", "fd00::2"),
        make_node("n3", "fd00::3", annotations={"nodeplane.io/bgp-router-id": "1.1.1.1"}),
        make_node("n4", "10.0.0.4", annotations={"nodeplane.io/bgp-router-id": "one"}),
    ]
    speakers, wrong = read_speakers(MESH, nodes)
    ids = {name: speaker.router_id for name, speaker in speakers.items()}
    assert ids["n2"] not in {IPv4Address(0), ids["n1"]}
    assert (ids["n1"], ids["n3"], ids["n4"]) == tuple(map(IPv4Address, ("10.0.0.1", "1.1.1.1", "10.0.0.4")))
    assert wrong == ["Node n4: nodeplane.io/bgp-router-id: expected four numbers, got 'one'"]


@pytest.mark.parametrize(
    ("peer", "local"),
    [
        pytest.param({}, "10.0.0.1", id="the node's address"),
        pytest.param({"use_node_address": False}, None, id="bird's choice"),
        pytest.param(
            {"use_node_address": False, "source": ip_address("10.9.9.1")}, "10.9.9.1", id="as configured"
        ),
    ],
)
def test_source_address(peer: dict[str, object], local: str | None) -> None:
    """A peer's session begins at the node's address, at another, or where the routes lead."""
    item = Peer(name="tor", address=ip_address("10.0.0.254"), as_number=65001, **peer)  # type: ignore[arg-type]
    config = BgpConfig(as_number=64512, peers=(item,))
    [session] = neighbors(config, "n1", [make_node("n1", "10.0.0.1")])
    assert session.local == (None if local is None else ip_address(local))


def speaker(name: str, *addresses: str, router_id: str = "", is_named: bool = False) -> Speaker:
    found = tuple(map(ip_address, addresses))
    number = IPv4Address(router_id or addresses[0])
    return Speaker(name, 64512, number, found, {}, is_named)


@pytest.mark.parametrize(
    ("own", "current", "others", "wanted"),
    [
        pytest.param(speaker("n1", "10.0.0.1"), None, (), "10.0.0.1", id="a first one"),
        pytest.param(speaker("n1", "10.0.0.9"), "10.0.0.1", (), "10.0.0.1", id="after a change of address"),
        pytest.param(
            speaker("n1", "10.0.0.9", router_id="1.1.1.1", is_named=True),
            "10.0.0.1",
            (),
            "1.1.1.1",
            id="an annotation wins",
        ),
        pytest.param(
            speaker("n1", "10.0.0.9"),
            "10.0.0.1",
            (speaker("n2", "10.0.0.1"),),
            "10.0.0.9",
            id="another node has the address now",
        ),
        pytest.param(
            speaker("n1", "10.0.0.9"),
            "10.0.0.1",
            (speaker("n2", "10.0.0.2", router_id="10.0.0.1"),),
            "10.0.0.9",
            id="another node has the number",
        ),
    ],
)
def test_router_id_is_kept(
    own: Speaker, current: str | None, others: tuple[Speaker, ...], wanted: str
) -> None:
    """A new one ends all sessions; two of one number have none."""
    kept = keep_router_id(own, None if current is None else IPv4Address(current), others)
    assert kept.router_id == IPv4Address(wanted)


@pytest.mark.parametrize(
    ("others", "addresses", "wrong"),
    [
        pytest.param(
            [speaker("n3", "10.0.0.3"), speaker("n2", "10.0.0.2")],
            {"n2": ["10.0.0.2"], "n3": ["10.0.0.3"]},
            [],
            id="each its own",
        ),
        pytest.param(
            [speaker("n2", "10.0.0.1", "fd00::2")],
            {"n2": ["fd00::2"]},
            ["Node n2: InternalIP 10.0.0.1: Node n1 has it too"],
            id="ours is ours",
        ),
        pytest.param(
            [speaker("n3", "10.0.0.2", "fd00::3"), speaker("n2", "10.0.0.2")],
            {"n2": ["10.0.0.2"], "n3": ["fd00::3"]},
            ["Node n3: InternalIP 10.0.0.2: Node n2 has it too"],
            id="the first by name",
        ),
    ],
)
def test_one_speaker_at_an_address(
    others: list[Speaker], addresses: dict[str, list[str]], wrong: list[str]
) -> None:
    """Two sessions with one address would end each other."""
    found, said = choose_by_address(speaker("n1", "10.0.0.1"), others)
    assert {item.name: [*map(str, item.addresses)] for item in found} == addresses
    assert said == wrong
