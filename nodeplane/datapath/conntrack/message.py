"""Conntrack's netlink messages, to bytes and back (linux/netfilter/nfnetlink_conntrack.h). Pure.

What the kernel makes of a filter (net/netfilter/nf_conntrack_netlink.c, read for 6.18) decides two things:

- IPv6 addresses are never sent as a filter: `ctnetlink_filter_match_tuple` has their comparison the wrong way
  round and yields all flows but the right ones. Protocol and ports narrow an IPv6 dump.
- Nothing is deleted by a filter. A kernel before 5.8 does not know CTA_FILTER; one with the inverted IPv6
  comparison would delete every flow but the ones that are meant; a filter can't say "no endpoint in use". A
  request to delete always has one whole original tuple, for without any tuple it means the whole table.
"""

import struct
from collections.abc import Iterator

from nodeplane.datapath import netlink as nl
from nodeplane.datapath.conntrack.flow import Flow, FlowFilter, Usage
from nodeplane.datapath.nft.expr import NFPROTO

_SUBSYSTEM = 1 << 8
GET, DELETE, GET_STATS = _SUBSYSTEM | 1, _SUBSYSTEM | 2, _SUBSYSTEM | 5

_TUPLE_ORIG, _TUPLE_REPLY, _ID, _ZONE, _FILTER = 1, 2, 12, 18, 25
_TUPLE_IP, _TUPLE_PROTO, _TUPLE_ZONE = 1, 2, 3
_ORIG_FLAGS, _REPLY_FLAGS = 1, 2
# nf_internals.h: the flags' bits are in the order of the attributes.
_F_SRC, _F_DST, _F_PROTO, _F_SRC_PORT, _F_DST_PORT = 1 << 0, 1 << 1, 1 << 3, 1 << 4, 1 << 5
_IP_ATTRIBUTES = {4: (1, 2), 16: (3, 4)}
_PROTO_NUM, _SRC_PORT, _DST_PORT = 1, 2, 3
_NESTED = 0x8000
_ATTRIBUTE = struct.Struct("=HH")

_End = tuple[bytes | None, int]
"""An address, unless any will do, and a port."""


def encode_find(wanted: FlowFilter) -> bytes:
    """Encode the request for a dump of the flows that agree with a filter, or of more than those."""
    is_v4 = wanted.family == "ip"
    destination = wanted.destination if is_v4 else None
    source = wanted.reply_source if is_v4 else None
    flags = _F_PROTO
    flags |= _F_DST if destination is not None else 0
    flags |= _F_DST_PORT if wanted.destination_port is not None else 0
    attributes = _tuple(_TUPLE_ORIG, wanted.protocol, (None, 0), (destination, wanted.destination_port or 0))
    filter_ = nl.attribute(_ORIG_FLAGS, struct.pack("=I", flags))
    if source is not None or wanted.reply_source_port is not None:
        flags = _F_PROTO
        flags |= _F_SRC if source is not None else 0
        flags |= _F_SRC_PORT if wanted.reply_source_port is not None else 0
        attributes += _tuple(
            _TUPLE_REPLY, wanted.protocol, (source, wanted.reply_source_port or 0), (None, 0)
        )
        filter_ += nl.attribute(_REPLY_FLAGS, struct.pack("=I", flags))
    attributes += nl.attribute(_NESTED | _FILTER, filter_)
    header = nl.NFGEN.pack(NFPROTO[wanted.family], 0, 0)
    return nl.request(GET, nl.NLM_F_DUMP, 1, header + attributes)


def encode_delete(flow: Flow, sequence: int, *, acknowledge: bool) -> bytes:
    """Encode the request to delete one entry."""
    family = NFPROTO["ip" if len(flow.destination) == 4 else "ip6"]
    attributes = _tuple(
        _TUPLE_ORIG,
        flow.protocol,
        (flow.source, flow.source_port),
        (flow.destination, flow.destination_port),
    )
    attributes += nl.u32(_ID, flow.id)
    if flow.zone:
        attributes += nl.attribute(_ZONE, struct.pack(">H", flow.zone))
    flags = nl.NLM_F_ACK if acknowledge else 0
    return nl.request(DELETE, flags, sequence, nl.NFGEN.pack(family, 0, 0) + attributes)


def encode_usage() -> bytes:
    """Encode the question how full the table is."""
    return nl.request(GET_STATS, nl.NLM_F_ACK, 1, nl.NFGEN.pack(0, 0, 0))


def decode_usage(payload: memoryview) -> Usage:
    """Decode its answer."""
    facts = nl.attribute_map(nl.nf_payload(payload))
    return Usage(nl.read_u32(facts[1]), nl.read_u32(facts[2]))


