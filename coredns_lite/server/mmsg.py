"""Many datagrams in one system call: recvmmsg(2) and sendmmsg(2) over buffers that are laid out once.

    slot 0            slot 1                       one memory, SLOT_BYTES apart
    | query -> reply  | query -> reply  | ...
      ^ receive vector: room SLOT_BYTES, address and (wildcard sockets) destination are written by the kernel
      ^ send vector: same memory, same address, same destination now as the source; length of the reply

A reply is written over its query, so neither addresses nor bytes move between the two calls. System calls
are most of the cost of a small query (reference/dns.md), so the vectors' fields are reached through
memoryviews: one strided read gives all lengths of a batch.
"""

import ctypes
import errno
import mmap
import socket
import struct
import sys
from ctypes import Array
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

import msgspec

from coredns_lite.tally import IPV4, IPV6
from nodeplane.errors import kernel_error

# Room for any query without being cut: what is longer is cut by the kernel and so malformed. The odd half
# cache line keeps equal offsets of neighbouring slots from sharing one set of the CPU's first cache.
SLOT_BYTES = 4096 + 96
SLOTS = 64

# Block for the first datagram, take what else is there (recvmmsg(2)).
_MSG_WAITFORONE = 0x10000
_IPV4_ADDRESS_BYTES = 16  # struct sockaddr_in
_ADDRESS_BYTES = 28  # struct sockaddr_in6


_MAPPED = int.from_bytes(b"\0\0\xff\xff", sys.byteorder)


class _IoVec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("len", ctypes.c_size_t))


class _MsgHdr(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("namelen", ctypes.c_uint32),
        ("iov", ctypes.c_void_p),
        ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _MmsgHdr(ctypes.Structure):
    _fields_ = (("hdr", _MsgHdr), ("len", ctypes.c_uint32))


class PacketInfo(msgspec.Struct, frozen=True):
    """The control message in which the kernel says, and is told, a datagram's local address.

    `interface_offset` is where the interface's index stands, in bytes from the control message's start.
    """

    size_bytes: int
    interface_offset: int


class ReturnPath(msgspec.Struct, frozen=True):
    """Where a reply goes, and the control messages that say from where: what socket.sendmsg takes."""

    address: tuple[str | int, ...]
    """Address and port; of IPv6 also flow and interface."""
    control: tuple[tuple[int, int, bytes], ...]


# struct cmsghdr, then struct in_pktinfo (ip(7)) or struct in6_pktinfo (RFC 3542 section 6).
_CMSG_HEADER = struct.Struct("@Nii")
_CMSG_HEADER_BYTES = socket.CMSG_LEN(0)
IPV4_PACKET_INFO = PacketInfo(socket.CMSG_SPACE(12), _CMSG_HEADER_BYTES)
IPV6_PACKET_INFO = PacketInfo(socket.CMSG_SPACE(20), _CMSG_HEADER_BYTES + 16)

_libc = ctypes.CDLL(None, use_errno=True)
_recvmmsg = _libc.recvmmsg
_recvmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p]
_sendmmsg = _libc.sendmmsg
_sendmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]


