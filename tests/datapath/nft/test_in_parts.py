"""What the kernel refuses for its size arrives all the same, on the kernel and on the fake."""

import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import pytest

from nodeplane.datapath import netns
from nodeplane.datapath.nft.fake import FakeTable
from nodeplane.datapath.nft.in_parts import (
    is_too_large,
    repair_in_parts,
    replace_in_parts,
    update_in_parts,
)
from nodeplane.datapath.nft.kernel import KernelTable, TableEdge
from nodeplane.datapath.nft.table import ElementChange
from nodeplane.errors import KernelError, KernelExistsError
from tests.datapath.nft.contract_table import CONTENT, EMPTY, TABLE, A, B, C, content
from tests.netns_fixture import namespace

LIMIT_BYTES = 20_000
MANY = {struct.pack("=I", 1000 + number): A for number in range(4000)}
Steps = list[Mapping[str, ElementChange]]
OpenEdge = Callable[[int], TableEdge]


def additions(elements: Mapping[str, Mapping[bytes, bytes]]) -> Steps:
    return [{name: ElementChange(add=part)} for name, part in elements.items() if part]


FULL = CONTENT | {"numbers": MANY}


@pytest.fixture(params=["fake", pytest.param("kernel", marks=pytest.mark.netns)])
def edge(request: pytest.FixtureRequest) -> Iterator[TableEdge]:
    """Yield an edge that takes 20 kB at once."""
    with _open(request.param) as opened:
        yield opened


@contextmanager
def _open(kind: str) -> Iterator[TableEdge]:
    if kind == "fake":
        yield FakeTable(limit_bytes=LIMIT_BYTES)
        return
    # The kernel doubles what it is asked for (sock_setsockopt).
    with namespace() as ns, netns.inside(ns), KernelTable("ip", TABLE.name, LIMIT_BYTES // 2) as table:
        yield table


def refused(write: Callable[[], object]) -> bool:
    with pytest.raises(KernelError) as caught:
        write()
    return is_too_large(caught.value)


def test_replace(edge: TableEdge) -> None:
    """A table that is there is replaced too; each part is one generation."""
    assert refused(lambda: edge.replace(TABLE, FULL))
    edge.replace(TABLE, CONTENT)
    before = edge.generation()

    commits = replace_in_parts(edge, TABLE, additions(FULL))

    assert content(edge) == FULL
    assert edge.generation() == before + commits
    assert commits > 4


def test_update(edge: TableEdge) -> None:
    """Elements that come, change and go, in the order of the steps."""
    edge.replace(TABLE, EMPTY)
    assert refused(lambda: edge.update(TABLE, {"numbers": ElementChange(add=MANY)}))
    before = edge.generation()
    steps: Steps = [
        {"numbers": ElementChange(add=MANY), "members": ElementChange(add={A: b""})},
        {"numbers": ElementChange(remove=[*MANY], add=dict.fromkeys(MANY, B) | {A: C})},
        {"numbers": ElementChange(remove=sorted(MANY)[1:])},
    ]

    commits = update_in_parts(edge, TABLE, steps)

    assert content(edge) == EMPTY | {"numbers": {min(MANY): B, A: C}, "members": {A: b""}}
    assert edge.generation() == before + commits


def test_refused_for_another_reason(edge: TableEdge) -> None:
    """Only what is too large is divided."""
    edge.replace(TABLE, CONTENT)
    before = edge.generation()

    with pytest.raises(KernelExistsError):
        update_in_parts(edge, TABLE, [{"numbers": ElementChange(add={A: C, C: A})}])

    assert edge.generation() == before


@pytest.mark.parametrize("is_asleep", [False, True])
def test_repair(edge: TableEdge, is_asleep: bool) -> None:
    """A table that is in force stays so, one that was left asleep wakes."""
    edge.replace(TABLE.asleep() if is_asleep else TABLE, CONTENT)
    state = edge.read(TABLE)
    assert state is not None
    assert state.is_asleep == is_asleep
    change: Steps = [{"numbers": ElementChange(remove=[A, B], add=MANY)}]

    before = edge.generation()
    commits = repair_in_parts(edge, TABLE, state, change)

    assert content(edge) == FULL
    assert edge.generation() == before + commits


class _Watching(FakeTable):
    """A table that notes, at each transaction, whether it is in force and how many elements it has."""

    def __init__(self) -> None:
        super().__init__(LIMIT_BYTES)
        self.seen: list[tuple[bool, int]] = []

    def _commit(self) -> None:
        super()._commit()
        state = self.read(TABLE)
        assert state is not None
        self.seen.append((not state.is_asleep, len(state.elements["numbers"])))


def test_no_half_table_is_in_force() -> None:
    """A new table wakes when all is there, one that sleeps too; one in force stays so while it is filled."""
    fresh, asleep, awake = _Watching(), _Watching(), _Watching()
    asleep.replace(TABLE.asleep(), {})
    awake.replace(TABLE, {})
    replace_in_parts(fresh, TABLE, additions(FULL))
    for each in (asleep, awake):
        found = each.read(TABLE)
        assert found is not None
        repair_in_parts(each, TABLE, found, additions(FULL))

    for edge in (fresh, asleep):
        assert {count for in_force, count in edge.seen if in_force} == {len(MANY)}
        assert edge.seen[-1] == (True, len(MANY))
    assert all(in_force for in_force, _ in awake.seen)


def test_one_element_too_large() -> None:
    """There is an end to dividing."""
    edge = FakeTable()
    edge.replace(TABLE, EMPTY)
    edge.limit_bytes = 10

    with pytest.raises(KernelError) as caught:
        update_in_parts(edge, TABLE, additions({"numbers": {A: B, B: C}}))

    assert is_too_large(caught.value)
