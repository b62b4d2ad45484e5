"""Which packets are the request, its answer, its refusal; the filter must let all of them through."""

import socket
from array import array
from ipaddress import ip_address
from struct import pack

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6ND_NS, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.layers.sctp import SCTP, SCTPChunkInit, SCTPChunkInitAck
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw

from netns_lab.trace.capture_filter import build_filter
from netns_lab.trace.head import decode_frame
from netns_lab.trace.mark import Mark, Role, build_mark
from netns_lab.trace.sctp import build_init, crc32c
from nodeplane.datapath.conntrack.entry import Ends

NUMBER = 0x12345678
TCP_MARK, UDP_MARK, DNS_MARK, SCTP_MARK = (
    build_mark(protocol, port, NUMBER)
    for protocol, port in (("tcp", 80), ("udp", 7), ("udp", 53), ("sctp", 80))
)
LAST_MARK = build_mark("tcp", 80, 0xFFFFFFFF)
THERE, BACK = IP(src="10.0.0.1", dst="10.0.0.2"), IP(src="10.0.0.2", dst="10.0.0.1")
THERE6, BACK6 = IPv6(src="fd00::1", dst="fd00::2"), IPv6(src="fd00::2", dst="fd00::1")
SYN = TCP(sport=1000, dport=80, flags="S", seq=NUMBER)
REQUESTS = {
    Ends(ip_address(source), 1000, ip_address(destination), port)
    for source, destination in (("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2"))
    for port in (7, 53, 80)
}
ALL = [
    pytest.param(TCP_MARK, THERE / SYN, "request", id="SYN"),
    pytest.param(TCP_MARK, THERE6 / SYN, "request", id="SYN over IPv6"),
    pytest.param(
        TCP_MARK, IP() / UDP(dport=4789) / VXLAN() / Ether() / THERE / SYN, "request", id="SYN inside VXLAN"
    ),
    pytest.param(TCP_MARK, BACK / TCP(flags="SA", ack=NUMBER + 1), "reply", id="SYN ACK"),
    pytest.param(TCP_MARK, BACK6 / TCP(flags="RA", ack=NUMBER + 1), "reply", id="reset"),
    pytest.param(LAST_MARK, BACK / TCP(flags="SA", ack=0), "reply", id="SYN ACK of the last number"),
    pytest.param(TCP_MARK, BACK / ICMP(type=3, code=1) / THERE / SYN, "refusal", id="ICMP error"),
    pytest.param(TCP_MARK, BACK6 / ICMPv6DestUnreach() / THERE6 / SYN, "refusal", id="ICMPv6 error"),
    pytest.param(
        UDP_MARK, THERE / UDP(sport=1000, dport=7) / Raw(UDP_MARK.payload), "request", id="datagram"
    ),
    pytest.param(UDP_MARK, BACK / UDP(sport=7, dport=1000) / Raw(b"{}"), "reply", id="datagram back"),
    pytest.param(
        UDP_MARK,
        BACK / ICMP(type=3, code=3) / THERE / UDP(sport=1000, dport=7),
        "refusal",
        id="datagram refused",
    ),
    pytest.param(
        DNS_MARK, THERE6 / UDP(sport=1000, dport=53) / Raw(DNS_MARK.payload), "request", id="DNS query"
    ),
    pytest.param(
        DNS_MARK,
        THERE / UDP(sport=1000, dport=53) / Raw(DNS_MARK.payload[:12]),
        "request",
        id="as much of a DNS query as a rule's trace has",
    ),
    pytest.param(
        DNS_MARK,
        BACK / UDP(sport=53, dport=1000) / Raw(DNS_MARK.payload[:2] + b"\x81" + DNS_MARK.payload[3:]),
        "reply",
        id="DNS answer, which has the question",
    ),
    pytest.param(
        UDP_MARK, BACK / UDP(sport=7, dport=1000) / Raw(UDP_MARK.payload), "reply", id="datagram echoed"
    ),
    pytest.param(SCTP_MARK, THERE / SCTP() / SCTPChunkInit(init_tag=NUMBER), "request", id="INIT"),
    pytest.param(SCTP_MARK, BACK / SCTP(tag=NUMBER) / SCTPChunkInitAck(), "reply", id="INIT ACK"),
]
OTHERS = [
    pytest.param(TCP_MARK, THERE / TCP(flags="S", seq=NUMBER + 9), id="another SYN"),
    pytest.param(TCP_MARK, BACK / TCP(flags="SA", ack=NUMBER), id="another's answer"),
    pytest.param(TCP_MARK, THERE / UDP(dport=80), id="UDP"),
    pytest.param(UDP_MARK, THERE / SYN, id="TCP"),
    pytest.param(SCTP_MARK, THERE6 / SYN, id="TCP over IPv6"),
]


