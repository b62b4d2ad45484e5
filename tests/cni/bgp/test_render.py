"""Plans as bird's configuration: whole texts, each of which the real bird takes."""

import re
import subprocess
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path

import msgspec
import pytest

from cni.bgp.config import BfdMode, BgpConfig, Peer, Reflectors, ServiceRanges, Timers
from cni.bgp.plan import Cluster, build_plan
from cni.bgp.render import render_plan
from ipam.model import Mode, Pool
from nodeplane.kube.objects import Metadata, Node, NodeAddress, NodeStatus
from tests.cni.bgp.stand import BIRD, POOLS

GOLDEN = Path(__file__).parent / "golden"
PASSWORD = Path("/etc/nodeplane/tor")


def node(number: int, *addresses: str, **labels: str) -> Node:
    """Return a node with addresses, of both families if none are given."""
    found = addresses or (f"10.0.0.{number}", f"fd00::{number}")
    return Node(
        metadata=Metadata(name=f"n{number}", labels=labels),
        status=NodeStatus(addresses=tuple(NodeAddress("InternalIP", text) for text in found)),
    )


THREE = Cluster(nodes=(node(1, rack="a"), node(2, rack="a"), node(3, rack="b")), pools=POOLS)
ONLY_IPV4 = Cluster(nodes=(node(1, "10.0.0.1"), node(2, "10.0.0.2")), pools=POOLS[:1])
REFLECTED = BgpConfig(
    as_number=64512,
    mesh=False,
    route_reflectors=(Reflectors('rack == "a"', IPv4Address("244.0.0.1")),),
    services=ServiceRanges(load_balancer_ips=(ip_network("203.0.113.0/24"),)),
)
RACK = BgpConfig(
    as_number=64512,
    mesh=False,
    nodes=Timers(),
    peers=(
        Peer(
            name="tor",
            address=ip_address("10.0.0.254"),
            as_number=65001,
            port=1179,
            node_selector='rack == "a"',
            ttl_security=True,
            max_prefixes=1000,
            allow_local_as=2,
            communities=((64512, 7), (64512, 1, 2)),
            import_only=(ip_network("0.0.0.0/0"), ip_network("10.0.0.0/8")),
            timers=Timers(
                hold_s=9, keepalive_s=3, graceful_restart_s=0, bfd="strict", password_file=PASSWORD
            ),
        ),
        Peer(
            name="far",
            address=ip_address("fd00:ffff::1"),
            as_number=64512,
            multihop=8,
            is_passive=True,
            use_node_address=False,
            keep_next_hop=True,
            announce="cluster",
        ),
        Peer(
            name="elsewhere", address=ip_address("10.0.0.253"), as_number=65001, node_selector='rack == "z"'
        ),
    ),
    communities=(
        (ip_network("10.244.0.0/16"), ((65535, 65281), (64512, 3))),
        (ip_network("fd00:10:244::/64"), ((1, 2, 3),)),
    ),
    services=ServiceRanges(
        cluster_ips=(ip_network("10.96.0.0/12"), ip_network("fd00:96::/112")),
        external_ips=(ip_network("203.0.113.0/24"),),
    ),
    bfd_interval_s=0.1,
    bfd_multiplier=5,
    port=1790,
    uplinks=("eth*", "bond0"),
    prefer_node_address=True,
)
PLANS = {
    "mesh": (BgpConfig(as_number=64512), THREE),
    "mesh-ipv4": (BgpConfig(as_number=64512), ONLY_IPV4),
    "reflector": (REFLECTED, THREE),
    "client": (REFLECTED, msgspec.structs.replace(THREE, nodes=(node(1), *THREE.nodes[1:]))),
    "rack": (
        RACK,
        msgspec.structs.replace(
            THREE,
            announced=frozenset(map(ip_network, ("10.244.1.0/26", "10.244.9.9/32", "fd00:10:244::99/128"))),
            local_services=frozenset({ip_network("203.0.113.7/32")}),
        ),
    ),
    "alone": (BgpConfig(as_number=64512), Cluster(nodes=(node(1),), pools=())),
}