class PacketBatch:
    """Up to SLOTS datagrams of one blocking socket, received together and answered in place.

    `memory` holds them; slot n starts at byte n * SLOT_BYTES. `packet_info` is given for a wildcard socket
    that asks for it, so that each reply leaves from the address its query came to.
    """

    def __init__(self, sock: socket.socket, packet_info: PacketInfo | None = None) -> None:
        self.memory = mmap.mmap(-1, SLOTS * SLOT_BYTES)
        self._fd = sock.fileno()
        control_bytes = self._control_bytes = packet_info.size_bytes if packet_info else 0
        self._names = (ctypes.c_char * (SLOTS * _ADDRESS_BYTES))()
        self._is_ipv4 = sock.family == socket.AF_INET
        # The third word of an IPv6 address tells a mapped IPv4 one (RFC 4291 section 2.5.5.2).
        self._third_words = memoryview(self._names).cast("B").cast("I")[4 :: _ADDRESS_BYTES // 4]
        self._controls = (ctypes.c_char * (SLOTS * control_bytes))()
        name_bytes = _IPV4_ADDRESS_BYTES if sock.family == socket.AF_INET else _ADDRESS_BYTES
        self._receive_iov, self._receive = self._lay_out(name_bytes, control_bytes)
        self._send_iov, self._send = self._lay_out(name_bytes, control_bytes)
        self._lengths = _field(self._receive, "I", _MmsgHdr.len.offset)
        self.reply_lengths = _field(self._send_iov, "L", _IoVec.len.offset)
        """The size of each slot's reply in bytes, to be set before `send`."""
        self._control_lengths = _field(self._receive, "L", _MsgHdr.controllen.offset)
        self._whole_control_lengths = memoryview(bytes(self._control_lengths)).cast("L")
        self._no_interfaces = memoryview(bytes(SLOTS * 4)).cast("I")
        self._interfaces = None
        if packet_info:
            words = memoryview(self._controls).cast("B").cast("I")
            self._interfaces = words[packet_info.interface_offset // 4 :: control_bytes // 4]

    def receive(self) -> list[int]:
        """Wait for datagrams; return the length in bytes of each, slot by slot.

        A signal gives an empty list, a socket that was shut down a list of zeros.

        Raises:
            KernelError: the socket failed for good.
        """
        count = _recvmmsg(self._fd, self._receive, SLOTS, _MSG_WAITFORONE, None)
        if count < 0:
            if ctypes.get_errno() == errno.EINTR:
                return []
            raise kernel_error("recvmmsg", ctypes.get_errno())
        if self._interfaces is not None:
            # The kernel cut the room down to what it wrote. And an interface's index would force the reply
            # out where the query came in, whatever the routes say; only the address is meant to stay.
            self._control_lengths[:] = self._whole_control_lengths
            self._interfaces[:] = self._no_interfaces
        lengths: list[int] = self._lengths[:count].tolist()
        return lengths

    def send(self, first: int, count: int) -> list[int]:
        """Send the replies of `count` slots from `first` on; return the errno of each that could not go."""
        refused = []
        while count:
            sent = _sendmmsg(self._fd, ctypes.byref(self._send, first * ctypes.sizeof(_MmsgHdr)), count, 0)
            if sent < 0:
                # Said of the first of those that are left, once those before it have gone (sendmmsg(2)).
                error = ctypes.get_errno()
                if error == errno.EINTR:
                    continue
                refused.append(error)
                sent = 1
            first += sent
            count -= sent
        return refused

    def family(self, slot: int) -> str:
        """Return the address family that a slot's datagram came by, as the metrics have it."""
        return IPV4 if self._is_ipv4 or self._third_words[slot] == _MAPPED else IPV6

    def common_family(self, count: int) -> str | None:
        """Return the family that the first `count` slots' datagrams all came by, None if they differ."""
        if self._is_ipv4:
            return IPV4
        mapped = self._third_words[:count].tolist().count(_MAPPED)
        if mapped == count:
            return IPV4
        return None if mapped else IPV6

    def peer(self, slot: int) -> tuple[IPv4Address | IPv6Address, int]:
        """Return where a slot's datagram came from: address (IPv4 is IPv4, on any socket) and port."""
        at = slot * _ADDRESS_BYTES
        name = bytes(memoryview(self._names)[at : at + _ADDRESS_BYTES])
        family, port = struct.unpack_from("=H", name)[0], struct.unpack_from("!H", name, 2)[0]
        if family == socket.AF_INET:
            return IPv4Address(name[4:8]), port
        address = IPv6Address(name[8:24])
        return address.ipv4_mapped or address, port

    def return_path(self, slot: int) -> ReturnPath:
        """Return how to reply to a slot's datagram once the slot is another's."""
        at = slot * _ADDRESS_BYTES
        name = bytes(memoryview(self._names)[at : at + _ADDRESS_BYTES])
        port = struct.unpack_from("!H", name, 2)[0]
        if struct.unpack_from("=H", name)[0] == socket.AF_INET:
            address: tuple[str | int, ...] = (str(IPv4Address(name[4:8])), port)
        else:
            address = (str(IPv6Address(name[8:24])), port, 0, struct.unpack_from("=I", name, 24)[0])
        size = self._control_bytes
        if not size:
            return ReturnPath(address, ())
        control = bytes(memoryview(self._controls)[slot * size : (slot + 1) * size])
        length, level, kind = _CMSG_HEADER.unpack_from(control)
        return ReturnPath(address, ((level, kind, control[_CMSG_HEADER_BYTES:length]),))

    def _lay_out(self, name_bytes: int, control_bytes: int) -> tuple[Array[_IoVec], Array[_MmsgHdr]]:
        """Build a vector whose entry n points at slot n, with the whole slot as its length."""
        memory = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        names, controls = ctypes.addressof(self._names), ctypes.addressof(self._controls)
        iov, vector = (_IoVec * SLOTS)(), (_MmsgHdr * SLOTS)()
        for slot in range(SLOTS):
            iov[slot] = _IoVec(memory + slot * SLOT_BYTES, SLOT_BYTES)
            vector[slot].hdr = _MsgHdr(
                name=names + slot * _ADDRESS_BYTES,
                namelen=name_bytes,
                iov=ctypes.addressof(iov) + slot * ctypes.sizeof(_IoVec),
                iovlen=1,
                control=controls + slot * control_bytes if control_bytes else None,
                controllen=control_bytes,
            )
        return iov, vector


def _field(vector: Array[_IoVec] | Array[_MmsgHdr], kind: Literal["I", "L"], offset: int) -> memoryview:
    """View one field of every entry of a vector; `kind` is its struct format, `offset` is in bytes."""
    size_bytes = struct.calcsize(kind)
    entry_bytes = ctypes.sizeof(vector) // len(vector)
    return memoryview(vector).cast("B").cast(kind)[offset // size_bytes :: entry_bytes // size_bytes]
