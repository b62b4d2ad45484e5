"""A stream of numbered datagrams from a pod to another, and which of them arrived."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.netns_fixture import eventually
from tests.routing.routed_lab import Family, RoutedLab

_PAUSE_S = 0.002
_LAST_S = 5.0
_BUFFER_BYTES = 1 << 24
# linux asm-generic/socket.h: beyond what net.core.rmem_max allows, for root.
_SO_RCVBUFFORCE = 33


class Stream:
    """What has been sent, and what has arrived."""

    def __init__(self) -> None:
        self.sent = 0
        self.first = 0
        self.received: set[int] = set()
        self._is_over = False

    def lost(self) -> list[int]:
        """Return the numbers of the datagrams that have not arrived, once some had."""
        return sorted({*range(self.first, self.sent)} - self.received)

    def await_progress(self, count: int = 50) -> None:
        """Wait until some more have been sent."""
        goal = self.sent + count
        eventually(lambda: self.sent, lambda sent: sent >= goal)

    def send(self, client: socket.socket) -> None:
        """Send until it is over; what can't be sent is lost."""
        while not self._is_over:
            # No route: the datagram counts as sent and is missed at the other end.
            with suppress(OSError):
                client.send(self.sent.to_bytes(8, "big"))
            self.sent += 1
            time.sleep(_PAUSE_S)

    def receive(self, server: socket.socket) -> None:
        """Receive until the socket is closed or silent for long."""
        while True:
            try:
                self.received.add(int.from_bytes(server.recv(64), "big"))
            except OSError:
                return

    def end(self) -> None:
        """Send no more."""
        self._is_over = True


@contextmanager
def streaming(lab: RoutedLab, one: str, other: str, family: Family) -> Iterator[Stream]:
    """Send datagrams from a pod to another meanwhile; at the end wait for those that are on their way."""
    stream = Stream()
    with (
        lab.open(lab.pod(other), socket.SOCK_DGRAM, family) as server,
        lab.open(lab.pod(one), socket.SOCK_DGRAM, family) as client,
    ):
        server.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        server.bind((lab.address(other, family), 0))
        client.connect(server.getsockname()[:2])
        threads = [
            threading.Thread(target=stream.receive, args=(server,), daemon=True),
            threading.Thread(target=stream.send, args=(client,), daemon=True),
        ]
        for thread in threads:
            thread.start()
        try:
            # The first ones look up neighbours, for which no more than some hundred wait (unres_qlen_bytes).
            eventually(lambda: len(stream.received), lambda count: count > 10)
            stream.first = max(stream.received.copy())
            yield stream
            stream.await_progress()
        finally:
            stream.end()
            threads[1].join()
        # What has not come by then is lost; of what is, the caller asks.
        deadline = time.monotonic() + _LAST_S
        while stream.lost() and time.monotonic() < deadline:
            time.sleep(_PAUSE_S)
