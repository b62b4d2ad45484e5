"""The contract of a table edge, held by the kernel and by the fake alike."""

import json
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodeplane.datapath import netns
from nodeplane.datapath.nft import expr
from nodeplane.datapath.nft.fake import FakeTable
from nodeplane.datapath.nft.kernel import KernelTable, TableEdge
from nodeplane.datapath.nft.table import Chain, ElementChange, Hook, Map, Rule, Table
from nodeplane.errors import KernelExistsError, KernelNotFoundError
from tests.netns_fixture import namespace, run_in

A, B, C = (struct.pack("=I", number) for number in (1, 2, 3))

TABLE = Table(
    family="ip",
    name="contract",
    comment="contract test",
    chains=(
        Chain("first", "a base chain", Hook("filter", 3, 0)),
        Chain("second", "another"),
    ),
    maps=(
        Map("numbers", "a data map", ("mark",), ("mark",)),
        Map("ports", "data of an odd length", ("mark", "mark"), ("inet_service",)),
        Map("members", "a set", ("mark",)),
        Map("verdicts", "a verdict map", ("mark",), "verdict"),
    ),
    rules=(
        Rule("first", expr.verdict("jump", "second"), "into the second"),
        Rule("first", expr.load_meta("priority", 0) + expr.look_up_verdict("verdicts", 0)),
        Rule("second", expr.load_meta("priority", 0) + expr.in_set("members", 0) + expr.verdict("accept")),
    ),
    fixed={"verdicts": {A: expr.verdict_data("goto", "second"), B: expr.verdict_data("drop")}},
)
EMPTY: dict[str, dict[bytes, bytes]] = {"numbers": {}, "ports": {}, "members": {}}
CONTENT = {"numbers": {A: B, B: C}, "ports": {A + B: b"\x1f\x90"}, "members": {C: b""}}


@pytest.fixture(params=["fake", pytest.param("kernel", marks=pytest.mark.netns)])
def edge(request: pytest.FixtureRequest) -> Iterator[TableEdge]:
    if request.param == "fake":
        yield FakeTable()
        return
    with namespace() as ns, netns.inside(ns), KernelTable("ip", TABLE.name) as table:
        yield table


def content(edge: TableEdge) -> dict[str, dict[bytes, bytes]]:
    state = edge.read(TABLE)
    assert state is not None
    assert state.holds(TABLE)
    return {name: elements for name, elements in state.elements.items() if name not in TABLE.fixed}


def test_replace_is_read_back_whole(edge: TableEdge) -> None:
    """A table that was written is the table that is read."""
    assert edge.read(TABLE) is None

    edge.replace(TABLE, CONTENT)

    assert content(edge) == CONTENT


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, CONTENT, id="nothing"),
        pytest.param(
            {"numbers": ElementChange(add={C: A})},
            CONTENT | {"numbers": {A: B, B: C, C: A}},
            id="add",
        ),
        pytest.param({"numbers": ElementChange(remove=[A])}, CONTENT | {"numbers": {B: C}}, id="remove"),
        pytest.param(
            {"numbers": ElementChange(remove=[A], add={A: C})},
            CONTENT | {"numbers": {A: C, B: C}},
            id="change data",
        ),
        pytest.param(
            {"ports": ElementChange(remove=[A + B]), "members": ElementChange(remove=[C], add={A: b""})},
            CONTENT | {"ports": {}, "members": {A: b""}},
            id="several maps",
        ),
        pytest.param(
            {"numbers": ElementChange(add={struct.pack("=I", 100 + n): A for n in range(5000)})},
            CONTENT | {"numbers": {A: B, B: C} | {struct.pack("=I", 100 + n): A for n in range(5000)}},
            id="more than one list holds",
        ),
    ],
)
def test_update(
    edge: TableEdge, changes: dict[str, ElementChange], expected: dict[str, dict[bytes, bytes]]
) -> None:
    """An update changes the elements that it names and no others."""
    edge.replace(TABLE, CONTENT)

    edge.update(TABLE, changes)

    assert content(edge) == expected


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        pytest.param(
            {"numbers": ElementChange(remove=[C])}, KernelNotFoundError, id="remove what is not there"
        ),
        pytest.param({"numbers": ElementChange(add={A: C})}, KernelExistsError, id="add what is there"),
        pytest.param(
            {"members": ElementChange(remove=[C]), "numbers": ElementChange(add={C: A, A: C})},
            KernelExistsError,
            id="right and wrong together",
        ),
    ],
)
def test_refused_update_changes_nothing(
    edge: TableEdge, changes: dict[str, ElementChange], error: type[Exception]
) -> None:
    """A transaction is applied whole or not at all, and the edge works on after a refusal."""
    edge.replace(TABLE, CONTENT)

    with pytest.raises(error):
        edge.update(TABLE, changes)

    assert content(edge) == CONTENT
    edge.update(TABLE, {"members": ElementChange(remove=[C])})
    assert content(edge) == CONTENT | {"members": {}}


