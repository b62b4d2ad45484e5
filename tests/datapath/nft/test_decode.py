"""Rule expressions: what `expr` writes comes back as values, and any bytes give a value."""

import struct
from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeplane.datapath.nft import expr
from nodeplane.datapath.nft import expression as nft
from nodeplane.datapath.nft import netlink as nl
from nodeplane.datapath.nft.decode import decode_expressions, decode_verdict

LOCAL = struct.pack("=I", 2)


@pytest.mark.parametrize(
    ("encoded", "expected"),
    [
        (expr.load_meta("priority", 0), (nft.LoadMeta(2, 0),)),
        (expr.load_meta("iifname", 4), (nft.LoadMeta(6, 4),)),
        (expr.set_meta("mark", 9), (nft.StoreMeta(3, 9),)),
        (expr.load_address("ip", "saddr", 1), (nft.LoadPayload("network", 12, 4, 1),)),
        (expr.load_address("ip6", "daddr", 8), (nft.LoadPayload("network", 24, 16, 8),)),
        (expr.load_destination_port(15), (nft.LoadPayload("transport", 2, 2, 15),)),
        (expr.load_address_type("daddr", 0), (nft.LoadAddressType("daddr", 0),)),
        (expr.load_ct("status", 3), (nft.LoadCt(2, 3),)),
        (expr.load_random(24, 1, 7), (nft.LoadNumber(1, 24, 7, is_random=True),)),
        (expr.load_hash(8, 8, 251, 42, 1), (nft.LoadHash(8, 1, 8, 251, 42, 0),)),
        (expr.load_constant(b"abc", 12), (nft.LoadConstant(b"abc", 12),)),
        (expr.mask(0xF0, 2, flip=1), (nft.Mask(2, 2, struct.pack("=I", 0xF0), struct.pack("=I", 1)),)),
        (expr.compare("!=", LOCAL, 0), (nft.Compare("!=", LOCAL, 0),)),
        (
            expr.in_network(ip_network("10.2.0.0/15"), 0),
            (nft.Mask(0, 0, b"\xff\xfe\0\0", bytes(4)), nft.Compare("==", b"\n\2\0\0", 0)),
        ),
        (expr.look_up("m", 0, 4), (nft.Lookup("m", 0, 4, is_inverted=False),)),
        (expr.look_up_verdict("m", 0), (nft.Lookup("m", 0, nft.VERDICT_REGISTER, is_inverted=False),)),
        (expr.in_set("s", 0), (nft.Lookup("s", 0, None, is_inverted=False),)),
        (expr.not_in_set("s", 0), (nft.Lookup("s", 0, None, is_inverted=True),)),
        (expr.change_element("update", "m", 0, 8, 60), (nft.ChangeElement("update", "m", 0, 8, 60.0),)),
        (expr.change_element("delete", "m", 0, 8), (nft.ChangeElement("delete", "m", 0, 8, 0.0),)),
        (expr.verdict("drop"), (nft.Verdict("drop"),)),
        (expr.verdict("jump", "there"), (nft.Verdict("jump", "there"),)),
        (expr.translate_destination("ip6", 0, 4), (nft.Translate("dnat", 0, 4),)),
        (expr.masquerade(), (nft.Masquerade(),)),
        (expr.reject_with_reset(), (nft.Reject(with_reset=True),)),
        (expr.reject_unreachable("ip"), (nft.Reject(with_reset=False),)),
    ],
    ids=lambda value: type(value[0]).__name__ if isinstance(value, tuple) else "",
)
def test_written_is_read(encoded: bytes, expected: tuple[nft.Expression, ...]) -> None:
    """Every expression that we write."""
    assert decode_expressions(encoded) == expected


def expression(name: str, *attributes: bytes) -> bytes:
    return nl.nested(1, nl.text(1, name), nl.nested(2, *attributes))


@pytest.mark.parametrize(
    ("encoded", "expected"),
    [
        pytest.param(expression("quota"), nft.Unknown("quota"), id="not known"),
        pytest.param(b"\x08\0\x01\0\0\0\0\0", nft.Unknown(""), id="no name"),
        pytest.param(expression("counter"), nft.Passive("counter"), id="a counter"),
        pytest.param(expression("meta", nl.u32(2, 3)), nft.Unknown("meta"), id="no register"),
        pytest.param(
            expression("meta", nl.u32(2, 3), nl.u32(1, 6)), nft.Unknown("meta"), id="no such register"
        ),
        pytest.param(
            expression("meta", nl.u32(2, 3), nl.u32(1, 24)), nft.Unknown("meta"), id="beyond the last"
        ),
        pytest.param(
            expression("numgen", nl.u32(1, 1), nl.u32(2, 0)), nft.Unknown("numgen"), id="a modulus of zero"
        ),
        pytest.param(
            expression("payload", nl.u32(1, 4), nl.u32(2, 1), nl.u32(3, 0), nl.u32(4, 32)),
            nft.Unknown("payload"),
            id="longer than the registers",
        ),
        pytest.param(
            expression("bitwise", *(nl.u32(kind, 1) for kind in (1, 2)), nl.u32(3, 4), nl.u32(6, 1)),
            nft.Unknown("bitwise"),
            id="a shift",
        ),
        pytest.param(
            expression("fib", nl.u32(1, 1), nl.u32(2, 1), nl.u32(3, 2)), nft.Unknown("fib"), id="not a type"
        ),
        pytest.param(
            expression("nat", nl.u32(1, 1), nl.u32(3, 1), nl.u32(4, 2)), nft.Unknown("nat"), id="a range"
        ),
    ],
)
def test_others_expressions(encoded: bytes, expected: nft.Expression) -> None:
    """What we never write is known, or has its name."""
    assert decode_expressions(encoded) == (expected,)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (expr.verdict_data("goto", "x"), nft.Verdict("goto", "x")),
        (nl.u32(1, 3), nft.Verdict("3")),
        (b"", nft.Verdict("drop")),
    ],
)
def test_verdicts(data: bytes, expected: nft.Verdict) -> None:
    """A verdict map's data."""
    assert decode_verdict(data) == expected


NAMES = [
    *("payload", "meta", "ct", "fib", "immediate", "bitwise", "cmp", "lookup"),
    *("numgen", "hash", "dynset", "nat", "masq", "reject"),
]

CONTENT = st.recursive(
    st.binary(max_size=24) | st.integers(0, 24).map(lambda number: struct.pack(">I", number)),
    lambda inner: st.lists(st.tuples(st.integers(0, 9), inner), max_size=6).map(
        lambda pairs: b"".join(nl.attribute(kind, payload) for kind, payload in pairs)
    ),
    max_leaves=12,
)
RULES: st.SearchStrategy[bytes] = CONTENT | st.lists(
    st.builds(expression, st.sampled_from(NAMES), CONTENT), max_size=4
).map(b"".join)


@given(RULES)
@settings(deadline=None)
def test_any_bytes(encoded: bytes) -> None:
    """Garbage is decoded to something, never to an exception; registers that it names are there."""
    for found in decode_expressions(encoded):
        register = getattr(found, "register", 0)
        assert 0 <= register < nft.REGISTERS
    assert isinstance(decode_verdict(encoded).name, str)
