"""The nft table that makes the kernel tell of the followed packet, and of no other. Pure.

The request and TCP's and SCTP's answers are known by their headers. An answer over UDP is known by its ends:
the rules note those of the request as it leaves a node or reaches it, behind all translation.
"""

from typing import Literal

from netns_lab.trace.mark import Mark, encode_number
from netns_lab.trace.target import PROTOCOLS
from nodeplane.datapath.nft import expr
from nodeplane.datapath.nft.expr import Family
from nodeplane.datapath.nft.table import Chain, Hook, Map, Rule, Table

TABLE = "netns-lab-trace"

_PREROUTING, _INPUT, _OUTPUT, _POSTROUTING = 0, 1, 3, 4
# Before all others, conntrack (-200) and raw (-300) among them; behind source translation (100).
_FIRST, _LAST = -1000, 1000

_TCP_SEQUENCE, _TCP_ACKNOWLEDGEMENT = 4, 8
_SCTP_TAG, _SCTP_CHUNK = 4, 12
_INIT_TAG = 4  # in the chunk
_UDP_PAYLOAD = 8

_ANSWERS = "answers"
_REMEMBERED_S = 60


def build_trace_table(family: Family, mark: Mark, *, of_bridge: bool = False) -> Table:
    """Build the table for one family, or for its packets on a bridge; it changes nothing about any."""
    first = (("in", Hook("filter", _PREROUTING, _FIRST)), ("out", Hook("filter", _OUTPUT, _FIRST)))
    last = (("arrived", Hook("filter", _INPUT, _LAST)), ("left", Hook("filter", _POSTROUTING, _LAST)))
    is_udp = mark.protocol == "udp"
    matches = [*_matches(mark)]
    rules = [Rule(name, match + expr.trace_packet(), why) for name, _ in first for match, why in matches]
    if is_udp:
        request = matches[0][0]
        known = _load_ends(family, "as sent") + expr.look_up(_ANSWERS, key=0, value=_data(family))
        rules += [
            Rule(name, _protocol(mark) + known + expr.trace_packet(), "the answer") for name, _ in first
        ]
        note = _load_ends(family, "answered") + expr.load_constant(bytes(4), _data(family))
        note += expr.change_element("update", _ANSWERS, 0, _data(family), _REMEMBERED_S)
        rules += [Rule(name, request + note, "its answer will have these ends") for name, _ in last]
    address = {"ip": "ipv4_addr", "ip6": "ipv6_addr"}[family]
    key = (address, address, "inet_service", "inet_service")
    return Table(
        family="bridge" if of_bridge else family,
        name=TABLE,
        comment="netns-lab trace",
        chains=tuple(Chain(name, "", hook) for name, hook in (*first, *(last if is_udp else ()))),
        maps=(Map(_ANSWERS, "ends of answers", key, ("mark",), remembers=1024),) if is_udp else (),
        rules=tuple(rules),
        fixed={},
    )


def _matches(mark: Mark) -> list[tuple[bytes, str]]:
    """Return how packets are known by what is in them, the request first."""
    head = _protocol(mark)
    if mark.protocol == "tcp":
        number = encode_number(mark.number)
        next_number = encode_number((mark.number + 1) % (1 << 32))
        return [
            (head + _has(_TCP_SEQUENCE, number), "the request"),
            (head + _has(_TCP_ACKNOWLEDGEMENT, next_number), "the answer"),
        ]
    if mark.protocol == "sctp":
        tag = encode_number(mark.number)
        return [
            (head + _has(_SCTP_CHUNK, b"\1") + _has(_SCTP_CHUNK + _INIT_TAG, tag), "the request"),
            (head + _has(_SCTP_TAG, tag), "the answer"),
        ]
    return [(head + _has(_UDP_PAYLOAD + mark.offset, mark.token), "the request")]


def _protocol(mark: Mark) -> bytes:
    return expr.load_meta("l4proto", 0) + expr.compare("==", bytes((PROTOCOLS[mark.protocol],)), 0)


def _has(offset: int, value: bytes) -> bytes:
    return expr.load_transport(offset, len(value), 0) + expr.compare("==", value, 0)


def _load_ends(family: Family, order: Literal["as sent", "answered"]) -> bytes:
    """Load both addresses and both ports, as the packet has them or as its answer will."""
    words = expr.ADDRESS_BYTES[family] // 4
    places = (0, words, 2 * words, 2 * words + 1)
    source, destination, source_port, destination_port = (
        places if order == "as sent" else (places[1], places[0], places[3], places[2])
    )
    return (
        expr.load_address(family, "saddr", source)
        + expr.load_address(family, "daddr", destination)
        + expr.load_source_port(source_port)
        + expr.load_destination_port(destination_port)
    )


def _data(family: Family) -> int:
    """Return the register behind the ends."""
    return 2 * expr.ADDRESS_BYTES[family] // 4 + 2
