"""A table with everything that one can have, and what is in it."""

import struct

from nodeplane.datapath.nft import expr
from nodeplane.datapath.nft.kernel import TableEdge
from nodeplane.datapath.nft.table import (
    Chain,
    Hook,
    Map,
    Rule,
    Table,
)

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
        Map("networks", "ranges of one field", ("ipv4_addr",), ranges=True),
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


NETWORK, UP_TO_ALL = b"\x0a\0\0\0\x0a\xff\xff\xff", b"\xf0\0\0\0\xff\xff\xff\xff"

EMPTY: dict[str, dict[bytes, bytes]] = {
    name: {} for name in ("numbers", "ports", "members", "visits", "ranges", "networks")
}

CONTENT = {
    "numbers": {A: B, B: C},
    "ports": {A + B: b"\x1f\x90"},
    "members": {C: b""},
    "visits": {LOOPBACK: A, OTHER: B},
    "ranges": {address_range(A, 1, 9): b"", address_range(B, 1, 9): b"", address_range(A, 10, 10): b""},
    "networks": {NETWORK: b""},
}


def content(edge: TableEdge) -> dict[str, dict[bytes, bytes]]:
    state = edge.read(TABLE)
    assert state is not None
    assert state.holds(TABLE)
    return {name: elements for name, elements in state.elements.items() if name not in TABLE.fixed}
