"""The interpreter on tables written by hand: conditions, verdicts, ranges, and any rules at all."""

from fractions import Fraction
from ipaddress import ip_address, ip_network

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubeproxy.trace.packet import Packet
from nodeplane.datapath.nft import expr
from nodeplane.datapath.nft import netlink as nl
from nodeplane.datapath.nft.listing import ListedChain, ListedMap
from tests.datapath.nft.test_decode import RULES
from tests.kubeproxy.trace.walked import (
    ACCEPT,
    ADDRESS,
    DROP,
    IS_KNOWN,
    MEMORY,
    OTHER,
    OUTPUT,
    OWN,
    PACKET,
    POD,
    POOL,
    PREROUTING,
    REMEMBER,
    SERVICE,
    SET,
    TO_FOUND,
    TO_POD,
    UNTOLD,
    chain,
    mark_is,
    number,
    results,
    set_mark,
    walk,
)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        pytest.param(b"", True, id="none"),
        pytest.param(ADDRESS + expr.compare("==", SERVICE.packed, 0), True, id="destination"),
        pytest.param(ADDRESS + expr.compare("!=", SERVICE.packed, 0), False, id="not the destination"),
        pytest.param(ADDRESS + expr.compare("==", b"\n", 0), True, id="its first byte"),
        pytest.param(
            expr.load_address("ip", "saddr", 0) + expr.in_network(ip_network("198.51.100.0/24"), 0),
            True,
            id="source in a network",
        ),
        pytest.param(
            expr.load_address("ip", "saddr", 0) + expr.in_network(ip_network("198.51.100.0/30"), 0, "!="),
            True,
            id="source not in a network",
        ),
        pytest.param(expr.load_destination_port(0) + expr.compare("==", b"\0\x50", 0), True, id="port"),
        pytest.param(expr.load_meta("l4proto", 0) + expr.compare("==", b"\x11", 0), False, id="protocol"),
        pytest.param(
            expr.load_meta("iifname", 0) + expr.compare("==", b"eth0".ljust(16, b"\0"), 0),
            True,
            id="interface",
        ),
        pytest.param(
            expr.load_meta("iifname", 0) + expr.compare("==", b"eth", 0), True, id="interface's prefix"
        ),
        pytest.param(
            expr.load_meta("iifname", 0) + expr.compare("==", b"eth\0", 0), False, id="interface, whole"
        ),
        pytest.param(
            expr.load_ct("state", 0) + expr.has_bits(expr.CT_STATE_NEW, 0), True, id="a new connection"
        ),
        pytest.param(
            expr.load_ct("status", 0) + expr.has_bits(expr.CT_STATUS_DNAT, 0), False, id="not translated"
        ),
        pytest.param(
            expr.load_address_type("daddr", 0) + expr.compare("==", number(expr.LOCAL), 0),
            False,
            id="not local",
        ),
        pytest.param(
            expr.load_meta("mark", 0) + expr.mask(0xF, 0, flip=6) + expr.compare("==", number(6), 0),
            True,
            id="bits",
        ),
        pytest.param(ADDRESS + expr.in_set("set", 0), True, id="in a set"),
        pytest.param(ADDRESS + expr.not_in_set("set", 0), False, id="not in a set"),
        pytest.param(expr.load_address("ip", "saddr", 0) + expr.in_set("set", 0), False, id="not found"),
        pytest.param(
            expr.load_address("ip", "saddr", 0) + expr.not_in_set("set", 0), True, id="found missing"
        ),
        pytest.param(nl.nested(1, nl.text(1, "counter")), True, id="a counter"),
    ],
)
def test_conditions(condition: bytes, holds: bool) -> None:
    """A rule goes on, or ends and leaves the packet to the next one."""
    told = walk(chain(condition + TO_POD, DROP, hook=PREROUTING), {"set": SET})

    assert results(told) == {"10.244.0.1:8080" if holds else "drop": 1}


