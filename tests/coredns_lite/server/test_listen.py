"""Opening the sockets."""

import errno
import socket
from ipaddress import IPv4Address

import pytest

from coredns_lite.server.listen import open_udp
from coredns_lite.server.mmsg import IPV4_PACKET_INFO, IPV6_PACKET_INFO, PacketInfo
from nodeplane.errors import KernelError

ANY_IPV4 = str(IPv4Address(0))


@pytest.mark.parametrize(
    ("address", "name", "packet_info"),
    [
        pytest.param("127.0.0.1", "127.0.0.1", None, id="one IPv4 address"),
        pytest.param("::1", "::1", None, id="one IPv6 address"),
        pytest.param(ANY_IPV4, ANY_IPV4, IPV4_PACKET_INFO, id="every IPv4 address"),
        pytest.param("::", "::", IPV6_PACKET_INFO, id="every IPv6 address"),
        pytest.param("", "::", IPV6_PACKET_INFO, id="every address"),
    ],
)
def test_open(address: str, name: str, packet_info: PacketInfo | None) -> None:
    listening = open_udp(address, 0)
    with listening.socket as sock:
        assert sock.getsockname()[0] == name
        assert sock.getblocking()
        assert listening.packet_info == packet_info
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) > 0
        assert listening.lost() == 0


@pytest.mark.parametrize(
    ("address", "error", "message"),
    [
        pytest.param(
            "127.0.0.1",
            errno.EADDRINUSE,
            "listen on udp 127.0.0.1:{}: Address already in use (EADDRINUSE)",
            id="taken",
        ),
        pytest.param(
            "192.0.2.200",
            errno.EADDRNOTAVAIL,
            "listen on udp 192.0.2.200:{}: Cannot assign requested address (EADDRNOTAVAIL)",
            id="not ours, IPv4",
        ),
        pytest.param(
            "2001:db8::1",
            errno.EADDRNOTAVAIL,
            "listen on udp [2001:db8::1]:{}: Cannot assign requested address (EADDRNOTAVAIL)",
            id="not ours, IPv6",
        ),
    ],
)
def test_open_refused(address: str, error: int, message: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        with pytest.raises(KernelError) as caught:
            open_udp(address, port)

    assert (caught.value.errno, str(caught.value)) == (error, message.format(port))


def test_lost_packets_are_counted() -> None:
    """What comes while the buffer is full is lost, and known to be."""
    listening = open_udp("127.0.0.1", 0)
    with listening.socket as sock, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        for _ in range(100):
            sender.sendto(bytes(1000), sock.getsockname())
        sock.setblocking(False)
        kept = 0
        while True:
            try:
                sock.recv(2000)
            except BlockingIOError:
                break
            kept += 1

        assert kept < 100
        assert listening.lost() == 100 - kept
