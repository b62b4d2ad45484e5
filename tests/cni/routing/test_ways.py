"""By which way a node reaches another, and what blocks ask for: tables."""

from ipaddress import ip_address, ip_network

import msgspec
import pytest

from cni.routing.peers import Peer
from cni.routing.vxlan import build_gateway
from cni.routing.ways import BlockRoutes, Surroundings, Way, build_block_routes, find_way
from ipam.model import Block, Lent, Mode
from nodeplane.datapath.rtnl import NextHop, Route

NEAR, NEAR_2, OTHER_NET, FAR = map(ip_address, ("192.0.2.2", "192.0.2.22", "10.9.0.2", "198.51.100.2"))
NEAR_6, FAR_6 = ip_address("2001:db8::2"), ip_address("2001:db8:f::2")
TUNNEL, TUNNEL_6 = ip_address("10.244.2.0"), ip_address("fd00::40")
AROUND = Surroundings(
    "n1",
    {
        "n1": Peer((ip_address("192.0.2.1"), ip_address("10.9.0.1"))),
        "n2": Peer((NEAR, NEAR_6)),
        "n3": Peer((FAR, FAR_6)),
        "both": Peer((OTHER_NET, FAR, NEAR_2, NEAR)),
        "blank": Peer(),
        "new": Peer((FAR,)),
    },
    {
        ("n2", 4): TUNNEL,
        ("n2", 6): TUNNEL_6,
        ("n3", 4): TUNNEL,
        ("n3", 6): TUNNEL_6,
        ("blank", 4): TUNNEL,
        ("gone", 4): TUNNEL,
    },
    frozenset(map(ip_network, ("192.0.2.0/24", "10.9.0.0/24", "2001:db8::/64"))),
    frozenset({4, 6}),
)
VIA_TUNNEL = Way(TUNNEL, "np-vxlan4", is_onlink=True)
VIA_TUNNEL_6 = {
    node: Way(build_gateway(node, TUNNEL_6), "np-vxlan6", is_onlink=True) for node in ("n2", "n3")
}


@pytest.mark.parametrize(
    ("node", "mode", "version", "expected"),
    [
        pytest.param("n2", "direct", 4, Way(NEAR), id="direct"),
        pytest.param("n2", "direct", 6, Way(NEAR_6), id="direct, IPv6"),
        pytest.param("n3", "direct", 4, Way(FAR), id="direct, in no subnet of ours: the kernel decides"),
        pytest.param(
            "both",
            "direct",
            4,
            Way(next_hops=(NextHop(OTHER_NET), NextHop(NEAR_2))),
            id="several: one for each of our subnets",
        ),
        pytest.param("both", "direct", 6, None, id="no address of the family"),
        pytest.param("blank", "direct", 4, None, id="no address"),
        pytest.param("gone", "direct", 4, None, id="not known"),
        pytest.param("n2", "vxlan", 4, VIA_TUNNEL, id="vxlan"),
        pytest.param("n3", "vxlan", 6, VIA_TUNNEL_6["n3"], id="vxlan, IPv6"),
        pytest.param("new", "vxlan", 4, None, id="vxlan, no tunnel yet"),
        pytest.param("blank", "vxlan", 4, None, id="vxlan, nowhere to send to"),
        pytest.param("gone", "vxlan", 4, None, id="vxlan, not known"),
        pytest.param("n2", "cross-subnet", 4, Way(NEAR), id="cross-subnet, near"),
        pytest.param("n3", "cross-subnet", 4, VIA_TUNNEL, id="cross-subnet, far"),
        pytest.param("n2", "cross-subnet", 6, Way(NEAR_6), id="cross-subnet, near, IPv6"),
        pytest.param("n3", "cross-subnet", 6, VIA_TUNNEL_6["n3"], id="cross-subnet, far, IPv6"),
        pytest.param("new", "cross-subnet", 4, None, id="cross-subnet, far, no tunnel yet"),
        pytest.param("n2", "bgp", 4, None, id="bgp"),
    ],
)
def test_find_way(node: str, mode: Mode, version: int, expected: Way | None) -> None:
    assert find_way(AROUND, node, mode, version) == expected


def test_what_is_ours_is_nobody_elses() -> None:
    """A node that says an address of this one is not reached by it."""
    peers = {**AROUND.peers, "liar": Peer((ip_address("10.9.0.1"), NEAR_2))}
    around = msgspec.structs.replace(AROUND, peers=peers)
    assert find_way(around, "liar", "direct", 4) == Way(NEAR_2)


def test_a_subnet_of_ours_names_its_link() -> None:
    """So that a route through another link is not taken for right."""
    links = {ip_network("192.0.2.0/24"): "eth0", ip_network("10.9.0.0/24"): "eth1"}
    around = msgspec.structs.replace(AROUND, subnet_links=links)
    assert find_way(around, "n2", "direct", 4) == Way(NEAR, "eth0")
    assert find_way(around, "n2", "direct", 6) == Way(NEAR_6)
    hops = (NextHop(OTHER_NET, "eth1"), NextHop(NEAR_2, "eth0"))
    assert find_way(around, "both", "direct", 4) == Way(next_hops=tuple(sorted(hops)))
    assert Way(NEAR, "eth0").route(ip_network("10.1.0.0/26")) == Route(
        ip_network("10.1.0.0/26"), gateway=NEAR, link="eth0"
    )


