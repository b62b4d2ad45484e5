"""Tables written by hand, and what a packet's walk through them comes to."""

import struct
from collections.abc import Mapping
from fractions import Fraction
from ipaddress import ip_address, ip_interface

from kubeproxy.trace.packet import Packet
from kubeproxy.trace.result import Trace
from kubeproxy.trace.walk import trace
from nodeplane.datapath.nft import expr
from nodeplane.datapath.nft import netlink as nl
from nodeplane.datapath.nft.listing import ListedChain, ListedMap, ListedRule, TableListing
from nodeplane.datapath.nft.table import Hook
from nodeplane.datapath.routing import FakeRouting

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


MASQUERADE = chain(expr.masquerade(), hook=POSTROUTING, priority=100)
TRANSLATED = expr.load_ct("status", 0) + expr.has_bits(expr.CT_STATUS_DNAT, 0)
HOST = ip_address("192.0.2.1").packed + struct.pack(">H2x", 22)
TO_HOST = expr.load_constant(HOST, 0) + expr.translate_destination("ip", 0, 1)
LEAVES_BY_PODS = nl.nested(1, nl.text(1, "meta"), nl.nested(2, nl.u32(2, 7), nl.u32(1, 1))) + expr.compare(
    "==", b"pods".ljust(16, b"\0"), 0
)
