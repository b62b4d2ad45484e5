"""Entries of the connection tracking table with all that they say of a translation.

`flow` has what kube-proxy's cleaning needs of a million entries; this is for whoever wants to understand one.
"""

import struct
from ipaddress import ip_address

import msgspec

from nodeplane.datapath import netlink as nl
from nodeplane.datapath.conntrack.flow import FlowFilter
from nodeplane.datapath.conntrack.message import encode_find
from nodeplane.datapath.netlink_socket import NetlinkSocket, read_at_rest
from nodeplane.datapath.nft.expr import Family
from nodeplane.datapath.rtnl import Address

_NEW = 1 << 8  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_NEW (0)
# enum ctattr_type and those nested in it (nfnetlink_conntrack.h)
_TUPLE_ORIG, _TUPLE_REPLY, _STATUS, _PROTOINFO = 1, 2, 3, 4
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_PROTO_NUM, _SRC_PORT, _DST_PORT = 1, 2, 3
_PROTOINFO_TCP, _TCP_STATE = 1, 1
_SEEN_REPLY = 1 << 1  # IPS_SEEN_REPLY
# nf_conntrack_tcp.h: enum tcp_conntrack
_TCP_STATES = (
    *("NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT"),
    *("CLOSE", "SYN_SENT2"),
)


class Ends(msgspec.Struct, frozen=True, order=True):
    """Where a packet comes from and where it goes to."""

    source: Address
    source_port: int
    destination: Address
    destination_port: int

    @property
    def reversed(self) -> "Ends":
        """What an answer has."""
        return Ends(self.destination, self.destination_port, self.source, self.source_port)

    @property
    def origin(self) -> str:
        """The source, as text."""
        return _with_port(self.source, self.source_port)

    @property
    def to(self) -> str:
        """The destination, as text."""
        return _with_port(self.destination, self.destination_port)

    def __str__(self) -> str:
        return f"{self.origin} > {self.to}"


class Entry(msgspec.Struct, frozen=True):
    """A tracked connection: its first packet as it came, and its answers as they come.

    `state` is TCP's own, empty for other protocols.
    """

    original: Ends
    reply: Ends
    state: str = ""
    is_answered: bool = False

    def __str__(self) -> str:
        return f"{self.original}, answers {self.reply} {self.state}".rstrip()


def read_entries(family: Family, protocol: int) -> list[Entry]:
    """Return the connections of a protocol in the calling thread's namespace.

    Raises:
        KernelError: the kernel refused.
    """
    request = encode_find(FlowFilter(family, protocol))
    with NetlinkSocket(nl.NETLINK_NETFILTER) as opened:
        datagrams = read_at_rest(lambda: list(opened.dump("list tracked connections", request)))
    return [entry for datagram in datagrams for entry in decode_entries(datagram, protocol)]


def decode_entries(datagram: bytes, protocol: int) -> list[Entry]:
    """Decode one datagram of a dump; entries of other protocols are left out."""
    found = []
    for kind, _flags, _sequence, payload in nl.messages(datagram):
        if kind == _NEW and len(payload) >= nl.NFGEN.size:
            entry = _decode(nl.attribute_map(nl.nf_payload(payload)), protocol)
            found += [entry] if entry else []
    return found


def _decode(facts: dict[int, memoryview], protocol: int) -> Entry | None:
    original = _decode_tuple(facts.get(_TUPLE_ORIG), protocol)
    reply = _decode_tuple(facts.get(_TUPLE_REPLY), protocol)
    if original is None or reply is None:
        return None
    tcp = nl.attribute_map(facts[_PROTOINFO]).get(_PROTOINFO_TCP) if _PROTOINFO in facts else None
    state = nl.attribute_map(tcp).get(_TCP_STATE) if tcp is not None else None
    number = state[0] if state else 0
    status = nl.read_u32(facts[_STATUS]) if _STATUS in facts else 0
    name = _TCP_STATES[number] if state and number < len(_TCP_STATES) else ""
    return Entry(original, reply, name, bool(status & _SEEN_REPLY))


def _decode_tuple(payload: memoryview | None, protocol: int) -> Ends | None:
    parts = nl.attribute_map(payload) if payload else {}
    if _TUPLE_IP not in parts or _TUPLE_PROTO not in parts:
        return None
    addresses = [bytes(address) for _, address in sorted(nl.attribute_map(parts[_TUPLE_IP]).items())]
    proto = nl.attribute_map(parts[_TUPLE_PROTO])
    if len(addresses) != 2 or not {_PROTO_NUM, _SRC_PORT, _DST_PORT} <= proto.keys():
        return None
    if proto[_PROTO_NUM][0] != protocol:
        return None
    source_port, destination_port = (struct.unpack(">H", proto[kind])[0] for kind in (_SRC_PORT, _DST_PORT))
    return Ends(ip_address(addresses[0]), source_port, ip_address(addresses[1]), destination_port)


def _with_port(address: Address, port: int) -> str:
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
