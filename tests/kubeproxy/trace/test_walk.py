"""The interpreter on tables written by hand: every expression, every verdict, and what can't be told."""

import struct
from collections.abc import Mapping
from fractions import Fraction
from ipaddress import ip_address, ip_interface, ip_network

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubeproxy.trace.jhash import choose
from kubeproxy.trace.packet import Packet
from kubeproxy.trace.result import Outcome, Step, Trace
from kubeproxy.trace.walk import trace
from nodeplane.datapath.nft import expr
from nodeplane.datapath.nft import netlink as nl
from nodeplane.datapath.nft.listing import ListedChain, ListedMap, ListedRule, TableListing
from nodeplane.datapath.nft.table import Hook
from nodeplane.datapath.routing import FakeRouting
from tests.datapath.nft.test_decode import RULES

PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = range(5)

ROUTING = FakeRouting(
    {
        "eth0": (ip_interface("192.0.2.1/24"),),
        "pods": (ip_interface("10.244.0.254/24"), ip_interface("fd00:244::fe/64")),
    },
    ("eth0", ip_address("192.0.2.254").packed),
)
CLIENT, SERVICE = ip_address("198.51.100.7"), ip_address("10.96.0.1")
PACKET = Packet(CLIENT, "tcp", SERVICE, 80, link="eth0")
OWN = Packet(ip_address("192.0.2.1"), "tcp", SERVICE, 80)

POD = ip_address("10.244.0.1").packed + struct.pack(">H2x", 8080)
OTHER = ip_address("10.244.0.2").packed + struct.pack(">H2x", 8080)
TO_POD = expr.load_constant(POD, 0) + expr.translate_destination("ip", 0, 1)
DROP, ACCEPT = expr.verdict("drop"), expr.verdict("accept")
UNTOLD = nl.nested(1, nl.text(1, "quota"))


def number(value: int) -> bytes:
    return struct.pack("=I", value)


def mark_is(value: int) -> bytes:
    return expr.load_meta("mark", 0) + expr.compare("==", number(value), 0)


def set_mark(value: int) -> bytes:
    return expr.load_constant(number(value), 0) + expr.set_meta("mark", 0)


def chain(
    *rules: bytes, hook: int | None = None, kind: str = "nat", priority: int = -100, is_open: bool = True
) -> ListedChain:
    at = None if hook is None else Hook(kind, hook, priority)
    return ListedChain(tuple(ListedRule(rule, "why") for rule in rules), at, is_open)


def walk(
    chains: Mapping[str, ListedChain] | ListedChain,
    maps: Mapping[str, ListedMap] = {},
    packet: Packet = PACKET,
) -> Trace:
    if isinstance(chains, ListedChain):
        chains = {"base": chains}
    return trace(TableListing(packet.family, chains, maps), packet, ROUTING)


def results(told: Trace) -> dict[str, Fraction]:
    """Return the probability of each result: an endpoint, or what else becomes of the packet."""
    assert sum(outcome.probability for outcome in told.outcomes) == 1
    return {outcome.endpoint or outcome.kind: outcome.probability for outcome in told.outcomes}


