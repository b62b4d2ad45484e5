"""A netlink socket for requests that the kernel works off before `send` returns: no thread, no event loop."""

import errno
import socket
import struct
import sys
from collections.abc import Iterator

from nodeplane.datapath import netlink as nl
from nodeplane.errors import kernel_error

_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_SOL_NETLINK, _NETLINK_CAP_ACK = 270, 10
_BUFFER_BYTES = 4 << 20
_RECEIVE_BYTES = 1 << 16
_ANSWER_LIMIT_S = 30


class NetlinkSocket:
    """A socket in the network namespace of the thread that opens it; use it as a context manager."""

    def __init__(self, protocol: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.bind((0, 0))
        for forced, plain in ((_SO_SNDBUFFORCE, socket.SO_SNDBUF), (_SO_RCVBUFFORCE, socket.SO_RCVBUF)):
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, forced, _BUFFER_BYTES)
            except PermissionError:
                # Without CAP_NET_ADMIN in the first user namespace the system's limit holds.
                self._socket.setsockopt(socket.SOL_SOCKET, plain, _BUFFER_BYTES)
        # An error need not bring its whole request back.
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        # The kernel answers at once; this only keeps a lost answer from hanging a node.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", _ANSWER_LIMIT_S, 0))

    def __enter__(self) -> "NetlinkSocket":
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

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
                code = error_code(payload)
                if code:
                    raise kernel_error(operation, code)
                break
            answers.append(payload)
        return answers

    def dump(self, operation: str, request: bytes) -> Iterator[bytes]:
        """Send one request with NLM_F_DUMP and yield the datagrams of its answer, the last one included.

        Raises:
            KernelError: the kernel refused.
        """
        self._send(operation, request)
        while True:
            data = self._receive(operation)
            has_ended, code = _end(data)
            if code:
                raise kernel_error(operation, code)
            yield data
            if has_ended:
                return

    def errors(self, operation: str, requests: bytes, last: int) -> dict[int, int]:
        """Send several requests, only the last with NLM_F_ACK; return the errnos of those that failed."""
        found = {}
        for kind, _flags, sequence, payload in self._replies(operation, requests):
            if kind != nl.NLMSG_ERROR:
                continue
            code = error_code(payload)
            if code:
                found[sequence] = code
            if sequence == last:
                break
        return found

    def _replies(self, operation: str, request: bytes) -> Iterator[tuple[int, int, int, memoryview]]:
        self._send(operation, request)
        while True:
            yield from nl.messages(self._receive(operation))

    def _send(self, operation: str, data: bytes) -> None:
        self._drain()
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


def error_code(payload: memoryview) -> int:
    """Return the errno of an NLMSG_ERROR, 0 for an acknowledgement."""
    return -int.from_bytes(payload[:4], sys.byteorder, signed=True)


def _end(data: bytes) -> tuple[bool, int]:
    """Say whether a dump ends with this datagram, and the errno that it ends with."""
    for kind, _flags, _sequence, payload in nl.messages(data):
        if kind == nl.NLMSG_ERROR:
            return True, error_code(payload) or errno.EIO
        if kind == nl.NLMSG_DONE:
            return True, error_code(payload)
    return False, 0
