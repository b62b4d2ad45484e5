"""What the kernel tells of a traced packet, and that an owned table ends with its socket."""

import socket
import struct
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeplane.datapath import netlink as nl
from nodeplane.datapath import netns
from nodeplane.datapath.nft import expr
from nodeplane.datapath.nft.kernel import KernelTable
from nodeplane.datapath.nft.table import Chain, Hook, Rule, Table
from nodeplane.datapath.nft.trace import RuleMet, TraceListener, decode_rules_met
from nodeplane.errors import KernelPermissionError
from tests.netns_fixture import namespace, run_in

_TRACE = 10 << 8 | 17

_LOOP = Table(
    family="ip",
    name="npt",
    comment="test",
    chains=(
        Chain("in", "", Hook("filter", 1, 0)),
        Chain("deeper", ""),
    ),
    maps=(),
    rules=(
        Rule("in", expr.trace_packet(), ""),
        Rule("in", expr.verdict("jump", "deeper"), ""),
        Rule(
            "deeper", expr.load_destination_port(0) + expr.compare("==", struct.pack(">H", 9), 0), "not met"
        ),
        Rule("deeper", expr.verdict("drop"), "the end"),
    ),
    fixed={},
)


def message(*attributes: bytes, family: int = 2) -> bytes:
    return nl.request(_TRACE, 0, 0, nl.NFGEN.pack(family, 0, 0) + b"".join(attributes))


def _verdict(code: int, chain: str = "") -> bytes:
    return nl.nested(5, nl.u32(1, code), nl.text(2, chain) if chain else b"")


@pytest.mark.parametrize(
    ("datagram", "met"),
    [
        pytest.param(
            message(
                nl.u32(4, 3),
                nl.u32(6, 7),
                nl.text(2, "services"),
                nl.text(1, "t"),
                nl.attribute(3, struct.pack(">Q", 143)),
                _verdict(-4, "kinds"),
                nl.u32(10, 3),
                nl.attribute(8, b"\x45"),
                nl.attribute(9, b"\x01\x02"),
            ),
            [RuleMet(7, "ip", "t", "services", "rule", 143, "goto", "kinds", b"\x45", b"\x01\x02", 3)],
            id="rule",
        ),
        pytest.param(
            message(nl.u32(4, 1), nl.u32(6, 7), nl.text(2, "in"), nl.text(1, "t"), nl.u32(16, 1), family=10),
            [RuleMet(7, "ip6", "t", "in", "policy", 0, "accept")],
            id="policy",
        ),
        pytest.param(
            message(nl.u32(4, 3), nl.u32(6, 7), nl.text(2, "in"), nl.text(1, "t"), _verdict(0x70000)),
            [RuleMet(7, "ip", "t", "in", "rule", 0, "drop")],
            id="drop with an errno in its upper half",
        ),
        pytest.param(message(nl.u32(4, 9), nl.u32(6, 7)), [], id="a kind that is not known"),
        pytest.param(message(nl.u32(4, 3)), [], id="no number"),
        pytest.param(nl.request(10 << 8, 0, 0, bytes(4)), [], id="another message"),
    ],
)
def test_decode(datagram: bytes, met: list[RuleMet]) -> None:
    assert list(decode_rules_met(datagram)) == met


@settings(deadline=None)
@given(st.binary(max_size=100))
def test_garbage(data: bytes) -> None:
    for each in decode_rules_met(message(data)):
        assert isinstance(each, RuleMet)


def _send(ns: Path, port: int) -> None:
    with netns.inside(ns), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", ("127.0.0.1", port))


@pytest.mark.netns
def test_kernel_tells_of_each_rule_that_matched() -> None:
    with namespace() as ns:
        with netns.inside(ns):
            listener, table = TraceListener(), KernelTable("ip", "npt", 1 << 16)
        with table:
            table.create_owned(_LOOP)
            _send(ns, 7)
            met, is_whole = listener.take()
        listener.close()

    known = [msgspec.structs.replace(each, packet=0, handle=0) for each in met if each.handle]
    assert is_whole
    assert {each.packet for each in met} == {met[0].packet}
    assert [(each.chain, each.verdict, each.target) for each in known] == [
        ("in", "continue", ""),
        ("in", "jump", "deeper"),
        ("deeper", "drop", ""),
    ]
    assert (known[0].network[:1], known[0].transport[2:4], known[0].iif) == (b"\x45", b"\0\7", 1)


@pytest.mark.netns
def test_an_owned_table_ends_with_its_socket() -> None:
    with namespace() as ns:
        with netns.inside(ns):
            table, other = KernelTable("ip", "npt", 1 << 16), KernelTable("ip", "npt", 1 << 16)
        with other:
            with table:
                table.create_owned(_LOOP)
                listed = run_in(ns, "nft", "list", "ruleset").stdout
                run_in(ns, "nft", "flush", "ruleset")
                with pytest.raises(KernelPermissionError):
                    other.create_owned(_LOOP)
            after = run_in(ns, "nft", "list", "ruleset").stdout

    assert "flags owner" in listed
    assert "meta nftrace set" in listed
    assert after == ""