POOL = ListedMap(
    ("mark",),
    ("ipv4_addr", "inet_service"),
    key_bytes=4,
    data_bytes=8,
    elements={number(0): POD, number(1): OTHER, number(2): POD, number(9): OTHER},
)
TO_FOUND = expr.look_up("pool", 0, 0) + expr.translate_destination("ip", 0, 1)
SET = ListedMap(("ipv4_addr",), key_bytes=4, elements={SERVICE.packed: b""})
ADDRESS = expr.load_address("ip", "daddr", 0)


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
    ("index", "expected"),
    [
        pytest.param(
            expr.load_random(3, 0),
            {"10.244.0.1:8080": Fraction(2, 3), "10.244.0.2:8080": Fraction(1, 3)},
            id="full",
        ),
        pytest.param(
            expr.load_random(4, 0),
            {"10.244.0.1:8080": Fraction(5, 8), "10.244.0.2:8080": Fraction(5, 16), "drop": Fraction(1, 16)},
            id="an empty slot, twice",
        ),
        pytest.param(expr.load_random(1, 0, 9), {"10.244.0.2:8080": Fraction(1)}, id="an offset"),
        pytest.param(expr.load_random(4, 0, 10), {"drop": Fraction(1)}, id="nothing there"),
        pytest.param(
            expr.load_random(3, 0) + expr.mask(1, 0),
            {"10.244.0.1:8080": Fraction(2, 3), "10.244.0.2:8080": Fraction(1, 3)},
            id="more than looked up",
        ),
        pytest.param(expr.load_random(1 << 20, 0) + expr.mask(1, 0), {"unclear": Fraction(1)}, id="too many"),
        pytest.param(
            expr.load_source_port(4) + expr.load_hash(4, 4, 3, 1, 0),
            {"10.244.0.1:8080": Fraction(2, 3), "10.244.0.2:8080": Fraction(1, 3)},
            id="a hash of what is not known",
        ),
    ],
)
def test_draws(index: bytes, expected: dict[str, Fraction]) -> None:
    """All numbers at once; who meets an empty slot goes on to the next rule."""
    told = walk(chain(index + TO_FOUND, index + TO_FOUND, DROP, hook=PREROUTING), {"pool": POOL})

    assert results(told) == expected


def test_draw_from_a_verdict_map() -> None:
    """kube-proxy's own layout: a number to a chain."""
    verdicts = ListedMap(
        ("mark",),
        ("verdict",),
        key_bytes=4,
        elements={number(0): expr.verdict_data("goto", "a"), number(1): expr.verdict_data("drop")},
    )
    rules = chain(expr.load_random(3, 0) + expr.look_up_verdict("v", 0), ACCEPT, hook=PREROUTING)
    third = Fraction(1, 3)

    told = walk({"base": rules, "a": chain(TO_POD)}, {"v": verdicts})
    assert results(told) == {"10.244.0.1:8080": third, "drop": third, "untouched": third}


def test_large_draws_merge() -> None:
    """Thousands of slots, drawn from again and again, are one look each: probabilities stay exact."""
    elements = {number(slot): (POD if slot % 2 else OTHER) for slot in range(0, 40000, 5)}
    pool = msgspec.structs.replace(POOL, elements=elements)
    draw = expr.load_random(40000, 0) + TO_FOUND

    told = walk(chain(*[draw] * 20, DROP, hook=PREROUTING), {"pool": pool})
    missed = Fraction(4, 5) ** 20
    assert results(told) == {
        "10.244.0.1:8080": (1 - missed) / 2,
        "10.244.0.2:8080": (1 - missed) / 2,
        "drop": missed,
    }
    assert len(told.steps) == 2


@pytest.mark.parametrize("port", [1024, 40000])
def test_hash(port: int) -> None:
    """With the client's port the choice is the kernel's."""
    index = expr.load_address("ip", "saddr", 8) + expr.load_source_port(9) + expr.load_hash(8, 8, 2, 77, 0)
    packet = msgspec.structs.replace(PACKET, source_port=port)
    slot = choose(CLIENT.packed + struct.pack(">H2x", port), 77, 2)

    told = walk(chain(index + TO_FOUND, hook=PREROUTING), {"pool": POOL}, packet)
    assert results(told) == {f"10.244.0.{slot + 1}:8080": 1}


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


def test_draw_into_ranges() -> None:
    """A draw that is looked up in ranges is followed number by number."""
    low, high = struct.pack("=I", 0), struct.pack("=I", 1)
    ranges = ListedMap(("mark",), key_bytes=4, field_bytes=(4,), elements={low + high: b""})
    rule = expr.load_random(4, 0) + expr.in_set("ranges", 0) + DROP

    assert results(walk(chain(rule, hook=PREROUTING), {"ranges": ranges})) == {
        "drop": Fraction(1, 2),
        "untouched": Fraction(1, 2),
    }


