"""The connections of open watches, and which of them lie on an address that this machine has no more.

The kernel leaves such a connection as it is: nothing comes, and what is sent is refused in silence. TCP finds
out after a minute (`nodeplane.kube.session`). Who hears of addresses can tell at once.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class OpenSockets:
    """The sockets that are read at the moment."""

    def __init__(self) -> None:
        self._sockets: dict[int, socket.socket] = {}

    @contextmanager
    def reading(self, connection: socket.socket) -> Iterator[None]:
        """Count a connected socket among them for a while."""
        self._sockets[id(connection)] = connection
        try:
            yield
        finally:
            del self._sockets[id(connection)]

    def end_stranded(self) -> int:
        """End the connections whose own address is gone, for whoever reads them; return how many."""
        ended = 0
        for connection in self._sockets.values():
            # One that is closed by now.
            with suppress(OSError):
                if connection.family in {socket.AF_INET, socket.AF_INET6} and not _is_here(connection):
                    connection.shutdown(socket.SHUT_RDWR)
                    ended += 1
        return ended


def _is_here(connection: socket.socket) -> bool:
    """Say whether a socket's own address can still be had."""
    host, _, *rest = connection.getsockname()
    with socket.socket(connection.family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0, *rest))
        except OSError:
            return False
    return True
