"""Heads of packets, made by scapy as the independent oracle."""

from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.layers.sctp import SCTP, SCTPChunkInit, SCTPChunkInitAck
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw

from netns_lab.trace.head import Head, decode_frame, decode_packet
from nodeplane.datapath.conntrack.entry import Ends

A, B, A6, B6 = map(ip_address, ("10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2"))
SYN = TCP(sport=1000, dport=80, flags="S", seq=7)
ENDS, ENDS6 = Ends(A, 1000, B, 80), Ends(A6, 1000, B6, 80)
IP4, IP6 = IP(src=str(A), dst=str(B), ttl=63), IPv6(src=str(A6), dst=str(B6), hlim=63)


@pytest.mark.parametrize(
    ("frame", "head"),
    [
        pytest.param(Ether() / IP4 / SYN, Head("tcp", ENDS, 63, "S", 7), id="TCP"),
        pytest.param(Ether() / IP6 / SYN, Head("tcp", ENDS6, 63, "S", 7), id="TCP over IPv6"),
        pytest.param(
            Ether() / IP6 / IPv6ExtHdrDestOpt() / SYN, Head("tcp", ENDS6, 63, "S", 7), id="behind options"
        ),
        pytest.param(
            Ether() / IP4 / TCP(sport=1000, dport=80, flags="RA", seq=0, ack=8),
            Head("tcp", ENDS, 63, "AR", 0, 8),
            id="reset",
        ),
        pytest.param(Ether() / Dot1Q() / IP4 / SYN, Head("tcp", ENDS, 63, "S", 7), id="in a VLAN"),
        pytest.param(
            Ether() / IP4 / UDP(sport=1000, dport=80) / Raw(b"who"),
            Head("udp", ENDS, 63, payload=b"who"),
            id="UDP",
        ),
        pytest.param(
            Ether()
            / IP(src="172.30.0.2", dst="172.30.0.3")
            / UDP(dport=4789)
            / VXLAN(vni=4096)
            / Ether()
            / IP4
            / SYN,
            Head(
                "tcp",
                ENDS,
                63,
                "S",
                7,
                outer=Ends(ip_address("172.30.0.2"), 4789, ip_address("172.30.0.3"), 4789),
            ),
            id="inside VXLAN",
        ),
        pytest.param(
            Ether() / IP(src=str(B), dst=str(A), ttl=60) / ICMP(type=3, code=3) / IP4 / SYN,
            Head(
                "icmp",
                Ends(B, 0, A, 0),
                60,
                error="port unreachable",
                about=Head("tcp", ENDS, 63, "S", 7),
            ),
            id="ICMP error",
        ),
        pytest.param(
            Ether() / IPv6(src=str(B6), dst=str(A6), hlim=60) / ICMPv6DestUnreach(code=4) / IP6 / SYN,
            Head(
                "icmp",
                Ends(B6, 0, A6, 0),
                60,
                error="port unreachable",
                about=Head("tcp", ENDS6, 63, "S", 7),
            ),
            id="ICMPv6 error",
        ),
        pytest.param(
            Ether() / IP4 / SCTP(sport=1000, dport=80) / SCTPChunkInit(init_tag=9),
            Head("sctp", ENDS, 63, "INIT", 0, 9),
            id="SCTP INIT",
        ),
        pytest.param(
            Ether() / IP4 / SCTP(sport=1000, dport=80, tag=9) / SCTPChunkInitAck(init_tag=5),
            Head("sctp", ENDS, 63, "INIT ACK", 9, 5),
            id="SCTP INIT ACK",
        ),
        pytest.param(Ether() / IP(src=str(A), dst=str(B), frag=9) / Raw(b"12345678"), None, id="a fragment"),
        pytest.param(Ether() / ARP(), None, id="ARP"),
        pytest.param(Ether() / IP4 / ICMP(), None, id="a ping"),
    ],
)
def test_decode_frame(frame: Packet, head: Head | None) -> None:
    assert decode_frame(bytes(frame)) == head


@settings(deadline=None)
@given(st.binary(max_size=120))
def test_garbage_is_a_head_or_none(data: bytes) -> None:
    assert decode_frame(data) is None or isinstance(decode_frame(data), Head)
    assert decode_packet(b"\x45" + data) is None or isinstance(decode_packet(b"\x45" + data), Head)
    assert decode_packet(b"\x60" + data) is None or isinstance(decode_packet(b"\x60" + data), Head)


@pytest.mark.parametrize(
    ("head", "text"),
    [
        pytest.param(Head("tcp", ENDS, flags="SA"), "10.0.0.1:1000 > 10.0.0.2:80 SYN ACK", id="TCP"),
        pytest.param(Head("udp", ENDS6), "[fd00::1]:1000 > [fd00::2]:80 UDP", id="IPv6"),
        pytest.param(
            Head("icmp", Ends(A, 0, B, 0), error="no route", about=Head("tcp", ENDS)),
            "10.0.0.1 > 10.0.0.2 ICMP no route",
            id="ICMP",
        ),
    ],
)
def test_words(head: Head, text: str) -> None:
    assert str(head) == text
