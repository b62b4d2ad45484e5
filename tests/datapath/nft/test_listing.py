"""A table's listing: what the kernel says, and what is built from the table that was written, are one."""

import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings

from nodeplane.datapath import netns
from nodeplane.datapath.nft import expr
from nodeplane.datapath.nft import netlink as nl
from nodeplane.datapath.nft.expr import Family
from nodeplane.datapath.nft.kernel import KernelTable
from nodeplane.datapath.nft.listing import ListedMap, build_listing, decode_listing
from nodeplane.datapath.nft.reader import TableReader
from nodeplane.datapath.nft.table import Chain, Hook, Map, Rule, Table, build_state
from nodeplane.datapath.nft.table_socket import TableSocket
from tests.datapath.nft.test_dump import GARBAGE
from tests.netns_fixture import namespace, run_in

NAME = "nodeplane-listing"
KEY = bytes((10, 0, 0, 1)) + struct.pack(">B3xH2x", 6, 80)


def number(value: int) -> bytes:
    return struct.pack("=I", value)


def table(family: Family) -> Table:
    address = {"ip": "ipv4_addr", "ip6": "ipv6_addr"}[family]
    return Table(
        family=family,
        name=NAME,
        comment="a test",
        chains=(
            Chain("second", "", Hook("nat", 0, 100)),
            Chain("first", "", Hook("filter", 3, -5)),
            Chain("plain", "of no hook"),
        ),
        maps=(
            Map("data", "", (address, "inet_proto", "inet_service"), ("classid",), counted=True),
            Map("verdicts", "", ("classid",), "verdict"),
            Map("one", "", ("inet_proto",)),
            Map("ranges", "", (address, "inet_proto"), ranges=True),
            Map("dynamic", "", (address, "classid"), ("classid",), remembers=5),
        ),
        rules=(
            Rule("plain", expr.load_meta("mark", 0) + expr.compare("==", bytes(4), 0), "first"),
            Rule("second", expr.verdict("jump", "plain")),
            Rule("plain", expr.verdict("accept"), "second"),
        ),
        fixed={"verdicts": {number(7): expr.verdict_data("goto", "plain")}},
    )


def elements(family: Family) -> dict[str, dict[bytes, bytes]]:
    length = expr.ADDRESS_BYTES[family]
    low, high = (bytes(length - 1) + bytes([last]) for last in (1, 9))
    return {
        "data": {low + KEY[4:]: number(5)},
        "one": {b"\x06": b""},
        "ranges": {low + bytes(4) + high + b"\xff\0\0\0": b""},
    }


@pytest.fixture
def ns() -> Iterator[Path]:
    with namespace() as path:
        yield path


@pytest.mark.netns
@pytest.mark.parametrize("family", ["ip", "ip6"])
def test_read_is_what_was_written(ns: Path, family: Family) -> None:
    """Chains, hooks, rules in order, maps, elements; a table of that name in the other family is not it."""
    other: Family = "ip6" if family == "ip" else "ip"
    with netns.inside(ns), KernelTable(family, NAME) as edge, KernelTable(other, NAME) as stranger:
        assert edge.read_listing() is None
        stranger.replace(table(other), {})
        edge.replace(table(family), elements(family))

        assert edge.read_listing() == build_listing(table(family), elements(family))


class ResizingSocket(TableSocket):
    """A socket whose first dump of each map has an element twice in place of another.

    The kernel does so for a moment after a large load (80,000 elements, every other time).
    """

    def __init__(self, name: str) -> None:
        super().__init__("ip", name)
        self._dumped: set[bytes] = set()

    def dump(self, operation: int, payload: bytes) -> Iterator[memoryview]:
        messages = list(super().dump(operation, payload))
        if operation == nl.GETSETELEM and payload not in self._dumped:
            self._dumped.add(payload)
            half = len(messages) // 2
            messages[half:] = messages[:half]
        yield from messages


@pytest.mark.netns
def test_dump_that_is_not_whole(ns: Path) -> None:
    """The kernel's own count of elements tells, and the map is read again."""
    large = Table("ip", NAME, "", (), (Map("large", "", ("mark",), ("mark",)),), (), {})
    content = {"large": {number(key): number(key) for key in range(5000)}}
    with netns.inside(ns):
        with KernelTable("ip", NAME) as edge:
            edge.replace(large, content)
        with closing(ResizingSocket(NAME)) as socket:
            listing = TableReader(socket).read_listing()
        with closing(ResizingSocket(NAME)) as socket:
            state = TableReader(socket).read(large)

    assert listing == build_listing(large, content)
    assert state == build_state(large, content)


ODD = """
table ip nodeplane-listing {
    set plain-ranges { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.0.2.7, 255.0.0.0/8 } }
    map meeting { type inet_service : mark; flags interval; elements = { 1-5 : 1, 6-9 : 2 } }
    map everything { type ipv4_addr : mark; elements = { 10.0.0.1 : 1, * : 2 } }
    map leaving { type ipv4_addr : mark; timeout 1h; elements = { 10.0.0.1 : 1 } }
    set strange { type ether_type; elements = { 0x88b5 } }
    chain closed {
        type filter hook input priority 7; policy drop;
        counter
    }
}
"""


@pytest.mark.netns
def test_what_others_write(ns: Path) -> None:
    """A policy, a catch-all, a time-out, plain ranges, types that we never use."""
    assert run_in(ns, "nft", "-f", "-", stdin=ODD).returncode == 0
    with netns.inside(ns), KernelTable("ip", NAME) as edge:
        listing = edge.read_listing()

    assert listing is not None
    closed = listing.chains["closed"]
    assert (closed.hook, closed.is_open, len(closed.rules)) == (Hook("filter", 1, 7), False, 1)
    maps = listing.maps
    assert maps["plain-ranges"] == ListedMap(
        ("ipv4_addr",),
        key_bytes=4,
        field_bytes=(4,),
        elements=dict.fromkeys(
            (
                b"\x0a\0\0\0\x0a\xff\xff\xff",
                b"\xc0\0\2\7\xc0\0\2\7",
                b"\xff\0\0\0\xff\xff\xff\xff",
            ),
            b"",
        ),
    )
    assert maps["meeting"].elements == {b"\0\1\0\5": number(1), b"\0\6\0\x09": number(2)}
    address = bytes((10, 0, 0, 1))
    assert maps["everything"] == ListedMap(
        ("ipv4_addr",),
        ("mark",),
        key_bytes=4,
        data_bytes=4,
        elements={address: number(1)},
        catch_all=number(2),
    )
    assert 0 < maps["leaving"].expires_s[address] <= 3600
    assert maps["strange"].key == ("10",)


@given(GARBAGE, GARBAGE)
@settings(deadline=None)
def test_any_bytes(first: bytes, second: bytes) -> None:
    """Garbage makes a listing, never an exception."""
    facts = nl.attribute_map(memoryview(first))
    listing = decode_listing(
        "ip", [facts], [nl.attribute_map(memoryview(second))], {"m": (facts, [memoryview(second)])}
    )

    assert len(listing.chains) == len(listing.maps) == 1