MEMORY = ListedMap(("ipv4_addr",), ("mark",), key_bytes=4, data_bytes=4, size=2)
REMEMBER = (
    expr.load_address("ip", "saddr", 0)
    + expr.load_constant(number(7), 4)
    + expr.change_element("update", "memory", 0, 4, 60)
)
FORGET = (
    expr.load_address("ip", "saddr", 0)
    + expr.load_constant(number(7), 4)
    + expr.change_element("delete", "memory", 0, 4)
)
IS_KNOWN = (
    expr.load_address("ip", "saddr", 0) + expr.look_up("memory", 0, 0) + expr.compare("==", number(7), 0)
)


@pytest.mark.parametrize(
    ("elements", "rules", "expected", "remembered_s"),
    [
        pytest.param({}, [IS_KNOWN + DROP], "10.244.0.1:8080", 0, id="a new client"),
        pytest.param({}, [REMEMBER], "10.244.0.1:8080", 60, id="remembered"),
        pytest.param({}, [REMEMBER, IS_KNOWN + DROP], "drop", 0, id="known at once"),
        pytest.param({CLIENT.packed: number(7)}, [IS_KNOWN + DROP], "drop", 0, id="known"),
        pytest.param(
            {CLIENT.packed: number(7)}, [FORGET, IS_KNOWN + DROP], "10.244.0.1:8080", 0, id="forgotten"
        ),
        pytest.param(
            {CLIENT.packed: number(8)}, [REMEMBER, IS_KNOWN + DROP], "10.244.0.1:8080", 60, id="data stays"
        ),
        pytest.param(
            {b"aaaa": number(1), b"bbbb": number(1)},
            [REMEMBER + DROP],
            "10.244.0.1:8080",
            0,
            id="no more room",
        ),
    ],
)
def test_dynamic_maps(
    elements: dict[bytes, bytes], rules: list[bytes], expected: str, remembered_s: float
) -> None:
    """What a packet's rules write is there for its later ones, and nowhere else."""
    memory = msgspec.structs.replace(MEMORY, elements=elements)
    told = walk(chain(*rules, TO_POD, hook=PREROUTING), {"memory": memory})

    assert results(told) == {expected: 1}
    assert told.outcomes[0].remembered_s == remembered_s
    assert memory.elements == elements


MASQUERADE = chain(expr.masquerade(), hook=POSTROUTING, priority=100)
TRANSLATED = expr.load_ct("status", 0) + expr.has_bits(expr.CT_STATUS_DNAT, 0)
HOST = ip_address("192.0.2.1").packed + struct.pack(">H2x", 22)
TO_HOST = expr.load_constant(HOST, 0) + expr.translate_destination("ip", 0, 1)
LEAVES_BY_PODS = nl.nested(1, nl.text(1, "meta"), nl.nested(2, nl.u32(2, 7), nl.u32(1, 1))) + expr.compare(
    "==", b"pods".ljust(16, b"\0"), 0
)


