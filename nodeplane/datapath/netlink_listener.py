"""A netlink socket that hears what the kernel tells unasked: notifications of multicast groups.

Whose they are and what they say, the callers decide. One that reads too slowly is told that it missed some.
"""

import asyncio
import errno
import socket
from collections.abc import Iterable

from nodeplane.datapath.netlink_socket import force_buffer, open_socket
from nodeplane.datapath.socket_filter import Rule, attach, build_filter
from nodeplane.errors import kernel_error

_SO_RCVBUFFORCE = 33
_BUFFER_BYTES = 1 << 20
_READ_BYTES = 1 << 17


class NetlinkListener:
    """A socket that hears of changes from when it is opened; a context manager that closes it.

    They are those of the network namespace of the thread that opens it.

    Args:
        what: What it listens to, for errors.
        protocol: NETLINK_ROUTE, NETLINK_NETFILTER.
        groups: The multicast groups' bits.
        buffer_bytes: How much the kernel keeps for a reader that is slow.

    Raises:
        KernelError: the socket can't be had.
    """

    def __init__(self, what: str, protocol: int, groups: int, buffer_bytes: int = _BUFFER_BYTES) -> None:
        self._what = what
        self._socket = open_socket(protocol, f"open {what}", groups)
        self._socket.setblocking(False)
        force_buffer(self._socket, _SO_RCVBUFFORCE, socket.SO_RCVBUF, buffer_bytes)

    def __enter__(self) -> "NetlinkListener":
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket; it can't be used any more."""
        self._socket.close()

    def narrow(self, rules: Iterable[Rule]) -> None:
        """Hear from now on only what these rules let in.

        Raises:
            KernelError: the kernel refused.
        """
        try:
            attach(self._socket, build_filter(rules))
        except OSError as exc:
            raise kernel_error(f"filter {self._what}", exc.errno or errno.EIO) from exc

    async def receive(self) -> bytes | None:
        """Wait for a datagram of notifications; None if some were lost (ENOBUFS).

        Raises:
            KernelError: the socket failed.
        """
        try:
            return await asyncio.get_running_loop().sock_recv(self._socket, _READ_BYTES)
        except OSError as exc:
            self._check_lost(exc)
            return None

    def receive_more(self) -> bytes | None:
        """Return a datagram that is there already; empty if none is, None if some were lost.

        Raises:
            KernelError: the socket failed.
        """
        try:
            return self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return b""
        except OSError as exc:
            self._check_lost(exc)
            return None

    def _check_lost(self, exc: OSError) -> None:
        if exc.errno != errno.ENOBUFS:
            raise kernel_error(f"read {self._what}", exc.errno or errno.EIO) from exc