def test_update_without_table(edge: TableEdge) -> None:
    """Elements need a table."""
    with pytest.raises(KernelNotFoundError):
        edge.update(TABLE, {"numbers": ElementChange(add={A: B})})


def test_delete(edge: TableEdge) -> None:
    """Deleting says whether there was something to delete."""
    edge.replace(TABLE, CONTENT)

    assert edge.delete()
    assert edge.read(TABLE) is None
    assert not edge.delete()


def test_generation_counts_commits(edge: TableEdge) -> None:
    """Each transaction is one generation; reading and an empty update are none."""
    edge.replace(TABLE, EMPTY)
    start = edge.generation()

    edge.update(TABLE, {"numbers": ElementChange(add={A: B})})
    edge.update(TABLE, {})
    edge.read(TABLE)
    edge.replace(TABLE, CONTENT)

    assert edge.generation() == start + 2


FOREIGN_WRITES = [
    pytest.param("add chain ip contract third", id="chain added"),
    pytest.param("add set ip contract extra { type mark ; }", id="set added"),
    pytest.param("flush chain ip contract second", id="rules flushed"),
    pytest.param("add rule ip contract second accept", id="rule added"),
    pytest.param("insert rule ip contract first accept", id="rule inserted"),
    pytest.param("delete element ip contract verdicts { 0x2 }", id="fixed element deleted"),
    pytest.param("add element ip contract numbers { * : 0x1 }", id="catch-all added"),
    pytest.param(
        "add set ip contract extra { type mark ; elements = { * } ; }", id="set with catch-all added"
    ),
    pytest.param(
        "add chain ip contract first { type filter hook output priority 0; policy drop; }",
        id="policy changed",
    ),
    pytest.param("add table ip contract { flags dormant; }", id="made dormant"),
    pytest.param("add counter ip contract extra", id="counter added"),
    pytest.param("rename chain ip contract second third", id="chain renamed"),
]


@pytest.mark.netns
@pytest.mark.parametrize("command", FOREIGN_WRITES)
def test_foreign_write_is_seen(command: str) -> None:
    """Whatever somebody does to the constant part, it no longer counts as ours."""
    with namespace() as ns, netns.inside(ns), KernelTable("ip", TABLE.name) as edge:
        edge.replace(TABLE, CONTENT)
        before = edge.generation()
        subprocess.run(["nft", command], check=True, capture_output=True)
        state = edge.read(TABLE)

        assert state is not None
        assert not state.holds(TABLE)
        assert edge.generation() == before + 1

        edge.replace(TABLE, CONTENT)
        assert content(edge) == CONTENT


@pytest.mark.netns
def test_nft_prints_it() -> None:
    """A table that crashes the administrator's nft is a defect."""
    with namespace() as ns:
        with netns.inside(ns), KernelTable("ip", TABLE.name) as edge:
            edge.replace(TABLE, CONTENT)
        text = run_in(ns, "nft", "list", "ruleset")
        data = run_in(ns, "nft", "-j", "list", "ruleset")

    assert (text.returncode, text.stderr) == (0, "")
    assert TABLE.signature in text.stdout
    assert "into the second" in text.stdout
    assert (data.returncode, data.stderr) == (0, "")
    chains = [entry["chain"]["name"] for entry in json.loads(data.stdout)["nftables"] if "chain" in entry]
    assert chains == ["first", "second"]


@pytest.mark.netns
def test_other_tables_stay(tmp_path: Path) -> None:
    """We touch nothing but our own table (law 3)."""
    foreign = tmp_path / "foreign.nft"
    foreign.write_text(
        "table ip other { chain c { type filter hook input priority 0; tcp dport 1 accept; }; }\n"
    )
    with namespace() as ns:
        run_in(ns, "nft", "-f", str(foreign))
        before = run_in(ns, "nft", "list", "table", "ip", "other").stdout
        with netns.inside(ns), KernelTable("ip", TABLE.name) as edge:
            edge.replace(TABLE, CONTENT)
            edge.update(TABLE, {"members": ElementChange(remove=[C])})
            edge.delete()
        after = run_in(ns, "nft", "list", "ruleset").stdout

    assert "tcp dport 1 accept" in before
    assert after == before