@pytest.mark.parametrize(
    ("chains", "packet", "expected"),
    [
        pytest.param(
            {"pre": chain(TO_POD, hook=PREROUTING), "post": MASQUERADE},
            PACKET,
            Outcome(
                "endpoint", Fraction(1), ip_address("10.244.0.1"), 8080, ip_address("10.244.0.254"), True
            ),
            id="masqueraded",
        ),
        pytest.param(
            {"pre": chain(TO_HOST, hook=PREROUTING), "post": MASQUERADE},
            PACKET,
            Outcome("endpoint", Fraction(1), ip_address("192.0.2.1"), 22, CLIENT),
            id="for this node: no postrouting",
        ),
        pytest.param(
            {"pre": chain(TO_HOST, hook=PREROUTING), "in": chain(DROP, hook=INPUT, kind="filter")},
            PACKET,
            Outcome("drop", Fraction(1), reason="why"),
            id="for this node: input",
        ),
        pytest.param(
            {
                "pre": chain(TO_POD, hook=PREROUTING),
                "on": chain(TRANSLATED + DROP, hook=FORWARD, kind="filter"),
            },
            PACKET,
            Outcome("drop", Fraction(1), reason="why"),
            id="forward sees the translation",
        ),
        pytest.param(
            {"pre": chain(DROP, hook=PREROUTING), "out": chain(TO_POD, hook=OUTPUT)},
            OWN,
            Outcome("endpoint", Fraction(1), ip_address("10.244.0.1"), 8080, ip_address("192.0.2.1")),
            id="a process of this node: output",
        ),
        pytest.param(
            {"a": chain(TO_POD, hook=PREROUTING), "b": chain(TO_HOST, hook=PREROUTING, priority=-90)},
            PACKET,
            Outcome("endpoint", Fraction(1), ip_address("10.244.0.1"), 8080, CLIENT),
            id="translated once",
        ),
        pytest.param(
            {"b": chain(TO_POD, hook=PREROUTING), "a": chain(TO_HOST, hook=PREROUTING, priority=-110)},
            PACKET,
            Outcome("endpoint", Fraction(1), ip_address("192.0.2.1"), 22, CLIENT),
            id="by priority",
        ),
        pytest.param(
            {
                "nat": chain(TO_POD, hook=PREROUTING),
                "late": chain(
                    ADDRESS + expr.compare("==", POD[:4], 0) + DROP,
                    hook=PREROUTING,
                    kind="filter",
                    priority=0,
                ),
            },
            PACKET,
            Outcome("drop", Fraction(1), reason="why"),
            id="filters go on after a translation",
        ),
        pytest.param(
            {"base": chain(hook=PREROUTING, kind="filter", is_open=False)},
            PACKET,
            Outcome("drop", Fraction(1), reason="the policy of base"),
            id="policy drop",
        ),
        pytest.param(
            {"pre": chain(TO_POD, hook=PREROUTING), "post": chain(LEAVES_BY_PODS + DROP, hook=POSTROUTING)},
            PACKET,
            Outcome("drop", Fraction(1), reason="why"),
            id="where it leaves",
        ),
        pytest.param(
            {"pre": chain(TO_POD, hook=PREROUTING)},
            Packet(ip_address("10.244.0.1"), "tcp", SERVICE, 80, link="pods"),
            Outcome(
                "endpoint",
                Fraction(1),
                ip_address("10.244.0.1"),
                8080,
                ip_address("10.244.0.1"),
                is_hairpin=True,
            ),
            id="hairpin",
        ),
        pytest.param(
            {},
            Packet(ip_address("fd00:244::fe"), "tcp", ip_address("2001:db8::1"), 80),
            Outcome("unroutable", Fraction(1), reason="no route to 2001:db8::1"),
            id="no way out",
        ),
    ],
)
def test_hooks(chains: dict[str, ListedChain], packet: Packet, expected: Outcome) -> None:
    """The way from hook to hook, and what the endpoint sees."""
    assert walk(chains, packet=packet).outcomes == (expected,)


def test_steps() -> None:
    """Each rule that is met, with what it found, in order; rules alike are one."""
    maps = {"set": SET, "pool": POOL}
    draw = expr.load_random(4, 0) + TO_FOUND
    told = walk(chain(ADDRESS + expr.not_in_set("set", 0) + DROP, draw, draw, hook=PREROUTING), maps)

    assert told.steps == (
        Step("base", 1, 1, "why", ("set[10.96.0.1]: there",), (), Fraction(1)),
        Step(
            "base",
            2,
            2,
            "why",
            (
                "pool[0…3 by chance] = 10.244.0.1 . 8080 (1/2)",
                "pool[0…3 by chance] = 10.244.0.2 . 8080 (1/4)",
                "pool[0…3 by chance]: not there (1/4)",
            ),
            ("to 10.244.0.1:8080", "to 10.244.0.2:8080"),
            Fraction(1),
        ),
    )


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
