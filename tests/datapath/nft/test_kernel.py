"""The contract of a table edge, held by the kernel and by the fake alike."""

import json
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodeplane.datapath import netns
from nodeplane.datapath.nft import expr
from nodeplane.datapath.nft.fake import FakeTable
from nodeplane.datapath.nft.kernel import KernelTable, TableEdge
from nodeplane.datapath.nft.table import (
    Chain,
    ElementChange,
    ElementUse,
    Hook,
    Map,
    Rule,
    Table,
    build_state,
)
from nodeplane.errors import KernelError, KernelExistsError, KernelNotFoundError
from tests.netns_fixture import namespace, run_in

A, B, C = (struct.pack("=I", number) for number in (1, 2, 3))

TABLE = Table(
    family="ip",
    name="contract",
    comment="contract test",
    chains=(
        Chain("first", "a base chain", Hook("filter", 3, 0)),
        Chain("second", "another"),
        Chain("counting", "counts what goes to loopback addresses", Hook("filter", 3, 1)),
    ),
    maps=(
        Map("numbers", "a data map", ("mark",), ("mark",)),
        Map("ports", "data of an odd length", ("mark", "mark"), ("inet_service",)),
        Map("members", "a set", ("mark",)),
        Map("verdicts", "a verdict map", ("mark",), "verdict"),
        Map("visits", "a map that counts", ("ipv4_addr",), ("mark",), counted=True),
        Map("ranges", "a set of ranges", ("mark", "ipv4_addr"), ranges=True),
        Map("clients", "a map that forgets", ("ipv4_addr", "mark"), ("mark",), remembers=100),
    ),
    rules=(
        Rule("first", expr.verdict("jump", "second"), "into the second"),
        Rule("first", expr.load_meta("priority", 0) + expr.look_up_verdict("verdicts", 0)),
        Rule("second", expr.load_meta("priority", 0) + expr.in_set("members", 0) + expr.verdict("accept")),
        Rule(
            "counting",
            expr.load_address("ip", "daddr", 0) + expr.look_up("visits", 0, 8) + expr.set_meta("mark", 8),
        ),
        Rule(
            "counting",
            expr.load_address("ip", "daddr", 0)
            + expr.load_constant(A, 1)
            + expr.load_constant(B, 8)
            + expr.change_element("update", "clients", 0, 8, timeout_s=100),
        ),
        Rule(
            "second",
            expr.load_meta("priority", 0)
            + expr.load_address("ip", "saddr", 1)
            + expr.not_in_set("ranges", 0)
            + expr.verdict("accept"),
        ),
    ),
    fixed={"verdicts": {A: expr.verdict_data("goto", "second"), B: expr.verdict_data("drop")}},
)
LOOPBACK, OTHER = bytes((127, 0, 0, 1)), bytes((127, 0, 0, 2))


def address_range(mark: bytes, first: int, last: int) -> bytes:
    """Encode a range of the `ranges` set: one mark, the addresses 10.0.0.first to 10.0.0.last."""
    return mark + bytes((10, 0, 0, first)) + mark + bytes((10, 0, 0, last))


EMPTY: dict[str, dict[bytes, bytes]] = {"numbers": {}, "ports": {}, "members": {}, "visits": {}, "ranges": {}}
CONTENT = {
    "numbers": {A: B, B: C},
    "ports": {A + B: b"\x1f\x90"},
    "members": {C: b""},
    "visits": {LOOPBACK: A, OTHER: B},
    "ranges": {address_range(A, 1, 9): b"", address_range(B, 1, 9): b"", address_range(A, 10, 10): b""},
}


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
            {"visits": ElementChange(remove=[LOOPBACK], add={LOOPBACK: C})},
            CONTENT | {"visits": {LOOPBACK: C, OTHER: B}},
            id="change data of an element that counts",
        ),
        pytest.param(
            {"visits": ElementChange(remove=[LOOPBACK, OTHER], add={bytes(4): C, OTHER: A})},
            CONTENT | {"visits": {bytes(4): C, OTHER: A}},
            id="new and changed elements that count",
        ),
        pytest.param(
            {"ranges": ElementChange(remove=[address_range(A, 1, 9)], add={address_range(A, 3, 9): b""})},
            CONTENT
            | {
                "ranges": dict.fromkeys(
                    (address_range(A, 3, 9), address_range(B, 1, 9), address_range(A, 10, 10)), b""
                )
            },
            id="a range shrinks",
        ),
        pytest.param(
            {
                "ranges": ElementChange(
                    remove=[address_range(A, 1, 9), address_range(A, 10, 10)],
                    add={address_range(A, 0, 255): b""},
                )
            },
            CONTENT | {"ranges": dict.fromkeys((address_range(A, 0, 255), address_range(B, 1, 9)), b"")},
            id="ranges grow together",
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
            {"visits": ElementChange(remove=[LOOPBACK], add={LOOPBACK: C, OTHER: C})},
            KernelExistsError,
            id="add what counts already",
        ),
        pytest.param(
            {"ranges": ElementChange(add={address_range(A, 1, 9): b""})}, KernelExistsError, id="range twice"
        ),
        pytest.param(
            {"ranges": ElementChange(add={address_range(A, 9, 9): b""})}, KernelError, id="ranges overlap"
        ),
        pytest.param(
            {"ranges": ElementChange(remove=[address_range(A, 11, 12)])},
            KernelNotFoundError,
            id="remove a range that is not there",
        ),
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


