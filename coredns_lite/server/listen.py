"""Opens the sockets that queries come to, and closes them without losing one.

Several sockets may have one address (SO_REUSEPORT): each query goes to one of them. A new process, or a new
configuration, opens its own before the old one's leave: none is ever without.
"""

import errno
import socket
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

from coredns_lite.server.mmsg import IPV4_PACKET_INFO, IPV6_PACKET_INFO, PacketInfo
from nodeplane.errors import KernelError, kernel_error

# Bursts wait here rather than being lost while the loop is at work: thousands of small queries, since the
# kernel counts its own overhead too.
_RECEIVE_BUFFER_BYTES = 4 << 20

# Linux names that Python's socket module lacks (asm-generic/socket.h, linux/in.h, linux/sock_diag.h).
_SO_RCVBUFFORCE = 33
_SO_MEMINFO = 55
_IP_PKTINFO = 8
_MEMINFO = struct.Struct("=9I")
_MEMINFO_DROPS = 8

_BACKLOG = 1024

_NO_IPV6 = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}


class Listening:
    """A bound socket; `packet_info` is set if it serves several addresses and each reply must choose one."""

    def __init__(self, sock: socket.socket, packet_info: PacketInfo | None) -> None:
        self.socket = sock
        self.packet_info = packet_info

    def lost(self) -> int:
        """Return how many queries the kernel threw away because the socket's buffer was full."""
        words = _MEMINFO.unpack(self.socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))
        drops: int = words[_MEMINFO_DROPS]
        return drops


def open_udp(address: str, port: int) -> Listening:
    """Open a blocking UDP socket; the empty address means every address, of IPv6 too where there is any.

    Raises:
        KernelError: the address can't be had; its subclasses tell why.
    """
    if address:
        return _open(ip_address(address), port)
    try:
        return _open(IPv6Address(0), port, is_dual_stack=True)
    except KernelError as exc:
        if exc.errno not in _NO_IPV6:
            raise
    return _open(IPv4Address(0), port)


def leave_group(sock: socket.socket) -> None:
    """Have a UDP socket get nothing more, and its reader see the end once it has what is queued.

    A connected socket is passed over when one of several with its address is chosen (Linux
    net/core/sock_reuseport.c, reuseport_select_sock_by_hash), and still reads and sends.
    """
    address, port = sock.getsockname()[:2]
    ip = ip_address(address)
    if not ip.is_unspecified:
        peers = [address]
    else:
        peers = ["127.0.0.1"] if ip.version == 4 else ["::1", "::ffff:127.0.0.1"]
    for peer in peers:
        try:
            # Any peer will do that never sends: itself is one.
            sock.connect((peer, port))
            break
        except OSError:
            continue
    try:
        sock.shutdown(socket.SHUT_RD)
    except OSError as exc:
        # Said of any unconnected socket, but its waiting readers are woken all the same (Linux
        # net/ipv4/af_inet.c, inet_shutdown: "Hack to wake up other listeners").
        if exc.errno != errno.ENOTCONN:
            raise


def open_tcp(address: str, port: int) -> socket.socket:
    """Open a listening TCP socket; the empty address means every address, of IPv6 too where there is any.

    Raises:
        KernelError: the address can't be had; its subclasses tell why.
    """
    if address:
        return _open_tcp(ip_address(address), port)
    try:
        return _open_tcp(IPv6Address(0), port, is_dual_stack=True)
    except KernelError as exc:
        if exc.errno not in _NO_IPV6:
            raise
    return _open_tcp(IPv4Address(0), port)


def _open_tcp(ip: IPv4Address | IPv6Address, port: int, *, is_dual_stack: bool = False) -> socket.socket:
    sock = None
    try:
        sock = socket.socket(socket.AF_INET if ip.version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # Else the connections that a program before us closed keep the address for a minute.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if ip.version == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not is_dual_stack)
        sock.bind((str(ip), port))
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError as exc:
        if sock:
            sock.close()
        place = f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}"
        raise kernel_error(f"listen on tcp {place}", exc.errno or 0) from exc
    return sock


def _open(ip: IPv4Address | IPv6Address, port: int, *, is_dual_stack: bool = False) -> Listening:
    sock = None
    try:
        sock = socket.socket(socket.AF_INET if ip.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
        _grow_receive_buffer(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if ip.version == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not is_dual_stack)
        packet_info = _ask_for_packet_info(sock) if ip.is_unspecified else None
        sock.bind((str(ip), port))
    except OSError as exc:
        if sock:
            sock.close()
        place = f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}"
        raise kernel_error(f"listen on udp {place}", exc.errno or 0) from exc
    return Listening(sock, packet_info)


def _ask_for_packet_info(sock: socket.socket) -> PacketInfo:
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        return IPV4_PACKET_INFO
    # Datagrams of IPv4 come with it too, addresses mapped (Linux net/ipv6/datagram.c), and go by it.
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    return IPV6_PACKET_INFO


def _grow_receive_buffer(sock: socket.socket) -> None:
    try:
        # Past net.core.rmem_max, which is 208 kB by default; needs CAP_NET_ADMIN (socket(7)).
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER_BYTES)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
