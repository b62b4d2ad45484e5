"""Our table and how elements get into it: over the kernel and over the fake."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from msgspec.structs import replace

from cni.features.feature import all_elements
from cni.features.node_table import NAME, NODE_TABLE, WRITER, NodeTable, mend, open_node_table
from nodeplane.datapath import netns
from nodeplane.datapath.nft.fake import FakeTable
from nodeplane.datapath.nft.kernel import KernelTable, TableEdge
from nodeplane.datapath.nft.table import Elements
from tests.netns_fixture import namespace, run_in

PORTS, PODS, POOLS = "host-ports-any-ip", "host-port-pods-ip", "pools-ip"
ONE, TWO = b"\x06\0\0\0\0\x50\0\0", b"\x11\0\0\0\0\x50\0\0"
POD, OTHER = b"\x0a\0\0\1\x1f\x90\0\0", b"\x0a\0\0\2\x1f\x90\0\0"


@pytest.fixture(params=["fake", pytest.param("kernel", marks=pytest.mark.netns)])
def edge(request: pytest.FixtureRequest) -> Iterator[TableEdge]:
    if request.param == "fake":
        yield FakeTable()
        return
    with namespace() as ns, netns.inside(ns), KernelTable("inet", NAME) as table:
        yield table


def content(edge: TableEdge) -> dict[str, dict[bytes, bytes]]:
    state = edge.read(NODE_TABLE)
    assert state is not None
    assert state.holds(NODE_TABLE)
    return {name: part for name, part in state.elements.items() if part}


def nothing() -> Elements:
    return {}


def test_put_and_drop_are_repeatable(edge: TableEdge) -> None:
    table = NodeTable(edge, nothing)
    for _ in range(2):
        table.put({PORTS: {ONE: POD}, PODS: {POD[:4] * 2: b""}})
        assert content(edge) == {PORTS: {ONE: POD}, PODS: {POD[:4] * 2: b""}}
    table.put({PORTS: {ONE: OTHER, TWO: POD}})
    assert content(edge)[PORTS] == {ONE: OTHER, TWO: POD}
    for _ in range(2):
        # What has got other data is somebody else's.
        table.drop({PORTS: {ONE: POD, TWO: POD}})
        assert content(edge)[PORTS] == {ONE: OTHER}


def test_a_new_table_has_what_features_know(edge: TableEdge) -> None:
    NodeTable(edge, lambda: {PORTS: {ONE: POD}}).put({PORTS: {TWO: OTHER}})

    assert content(edge) == {PORTS: {ONE: POD, TWO: OTHER}}


def test_drop_without_a_table(edge: TableEdge) -> None:
    NodeTable(edge, nothing).drop({PORTS: {ONE: POD}})

    assert edge.read(NODE_TABLE) is None


def test_ranges(edge: TableEdge) -> None:
    table = NodeTable(edge, nothing)
    first, second, both = b"\x0a\0\0\0\x0a\0\0\x7f", b"\x0a\0\0\x40\x0a\0\0\xff", b"\x0a\0\0\0\x0a\0\0\xff"
    table.widen(POOLS, [first])
    assert table.find({POOLS: {first: b"", second: b""}}) == {POOLS: {first: b""}}

    table.widen(POOLS, [second])

    assert content(edge) == {POOLS: {both: b""}}


def test_a_table_of_another_version_is_replaced(edge: TableEdge) -> None:
    """What its features know is there at once."""
    edge.create(replace(NODE_TABLE, maps=NODE_TABLE.maps[:2], rules=(), chains=()), {})

    NodeTable(edge, lambda: {PODS: {POD[:4] * 2: b""}}).put({PORTS: {ONE: POD}})

    assert content(edge) == {PORTS: {ONE: POD}, PODS: {POD[:4] * 2: b""}}


@pytest.mark.parametrize(
    ("swept", "expected"), [((), {ONE: POD, TWO: OTHER}), ((PORTS,), {ONE: POD})], ids=["kept", "swept"]
)
def test_mend(edge: TableEdge, swept: tuple[str, ...], expected: dict[bytes, bytes]) -> None:
    edge.create(NODE_TABLE, {PORTS: {TWO: OTHER}})

    mend(edge, {PORTS: {ONE: POD}}, swept)

    assert content(edge) == {PORTS: expected}


@pytest.mark.netns
@pytest.mark.parametrize(
    "damage",
    [
        "delete table inet nodeplane-cni",
        "flush chain inet nodeplane-cni host-ports",
        "delete map inet nodeplane-cni masqueraded-ip6",
        "add chain inet nodeplane-cni strange; add rule inet nodeplane-cni host-ports jump strange",
        "add table inet nodeplane-cni { flags dormant; }",
        "insert rule inet nodeplane-cni pods-out drop",
        "delete table inet nodeplane-cni; add table inet nodeplane-cni; add map inet nodeplane-cni "
        "host-ports-ip { type mark : mark; }",
    ],
)
def test_mend_after_damage(damage: str) -> None:
    """What was there and right stays, whatever else was done; other tables are left alone."""
    with namespace() as ns, netns.inside(ns), KernelTable("inet", NAME) as edge:
        edge.create(NODE_TABLE, {PORTS: {ONE: POD}})
        others = "add table ip others; add chain ip others a { type filter hook input priority 0; }"
        assert run_in(ns, "nft", others).returncode == 0
        # A set that a rule uses can't be deleted before the rule.
        run_in(ns, "nft", "flush chain inet nodeplane-cni pods-out" if "delete map" in damage else "")
        done = run_in(ns, "nft", damage)
        assert done.returncode == 0, done.stderr

        assert mend(edge, {PORTS: {ONE: POD}}, ())

        assert content(edge) == {PORTS: {ONE: POD}}
        assert not mend(edge, {PORTS: {ONE: POD}}, ())
        assert run_in(ns, "nft", "list", "table", "ip", "others").returncode == 0


@pytest.mark.netns
def test_many_make_it_at_once(tmp_path: Path) -> None:
    """Each of them, and nobody's element is lost, nor a rule there twice."""
    with namespace() as ns:

        def put(number: int) -> None:
            with netns.inside(ns), open_node_table(tmp_path) as table:
                table.put({PORTS: {bytes((6, 0, 0, 0, 0, number, 0, 0)): POD}})
                assert Path("/proc/thread-self/comm").read_text().strip() == WRITER

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(put, range(1, 41)))

        with netns.inside(ns), KernelTable("inet", NAME) as edge:
            assert len(content(edge)[PORTS]) == 40