def render(name: str) -> str:
    """Render one of the plans, for node n1."""
    plan, wrong = build_plan(PLANS[name][0], "n1", PLANS[name][1])
    assert plan is not None
    assert wrong == []
    return render_plan(plan, {PASSWORD: "s3cret"}, Path("/run/nodeplane/bird/bird.log"))


@pytest.mark.parametrize("name", PLANS)
def test_golden(name: str) -> None:
    """The text is known to the letter."""
    assert render(name) == (GOLDEN / f"{name}.conf").read_text()


@pytest.mark.parametrize("name", PLANS)
def test_bird_takes_it(name: str, tmp_path: Path) -> None:
    """And is bird's language."""
    file = tmp_path / "bird.conf"
    file.write_text(render(name).replace("/run/nodeplane/bird", str(tmp_path)))
    done = subprocess.run([BIRD, "-p", "-c", file], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("bfd", "expected"),
    [
        pytest.param("none", 1, id="without BFD"),
        pytest.param("strict", 1, id="BFD ends the session"),
        pytest.param("graceful", 3, id="after the 0.9 s in which BFD goes down"),
    ],
)
def test_connect_delay(bfd: BfdMode, expected: int) -> None:
    """A second graceful restart, by BFD's word, would drop what is kept for the first."""
    config = BgpConfig(as_number=64512, nodes=Timers(bfd=bfd))
    plan, _ = build_plan(config, "n1", THREE)
    assert plan is not None
    text = render_plan(plan, {}, Path("/run/bird.log"))
    assert set(re.findall(r"connect delay time (\d+);", text)) == {str(expected)}


def test_order_does_not_matter() -> None:
    """The text depends on what is known, not on the order in which it became known."""
    config, cluster = PLANS["rack"]
    turned = msgspec.structs.replace(cluster, nodes=cluster.nodes[::-1], pools=cluster.pools[::-1])
    other = msgspec.structs.replace(config, peers=config.peers[::-1])
    plans = [build_plan(config, "n1", cluster)[0], build_plan(other, "n1", turned)[0]]
    texts = {render_plan(plan, {PASSWORD: "s3cret"}) for plan in plans if plan is not None}
    assert len(texts) == 1


def test_blocks_do_not_change_it() -> None:
    """A new block of the node's own is no new configuration."""
    config, cluster = PLANS["mesh"]
    more = msgspec.structs.replace(cluster, announced=frozenset({ip_network("10.244.7.0/26")}))
    assert build_plan(config, "n1", more) == build_plan(config, "n1", cluster)


@pytest.mark.parametrize(
    "cluster",
    [
        pytest.param(Cluster(nodes=(node(2),), pools=POOLS), id="not in the cluster"),
        pytest.param(
            Cluster(nodes=(Node(metadata=Metadata(name="n1")), node(2)), pools=POOLS), id="without an address"
        ),
    ],
)
def test_no_plan(cluster: Cluster) -> None:
    """A node that is nowhere has no plan."""
    assert build_plan(BgpConfig(as_number=64512), "n1", cluster) == (None, [])


def test_pools_of_other_modes_are_left_out() -> None:
    """Blocks of other modes, and of pools on a link, are not announced."""
    modes: tuple[Mode, ...] = ("direct", "vxlan", "cross-subnet")
    others = tuple(
        Pool(mode, ip_network(f"10.{number}.0.0/16"), 26, mode=mode) for number, mode in enumerate(modes, 1)
    )
    on_link = Pool("on-link", ip_network("10.9.0.0/16"), 26, mode="bgp", on_link=True)
    cluster = Cluster(nodes=(node(1),), pools=(*others, on_link, POOLS[0]))
    plan, _ = build_plan(BgpConfig(as_number=64512), "n1", cluster)
    assert plan is not None
    assert plan.pools == ((ip_network("10.244.0.0/16"), 26),)


def test_excluded_node_announces_no_services() -> None:
    """A node that load balancers are to leave out does not attract them."""
    config, cluster = PLANS["rack"]
    label = {"node.kubernetes.io/exclude-from-external-load-balancers": ""}
    excluded = msgspec.structs.replace(cluster, nodes=(node(1, **label), *cluster.nodes[1:]))
    plan, _ = build_plan(config, "n1", excluded)
    assert plan is not None
    assert plan.services == ()
