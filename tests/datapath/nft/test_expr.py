"""Every word of our rules is dumped by the kernel byte for byte as it was written, and printed by nft."""

import inspect
from ipaddress import ip_network

import pytest

from nodeplane.datapath import netns
from nodeplane.datapath.nft import expr
from nodeplane.datapath.nft.expr import Family
from nodeplane.datapath.nft.kernel import KernelTable
from nodeplane.datapath.nft.table import Chain, Hook, Map, Rule, Table
from tests.netns_fixture import namespace, run_in

_ACCEPT = expr.verdict("accept")


def rules(family: Family) -> dict[str, list[bytes]]:
    """Return rules that use each function of `expr`, by its name."""
    words = expr.ADDRESS_BYTES[family] // 4
    network = ip_network({"ip": "10.0.0.0/9", "ip6": "fd00::/9"}[family])
    source = expr.load_address(family, "saddr", 0)
    mark = expr.load_meta("mark", 0)
    client = expr.load_address(family, "saddr", 4)
    return {
        "load_meta": [
            *(expr.load_meta(key, 0) + expr.set_meta("mark", 0) for key in ("priority", "mark")),
            expr.load_meta("iifname", 0) + expr.compare("==", b"lo".ljust(16, b"\0"), 0) + _ACCEPT,
        ],
        "set_meta": [mark + expr.set_meta("priority", 0)],
        "load_address": [source + expr.in_set("addresses", 0) + _ACCEPT],
        "load_destination_port": [
            expr.load_meta("l4proto", 0) + expr.load_destination_port(1) + expr.in_set("ports", 0)
        ],
        "load_source_port": [
            expr.load_meta("l4proto", 0) + expr.load_source_port(1) + expr.not_in_set("ports", 0)
        ],
        "load_transport": [
            expr.load_meta("l4proto", 0)
            + expr.compare("==", b"\x06", 0)
            + expr.load_transport(offset, length, 0)
            + expr.compare("==", bytes(range(1, length + 1)), 0)
            + _ACCEPT
            for offset, length in ((4, 4), (16, 8))
        ],
        "trace_packet": [
            expr.trace_packet(),
            mark + expr.compare("==", b"\1\0\0\0", 0) + expr.trace_packet(),
        ],
        "load_address_type": [
            expr.load_address_type(field, 0) + expr.compare("==", b"\2\0\0\0", 0) + _ACCEPT
            for field in ("saddr", "daddr")
        ],
        "load_ct": [expr.load_ct("state", 0) + expr.has_bits(expr.CT_STATE_NEW, 0) + _ACCEPT],
        "load_random": [expr.load_random(7, 0, offset) + expr.set_meta("mark", 0) for offset in (0, 65536)],
        "load_hash": [client + expr.load_hash(4, 4 * words, 251, 77, 0) + expr.set_meta("mark", 0)],
        "load_constant": [expr.load_constant(b"\0\0\0\0", 8) + expr.set_meta("priority", 8)],
        "mask": [
            mark + expr.mask(0xFF00, 0) + expr.compare("==", bytes(4), 0),
            mark + expr.mask(0xFF00, 0, flip=7) + expr.set_meta("mark", 0),
        ],
        "compare": [
            mark + expr.compare("!=", b"\1\0\0\0", 0) + _ACCEPT,
            expr.load_meta("iifname", 0) + expr.compare("!=", b"veth", 0),
        ],
        "of_family": [expr.of_family(family) + _ACCEPT],
        "load_link_source": [expr.load_link_source(0) + expr.compare("==", bytes(6), 0) + _ACCEPT],
        "load_icmp_type": [expr.load_icmp_type(0) + expr.compare("==", b"\x80", 0) + _ACCEPT],
        "in_network": [
            source + expr.in_network(network, 0) + _ACCEPT,
            source + expr.in_network(network, 0, "!=") + _ACCEPT,
        ],
        "has_bits": [mark + expr.has_bits(0x4000, 0) + _ACCEPT],
        "look_up": [mark + expr.look_up("marks", key=0, value=0) + expr.set_meta("mark", 0)],
        "look_up_verdict": [mark + expr.look_up_verdict("verdicts", 0)],
        "in_set": [source + expr.in_set("addresses", 0) + _ACCEPT],
        "not_in_set": [source + expr.not_in_set("addresses", 0) + _ACCEPT],
        "change_element": [
            source
            + mark_behind(words)
            + expr.load_meta("mark", 8)
            + expr.change_element("update", "clients", 0, 8, 60),
            source
            + mark_behind(words)
            + expr.load_meta("mark", 8)
            + expr.change_element("delete", "clients", 0, 8),
        ],
        "verdict": [
            expr.verdict(name, "nowhere" if name in {"jump", "goto"} else "")
            for name in ("drop", "accept", "jump", "goto", "return")
        ],
        "translate_destination": [
            mark + expr.look_up("endpoints", key=0, value=0) + expr.translate_destination(family, 0, words)
        ],
        "masquerade": [expr.masquerade()],
        "reject_with_reset": [
            expr.load_meta("l4proto", 0) + expr.compare("==", b"\6", 0) + expr.reject_with_reset()
        ],
        "reject_unreachable": [expr.reject_unreachable(family)],
        # Data of an element of a verdict map: `fixed` below.
        "verdict_data": [],
    }


