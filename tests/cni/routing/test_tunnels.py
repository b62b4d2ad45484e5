"""What is to be done about a node's own addresses in pools: a table; and that it is done."""

from collections.abc import Collection
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from cni.routing.tunnels import TunnelPlan, carry_out, choose_tunnel, plan_tunnels
from ipam.datastore import open_datastore
from ipam.model import Mode, Pool
from ipam.pool_record import put_pool
from ipam.watch import Tunnel


def pool(name: str, mode: Mode, cidr: str = "10.0.0.0/24", **fields: object) -> Pool:
    network = ip_network(cidr)
    return Pool(name, network, 26 if network.version == 4 else 122, mode=mode, **fields)  # type: ignore[arg-type]


A, B, SIX = pool("a", "vxlan"), pool("b", "cross-subnet"), pool("six", "vxlan", "fd00::/64")
PLAIN = pool("b", "direct")
IN_A, IN_B, IN_SIX = (
    Tunnel("n1", name, ip_address(address))
    for name, address in (("a", "10.0.0.1"), ("b", "10.0.0.2"), ("six", "fd00::1"))
)


@pytest.mark.parametrize(
    ("pools", "held", "usable", "linked", "expected"),
    [
        pytest.param([], [], {4}, {}, TunnelPlan(), id="no pools"),
        pytest.param([PLAIN], [], {4}, {}, TunnelPlan(), id="none that is tunnelled"),
        pytest.param([A], [], {4}, {}, TunnelPlan(assign=((A,),)), id="one"),
        pytest.param([B, A], [], {4}, {}, TunnelPlan(assign=((A, B),)), id="two: the first that has room"),
        pytest.param([A, SIX], [], {4, 6}, {}, TunnelPlan(assign=((A,), (SIX,))), id="both families"),
        pytest.param([A, SIX], [], {4}, {}, TunnelPlan(assign=((A,),)), id="a node without IPv6"),
        pytest.param([A], [IN_A], {4}, {4}, TunnelPlan(), id="it has it"),
        pytest.param([A, B], [IN_B], {4}, {4}, TunnelPlan(), id="of either pool"),
        pytest.param([A, B], [IN_A, IN_B], {4}, {4}, TunnelPlan(release=("b",)), id="of both"),
        pytest.param([A], [IN_A], {}, {4}, TunnelPlan(), id="nobody can send to it for now"),
        pytest.param([PLAIN], [IN_B], {4}, {4}, TunnelPlan(), id="not needed, but the link is there"),
        pytest.param([PLAIN], [IN_B], {4}, {}, TunnelPlan(release=("b",)), id="not needed"),
        pytest.param([], [IN_SIX], {4, 6}, {4}, TunnelPlan(release=("six",)), id="its pool is gone"),
        pytest.param(
            [A, PLAIN], [IN_B], {4}, {4}, TunnelPlan(assign=((A,),)), id="another pool is tunnelled now"
        ),
        pytest.param(
            [A, PLAIN], [IN_A, IN_B], {4}, {4}, TunnelPlan(release=("b",)), id="and gave its address"
        ),
    ],
)
def test_plan(
    pools: list[Pool],
    held: list[Tunnel],
    usable: Collection[int],
    linked: Collection[int],
    expected: TunnelPlan,
) -> None:
    assert plan_tunnels(pools, held, usable, linked) == expected


@pytest.mark.parametrize(
    ("pools", "held", "expected"),
    [
        pytest.param([A], [], None, id="none"),
        pytest.param([A, B], [IN_B, IN_A], IN_A.address, id="the first by name"),
        pytest.param([A, PLAIN], [IN_B], IN_B.address, id="of a pool that is tunnelled no more"),
        pytest.param([pool("a", "direct"), B], [IN_A, IN_B], IN_B.address, id="rather of one that is"),
    ],
)
def test_choose(pools: list[Pool], held: list[Tunnel], expected: object) -> None:
    assert choose_tunnel(pools, held) == expected


def test_carry_out(tmp_path: Path) -> None:
    """Given once, by the first pool that has one for this node, and given back."""
    url = f"sqlite://{tmp_path}/ipam.sqlite"
    others = pool("a", "vxlan", "10.0.0.0/24", node_selector="rack == 'b'")
    mine = pool("b", "vxlan", "10.0.1.0/24")
    with open_datastore(url) as datastore:
        for each in (others, mine):
            datastore.transact(lambda ledger, each=each: put_pool(ledger, each))  # type: ignore[misc]
    plan = TunnelPlan(assign=((others, mine),))

    assert carry_out(url, "n1", {"rack": "a"}, plan) == ()
    assert held(url) == {("n1", "b")}
    assert carry_out(url, "n1", {"rack": "a"}, plan) == ()
    assert held(url) == {("n1", "b")}

    (problem,) = carry_out(url, "n1", {"rack": "a"}, TunnelPlan(assign=((others,),)))
    assert "a" in problem

    assert carry_out(url, "n1", {}, TunnelPlan(release=("b",))) == ()
    assert held(url) == set()


def held(url: str) -> set[tuple[str, str]]:
    with open_datastore(url) as datastore:
        found = datastore.read(lambda ledger: ledger.allocations())
    return {(item.node, item.pool) for item in found if item.use == "tunnel"}