def test_nothing_is_known_where_nothing_was_remembered(tmp_path: Path) -> None:
    assert not any(all_elements(tmp_path).values())
    assert os.listdir(tmp_path) == []


@pytest.mark.netns
@pytest.mark.parametrize("step", [pytest.param("put", id="put"), pytest.param("drop", id="drop")])
def test_flat_cost(step: str, tmp_path: Path) -> None:
    """The messages for one pod are as many with 500 others there as with none."""
    costs = []
    for others in (0, 500):
        with namespace() as ns, netns.inside(ns), open_node_table(tmp_path) as table:
            table.put(
                {PORTS: {bytes((6, 0, 0, 0, *divmod(n, 256), 0, 0)): POD for n in range(1000, 1000 + others)}}
            )
            table.put({PORTS: {}})
            sent = count_messages(table)
            do: Callable[[Elements], None] = table.put if step == "put" else table.drop
            do({PORTS: {ONE: POD}})
            costs.append(len(sent))
    assert costs[0] == costs[1]


def count_messages(table: NodeTable) -> list[int]:
    """Return a list that gets the length of each message from now on."""
    sent: list[int] = []
    assert isinstance(table._edge, KernelTable)
    inside = table._edge._socket._socket
    really = inside._send

    def send(operation: str, data: bytes) -> None:
        sent.append(len(data))
        really(operation, data)

    inside._send = send  # type: ignore[method-assign]
    return sent
