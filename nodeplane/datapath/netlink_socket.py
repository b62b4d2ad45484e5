"""A netlink socket for requests that the kernel works off before `send` returns: no thread, no event loop.

Calls never wait for anyone: answers are queued before `send` returns, a dump is filled in as it is read.
What the kernel tells unasked is `netlink_listener`'s.
"""

import errno
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from typing import TypeVar

from nodeplane.datapath import netlink as nl
from nodeplane.errors import KernelError, kernel_error

_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_SOL_NETLINK, _NETLINK_CAP_ACK, _NETLINK_GET_STRICT_CHK = 270, 10, 12
_BUFFER_BYTES = 4 << 20
# The kernel writes a dump in pieces of at most 32 KiB (netlink_dump).
_RECEIVE_BYTES = 1 << 16
_ANSWER_LIMIT_S = 30
_READ_ATTEMPTS = 5

_Found = TypeVar("_Found")


class NetlinkSocket:
    """A socket in the network namespace of the thread that opens it; use it as a context manager.

    Args:
        protocol: NETLINK_ROUTE, NETLINK_NETFILTER.
        buffer_bytes: How long the longest request may be.
        is_strict: Whether the kernel is to check requests and to apply a dump's filters (4.20).
        groups: Whose notifications to receive, as a bit mask.

    Raises:
        KernelError: the socket can't be had.
    """

    def __init__(
        self, protocol: int, buffer_bytes: int = _BUFFER_BYTES, *, is_strict: bool = False, groups: int = 0
    ) -> None:
        self._socket = open_socket(protocol, "open a netlink socket", groups)
        force_buffer(self._socket, _SO_SNDBUFFORCE, socket.SO_SNDBUF, buffer_bytes)
        force_buffer(self._socket, _SO_RCVBUFFORCE, socket.SO_RCVBUF, buffer_bytes)
        # An error need not bring its whole request back.
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        if is_strict:
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)
        # The kernel answers at once; this only keeps a lost answer from hanging a node.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", _ANSWER_LIMIT_S, 0))
        # Whether answers may still be there that nobody has read to their end.
        self._is_abandoned = False

    def __enter__(self) -> "NetlinkSocket":
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    @property
    def port(self) -> int:
        """The netlink port that the kernel's notifications name as the author of our changes."""
        port: int = self._socket.getsockname()[0]
        return port

    def fileno(self) -> int:
        """Return the file descriptor, for poll and for ioctl."""
        return self._socket.fileno()

    def notifications(self, operation: str) -> Iterator[tuple[int, int, int, memoryview]]:
        """Receive one datagram of notifications; yields as `netlink.messages` does.

        Raises:
            KernelError: there is none, or some were lost (ENOBUFS).
        """
        yield from nl.messages(self._receive(operation))

    def close(self) -> None:
        """Close the socket; it can't be used any more."""
        self._socket.close()

    def ask(self, operation: str, request: bytes) -> list[memoryview]:
        """Send one request with NLM_F_ACK and return the payloads of its answers.

        Raises:
            KernelError: the kernel refused.
        """
        answers = []
        for kind, _flags, _sequence, payload in self._replies(operation, request):
            if kind == nl.NLMSG_ERROR:
                self._is_abandoned = False
                code = error_code(payload)
                if code:
                    raise kernel_error(operation, code)
                break
            answers.append(payload)
        return answers

    def question(self, operation: str, request: bytes) -> memoryview:
        """Send one request that the kernel answers with one message, and return that one's payload.

        Raises:
            KernelError: the kernel refused.
        """
        kind, _flags, _sequence, payload = next(self._replies(operation, request))
        self._is_abandoned = False
        if kind == nl.NLMSG_ERROR:
            raise kernel_error(operation, error_code(payload) or errno.EIO)
        return payload

    def dump(self, operation: str, request: bytes) -> Iterator[bytes]:
        """Send one request with NLM_F_DUMP and yield the datagrams of its answer, the last one included.

        Raises:
            KernelError: the kernel refused, or (EINTR) what is dumped changed meanwhile.
        """
        self._send(operation, request)
        is_interrupted = has_ended = False
        while not has_ended:
            data = self._receive(operation)
            has_ended, code, flags = _end(data)
            self._is_abandoned = not has_ended
            if code:
                raise kernel_error(operation, code)
            is_interrupted = is_interrupted or bool(flags & nl.NLM_F_DUMP_INTR)
            yield data
        if is_interrupted:
            raise KernelError(operation, errno.EINTR)

    def errors(self, operation: str, requests: bytes, last: int) -> dict[int, int]:
        """Send several requests, only the last with NLM_F_ACK; return the errnos of those that failed.

        The first of them comes first. A request numbered 0 is what holds the others together: if that fails,
        the kernel has not looked at the others.
        """
        found = {}
        for kind, _flags, sequence, payload in self._replies(operation, requests):
            if kind != nl.NLMSG_ERROR:
                continue
            code = error_code(payload)
            if code:
                found[sequence] = code
            if sequence == last:
                self._is_abandoned = False
                break
            if code and sequence == 0:
                # Where it is the commit that failed, what is said of the others comes behind (nfnetlink.c).
                break
        return found

    def _replies(self, operation: str, request: bytes) -> Iterator[tuple[int, int, int, memoryview]]:
        self._send(operation, request)
        while True:
            yield from nl.messages(self._receive(operation))

    def _send(self, operation: str, data: bytes) -> None:
        if self._is_abandoned:
            self._drain()
        self._is_abandoned = True
        try:
            self._socket.sendto(data, (0, 0))
        except OSError as exc:
            raise kernel_error(operation, exc.errno or errno.EIO) from exc

    def _receive(self, operation: str) -> bytes:
        try:
            return self._socket.recv(_RECEIVE_BYTES)
        except OSError as exc:
            raise kernel_error(operation, exc.errno or errno.EIO) from exc

    def _drain(self) -> None:
        """Throw away what an abandoned exchange left, so that the next one reads its own answers."""
        try:
            while self._socket.recv(_RECEIVE_BYTES, socket.MSG_DONTWAIT):
                pass
        except BlockingIOError:
            return
        except OSError as exc:
            if exc.errno != errno.ENOBUFS:
                raise kernel_error("drain netlink socket", exc.errno or errno.EIO) from exc


