"""The contract of a table edge, held by the kernel and by the fake alike."""

import struct
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from nodeplane.datapath import netns
from nodeplane.datapath.nft.fake import FakeTable
from nodeplane.datapath.nft.kernel import KernelTable, TableEdge
from nodeplane.datapath.nft.table import (
    ElementChange,
    ElementUse,
)
from nodeplane.errors import KernelError, KernelExistsError, KernelNotFoundError
from tests.datapath.nft.contract_table import (
    CONTENT,
    EMPTY,
    LOOPBACK,
    NETWORK,
    OTHER,
    TABLE,
    UP_TO_ALL,
    A,
    B,
    C,
    address_range,
    content,
)
from tests.netns_fixture import namespace


@pytest.fixture(params=["fake", pytest.param("kernel", marks=pytest.mark.netns)])
def edge(request: pytest.FixtureRequest) -> Iterator[TableEdge]:
    if request.param == "fake":
        yield FakeTable()
        return
    with namespace() as ns, netns.inside(ns), KernelTable("ip", TABLE.name) as table:
        yield table


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
            {"networks": ElementChange(remove=[NETWORK], add={b"\x0a\0\0\0\x0a\0\0\0": b"", UP_TO_ALL: b""})},
            CONTENT | {"networks": {b"\x0a\0\0\0\x0a\0\0\0": b"", UP_TO_ALL: b""}},
            id="one address, and a range up to the last of all",
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


def test_repair(edge: TableEdge) -> None:
    """The constant part comes from the table, elements stay, are emptied or change, all at once."""
    with pytest.raises(KernelNotFoundError):
        edge.repair(TABLE, {})
    edge.replace(TABLE.asleep(), CONTENT)
    asleep = edge.read(TABLE)
    before = edge.generation()
    edge.repair(TABLE, {"members": ElementChange(add={A: b""}), "numbers": ElementChange([A])}, ["members"])

    assert asleep is not None
    assert (asleep.is_asleep, asleep.holds(TABLE), asleep.can_be_repaired(TABLE)) == (True, False, True)
    assert content(edge) == CONTENT | {"members": {A: b""}, "numbers": {B: C}}
    assert edge.generation() == before + 1


def test_refused_repair_changes_nothing(edge: TableEdge) -> None:
    """It is applied whole or not at all."""
    edge.replace(TABLE.asleep(), CONTENT)
    before = edge.read(TABLE)
    with pytest.raises(KernelExistsError):
        edge.repair(TABLE, {"numbers": ElementChange(add={A: C})})

    assert edge.read(TABLE) == before


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


def test_create_is_once(edge: TableEdge) -> None:
    """Of several who make a table one does, and what he has put there stays."""
    edge.create(TABLE, CONTENT)

    with pytest.raises(KernelExistsError):
        edge.create(TABLE, EMPTY)

    assert content(edge) == CONTENT


def test_whether_a_table_is_whole(edge: TableEdge) -> None:
    """The table's own message tells one of another kind, and says nothing of elements."""
    with pytest.raises(KernelNotFoundError):
        edge.is_whole(TABLE)
    edge.create(TABLE, EMPTY)
    assert edge.is_whole(TABLE)

    edge.update(TABLE, {"members": ElementChange(add={A: b""})})

    assert edge.is_whole(TABLE)
    assert not edge.is_whole(replace(TABLE, comment="another"))
    assert not edge.is_whole(replace(TABLE, chains=TABLE.chains[:-1]))


def test_find_some_elements(edge: TableEdge) -> None:
    """Elements are found with their data; those of no table, and of no map, are not there."""
    assert edge.find("numbers", [A]) == {}
    edge.create(TABLE, CONTENT)

    assert edge.find("numbers", [A, C, B]) == {A: B, B: C}
    assert edge.find("members", [A, C]) == {C: b""}
    assert edge.find("nowhere", [A]) == {}