@pytest.mark.parametrize(
    ("others", "rules", "expected"),
    [
        pytest.param({}, [ACCEPT, DROP], "untouched", id="accept"),
        pytest.param({}, [], "untouched", id="policy"),
        pytest.param({"a": chain(DROP)}, [expr.verdict("jump", "a")], "drop", id="jump"),
        pytest.param(
            {"a": chain(set_mark(1))},
            [expr.verdict("jump", "a"), mark_is(1) + DROP],
            "drop",
            id="back from a jump, with what was written there",
        ),
        pytest.param(
            {"a": chain(expr.verdict("return"), ACCEPT)},
            [expr.verdict("jump", "a"), DROP],
            "drop",
            id="return",
        ),
        pytest.param(
            {"a": chain()}, [expr.verdict("goto", "a"), DROP], "untouched", id="no way back from goto"
        ),
        pytest.param(
            {"a": chain(expr.verdict("goto", "b"), ACCEPT), "b": chain()},
            [expr.verdict("jump", "a"), DROP],
            "drop",
            id="goto returns to who jumped",
        ),
        pytest.param({}, [expr.verdict("return"), DROP], "untouched", id="return to the policy"),
        pytest.param({}, [expr.reject_with_reset()], "reset", id="reset"),
        pytest.param({}, [expr.reject_unreachable("ip")], "unreachable", id="unreachable"),
        pytest.param({}, [set_mark(5) + mark_is(4), mark_is(5) + DROP], "drop", id="written before it ended"),
        pytest.param({}, [UNTOLD, DROP], "unclear", id="an expression that is not known"),
        pytest.param({}, [mark_is(1) + UNTOLD, DROP], "drop", id="one that is not reached"),
        pytest.param({}, [expr.verdict("jump", "nowhere")], "unclear", id="no such chain"),
        pytest.param(
            {"a": chain(expr.verdict("goto", "a"))}, [expr.verdict("jump", "a")], "unclear", id="a loop"
        ),
        pytest.param({}, [ADDRESS + expr.in_set("gone", 0)], "unclear", id="no such map"),
        pytest.param({}, [expr.compare("==", b"1234", 0)], "unclear", id="a register that was not loaded"),
        pytest.param(
            {}, [expr.load_source_port(0) + expr.compare("==", b"\0\1", 0)], "unclear", id="source port"
        ),
        pytest.param(
            {}, [expr.load_random(2, 0) + expr.compare("==", number(7), 0), DROP], "drop", id="never drawn"
        ),
    ],
)
def test_verdicts(others: dict[str, ListedChain], rules: list[bytes], expected: str) -> None:
    """Every way to end, jumps and returns, and what can't be told."""
    assert results(walk({"base": chain(*rules, hook=PREROUTING), **others})) == {expected: 1}


def test_deep_chains() -> None:
    """More chains in a row than the kernel takes are not followed."""
    links = {str(depth): chain(expr.verdict("goto", str(depth + 1))) for depth in range(5000)}

    assert results(walk({"base": chain(expr.verdict("jump", "0"), hook=PREROUTING), **links})) == {
        "unclear": 1
    }


def test_reset_of_a_datagram() -> None:
    """There is none: it is dropped."""
    packet = msgspec.structs.replace(PACKET, protocol="udp")

    assert results(walk(chain(expr.reject_with_reset(), hook=PREROUTING), packet=packet)) == {"drop": 1}


@pytest.mark.parametrize(
    ("address", "is_in"),
    [("10.96.0.1", True), ("10.96.0.9", True), ("10.96.0.10", False), ("10.95.0.5", False)],
)
def test_ranges(address: str, is_in: bool) -> None:
    """A range holds field by field, both ends included."""
    first, last = (ip_address(end).packed for end in ("10.96.0.1", "10.96.0.9"))
    ranges = ListedMap(
        ("ipv4_addr", "inet_proto"),
        key_bytes=8,
        field_bytes=(4, 1),
        elements={first + bytes(4) + last + b"\x20\0\0\0": b""},
    )
    rule = ADDRESS + expr.load_meta("l4proto", 1) + expr.in_set("ranges", 0) + DROP
    packet = msgspec.structs.replace(PACKET, destination=ip_address(address))

    assert results(walk(chain(rule, hook=PREROUTING), {"ranges": ranges}, packet)) == {
        "drop" if is_in else "untouched": 1
    }


def test_catch_all() -> None:
    """What stands for all other keys is found, by a draw as well."""
    pool = msgspec.structs.replace(POOL, elements={number(0): POD}, catch_all=OTHER)

    told = walk(chain(expr.load_random(4, 0) + TO_FOUND, hook=PREROUTING), {"pool": pool})
    assert results(told) == {"10.244.0.1:8080": Fraction(1, 4), "10.244.0.2:8080": Fraction(3, 4)}


MAPS = {"m": POOL, "set": SET, "memory": MEMORY}
OURS = st.sampled_from(
    [ADDRESS + expr.in_set("set", 0), TO_POD, REMEMBER, IS_KNOWN, UNTOLD, set_mark(1), TO_FOUND]
)


@given(st.lists(RULES | st.lists(OURS, max_size=3).map(b"".join), max_size=4), st.sampled_from([PACKET, OWN]))
@settings(deadline=None)
def test_any_rules(rules: list[bytes], packet: Packet) -> None:
    """Whatever stands in a table, every packet comes to some end."""
    hook = PREROUTING if packet.link else OUTPUT
    results(walk(chain(*rules, hook=hook), MAPS, packet))
