"""What `cni-agent routes` says of each route: a table."""

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from cni.routing.listing import Known, describe_routes
from ipam.model import Block, Lent, Pool
from ipam.watch import Tunnel
from nodeplane.datapath.rtnl import NextHop, Route

POOL = Pool("default", ip_network("10.244.0.0/16"), 26)
VXLAN = Pool("tunnelled", ip_network("10.245.0.0/16"), 26, mode="vxlan")
BGP = Pool("spoken", ip_network("fd00::/64"), 122, mode="bgp")
LINK = Pool("link", ip_network("10.9.0.0/24"), 26, on_link=True)
OWN, PEERS, FREE = (ip_network(f"10.244.{number}.0/26") for number in (1, 2, 3))
FAR, SIX = ip_network("10.245.2.0/26"), ip_network("fd00::40/122")
N3_6 = ip_address("2001:db8::3")
N2, TUNNEL, N2_6 = ip_address("192.0.2.2"), ip_address("10.245.2.0"), ip_address("2001:db8::2")
BLOCKS = (
    Block(OWN, "default", "n1", lent=(Lent(3, "n2"),)),
    Block(PEERS, "default", "n2", lent=(Lent(4, "n1"),)),
    Block(FREE, "default", "", lent=(Lent(5, "n2"),)),
    Block(FAR, "tunnelled", "n2"),
    Block(SIX, "spoken", "n2"),
    Block(ip_network("10.9.0.0/26"), "link", "n2"),
)
KNOWN = Known(
    "n1",
    (POOL, VXLAN, BGP, LINK),
    BLOCKS,
    (Tunnel("n2", "tunnelled", TUNNEL), Tunnel("n1", "tunnelled", ip_address("10.245.1.0"))),
    frozenset({TUNNEL}),
    {
        (SIX, N2_6): frozenset({"Established"}),
        (SIX, N3_6): frozenset({"Connect"}),
    },
    {str(OWN): 90.0},
)


def row(destination: str, origin: str, mode: str = "", **fields: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {"via": [], "dev": [], "protocol": "nodeplane", "state": "active", "age_s": None}
    return {"destination": destination, "origin": origin, "mode": mode, **empty, **fields}


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        pytest.param(
            Route(OWN, kind="blackhole"),
            row(str(OWN), "own block", "direct", via=["blackhole"], age_s=10.0),
            id="own block, age known",
        ),
        pytest.param(
            Route(PEERS, gateway=N2, link="eth0"),
            row(str(PEERS), "block of n2", "direct", via=["192.0.2.2"], dev=["eth0"]),
            id="a peer's",
        ),
        pytest.param(
            Route(PEERS, next_hops=(NextHop(N2, "eth0"), NextHop(ip_address("10.1.0.2"), "eth1"))),
            row(str(PEERS), "block of n2", "direct", via=["192.0.2.2", "10.1.0.2"], dev=["eth0", "eth1"]),
            id="by several ways",
        ),
        pytest.param(
            Route(ip_network("10.244.1.3/32"), gateway=N2, link="eth0"),
            row("10.244.1.3/32", "borrowed by n2", "direct", via=["192.0.2.2"], dev=["eth0"]),
            id="borrowed by a peer",
        ),
        pytest.param(
            Route(ip_network("10.244.2.4/32"), link="npl0", scope="link"),
            row("10.244.2.4/32", "borrowed by n1", "direct", dev=["npl0"]),
            id="borrowed here",
        ),
        pytest.param(
            Route(FAR, gateway=TUNNEL, link="np-vxlan4", is_onlink=True),
            row(str(FAR), "block of n2", "vxlan", via=[str(TUNNEL)], dev=["np-vxlan4"], state="resolved"),
            id="through the tunnel",
        ),
        pytest.param(
            Route(FAR, gateway=ip_address("10.245.2.9"), link="np-vxlan4", is_onlink=True),
            row(str(FAR), "block of n2", "vxlan", via=["10.245.2.9"], dev=["np-vxlan4"], state="unresolved"),
            id="into the void",
        ),
        pytest.param(
            Route(SIX, gateway=N2_6, link="eth0", protocol=12, metric=32),
            row(
                str(SIX),
                "block of n2",
                "bgp",
                via=[str(N2_6)],
                dev=["eth0"],
                protocol="bird",
                state="Established",
            ),
            id="bird's",
        ),
        pytest.param(
            Route(SIX, next_hops=(NextHop(N2_6, "eth0"), NextHop(N3_6, "eth1")), protocol=12, metric=1056),
            row(
                str(SIX),
                "block of n2",
                "bgp",
                via=[str(N2_6), str(N3_6)],
                dev=["eth0", "eth1"],
                protocol="bird",
                state="Connect, Established",
            ),
            id="bird's, by several ways",
        ),
        pytest.param(
            Route(SIX, gateway=N2_6, link="eth0"),
            row(str(SIX), "block of n2", "bgp", via=[str(N2_6)], dev=["eth0"], state="until BGP"),
            id="ours, of before BGP",
        ),
        pytest.param(
            Route(ip_network("10.245.1.0/32"), link="np-vxlan4", protocol=2, scope="link"),
            row("10.245.1.0/32", "tunnel of n1", "vxlan", dev=["np-vxlan4"], protocol="kernel", state=""),
            id="a tunnel",
        ),
        pytest.param(
            Route(ip_network("10.244.77.0/26"), gateway=N2, link="eth0"),
            row("10.244.77.0/26", "stale", via=["192.0.2.2"], dev=["eth0"]),
            id="ours, of no block",
        ),
        pytest.param(
            Route(ip_network("10.244.77.0/26"), gateway=N2, link="eth0", protocol=77),
            row("10.244.77.0/26", "foreign", via=["192.0.2.2"], dev=["eth0"], protocol="77", state=""),
            id="foreign, inside a pool",
        ),
        pytest.param(
            Route(ip_network("10.244.1.9/32"), link="npl1", scope="link"), None, id="a pod of this node"
        ),
        pytest.param(Route(ip_network("0.0.0.0/0"), gateway=N2, protocol=4), None, id="the default route"),
        pytest.param(Route(ip_network("192.0.2.0/24"), link="eth0", protocol=2), None, id="another network"),
    ],
)
def test_a_route(route: Route, expected: dict[str, Any] | None) -> None:
    rows = describe_routes([route], KNOWN, 100.0)

    assert [each for each in rows if each["state"] != "missing"] == ([] if expected is None else [expected])


def test_pods_on_request() -> None:
    route = Route(ip_network("10.244.1.9/32"), link="npl1", scope="link")

    rows = describe_routes([route], KNOWN, 100.0, has_pods=True)

    assert row("10.244.1.9/32", "pod", dev=["npl1"]) in rows


def test_what_is_missing() -> None:
    """Each block of a known pool that is routed; in the order of the networks."""
    missing = {"protocol": "", "state": "missing"}
    assert describe_routes([], KNOWN, 100.0) == [
        row(str(OWN), "own block", "direct", **missing),
        row(str(PEERS), "block of n2", "direct", **missing),
        row(str(FAR), "block of n2", "vxlan", **missing),
        row(str(SIX), "block of n2", "bgp", **missing),
    ]
