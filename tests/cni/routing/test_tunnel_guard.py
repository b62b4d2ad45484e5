"""The table of who may send into the tunnels: on the strict fake, and in the kernel."""

from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import msgspec
import pytest

from cni.routing.guard_rules import NAME, build_elements, build_table, nodes_of
from cni.routing.tunnel_guard import Guard, TunnelGuard
from ipam.model import Pool
from nodeplane.datapath import netns
from nodeplane.datapath.nft.fake import FakeTable
from nodeplane.datapath.nft.kernel import KernelTable, TableEdge
from nodeplane.datapath.nft.table import ElementChange
from tests.netns_fixture import namespace, run_in

POOL = Pool("default", ip_network("10.244.0.0/16"), 26, mode="vxlan")
POOL_6 = Pool("six", ip_network("fd00:10:244::/64"), 122, mode="vxlan")
N2, N3, N2_6 = map(ip_address, ("192.0.2.2", "192.0.2.3", "2001:db8::2"))
GUARD = Guard(4789, 4096, frozenset({N2, N2_6}), (POOL, POOL_6))
TABLE = build_table(4789, 4096)


@pytest.fixture(params=["fake", pytest.param("kernel", marks=pytest.mark.netns)])
def edge(request: pytest.FixtureRequest) -> Iterator[TableEdge]:
    if request.param == "fake":
        yield FakeTable()
        return
    with namespace("guard") as path:
        with netns.inside(path):
            table = KernelTable("inet", NAME)
        with table:
            yield table


def holds(edge: TableEdge, guard: Guard | None) -> bool:
    """Say whether the table is what a guard asks for, to the last element."""
    table = TABLE if guard is None else build_table(guard.port, guard.vni)
    state = edge.read(table)
    if state is None or guard is None:
        return state is None and guard is None
    elements = {name: dict(part) for name, part in build_elements(guard.nodes, guard.pools).items()}
    return state.holds(table) and state.elements == elements


def lose_rules(edge: TableEdge) -> None:
    edge.replace(msgspec.structs.replace(TABLE, rules=TABLE.rules[:1]), {})


def lose_elements(edge: TableEdge) -> None:
    edge.update(TABLE, {nodes_of("ip"): ElementChange(remove=[N2.packed], add={N3.packed: b""})})


DAMAGES: list[Callable[[TableEdge], object]] = [TableEdge.delete, lose_rules, lose_elements]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: str(damage.__name__))
def test_damage_is_repaired(edge: TableEdge, damage: Callable[[TableEdge], object]) -> None:
    guard = TunnelGuard(edge)
    assert guard.sync(GUARD)
    assert not guard.sync(GUARD)
    edge.delete() if damage is TableEdge.delete else damage(edge)

    assert guard.sync(GUARD)

    assert holds(edge, GUARD)


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param(msgspec.structs.replace(GUARD, nodes=frozenset({N3, N2_6})), id="another node"),
        pytest.param(msgspec.structs.replace(GUARD, nodes=frozenset()), id="no nodes"),
        pytest.param(msgspec.structs.replace(GUARD, pools=(POOL,)), id="one pool less"),
        pytest.param(msgspec.structs.replace(GUARD, port=8472), id="another port"),
        pytest.param(msgspec.structs.replace(GUARD, vni=7), id="another network"),
        pytest.param(GUARD, id="the same"),
    ],
)
def test_a_change_is_written_by_itself(edge: TableEdge, wanted: Guard) -> None:
    guard = TunnelGuard(edge)
    guard.sync(GUARD)

    assert guard.change(wanted) is (wanted != GUARD)
    assert holds(edge, wanted)
    assert not guard.change(wanted)
    # Somebody was there in between.
    edge.delete()
    assert guard.change(msgspec.structs.replace(wanted, nodes=frozenset({N2})))
    assert holds(edge, msgspec.structs.replace(wanted, nodes=frozenset({N2})))


def test_it_goes_when_nobody_needs_it(edge: TableEdge) -> None:
    guard = TunnelGuard(edge)
    guard.sync(GUARD)

    assert guard.sync(None)
    assert holds(edge, None)
    assert not guard.sync(None)


@pytest.mark.netns
def test_nft_can_list_it(tmp_path: Path) -> None:
    """And takes its own list for the same table."""
    with namespace("guard") as path:
        with netns.inside(path):
            table = KernelTable("inet", NAME)
        with table:
            TunnelGuard(table).sync(GUARD)
            listed = run_in(path, "nft", "list", "ruleset").stdout
            assert "4789" in listed
            assert "10.244.0.0/16" in listed
            file = tmp_path / "listed"
            file.write_text(listed)
            done = run_in(path, "nft", "-c", "-f", str(file))
            assert (done.returncode, done.stderr) == (0, "")
