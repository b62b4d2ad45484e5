"""Captured packets: in a file that other programs read, and as lines."""

from io import BytesIO
from pathlib import Path

import pytest
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw
from scapy.utils import PcapNgReader

from netns_lab.look.capturing import Captured, Link
from netns_lab.look.packet_lines import describe
from netns_lab.look.pcapng import PcapngWriter

LINKS = [Link("client", "ns", "eth0"), Link("n1", "ns", "eth0")]
INNER = Ether() / IP(src="10.244.0.1", dst="10.244.0.2") / TCP(sport=1000, dport=80, flags="S", seq=7)


def test_file_that_others_read(tmp_path: Path) -> None:
    """Each packet with its time to the nanosecond, its link, and what was cut off."""
    target = BytesIO()
    writer = PcapngWriter(target, LINKS)
    frames = [bytes(INNER), b"\x00" * 61]
    for number, frame in enumerate(frames):
        writer.write(Captured(1_700_000_000_123_456_789 + number, number, frame, len(frame) + number))
    file = tmp_path / "a.pcapng"
    file.write_bytes(target.getvalue())

    with PcapNgReader(str(file)) as reader:
        packets = list(reader)

    assert [bytes(packet) for packet in packets] == frames
    assert [packet.sniffed_on for packet in packets] == ["client", "n1"]
    assert [packet.wirelen for packet in packets] == [len(frames[0]), 62]
    assert [round(packet.time * 10**9) for packet in packets] == [
        1_700_000_000_123_456_789,
        1_700_000_000_123_456_790,
    ]


@pytest.mark.parametrize(
    ("frame", "line"),
    [
        pytest.param(INNER, "10.244.0.1:1000 > 10.244.0.2:80 TCP [S] seq 7 ack 0 length 0", id="TCP"),
        pytest.param(
            Ether() / IPv6(src="fd00::1", dst="fd00::2") / UDP(sport=5, dport=7) / Raw(b"abc"),
            "[fd00::1]:5 > [fd00::2]:7 UDP length 3",
            id="UDP over IPv6",
        ),
        pytest.param(
            Ether() / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(dport=53) / DNS(qd=DNSQR(qname="web")),
            "10.0.0.1:53 > 10.0.0.2:53 DNS query 0: A web",
            id="DNS",
        ),
        pytest.param(
            Ether() / IP(src="10.0.0.1", dst="10.0.0.2") / ICMP(),
            "10.0.0.1 > 10.0.0.2 ICMP 10.0.0.1 > 10.0.0.2 echo-request 0",
            id="ICMP",
        ),
        pytest.param(
            Ether() / ARP(pdst="10.0.0.2", psrc="10.0.0.1"), "ARP who has 10.0.0.2 says 10.0.0.1", id="ARP"
        ),
        pytest.param(
            Ether()
            / IP(src="172.30.0.2", dst="172.30.0.3")
            / UDP(sport=9, dport=4789)
            / VXLAN(vni=4)
            / INNER,
            "VXLAN 4 172.30.0.2:9 > 172.30.0.3:4789 | "
            "10.244.0.1:1000 > 10.244.0.2:80 TCP [S] seq 7 ack 0 length 0",
            id="tunnelled",
        ),
    ],
)
def test_line(frame: Packet, line: str) -> None:
    assert describe(bytes(frame)) == line


@pytest.mark.parametrize("data", [b"", b"\x00", b"\xff" * 13, bytes(INNER)[:20], bytes(INNER)[:35]])
def test_garbage_is_a_line_too(data: bytes) -> None:
    assert isinstance(describe(data), str)
