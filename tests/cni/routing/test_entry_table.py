"""Neighbours and forwarding entries of our links, on the strict fake: read, written, swept."""

from ipaddress import ip_address

import pytest

from cni.routing.entry_table import EntryTable
from cni.routing.links import sync_link
from cni.routing.route_table import SyncReport
from cni.routing.vxlan import Entry, EntryKey, VxlanConfig, build_entries, build_link, entry_key
from nodeplane.datapath.rtnl import Deletion, Replacement
from nodeplane.datapath.rtnl.fake import FakeRtnl
from nodeplane.datapath.sysctl import FakeSysctls
from tests.cni.routing.test_links import A4, SETTINGS, node

LINK = build_link("n1", VxlanConfig(), A4, 1500, ip_address("10.244.1.0"))


def entries(**underlays: str) -> dict[EntryKey, Entry]:
    """Return what leads to some nodes, by the ends of their addresses."""
    built = (
        build_entries(name, ip_address(text), ip_address(f"10.244.{text.rpartition('.')[2]}.0"))
        for name, text in underlays.items()
    )
    return {entry_key(entry): entry for each in built for entry in each}


@pytest.fixture
def rtnl() -> FakeRtnl:
    found = node()
    sync_link(found, FakeSysctls(SETTINGS), LINK)
    return found


def held(rtnl: FakeRtnl) -> dict[EntryKey, Entry]:
    found: set[Entry] = {*rtnl.neighbours(LINK.name), *rtnl.fdb(LINK.name)}
    return {entry_key(entry): entry for entry in found}


TWO = entries(n2="192.0.2.2", n3="192.0.2.3")
MOVED = entries(n2="192.0.2.22", n3="192.0.2.3")


@pytest.mark.parametrize(
    ("before", "after", "written", "deleted"),
    [
        pytest.param({}, TWO, 4, 0, id="new nodes"),
        pytest.param(TWO, TWO, 0, 0, id="the same"),
        pytest.param(TWO, entries(n2="192.0.2.2"), 0, 2, id="one is gone"),
        pytest.param(TWO, MOVED, 2, 1, id="one has moved: its MAC stays, its end of the tunnel does not"),
        pytest.param(TWO, {}, 0, 4, id="all are gone"),
    ],
)
def test_write_and_sweep(
    rtnl: FakeRtnl,
    before: dict[EntryKey, Entry],
    after: dict[EntryKey, Entry],
    written: int,
    deleted: int,
) -> None:
    """By a table that has written them, and by one that finds them."""
    rtnl.apply([Replacement(entry) for entry in before.values()])
    table = EntryTable(rtnl)
    table.read([4])

    assert table.write(after) == SyncReport(written=written)
    assert table.sweep(after) == SyncReport(deleted=deleted)

    assert held(rtnl) == after
    assert (table.write(after), table.sweep(after)) == (SyncReport(), SyncReport())


def test_only_what_changed_is_swept(rtnl: FakeRtnl) -> None:
    table = EntryTable(rtnl)
    table.read([4])
    table.write(TWO)
    second = [key for key in TWO if key in entries(n2="192.0.2.2")]

    assert table.sweep({}, second) == SyncReport(deleted=2)

    assert held(rtnl) == entries(n3="192.0.2.3")


def test_what_somebody_else_has_deleted_is_gone(rtnl: FakeRtnl) -> None:
    """No refusal: it is what was wanted."""
    table = EntryTable(rtnl)
    table.read([4])
    table.write(TWO)
    rtnl.apply([Deletion(entry) for entry in TWO.values()])

    assert table.sweep({}) == SyncReport(deleted=4)
    assert table.write(TWO) == SyncReport(written=4)
