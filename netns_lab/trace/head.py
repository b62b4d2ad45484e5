"""The head of a packet as a value, out of the bytes of a link or of a rule's trace. Pure.

Of VXLAN (RFC 7348) the inner packet is the one that counts; of an ICMP error the packet that it is about.
"""

import struct
from ipaddress import IPv4Address, IPv6Address

import msgspec

from nodeplane.datapath.conntrack.entry import Ends
from nodeplane.datapath.rtnl import Address

_ETHERNET_BYTES = 14
_IPV4, _IPV6, _VLAN = 0x0800, 0x86DD, 0x8100
_ICMP, _TCP, _UDP, _ICMPV6, _SCTP = 1, 6, 17, 58, 132
_PROTOCOLS = {_TCP: "tcp", _UDP: "udp", _SCTP: "sctp", _ICMP: "icmp", _ICMPV6: "icmp"}
_EXTENSIONS = {0, 43, 60}  # hop-by-hop, routing, destination options (RFC 8200)
_VXLAN_PORTS = {4789, 8472}
_VXLAN_BYTES = 16  # UDP's header and its own
_FLAGS = ((0x02, "S"), (0x10, "A"), (0x04, "R"), (0x01, "F"), (0x08, "P"))
_PAYLOAD_BYTES = 96

# RFC 792 and RFC 4443: the errors that a connection may meet.
_ERRORS4 = {
    (3, 0): "network unreachable",
    (3, 1): "host unreachable",
    (3, 3): "port unreachable",
    (3, 4): "fragmentation needed",
    (3, 9): "prohibited",
    (3, 10): "prohibited",
    (3, 13): "prohibited",
    (11, 0): "time to live exceeded",
}
_ERRORS6 = {
    (1, 0): "no route",
    (1, 1): "prohibited",
    (1, 3): "address unreachable",
    (1, 4): "port unreachable",
    (2, 0): "packet too big",
    (3, 0): "hop limit exceeded",
}
_WORDS = {"S": "SYN", "SA": "SYN ACK", "R": "RST", "AR": "RST", "A": "ACK", "AP": "data", "AF": "FIN"}


class Head(msgspec.Struct, frozen=True):
    """What tells a packet from others.

    Attributes:
        protocol: `tcp`, `udp`, `sctp` or `icmp`.
        ttl: Hops that it has left.
        flags: TCP's, in the order SARFP.
        sequence: TCP's sequence number; SCTP's verification tag.
        acknowledgement: TCP's; the initiate tag of SCTP's INIT.
        payload: The beginning of what UDP carries.
        error: What an ICMP error says.
        about: The packet that it is about.
        outer: The ends of the VXLAN packet that it was inside of.
    """

    protocol: str
    ends: Ends
    ttl: int = 0
    flags: str = ""
    sequence: int = 0
    acknowledgement: int = 0
    payload: bytes = b""
    error: str = ""
    about: "Head | None" = None
    outer: Ends | None = None

    @property
    def towards(self) -> Address:
        """The address that those on its way send it to."""
        return (self.outer or self.ends).destination

    def __str__(self) -> str:
        if self.error:
            return f"{self.ends.source} > {self.ends.destination} ICMP {self.error}"
        words = {"tcp": _WORDS.get(self.flags, self.flags), "udp": "UDP", "sctp": "SCTP"}
        return f"{self.ends} {words.get(self.protocol, self.protocol)}"


def decode_frame(frame: bytes) -> Head | None:
    """Decode an Ethernet frame; None if it is nothing that is followed."""
    if len(frame) < _ETHERNET_BYTES:
        return None
    kind, start = struct.unpack_from(">H", frame, 12)[0], _ETHERNET_BYTES
    if kind == _VLAN and len(frame) >= start + 4:
        kind, start = struct.unpack_from(">H", frame, 16)[0], start + 4
    return decode_packet(frame[start:]) if kind in {_IPV4, _IPV6} else None


def decode_packet(packet: bytes) -> Head | None:
    """Decode an IP packet, of which the beginning may be all that there is."""
    if not packet:
        return None
    if packet[0] >> 4 == 4 and len(packet) >= 20:
        start = 4 * (packet[0] & 0xF)
        source, destination = (IPv4Address(packet[at : at + 4]) for at in (12, 16))
        # RFC 791: only the first fragment has the header behind.
        if struct.unpack_from(">H", packet, 6)[0] & 0x1FFF:
            return None
        return decode_transport(packet[9], (source, destination), packet[8], packet[start:])
    if packet[0] >> 4 == 6 and len(packet) >= 40:
        kind, start = packet[6], 40
        while kind in _EXTENSIONS and len(packet) >= start + 2:
            kind, start = packet[start], start + 8 * (packet[start + 1] + 1)
        ends6 = IPv6Address(packet[8:24]), IPv6Address(packet[24:40])
        return decode_transport(kind, ends6, packet[7], packet[start:])
    return None


def decode_transport(protocol: int, addresses: tuple[Address, Address], ttl: int, data: bytes) -> Head | None:
    """Decode what is behind an IP header; of a quoted packet the first eight bytes have to do."""
    name = _PROTOCOLS.get(protocol)
    if name is None or len(data) < 8:
        return None
    if name == "icmp":
        return _decode_error(protocol, addresses, ttl, data)
    source_port, destination_port, sequence = struct.unpack_from(">HHI", data)
    ends = Ends(addresses[0], source_port, addresses[1], destination_port)
    if name == "tcp":
        acknowledgement = struct.unpack_from(">I", data, 8)[0] if len(data) >= 12 else 0
        bits = data[13] if len(data) >= 14 else 0
        flags = "".join(letter for bit, letter in _FLAGS if bits & bit)
        return Head(name, ends, ttl, flags, sequence, acknowledgement)
    if name == "sctp":
        # RFC 9260, 3.3.2: a first chunk INIT or INIT ACK has its initiate tag behind the chunk's header.
        kind = data[12] if len(data) >= 20 else 0
        tag = struct.unpack_from(">I", data, 16)[0] if kind in {1, 2} else 0
        flags = {1: "INIT", 2: "INIT ACK", 6: "ABORT"}.get(data[12] if len(data) > 12 else -1, "")
        return Head(name, ends, ttl, flags, sequence, tag)
    if destination_port in _VXLAN_PORTS and len(data) > _VXLAN_BYTES:
        inner = decode_frame(data[_VXLAN_BYTES:])
        if inner is not None:
            return msgspec.structs.replace(inner, outer=ends)
    return Head(name, ends, ttl, payload=data[8 : 8 + _PAYLOAD_BYTES])


def _decode_error(protocol: int, addresses: tuple[Address, Address], ttl: int, data: bytes) -> Head | None:
    error = (_ERRORS4 if protocol == _ICMP else _ERRORS6).get((data[0], data[1]))
    about = decode_packet(data[8:]) if error else None
    if error is None or about is None:
        return None
    return Head("icmp", Ends(addresses[0], 0, addresses[1], 0), ttl, error=error, about=about)
