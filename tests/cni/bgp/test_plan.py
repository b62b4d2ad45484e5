"""What a node's bird is to do, as a value."""

from ipaddress import IPv4Address, ip_network
from typing import Any

import msgspec
import pytest

from cni.bgp.config import BgpConfig, Peer, Reflectors, ServiceRanges
from cni.bgp.plan import Cluster, Plan, build_plan
from ipam.model import Pool
from tests.cni.bgp.stand import POOLS
from tests.cni.bgp.test_render import node

CONFIG = BgpConfig(as_number=64512, services=ServiceRanges(cluster_ips=(ip_network("10.96.0.0/12"),)))
CLUSTER = Cluster(nodes=(node(1), node(2)), pools=POOLS)
SERVICES = (ip_network("10.96.0.0/12"),)


def plan(config: BgpConfig, cluster: Cluster) -> Plan:
    built, wrong = build_plan(config, "n1", cluster)
    assert built is not None
    assert wrong == []
    return built


@pytest.mark.parametrize(
    ("cluster", "field", "expected"),
    [
        pytest.param({}, "pools", tuple((pool.network, pool.block_size) for pool in POOLS), id="pools"),
        pytest.param(
            {"pools": (*POOLS, Pool("d", ip_network("10.9.0.0/16"), 26))},
            "pools",
            tuple((pool.network, pool.block_size) for pool in POOLS),
            id="pools of other modes are none of bird's",
        ),
        pytest.param(
            {
                "announced": frozenset(
                    map(ip_network, ("10.244.1.0/26", "10.244.2.9/32", "fd00:10:244::9/128"))
                )
            },
            "borrowed",
            tuple(map(ip_network, ("10.244.2.9/32", "fd00:10:244::9/128"))),
            id="borrowed addresses, and no blocks",
        ),
        pytest.param({}, "services", SERVICES, id="services' networks"),
        pytest.param(
            {"local_services": frozenset({ip_network("10.96.0.7/32")})},
            "services",
            (*SERVICES, ip_network("10.96.0.7/32")),
            id="and those that are here",
        ),
        pytest.param({"router_id": IPv4Address("1.2.3.4")}, "ranges", SERVICES, id="what is never installed"),
    ],
)
def test_a_field(cluster: dict[str, Any], field: str, expected: object) -> None:
    assert getattr(plan(CONFIG, msgspec.structs.replace(CLUSTER, **cluster)), field) == expected


@pytest.mark.parametrize(
    ("config", "reflects"),
    [
        pytest.param({}, False, id="a mesh"),
        pytest.param(
            {"mesh": False, "route_reflectors": (Reflectors("all()", IPv4Address("244.0.0.1")),)},
            True,
            id="a reflector",
        ),
        pytest.param(
            {"peers": (Peer(name="x", address=IPv4Address("10.0.0.9"), as_number=1, announce="cluster"),)},
            True,
            id="for a reflector outside",
        ),
    ],
)
def test_who_passes_others_routes_on(config: dict[str, Any], reflects: bool) -> None:
    assert plan(msgspec.structs.replace(CONFIG, **config), CLUSTER).reflects is reflects


def test_the_router_id_of_now() -> None:
    current = IPv4Address("10.0.0.77")
    assert plan(CONFIG, CLUSTER).own.router_id == IPv4Address("10.0.0.1")
    assert plan(CONFIG, msgspec.structs.replace(CLUSTER, router_id=current)).own.router_id == current


def test_two_nodes_at_one_address() -> None:
    """One session, and a word of it."""
    cluster = msgspec.structs.replace(CLUSTER, nodes=(node(1), node(2), node(3, "10.0.0.2", "fd00::3")))
    built, wrong = build_plan(CONFIG, "n1", cluster)
    assert built is not None
    assert [(item.name, str(item.address)) for item in built.neighbors] == [
        ("n2", "10.0.0.2"),
        ("n2", "fd00::2"),
        ("n3", "fd00::3"),
    ]
    assert wrong == ["Node n3: InternalIP 10.0.0.2: Node n2 has it too"]