@pytest.mark.parametrize(
    ("mark", "packet", "role"),
    [
        *ALL,
        *(pytest.param(*each.values, None, id=each.id) for each in OTHERS),
        pytest.param(TCP_MARK, THERE / TCP(flags="A", seq=NUMBER, ack=3), None, id="data with our number"),
        pytest.param(
            DNS_MARK,
            BACK / UDP(sport=53, dport=1001) / Raw(b"?" + DNS_MARK.payload[1:]),
            None,
            id="another DNS query for the name",
        ),
        pytest.param(
            UDP_MARK, BACK / UDP(sport=7, dport=1001) / Raw(b"{}"), None, id="a datagram for another port"
        ),
    ],
)
def test_role(mark: Mark, packet: Packet, role: Role | None) -> None:
    head = decode_frame(bytes(Ether() / packet))

    assert (head and mark.role(head, REQUESTS)) == role


def test_an_echo_is_no_request() -> None:
    """It has what the request had, but came later and goes back."""
    there, back = (
        decode_frame(bytes(Ether() / packet))
        for packet in (
            THERE / UDP(sport=1000, dport=7) / Raw(UDP_MARK.payload),
            BACK / UDP(sport=7, dport=1000) / Raw(UDP_MARK.payload),
        )
    )
    assert there is not None
    assert back is not None

    assert UDP_MARK.request_ends([there, back]) == {there.ends}


@pytest.mark.parametrize(
    ("mark", "packet", "passes"),
    [
        *(pytest.param(each.values[0], each.values[1], True, id=each.id) for each in ALL),
        *(pytest.param(*each.values, False, id=each.id) for each in OTHERS),
        pytest.param(TCP_MARK, THERE6 / ICMPv6ND_NS(), False, id="neighbour discovery"),
        pytest.param(TCP_MARK, ARP(), False, id="ARP"),
    ],
)
def test_filter(mark: Mark, packet: Packet, passes: bool) -> None:
    """Run by the kernel, on a pair of sockets that takes any frame."""
    program = array("B", build_filter(mark))
    sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with sender, receiver:
        address, length = program.buffer_info()
        receiver.setsockopt(socket.SOL_SOCKET, 26, pack("@HP", length // 8, address))
        receiver.setblocking(False)
        sender.send(bytes(Ether() / packet))
        try:
            got = receiver.recv(4096)
        except BlockingIOError:
            got = b""

    assert bool(got) == passes


def test_sctp_init_is_whole() -> None:
    """With the checksum that scapy computes, and the mark's tag."""
    ours = build_init(1000, 80, NUMBER)
    theirs = SCTP(sport=1000, dport=80) / SCTPChunkInit(
        init_tag=NUMBER, a_rwnd=65536, n_out_streams=1, n_in_streams=1, init_tsn=NUMBER
    )

    assert ours == bytes(theirs)
    # RFC 3720, B.4: the checksum of 32 bytes of zeroes.
    assert crc32c(bytes(32)) == 0x8A9136AA