def mark_behind(words: int) -> bytes:
    return expr.load_meta("mark", words)


def table(family: Family) -> Table:
    """Return a table with a chain for each function; those that translate hang where that is allowed."""
    address = {"ip": "ipv4_addr", "ip6": "ipv6_addr"}[family]
    hooks = {"translate_destination": Hook("nat", 3, -100), "masquerade": Hook("nat", 4, 100)}
    written = rules(family)
    return Table(
        family=family,
        name="words",
        comment="test",
        chains=(
            Chain("nowhere", ""),
            *(Chain(name, name, hooks.get(name, Hook("filter", 3, 0))) for name in sorted(written)),
        ),
        maps=(
            Map("addresses", "", (address,)),
            Map("ports", "", ("inet_proto", "inet_service")),
            Map("marks", "", ("mark",), ("mark",)),
            Map("endpoints", "", ("mark",), (address, "inet_service")),
            Map("clients", "", (address, "mark"), ("mark",), remembers=10),
            Map("verdicts", "", ("mark",), "verdict"),
        ),
        rules=tuple(Rule(name, rule, "why") for name in sorted(written) for rule in written[name]),
        fixed={
            "verdicts": {
                b"\1\0\0\0": expr.verdict_data("goto", "nowhere"),
                b"\2\0\0\0": expr.verdict_data("drop"),
            }
        },
    )


def test_all_words_are_tested() -> None:
    """There is a row for each function."""
    functions = {
        name
        for name, item in inspect.getmembers(expr, inspect.isfunction)
        if item.__module__ == expr.__name__ and not name.startswith("_")
    }

    assert rules("ip").keys() == functions


@pytest.mark.netns
@pytest.mark.parametrize("family", ["ip", "ip6"])
def test_written_is_dumped(family: Family) -> None:
    """The order of attributes and what is left out are the kernel's own."""
    words = table(family)
    with namespace() as ns:
        with netns.inside(ns), KernelTable(family, words.name) as edge:
            edge.replace(words, {})
            state = edge.read(words)
        text = run_in(ns, "nft", "list", "ruleset")
        data = run_in(ns, "nft", "-j", "list", "ruleset")

    assert state is not None
    assert sorted(state.rules) == sorted((rule.chain, rule.expressions, rule.comment) for rule in words.rules)
    assert state.holds(words)
    assert (text.returncode, text.stderr, data.returncode) == (0, "", 0)
    assert text.stdout.count('comment "why"') == len(words.rules)