def test_overlapping_ranges_are_refused_whole(edge: TableEdge) -> None:
    """The kernel takes no ranges that overlap, not even within one batch."""
    with pytest.raises(KernelError):
        edge.replace(TABLE, CONTENT | {"ranges": {address_range(A, 1, 9): b"", address_range(A, 2, 3): b""}})

    assert edge.read(TABLE) is None


def test_uses(edge: TableEdge) -> None:
    """All elements of a map are told, new ones with nothing counted; no such map is an error."""
    with pytest.raises(KernelNotFoundError):
        edge.read_uses("visits")
    edge.replace(TABLE, CONTENT)
    edge.update(TABLE, {"visits": ElementChange(remove=[LOOPBACK], add={LOOPBACK: C})})

    assert sorted(edge.read_uses("visits"), key=lambda use: use.key) == [
        ElementUse(LOOPBACK, C),
        ElementUse(OTHER, B),
    ]
    assert edge.read_uses("clients") == []
    with pytest.raises(KernelNotFoundError):
        edge.read_uses("nothing")


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
    pytest.param("add map ip contract extra { type mark : verdict ; }", id="map added"),
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
    assert data.returncode == 0
    # nft 1.0.6 puts `update @map { … }` into its JSON as text, and says so.
    assert set(data.stderr.splitlines()) <= {"warning: stmt ops map have no json callback"}
    chains = [entry["chain"]["name"] for entry in json.loads(data.stdout)["nftables"] if "chain" in entry]
    assert chains == ["first", "second", "counting"]


def send(address: str, number: int) -> None:
    """Send datagrams to an address of this namespace's loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(number):
            sender.sendto(b"", (address, 9))


@pytest.mark.netns
def test_counters_go_on() -> None:
    """What takes the place of an element goes on counting, a new element and a new table begin at nothing."""

    def packets(edge: TableEdge) -> dict[bytes, int]:
        return {use.key: use.packets for use in edge.read_uses("visits")}

    with namespace() as ns, netns.inside(ns), KernelTable("ip", TABLE.name) as edge:
        edge.replace(TABLE, CONTENT | {"members": {}, "ranges": {}})
        send("127.0.0.1", 3)
        send("127.0.0.2", 1)
        # The refusals that come back are packets to 127.0.0.1 too.
        before = packets(edge)
        assert before[LOOPBACK] >= 3
        assert before[OTHER] == 1
        edge.update(
            TABLE, {"visits": ElementChange(remove=[LOOPBACK, OTHER], add={LOOPBACK: C, bytes(4): C})}
        )
        assert packets(edge) == {LOOPBACK: before[LOOPBACK], bytes(4): 0}
        edge.update(TABLE, {"visits": ElementChange(add={OTHER: C})})
        send("127.0.0.2", 2)
        after = packets(edge)
        assert (after[OTHER], after[bytes(4)]) == (2, 0)
        assert after[LOOPBACK] >= before[LOOPBACK]
        state = edge.read(TABLE)
        assert state is not None
        assert state.elements["visits"] == {LOOPBACK: C, OTHER: C, bytes(4): C}

        edge.replace(TABLE, CONTENT)
        assert packets(edge) == {LOOPBACK: 0, OTHER: 0}


@pytest.mark.netns
def test_what_rules_remember() -> None:
    """What rules write is read for its uses only: no part of the state, and a new table forgets it."""
    with namespace() as ns, netns.inside(ns), KernelTable("ip", TABLE.name) as edge:
        edge.replace(TABLE, EMPTY)
        send("127.0.0.2", 1)
        state = edge.read(TABLE)
        uses = {use.key: use for use in edge.read_uses("clients")}
        assert state is not None
        assert state.elements == build_state(TABLE, EMPTY).elements
        assert uses[OTHER + A].data == B
        assert 0 < uses[OTHER + A].expires_s <= 100

        edge.replace(TABLE, EMPTY)
        assert edge.read_uses("clients") == []


@pytest.mark.netns
@pytest.mark.parametrize("elements", [pytest.param(EMPTY, id="empty"), pytest.param(CONTENT, id="full")])
def test_state_is_what_was_written(elements: dict[str, dict[bytes, bytes]]) -> None:
    """The kernel dumps rules, maps and elements byte for byte as they were written."""
    with namespace() as ns, netns.inside(ns), KernelTable("ip", TABLE.name) as edge:
        edge.replace(TABLE, elements)
        state = edge.read(TABLE)

        assert state is not None
        assert state.holds(TABLE)
        assert state.elements == build_state(TABLE, elements).elements
        assert state.shapes == {declared.name: declared.shape for declared in TABLE.maps}


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