def open_socket(protocol: int, operation: str, groups: int = 0) -> socket.socket:
    """Open a socket that has its port and hears of `groups`, the multicast groups' bits.

    Raises:
        KernelError: the kernel refused.
    """
    try:
        opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        try:
            opened.bind((0, groups))
        except OSError:
            opened.close()
            raise
    except OSError as exc:
        raise kernel_error(operation, exc.errno or errno.EIO) from exc
    return opened


def force_buffer(opened: socket.socket, forced: int, plain: int, size_bytes: int) -> None:
    """Set the size of a buffer, beyond the system's limit if we may."""
    try:
        opened.setsockopt(socket.SOL_SOCKET, forced, size_bytes)
    except PermissionError:
        # Without CAP_NET_ADMIN in the first user namespace the system's limit holds.
        opened.setsockopt(socket.SOL_SOCKET, plain, size_bytes)


def read_at_rest(read: Callable[[], _Found]) -> _Found:
    """Read what takes one dump or several, again while the kernel says that it changed meanwhile.

    Raises:
        KernelError: it can't be read; EINTR, others change it faster than it can be read.
    """
    for _ in range(_READ_ATTEMPTS - 1):
        try:
            return read()
        except KernelError as exc:
            if exc.errno != errno.EINTR:
                raise
    return read()


def error_code(payload: memoryview) -> int:
    """Return the errno of an NLMSG_ERROR, 0 for an acknowledgement."""
    return -int.from_bytes(payload[:4], sys.byteorder, signed=True)


def _end(data: bytes) -> tuple[bool, int, int]:
    """Say whether a dump ends with this datagram, the errno that it ends with, and all messages' flags."""
    seen = 0
    for kind, flags, _sequence, payload in nl.messages(data):
        seen |= flags
        if kind == nl.NLMSG_ERROR:
            return True, error_code(payload) or errno.EIO, seen
        if kind == nl.NLMSG_DONE:
            return True, error_code(payload), seen
    return False, 0, seen
