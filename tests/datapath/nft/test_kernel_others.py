"""Our table beside what others do and read: writers, nft, packets."""

import json
import socket
import subprocess
from pathlib import Path

import pytest

from nodeplane.datapath import netns
from nodeplane.datapath.nft.in_parts import repair
from nodeplane.datapath.nft.kernel import KernelTable, TableEdge
from nodeplane.datapath.nft.table import (
    ElementChange,
    build_state,
)
from nodeplane.errors import KernelNotFoundError
from tests.datapath.nft.contract_table import CONTENT, EMPTY, LOOPBACK, OTHER, TABLE, A, B, C, content
from tests.netns_fixture import namespace, run_in

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
    pytest.param(
        "add chain ip contract third; add map ip contract extra { type mark : verdict ; "
        "elements = { 0x1 : jump third, 0x2 : jump second } ; }; add rule ip contract third jump second",
        id="chains led to",
    ),
    pytest.param("add rule ip contract first jump { accept ; }", id="chain of a rule added"),
    pytest.param(
        "delete chain ip contract first; add chain ip contract first; "
        "delete chain ip contract counting; "
        "add chain ip contract counting { type filter hook input priority 1; }",
        id="chains hooked elsewhere",
    ),
    pytest.param("add rule ip contract first meta mark { 1, 2 } accept", id="set of a rule added"),
    pytest.param(
        "add counter ip contract extra; add quota ip contract extra2 { over 1 bytes ; }; "
        "add map ip contract extra3 { type mark : counter ; elements = { 0x1 : extra } ; }; "
        "add rule ip contract first counter name meta mark map @extra3; "
        "add rule ip contract first quota name extra2",
        id="objects in use added",
    ),
    pytest.param("delete set ip contract networks", id="set deleted"),
    pytest.param(
        "flush chain ip contract counting; delete map ip contract visits", id="rules and map deleted"
    ),
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
@pytest.mark.parametrize("command", FOREIGN_WRITES)
def test_foreign_write_is_repaired(command: str) -> None:
    """What is not right is put right in one transaction, what is right is not written: it keeps its state."""
    with namespace() as ns, netns.inside(ns), KernelTable("ip", TABLE.name) as edge:
        edge.replace(TABLE, CONTENT)
        send("127.0.0.2", 3)
        subprocess.run(["nft", command], check=True, capture_output=True)
        state = edge.read(TABLE)
        assert state is not None
        assert state.can_be_repaired(TABLE)
        visits, generation = packets_of(edge), edge.generation()
        missing = {
            name: ElementChange(add=part)
            for name, part in CONTENT.items()
            if part and not state.elements_to_keep.get(name)
        }
        commits = repair(edge, TABLE, state, missing)

        assert content(edge) == CONTENT
        assert (commits, edge.generation()) == (2 if "dormant" in command else 1, generation + commits)
        if visits:
            assert packets_of(edge) == visits
        # What a rule remembered, and that nothing else is left.
        assert OTHER + A in {use.key for use in edge.read_uses("clients")}
        names = {name for name in ("extra", "third") if name in run_in(ns, "nft", "list", "ruleset").stdout}
        assert names == set()


def packets_of(edge: TableEdge) -> dict[bytes, int]:
    """Return what the counters have counted; nothing if the map is gone."""
    try:
        return {use.key: use.packets for use in edge.read_uses("visits")}
    except KernelNotFoundError:
        return {}


@pytest.mark.netns
def test_wrong_shape_is_no_matter_of_repair() -> None:
    """A map of another shape can only go with the table."""
    with namespace() as ns, netns.inside(ns), KernelTable("ip", TABLE.name) as edge:
        edge.replace(TABLE, CONTENT)
        subprocess.run(
            [
                "nft",
                "delete set ip contract networks; "
                "add set ip contract networks { type ipv6_addr ; flags interval ; }",
            ],
            check=True,
            capture_output=True,
        )
        state = edge.read(TABLE)

    assert state is not None
    assert not state.can_be_repaired(TABLE)


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