class _Layout:
    """Where the fields of both tuples are in a message: the kernel always writes them alike."""

    def __init__(self, address_bytes: int) -> None:
        words = f"{address_bytes}s"
        one = f"12x{words}4x{words}8xB7xH6xH2x"
        self.fields = struct.Struct(f">20x{one}{one}")
        length = 44 + 2 * address_bytes
        # Of each tuple: its header, the one of its addresses, the one of its first address.
        headers = struct.pack(
            "=HHHH",
            *(12 + 2 * address_bytes, _NESTED | _TUPLE_IP),
            *(4 + address_bytes, _IP_ATTRIBUTES[address_bytes][0]),
        )
        self._original = _ATTRIBUTE.pack(length, _NESTED | _TUPLE_ORIG) + headers
        self._reply = _ATTRIBUTE.pack(length, _NESTED | _TUPLE_REPLY) + headers
        self._second = nl.HEADER_LENGTH + length
        self.rest = self._second + length

    def fits(self, datagram: bytes, offset: int, length: int) -> bool:
        """Say whether a message is laid out so."""
        return (
            length >= self.rest
            and datagram.startswith(self._original, offset + nl.HEADER_LENGTH)
            and datagram.startswith(self._reply, offset + self._second)
        )


_LAYOUTS = {NFPROTO["ip"]: _Layout(4), NFPROTO["ip6"]: _Layout(16)}


def decode_flows(datagram: bytes) -> Iterator[Flow]:
    """Yield the flows of one datagram of a dump; those of protocols without ports are left out."""
    offset = 0
    while offset + nl.HEADER_LENGTH <= len(datagram):
        length, kind, *_ = nl.NLMSG.unpack_from(datagram, offset)
        if length < nl.HEADER_LENGTH or offset + length > len(datagram):
            return
        if kind == _SUBSYSTEM:
            layout = _LAYOUTS.get(datagram[offset + nl.NLMSG.size])
            if layout is not None and layout.fits(datagram, offset, length):
                flow = _decode_known(datagram, offset, length, layout)
            else:
                flow = _decode_any(memoryview(datagram)[offset + nl.HEADER_LENGTH : offset + length])
            if flow is not None:
                yield flow
        offset += length + (-length % 4)


def _decode_known(datagram: bytes, offset: int, length: int, layout: _Layout) -> Flow | None:
    source, destination, protocol, source_port, destination_port, reply_source, _, _, reply_port, _ = (
        layout.fields.unpack_from(datagram, offset)
    )
    id_, zone = _find_id(datagram, offset + layout.rest, offset + length)
    if id_ is None:
        return None
    return Flow(
        *(protocol, source, source_port, destination, destination_port, reply_source, reply_port, id_, zone)
    )


def _find_id(datagram: bytes, start: int, end: int) -> tuple[int | None, int]:
    """Return an entry's id and zone, reading no further than to the id: the zone stands before it."""
    zone = 0
    while start + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(datagram, start)
        if kind == _ID:
            return int.from_bytes(datagram[start + 4 : start + 8], "big"), zone
        if kind == _ZONE:
            zone = int.from_bytes(datagram[start + 4 : start + 6], "big")
        start += max(length + (-length % 4), 4)
    return None, zone


def _decode_any(payload: memoryview) -> Flow | None:
    facts = nl.attribute_map(payload)
    original, reply = _decode_tuple(facts.get(_TUPLE_ORIG)), _decode_tuple(facts.get(_TUPLE_REPLY))
    if original is None or reply is None or _ID not in facts:
        return None
    zone = int.from_bytes(facts[_ZONE], "big") if _ZONE in facts else 0
    protocol, source, source_port, destination, destination_port = original
    _, reply_source, reply_port, _, _ = reply
    return Flow(
        *(protocol, source, source_port, destination, destination_port),
        *(reply_source, reply_port, nl.read_u32(facts[_ID]), zone),
    )


def _decode_tuple(payload: memoryview | None) -> tuple[int, bytes, int, bytes, int] | None:
    """Return protocol, source and destination of a tuple; None if it has no ports, or a zone."""
    parts = nl.attribute_map(payload) if payload else {}
    # Flows with a zone for one direction alone are nobody's that we know of, and could not be deleted.
    if _TUPLE_IP not in parts or _TUPLE_PROTO not in parts or _TUPLE_ZONE in parts:
        return None
    addresses = [bytes(address) for _, address in sorted(nl.attribute_map(parts[_TUPLE_IP]).items())]
    proto = nl.attribute_map(parts[_TUPLE_PROTO])
    if len(addresses) != 2 or not {_PROTO_NUM, _SRC_PORT, _DST_PORT} <= proto.keys():
        return None
    protocol, source_port, destination_port = (
        int.from_bytes(proto[kind], "big") for kind in (_PROTO_NUM, _SRC_PORT, _DST_PORT)
    )
    return protocol, addresses[0], source_port, addresses[1], destination_port


def _tuple(kind: int, protocol: int, source: _End, destination: _End) -> bytes:
    addresses = b""
    for place, (address, _) in enumerate((source, destination)):
        if address is not None:
            addresses += nl.attribute(_IP_ATTRIBUTES[len(address)][place], address)
    parts = nl.attribute(_NESTED | _TUPLE_IP, addresses) if addresses else b""
    parts += nl.nested(
        _NESTED | _TUPLE_PROTO,
        nl.attribute(_PROTO_NUM, bytes((protocol,))),
        nl.attribute(_SRC_PORT, struct.pack(">H", source[1])),
        nl.attribute(_DST_PORT, struct.pack(">H", destination[1])),
    )
    return nl.attribute(_NESTED | kind, parts)