def test_without_a_link_of_our_own_there_is_no_tunnel() -> None:
    around = msgspec.structs.replace(AROUND, vxlan_versions=frozenset({6}))

    assert (find_way(around, "n2", "vxlan", 4), find_way(around, "n2", "vxlan", 6)) == (
        None,
        VIA_TUNNEL_6["n2"],
    )


BLOCK, BLOCK_6 = ip_network("10.244.2.0/26"), ip_network("fd00::40/122")
LENT, LENT_6 = ip_network("10.244.2.1/32"), ip_network("fd00::41/128")
OWN = {BLOCK: Route(BLOCK, kind="blackhole")}


@pytest.mark.parametrize(
    ("block", "mode", "expected"),
    [
        pytest.param(Block(BLOCK, "p", "n1"), "direct", BlockRoutes(OWN), id="own"),
        pytest.param(Block(BLOCK, "p", "n1"), "vxlan", BlockRoutes(OWN), id="own, vxlan"),
        pytest.param(Block(LENT_6, "p", "n1"), "direct", BlockRoutes(), id="own, of one address"),
        pytest.param(
            Block(LENT, "p", "n1"), "bgp", BlockRoutes(announced=frozenset({LENT})), id="one address, bgp"
        ),
        pytest.param(
            Block(BLOCK, "p", "n1"), "bgp", BlockRoutes(OWN, announced=frozenset({BLOCK})), id="own, bgp"
        ),
        pytest.param(
            Block(BLOCK, "p", "n2"), "direct", BlockRoutes({BLOCK: Route(BLOCK, gateway=NEAR)}), id="a peer's"
        ),
        pytest.param(
            Block(BLOCK_6, "p", "n2"),
            "vxlan",
            BlockRoutes({BLOCK_6: VIA_TUNNEL_6["n2"].route(BLOCK_6)}),
            id="a peer's, vxlan, IPv6",
        ),
        pytest.param(
            Block(BLOCK, "p", "n2"), "bgp", BlockRoutes(held=frozenset({BLOCK})), id="a peer's, bgp"
        ),
        pytest.param(
            Block(BLOCK, "p", "new"), "vxlan", BlockRoutes(held=frozenset({BLOCK})), id="no tunnel yet"
        ),
        pytest.param(Block(BLOCK, "p", "gone"), "direct", BlockRoutes(), id="of a node that is not known"),
        pytest.param(Block(BLOCK, "p", "gone"), "bgp", BlockRoutes(), id="of one that is not known, bgp"),
        pytest.param(
            Block(BLOCK, "p", "n1", 3, lent=(Lent(1, "n2"), Lent(2, "gone"))),
            "direct",
            BlockRoutes({**OWN, LENT: Route(LENT, gateway=NEAR)}),
            id="own, an address lent to a peer, and to a node that is not known",
        ),
        pytest.param(
            Block(BLOCK_6, "p", "n2", 3, lent=(Lent(1, "n3"),)),
            "cross-subnet",
            BlockRoutes(
                {
                    BLOCK_6: Route(BLOCK_6, gateway=NEAR_6),
                    LENT_6: VIA_TUNNEL_6["n3"].route(LENT_6),
                }
            ),
            id="a near peer's, an address lent to a far one",
        ),
        pytest.param(
            Block(BLOCK, "p", "n2", 2, lent=(Lent(1, "n1"),)),
            "direct",
            BlockRoutes({BLOCK: Route(BLOCK, gateway=NEAR)}),
            id="a peer's, an address of it borrowed: the pod's own route is there",
        ),
        pytest.param(
            Block(BLOCK, "p", "n2", 3, lent=(Lent(1, "n1"), Lent(2, "n3"))),
            "bgp",
            BlockRoutes(held=frozenset({BLOCK, ip_network("10.244.2.2/32")}), announced=frozenset({LENT})),
            id="the same by bgp: announced",
        ),
        pytest.param(
            Block(BLOCK, "p", "", 2, lent=(Lent(1, "n2"),)),
            "direct",
            BlockRoutes({LENT: Route(LENT, gateway=NEAR)}),
            id="of no node",
        ),
        pytest.param(
            Block(LENT, "p", "n1", 1, lent=(Lent(0, "n2"),)),
            "direct",
            BlockRoutes({LENT: Route(LENT, gateway=NEAR)}),
            id="a block of one address, lent",
        ),
        pytest.param(
            Block(LENT, "p", "n1", 1, lent=(Lent(0, "n2"),)),
            "bgp",
            BlockRoutes(held=frozenset({LENT})),
            id="a block of one address, lent, bgp: its borrower announces it",
        ),
        pytest.param(
            Block(LENT, "p", "n2", 1, lent=(Lent(0, "n1"),)),
            "direct",
            BlockRoutes(),
            id="a peer's block of one address, borrowed: the pod's own route is there",
        ),
        pytest.param(
            Block(LENT, "p", "n2", 1, lent=(Lent(0, "n1"),)),
            "bgp",
            BlockRoutes(announced=frozenset({LENT})),
            id="the same by bgp, announced",
        ),
        pytest.param(
            Block(LENT, "p", "new", 1, lent=(Lent(0, "n2"),)),
            "vxlan",
            BlockRoutes({LENT: VIA_TUNNEL.route(LENT)}),
            id="of one without a tunnel yet, lent to one with",
        ),
    ],
)
def test_build_block_routes(block: Block, mode: Mode, expected: BlockRoutes) -> None:
    assert build_block_routes(AROUND, block, mode) == expected
