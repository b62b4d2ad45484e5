"""Capture files, written by scapy as tcpdump would."""

from collections.abc import Callable
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.utils import wrpcap

from netns_lab.capture import Packet, await_packets, count_packets, read_packets
from nodeplane.errors import NodeplaneError

SYN = Ether() / IP(src="10.0.0.1", dst="10.96.0.80") / TCP(sport=4000, dport=80, flags="S", seq=77)
SYN_ACK = Ether() / IP(src="10.96.0.80", dst="10.0.0.1") / TCP(sport=80, dport=4000, flags="SA", seq=9)
OTHERS = [Ether() / ARP(), Ether() / IP() / UDP(), Ether() / IP() / ICMP()]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return the path of a file with five packets, two of them TCP."""
    path = tmp_path / "test.pcap"
    wrpcap(str(path), [SYN, *OTHERS, SYN_ACK])
    return path


def test_read_packets(file: Path) -> None:
    assert read_packets(file) == [
        Packet("10.0.0.1", 4000, "10.96.0.80", 80, "S", 77),
        Packet("10.96.0.80", 80, "10.0.0.1", 4000, "SA", 9),
    ]


def test_text_of_a_packet(file: Path) -> None:
    assert str(read_packets(file)[0]) == "10.0.0.1:4000 > 10.96.0.80:80 TCP [S] seq 77"


@pytest.mark.parametrize(
    ("missing_bytes", "count"),
    [
        pytest.param(0, 5, id="whole"),
        pytest.param(1, 4, id="the last packet is still being written"),
        pytest.param(len(SYN_ACK) + 8, 4, id="so is its header"),
        pytest.param(100000, 0, id="nothing yet, not even the file's header"),
    ],
)
def test_count_packets_of_a_growing_file(missing_bytes: int, count: int, file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: max(0, len(content) - missing_bytes)])

    assert count_packets(file) == count


@pytest.mark.parametrize("read", [count_packets, read_packets])
def test_a_file_that_is_gone_is_one_line(read: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(NodeplaneError) as caught:
        read(tmp_path / "gone.pcap")

    assert str(caught.value) == f"capture {tmp_path / 'gone.pcap'}: No such file or directory"


def test_a_file_that_is_no_capture_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.pcap").write_text("no capture, but more than a header of 24 bytes")

    with pytest.raises(NodeplaneError, match=r"text.pcap: Not a supported capture file"):
        read_packets(tmp_path / "text.pcap")


def test_await_packets_gives_up(file: Path) -> None:
    await_packets(file, 5, limit_s=60)
    await_packets(file, 6, limit_s=0.01)
